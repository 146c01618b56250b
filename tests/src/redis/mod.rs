//! Private Redis servers: one alone, and a group with a sentinel.

mod sentinel;

pub use sentinel::Sentinel;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Port, Process, Program, User};

/// A Redis server of this test's own: listening on 127.0.0.1 only, its data in memory and nowhere else.
///
/// Dropping it ends the server.
#[derive(Debug)]
pub struct Server {
    port: Port,
    /// None after [`kill`](Self::kill).
    process: Option<Process>,
    folder: TempDir,
    /// What it is told beside its address, at each start.
    options: Vec<String>,
}

impl Server {
    /// Starts a server; returns when it answers.
    ///
    /// # Panics
    /// When Redis is not installed or does not start, saying why.
    #[track_caller]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with more options, as on its command line: `["--requirepass", "secret"]`.
    ///
    /// # Panics
    /// As for [`start`](Self::start).
    #[track_caller]
    pub fn start_with(options: &[&str]) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pool-tests-")
            .tempdir()
            .unwrap();
        let mut server = Self {
            port: Port::reserve(),
            process: None,
            folder,
            options: options.iter().map(ToString::to_string).collect(),
        };
        server.restart();
        server
    }

    /// `redis://127.0.0.1:<port>/`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port.number())
    }

    /// Its port on 127.0.0.1, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Runs one command, beside whatever is being tested; returns the first line of the answer, as Redis
    /// writes it: `+OK`, `:1`, `-ERR ..`.
    ///
    /// # Panics
    /// When the server does not answer.
    #[track_caller]
    pub fn command(&self, command: &str) -> String {
        self.ask(command)
            .unwrap_or_else(|e| panic!("no answer to {command:?}: {e}"))
    }

    /// Kills it with all its connections and all its data at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port and without any data; one that runs is killed first. Returns when it
    /// answers.
    ///
    /// # Panics
    /// When it does not start, saying why.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let mut command = User::current().command(REDIS.path());
        command.args(["--bind", "127.0.0.1", "--port", &self.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(self.folder.path());
        command.args(&self.options);
        let mut process = Process::spawn(command, &self.folder.path().join("log"));
        process.wait_until("ready", PATIENCE, || {
            // One with a password answers too.
            let answers = |answer: String| answer == "+PONG" || answer.starts_with("-NOAUTH");
            self.ask("PING").is_ok_and(answers)
        });
        self.process = Some(process);
    }

    /// Stops it in its tracks: connections stay open, new ones are taken by the kernel, and nothing is ever
    /// answered.
    pub fn freeze(&mut self) {
        self.process.iter_mut().for_each(Process::freeze);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&mut self) {
        self.process.iter_mut().for_each(Process::thaw);
    }

    /// The folder of the server, which ends with it.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    fn ask(&self, command: &str) -> std::io::Result<String> {
        ask(self.port(), command)
    }
}

/// Sends one command to a port of 127.0.0.1, and returns the first line of the answer.
fn ask(port: u16, command: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    writeln!(stream, "{command}\r")?;
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer)?;
    Ok(answer.trim_end().to_owned())
}

const REDIS: Program = Program::new("redis-server", "redis-server");

/// How long a start may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_answers_and_forgets_everything_in_a_restart() {
        let mut server = Server::start();
        assert_eq!(server.command("SET key value"), "+OK");
        assert_eq!(server.command("EXISTS key"), ":1");
        server.restart();
        assert_eq!(server.command("EXISTS key"), ":0");
        server.kill();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
    }
}
