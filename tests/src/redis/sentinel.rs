//! A master and a replica, and a sentinel that watches them.

use std::fs;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{PATIENCE, REDIS, Server, ask};
use crate::{Port, Process, User};

/// Two private Redis servers, of which one is the master of the service [`SERVICE`](Self::SERVICE), and a sentinel.
///
/// Dropping it ends all of them.
#[derive(Debug)]
pub struct Sentinel {
    /// The first is the master at first.
    pub servers: [Server; 2],
    port: Port,
    _process: Process,
    _folder: TempDir,
}

impl Sentinel {
    /// The name of the service that the sentinel knows.
    pub const SERVICE: &str = "orders";

    /// Starts them; returns when the sentinel knows both servers. It takes a master for dead that has not answered for 500 ms.
    ///
    /// # Panics
    /// When Redis is not installed or does not start, saying why.
    #[track_caller]
    pub fn start() -> Self {
        let master = Server::start();
        let replica = Server::start_with(&["--replicaof", "127.0.0.1", &master.port().to_string()]);
        let folder = tempfile::Builder::new()
            .prefix("pool-tests-")
            .tempdir()
            .unwrap();
        let port = Port::reserve();
        let file = folder.path().join("sentinel.conf");
        let (service, leads) = (Self::SERVICE, master.port());
        // The sentinel writes to its file, so it has to be there.
        let settings = format!(
            "bind 127.0.0.1\nport {}\ndir {}\n\
             sentinel monitor {service} 127.0.0.1 {leads} 1\n\
             sentinel down-after-milliseconds {service} 500\n\
             sentinel failover-timeout {service} 5000\n",
            port.number(),
            folder.path().display(),
        );
        fs::write(&file, settings).unwrap();
        let user = User::current();
        let mut command = user.command(REDIS.path());
        command.arg(&file).arg("--sentinel");
        let mut process = Process::spawn(command, &folder.path().join("log"));
        let ready = format!("SENTINEL CKQUORUM {service}");
        process.wait_until("ready", PATIENCE, || {
            ask(port.number(), &ready).is_ok_and(|answer| answer.starts_with("+OK"))
        });
        let group = Self {
            servers: [master, replica],
            port,
            _process: process,
            _folder: folder,
        };
        // A failover needs a replica that the sentinel knows, and that has the data.
        group.wait_for("SENTINEL REPLICAS orders", "*1");
        group.wait_until(|| group.servers[0].command("WAIT 1 100") == ":1");
        group
    }

    /// `redis+sentinel://127.0.0.1:<port>/orders`.
    pub fn url(&self) -> String {
        format!(
            "redis+sentinel://127.0.0.1:{}/{}",
            self.port.number(),
            Self::SERVICE
        )
    }

    /// The port of the sentinel on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Makes the other server the master, as an operator does; returns when the sentinel names it.
    ///
    /// # Panics
    /// When there is no failover.
    #[track_caller]
    pub fn fail_over(&self) {
        let before = self.master();
        self.wait_for(&format!("SENTINEL FAILOVER {}", Self::SERVICE), "+OK");
        self.wait_until(|| self.master() != before);
    }

    /// The index in `servers` of the master, as the servers see it.
    #[track_caller]
    fn master(&self) -> Option<usize> {
        // The first line of the answer is its length; a master has three parts, a replica five.
        (0..2).find(|n| {
            self.servers[*n]
                .ask("ROLE")
                .is_ok_and(|answer| answer == "*3")
        })
    }

    #[track_caller]
    fn wait_for(&self, command: &str, answer: &str) {
        self.wait_until(|| ask(self.port(), command).is_ok_and(|line| line == answer));
    }

    #[track_caller]
    fn wait_until(&self, mut is: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !is() {
            assert!(begin.elapsed() < PATIENCE, "it never came");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
