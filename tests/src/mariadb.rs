//! A private MariaDB server.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Certificate, Port, Process, Program, User};

/// A MariaDB server of this test's own: listening on 127.0.0.1 only, its data in a temporary folder, and careless about
/// power cuts, which makes it fast and which no test can notice.
///
/// Dropping it ends the server and deletes its data.
#[derive(Debug)]
pub struct Server {
    builder: Builder,
    user: User,
    port: Port,
    /// None after [`kill`](Self::kill) and [`stop`](Self::stop).
    process: Option<Process>,
    /// A path of a socket may be no longer than 107 bytes, and a temporary folder's can be.
    socket: TempDir,
    folder: TempDir,
}

/// How a [`Server`] is to be.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    password: Option<String>,
    certificate: Option<Certificate>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Asks the user `root` for this password. Default: everybody is let in.
    pub fn password(mut self, password: impl Into<String>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// Offers TLS to clients. Default: no TLS. The setting `require_secure_transport` refuses those without.
    pub fn tls(self) -> Self {
        self.certificate(Certificate::generate())
    }

    /// The same with this certificate, which need not be a good one.
    pub fn certificate(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Sets one of MariaDB's own settings, such as `max_connections`.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Makes the data and starts the server; returns when it answers.
    ///
    /// # Panics
    /// When MariaDB is not installed or does not start, saying why.
    #[track_caller]
    pub fn start(self) -> Server {
        let mut server = Server::empty(self);
        server.create();
        server.launch();
        server
    }
}

impl Server {
    /// Starts a server without password and without TLS; returns when it answers.
    ///
    /// # Panics
    /// When MariaDB is not installed or does not start, saying why.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `mysql://root[:password]@127.0.0.1:<port>/test`: a user that may do everything, and an empty database.
    pub fn url(&self) -> String {
        self.url_at(self.port())
    }

    /// The same by way of another port of 127.0.0.1, as that of a [`Proxy`](crate::proxy::Proxy).
    pub fn url_at(&self, port: u16) -> String {
        let password = self
            .builder
            .password
            .as_ref()
            .map_or(String::new(), |password| format!(":{password}"));
        format!("mysql://root{password}@127.0.0.1:{port}/test")
    }

    /// Its port on 127.0.0.1, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Its Unix socket. Everybody who has the user's password, or none if there is none, is let in there as well.
    pub fn socket(&self) -> PathBuf {
        self.socket.path().join("s")
    }

    /// The certificate that clients must trust, as a PEM file. It is there only with [`Builder::tls`].
    pub fn authority(&self) -> PathBuf {
        self.path("authority.pem")
    }

    /// Makes a certificate for the user `name`, signed by the authority of the server's; returns the PEM files with it
    /// and with its private key.
    ///
    /// # Panics
    /// When the server has no TLS.
    #[track_caller]
    pub fn client_certificate(&self, name: &str) -> (PathBuf, PathBuf) {
        let server = self.builder.certificate.as_ref();
        let client = server.expect("the server has no TLS").client(name);
        let certificate = self.file(&format!("client-{name}.crt"), client.certificate_pem());
        let key = self.file(&format!("client-{name}.key"), client.key_pem());
        (certificate, key)
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs SQL by MariaDB's own client, beside whatever is being tested; returns what it prints without the frame: a
    /// line a row, `|` between columns.
    ///
    /// # Panics
    /// When the statement fails, with MariaDB's message.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let output = self.client(sql).output();
        let output = output.expect("the client can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {errors}");
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim_end().replace('\t', "|")
    }

    /// Kills it with all its connections at once, as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Shuts it down in the polite way.
    ///
    /// # Panics
    /// When it has not ended after a minute.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let went = process.stop("TERM", PATIENCE);
            assert!(
                went.is_some(),
                "did not stop within {PATIENCE:?}; it printed:\n{}",
                self.log()
            );
        }
    }

    /// Starts it again, on the same port and with the same data; one that runs is stopped first. Returns when it
    /// answers.
    ///
    /// # Panics
    /// When it does not start, saying why.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Stops it in its tracks: connections stay open, new ones are taken by the kernel, and nothing is ever answered.
    pub fn freeze(&mut self) {
        self.process.iter_mut().for_each(Process::freeze);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&mut self) {
        self.process.iter_mut().for_each(Process::thaw);
    }

    /// A server with a port and a folder, and nothing in that but certificates.
    fn empty(builder: Builder) -> Self {
        let folder = || {
            tempfile::Builder::new()
                .prefix("pool-tests-")
                .tempdir_in("/tmp")
                .unwrap()
        };
        let server = Self {
            builder,
            user: User::unprivileged(),
            port: Port::reserve(),
            process: None,
            socket: folder(),
            folder: folder(),
        };
        server.user.own(server.folder.path());
        server.user.own(server.socket.path());
        if let Some(certificate) = &server.builder.certificate {
            server.file("authority.pem", &certificate.authority_pem());
            server.file("server.crt", certificate.certificate_pem());
            server.file("server.key", certificate.key_pem());
        }
        server.file("init.sql", &server.grants());
        server
    }

    /// What runs at each start.
    fn grants(&self) -> String {
        let password = self.builder.password.as_deref().unwrap_or_default();
        ["127.0.0.1", "localhost"]
            .iter()
            .map(|host| {
                format!(
                    "CREATE OR REPLACE USER root@'{host}' IDENTIFIED BY '{password}';\n\
                     GRANT ALL ON *.* TO root@'{host}' WITH GRANT OPTION;\n"
                )
            })
            .chain(["CREATE DATABASE IF NOT EXISTS test;\n".to_owned()])
            .collect()
    }

    /// Makes the data folder.
    #[track_caller]
    fn create(&self) {
        let mut install = self.user.command(INSTALL.path());
        install.arg("--no-defaults").args(CARELESS);
        install.arg(format!("--datadir={}", self.path("data").display()));
        install.arg(format!("--tmpdir={}", self.folder.path().display()));
        install.args([
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
            "--skip-name-resolve",
        ]);
        let output = install.output().expect("the installation can be started");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "the installation failed: {said}");
    }

    /// Starts the server on the data folder.
    #[track_caller]
    fn launch(&mut self) {
        let mut command = self.user.command(MARIADBD.path());
        command.arg("--no-defaults").args(CARELESS);
        let flag = |name: &str, path: &Path| format!("--{name}={}", path.display());
        command.arg(flag("datadir", &self.path("data")));
        // A server that starts deletes the temporary tables of all others in the same folder.
        command.arg(flag("tmpdir", self.folder.path()));
        command.arg(flag("init-file", &self.path("init.sql")));
        command.arg(flag("socket", &self.socket()));
        command.arg(flag("pid-file", &self.path("pid")));
        command.arg(format!("--port={}", self.port()));
        command.args([
            "--bind-address=127.0.0.1",
            "--skip-name-resolve",
            "--skip-log-bin",
        ]);
        if self.builder.certificate.is_some() {
            for (name, file) in [
                ("ssl-ca", "authority.pem"),
                ("ssl-cert", "server.crt"),
                ("ssl-key", "server.key"),
            ] {
                command.arg(flag(name, &self.path(file)));
            }
        }
        for (name, value) in &self.builder.settings {
            command.arg(format!("--{name}={value}"));
        }
        let mut process = Process::spawn(command, &self.path("log"));
        let port = self.port();
        process.wait_until("ready", PATIENCE, || {
            // The port is listened on before the grants are made.
            TcpStream::connect(("127.0.0.1", port)).is_ok()
                && self
                    .client("SELECT 1")
                    .output()
                    .is_ok_and(|output| output.status.success())
        });
        self.process = Some(process);
    }

    /// A command that runs `sql` over the socket, where no TLS is needed.
    fn client(&self, sql: &str) -> Command {
        let mut client = Command::new(CLIENT.path());
        client.args(["--no-defaults", "--batch", "--skip-column-names", "--raw"]);
        client.args(["--connect-timeout=10", "--user=root", "--database=test"]);
        client.arg(format!("--socket={}", self.socket().display()));
        if let Some(password) = &self.builder.password {
            client.env("MYSQL_PWD", password);
        }
        client.arg("--execute").arg(sql);
        client
    }

    /// Writes a file for the server.
    #[track_caller]
    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
        self.user.own(&path);
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

