//! A server's process, and everything below it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// How long a killed process may take to be gone: one that hangs in the kernel is not waited for longer.
const LAST_GASP: Duration = Duration::from_secs(10);

/// A child process that ends with this value, and with the process of the tests.
///
/// Its output goes to a file, for the message of whatever fails. A signal goes to the process by its id,
/// which cannot have become another's: the id stays taken until this value has waited for the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, its output in the file `log`.
    ///
    /// Make the command by [`User::command`](crate::User::command): then the kernel kills the process when
    /// the process of the tests ends, whatever ends that.
    ///
    /// # Panics
    /// When the file cannot be made or the program cannot be started.
    #[track_caller]
    pub fn spawn(mut command: Command, log: &Path) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .unwrap_or_else(|e| panic!("cannot open the log {log:?}: {e}"));
        let errors = output.try_clone().expect("a file handle can be cloned");
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let shown = format!("{command:?}");
        let child = spawn(command).unwrap_or_else(|e| panic!("cannot start {shown}: {e}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until `ready` says so.
    ///
    /// # Panics
    /// When the process ends first or `within` passes, with what it printed.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, within: Duration, mut ready: impl FnMut() -> bool) {
        let deadline = Instant::now() + within;
        while !ready() {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!(
                    "ended ({status}) before it was {what}; it printed:\n{}",
                    self.log()
                );
            }
            if Instant::now() >= deadline {
                panic!("not {what} within {within:?}; it printed:\n{}", self.log());
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks it to end by `signal` (a name such as `TERM`); returns how it ended. One that has not ended within
    /// `within` is killed: `None`.
    pub fn stop(&mut self, signal: &str, within: Duration) -> Option<ExitStatus> {
        self.thaw();
        if self.is_running() {
            send(signal, &[self.id()]);
        }
        let status = self.wait(within);
        if status.is_none() {
            self.kill();
        }
        status
    }

    /// Waits until it has ended by itself; `None` when it still runs after `within`.
    pub fn wait(&mut self, within: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait().expect("a child can be waited for") {
                Some(status) => return Some(status),
                None if Instant::now() >= deadline => return None,
                None => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Kills it and every process below it at once, as a power cut would: nobody says goodbye. Returns when
    /// all have ended, and what they held open is closed.
    pub fn kill(&mut self) {
        if !self.is_running() {
            return;
        }
        let family = self.frozen_family();
        send("KILL", &family);
        // To have been waited for already is no error, and there is no other.
        drop(self.child.wait());
        let deadline = Instant::now() + LAST_GASP;
        while family.iter().any(|id| is_alive(*id)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Stops it and every process below it in their tracks: connections stay open, nothing is answered.
    pub fn freeze(&mut self) {
        if self.is_running() {
            self.frozen_family();
        }
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&mut self) {
        if self.is_running() {
            send("CONT", &self.family());
        }
    }

    /// It and every process below it, all stopped.
    fn frozen_family(&self) -> Vec<u32> {
        // It first: a stopped parent starts no more children, and waits for none, so that the ids of
        // those that it has stay theirs.
        send("STOP", &[self.id()]);
        let family = self.family();
        send("STOP", &family);
        family
    }

    /// It and every process below it, by a walk of `/proc`.
    fn family(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
            .expect("/proc is mounted")
            .filter_map(|entry| {
                let id: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
                Some((id, parent(id)?))
            })
            .collect();
        let mut family = vec![self.id()];
        let mut next = 0;
        while let Some(&id) = family.get(next) {
            family.extend(
                parents
                    .iter()
                    .filter(|(_, parent)| *parent == id)
                    .map(|(id, _)| id),
            );
            next += 1;
        }
        family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts `command` from a thread that lives as long as the tests.
///
/// What the kernel takes for the death of the parent is the end of the *thread* that started the child. A
/// thread of a test, or of a runtime's blocking pool, ends long before the server that it started should.
fn spawn(command: Command) -> io::Result<Child> {
    type Request = (Command, mpsc::Sender<io::Result<Child>>);
    static STARTER: OnceLock<mpsc::Sender<Request>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (requests, inbox) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The thread that asked waits for the answer.
                drop(answer.send(command.spawn()));
            }
        });
        requests
    });
    let (answer, started) = mpsc::channel();
    starter
        .send((command, answer))
        .expect("the starter lives as long as the tests");
    started.recv().expect("the starter answers every request")
}

/// The parent of process `id`.
fn parent(id: u32) -> Option<u32> {
    stat(id, 1)?.parse().ok()
}

/// The state letter of process `id`: `T` is stopped, `Z` has ended and nobody waited for it yet.
fn state(id: u32) -> Option<char> {
    stat(id, 0)?.chars().next()
}

/// Whether a thread of process `id` still runs: while one does, what the process holds open stays so.
fn is_alive(id: u32) -> bool {
    let threads = || stat(id, 17).and_then(|threads| threads.parse().ok());
    state(id).is_some_and(|state| state != 'Z' || threads() > Some(1_u32))
}

/// The `n`th of the fields after the name in brackets in `/proc/<id>/stat`.
fn stat(id: u32, n: usize) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(n).map(str::to_owned)
}

/// Sends `signal` to each of `processes`; to have ended already is no error.
fn send(signal: &str, processes: &[u32]) {
    let status = Command::new("sh")
        .args(["-c", r#"for id; do kill -s "$0" "$id"; done"#, signal])
        .args(processes.iter().map(u32::to_string))
        .stderr(Stdio::null())
        .status();
    status.expect("every system has a shell");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::User;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_process_ends_with_its_value() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let id = process.id();
        assert!(is_alive(id));
        drop(process);
        assert!(!is_alive(id));
    }

    #[test]
    fn a_process_ends_with_a_test_that_panics() {
        let folder = tempfile::tempdir().unwrap();
        let process = sleeper(folder.path());
        let id = process.id();
        let panicked = thread::spawn(move || {
            let _process = process;
            panic!("on purpose");
        });
        assert!(panicked.join().is_err());
        assert!(!is_alive(id));
    }

    #[test]
    fn a_process_outlives_the_thread_that_started_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        let mut process = thread::spawn(move || sleeper(&path)).join().unwrap();
        thread::sleep(Duration::from_millis(50));
        assert!(process.is_running());
    }

    #[test]
    fn a_process_ends_with_a_killed_test_process() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([
            "--ignored",
            "--exact",
            "process::tests::a_test_process_with_a_child",
        ]);
        let mut tests = command
            .env("FOLDER", folder.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut id = 0;
        wait(|| {
            let text = fs::read_to_string(folder.path().join("id")).unwrap_or_default();
            id = text.trim_end_matches('.').parse().unwrap_or(0);
            text.ends_with('.')
        });
        assert!(is_alive(id));
        tests.kill().unwrap();
        tests.wait().unwrap();
        wait(|| !is_alive(id));
    }

    #[test]
    #[ignore = "a part of the test above, which runs it in a process of its own"]
    fn a_test_process_with_a_child() {
        let folder = PathBuf::from(std::env::var_os("FOLDER").expect("only run by the test above"));
        let process = sleeper(&folder);
        fs::write(folder.join("id"), format!("{}.", process.id())).unwrap();
        thread::sleep(Duration::from_secs(1000));
    }

    #[test]
    fn a_killed_process_takes_its_children_along() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = User::current().command("sh");
        command.args(["-c", "sleep 1000 & sleep 1000 & wait"]);
        let mut process = Process::spawn(command, &folder.path().join("log"));
        let mut family = Vec::new();
        wait(|| {
            family = process.family();
            family.len() == 3
        });
        process.kill();
        assert!(!family.iter().any(|id| is_alive(*id)));
    }

    #[test]
    fn a_frozen_process_goes_on_when_thawed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = User::current().command("sh");
        command.args(["-c", "while :; do echo tick; sleep 0.01; done"]);
        let mut process = Process::spawn(command, &folder.path().join("log"));
        wait(|| process.log().len() > 10);
        process.freeze();
        wait(|| {
            process
                .family()
                .iter()
                .all(|id| matches!(state(*id), Some('T' | 'Z')))
        });
        let frozen = process.log().len();
        thread::sleep(Duration::from_millis(100));
        assert_eq!(process.log().len(), frozen);
        process.thaw();
        wait(|| process.log().len() > frozen);
    }

    #[test]
    fn a_process_that_ignores_the_signal_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = User::current().command("sh");
        command.args(["-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]);
        let mut process = Process::spawn(command, &folder.path().join("log"));
        wait(|| process.log().contains("deaf"));
        assert_eq!(process.stop("TERM", Duration::from_millis(100)), None);
        assert!(!process.is_running());
    }

    #[test]
    fn a_process_that_is_asked_to_end_says_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = User::current().command("sh");
        command.args([
            "-c",
            "trap 'exit 3' TERM; echo polite; while :; do sleep 0.01; done",
        ]);
        let mut process = Process::spawn(command, &folder.path().join("log"));
        wait(|| process.log().contains("polite"));
        assert_eq!(process.wait(Duration::ZERO), None);
        assert_eq!(process.stop("TERM", SOON).unwrap().code(), Some(3));
        assert_eq!(process.stop("TERM", SOON).unwrap().code(), Some(3));
    }

    #[test]
    #[should_panic(expected = "before it was ready; it printed:\nno such table")]
    fn a_process_that_ends_early_shows_what_it_printed() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = User::current().command("sh");
        command.args(["-c", "echo no such table"]);
        Process::spawn(command, &folder.path().join("log")).wait_until("ready", SOON, || false);
    }

    fn sleeper(folder: &Path) -> Process {
        let mut command = User::current().command("sleep");
        command.arg("1000");
        Process::spawn(command, &folder.join("log"))
    }

    #[track_caller]
    fn wait(mut until: impl FnMut() -> bool) {
        let deadline = Instant::now() + SOON;
        while !until() {
            assert!(
                Instant::now() < deadline,
                "did not come true within {SOON:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }
}
