//! A private RabbitMQ server.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Port, Process, Program, User};

/// A RabbitMQ server of this test's own: listening on 127.0.0.1 only, its data in a temporary folder. It takes
/// several seconds to start.
///
/// Dropping it ends the server and deletes its data.
#[derive(Debug)]
pub struct Server {
    user: User,
    port: Port,
    /// None after [`kill`](Self::kill). Ends before the names do.
    process: Option<Process>,
    names: Names,
    folder: TempDir,
}

/// Erlang's name server. Without one of its own a node would use, or start, that of the whole machine.
#[derive(Debug)]
struct Names {
    port: Port,
    _process: Process,
}

impl Server {
    /// Starts a server; returns when it answers.
    ///
    /// # Panics
    /// When RabbitMQ is not installed or does not start, saying why.
    #[track_caller]
    pub fn start() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pool-tests-")
            .tempdir()
            .unwrap();
        let user = User::unprivileged();
        user.own(folder.path());
        let port = Port::reserve();
        let mut command = user.command(EPMD.path());
        command.args(["-address", "127.0.0.1", "-port", &port.number().to_string()]);
        let mut process = Process::spawn(command, &folder.path().join("names"));
        process.wait_until("ready", PATIENCE, || is_open(&port));
        let names = Names {
            port,
            _process: process,
        };
        let mut server = Self {
            user,
            port: Port::reserve(),
            process: None,
            names,
            folder,
        };
        server.restart();
        server
    }

    /// `amqp://guest:guest@127.0.0.1:<port>/%2f`.
    pub fn url(&self) -> String {
        format!("amqp://guest:guest@127.0.0.1:{}/%2f", self.port.number())
    }

    /// Its port on 127.0.0.1, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Kills it with all its connections at once, as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it again, on the same port and with the same data; one that runs is killed first. Returns when it
    /// answers.
    ///
    /// # Panics
    /// When it does not start, saying why.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        // Debian's own command changes to the user of the package; this is what it then runs.
        let mut command = self.user.command("/usr/lib/rabbitmq/bin/rabbitmq-server");
        let folder = self.folder.path();
        for (variable, name) in [
            ("HOME", ""),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_LOG_BASE", "logs"),
            ("RABBITMQ_PID_FILE", "pid"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_CONF_ENV_FILE", "environment"),
            ("RABBITMQ_CONFIG_FILE", "settings"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced"),
            ("RABBITMQ_GENERATED_CONFIG_DIR", "generated"),
        ] {
            command.env(variable, folder.join(name));
        }
        // For other nodes, of which there are none. It listens on every address, so it finds no port free
        // that is reserved: this one is free again at the end of the line.
        let cluster = Port::reserve().number();
        for (variable, port) in [
            ("RABBITMQ_NODE_PORT", self.port()),
            ("RABBITMQ_DIST_PORT", cluster),
            ("ERL_EPMD_PORT", self.names.port.number()),
        ] {
            command.env(variable, port.to_string());
        }
        command
            .env("RABBITMQ_NODENAME", "tests@localhost")
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            // To the output, and so to the log.
            .env("RABBITMQ_LOGS", "-")
            // The server is then the process itself, not a child of a shell.
            .env("RABBITMQ_ALLOW_INPUT", "1")
            .env(
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
                "-noinput -start_epmd false",
            )
            .current_dir(folder);
        let mut process = Process::spawn(command, &folder.join("log"));
        process.wait_until("ready", PATIENCE, || self.answers());
        self.process = Some(process);
    }

    /// Does it answer the greeting of AMQP 0-9-1?
    fn answers(&self) -> bool {
        let greet = || {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port()))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"AMQP\0\0\x09\x01")?;
            stream.read_exact(&mut [0; 8])
        };
        greet().is_ok()
    }
}

fn is_open(port: &Port) -> bool {
    TcpStream::connect(("127.0.0.1", port.number())).is_ok()
}

const EPMD: Program = Program::new("epmd", "rabbitmq-server");

/// How long a start may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_dies_and_starts_again() {
        let mut server = Server::start();
        assert!(server.answers());
        server.kill();
        assert!(!is_open(&server.port));
        server.restart();
        assert!(server.answers());
    }
}