const INSTALL: Program = Program::new("mariadb-install-db", "mariadb-server");
const MARIADBD: Program = Program::new("mariadbd", "mariadb-server");
const CLIENT: Program = Program::new("mariadb", "mariadb-client");

/// What a commit wrote is then the kernel's, and the kernel outlives the server.
const CARELESS: [&str; 7] = [
    // Its memory is counted for all servers of one user together.
    "--innodb-use-native-aio=0",
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=16M",
    "--performance-schema=OFF",
];

/// How long a start or a stop may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_and_port_outlive_a_kill_and_a_restart() {
        let mut server = Server::start();
        let url = server.url();
        server.sql("CREATE TABLE t (n INT); INSERT INTO t VALUES (1), (2)");
        server.kill();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.restart();
        assert_eq!(server.sql("SELECT n, 'x' FROM t ORDER BY n"), "1|x\n2|x");
        assert_eq!(server.url(), url);
        server.restart();
        assert_eq!(server.sql("SELECT count(*) FROM t"), "2");
    }

    #[test]
    fn nothing_is_left_of_a_dropped_server() {
        let server = Server::builder().password("sesame").tls().start();
        assert!(server.url().contains(":sesame@"));
        assert_eq!(server.sql("SELECT @@have_ssl"), "YES");
        let (port, folder) = (server.port(), server.folder.path().to_owned());
        let socket = server.socket();
        assert!(folder.exists() && socket.exists());
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists() && !socket.exists());
    }
}
