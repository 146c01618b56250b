//! The program under test, started as a user would.

// Each test file uses its own part of this.
#![allow(dead_code, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use tests::{Process, User};

/// The program, with nothing of this environment, and its data in `folder`.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = User::current().command(env!("CARGO_BIN_EXE_service"));
    for (name, _) in std::env::vars() {
        if name == "DATABASE_URL" || name.starts_with("POOL_") || name.starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.args(arguments).arg("--data-dir").arg(folder);
    command
}

/// What it answers when it has ended.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

/// `service serve` on a free port.
pub struct Served {
    pub process: Process,
    pub address: SocketAddr,
}

impl Served {
    /// Starts it and waits until it listens.
    pub fn start(mut command: Command, log: &Path) -> Self {
        command.args(["--port", "0"]);
        let mut process = Process::spawn(command, log);
        process.wait_until("listening", Duration::from_secs(30), || {
            listening_on(log).is_some()
        });
        Self {
            process,
            address: listening_on(log).unwrap(),
        }
    }

    /// Sends the signal of this name, by the process's id.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args(["-s", name, &self.process.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    finish(&mut begin(address, "GET", path, 0), "")
}

pub fn post(address: SocketAddr, path: &str, body: &str) -> (u16, String) {
    finish(&mut begin(address, "POST", path, body.len()), body)
}

/// Sends the head of a request, and not yet its body.
pub fn begin(address: SocketAddr, method: &str, path: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
    .unwrap();
    stream
}

/// Sends the body of a request and reads the answer.
pub fn finish(stream: &mut TcpStream, body: &str) -> (u16, String) {
    stream.write_all(body.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer: {answer:?}"));
    (
        head.split(' ').nth(1).unwrap().parse().unwrap(),
        body.to_owned(),
    )
}

fn listening_on(log: &Path) -> Option<SocketAddr> {
    let printed = std::fs::read_to_string(log).ok()?;
    let (_, rest) = printed.split_once("listening on http://")?;
    rest.split_once(' ')?.0.parse().ok()
}
