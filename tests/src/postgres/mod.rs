//! A private PostgreSQL server.

mod builder;
mod replica;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

pub use self::builder::{Builder, ClientCertificate};

use crate::{Port, Process, Program, User, psql};

/// A PostgreSQL server of this test's own: listening on 127.0.0.1 only, its data in a temporary folder, and
/// careless about power cuts (no `fsync`), which makes it fast and which no test can notice.
///
/// Dropping it ends the server and deletes its data.
#[derive(Debug)]
pub struct Server {
    builder: Builder,
    user: User,
    port: Port,
    /// None after [`kill`](Self::kill) and [`stop`](Self::stop).
    process: Option<Process>,
    /// With [`Builder::socket`]. A path of a socket may be no longer than 107 bytes, and a temporary folder's can be.
    socket: Option<TempDir>,
    folder: TempDir,
}

impl Server {
    /// Starts a server without password and without TLS; returns when it answers.
    ///
    /// # Panics
    /// When PostgreSQL is not installed or does not start, saying why.
    #[track_caller]
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// A server with other settings.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `postgres://postgres[:password]@127.0.0.1:<port>/postgres`: the superuser, and the database that
    /// every server has.
    pub fn url(&self) -> String {
        self.url_at(self.port())
    }

    /// The same by way of another port of 127.0.0.1, as that of a [`Proxy`](crate::proxy::Proxy).
    pub fn url_at(&self, port: u16) -> String {
        url(port, self.builder.password.as_deref())
    }

    /// The superuser's password, where there is one.
    pub(crate) fn password(&self) -> Option<&str> {
        self.builder.password.as_deref()
    }

    /// How PostgreSQL's own clients, and PgBouncer, verify it, and what they show: the mode, the authority, and a
    /// certificate with its key, as far as there are.
    pub(crate) fn tls(&self) -> Vec<(&'static str, PathBuf)> {
        let Some(certificate) = &self.builder.certificate else {
            return Vec::new();
        };
        let mut tls = if certificate.is_sound() {
            vec![
                ("sslmode", "verify-full".into()),
                ("sslrootcert", self.authority()),
            ]
        } else {
            // Verified it would be refused; a file that is not there is no wish to have it verified.
            vec![
                ("sslmode", "require".into()),
                ("sslrootcert", "/nonexistent".into()),
            ]
        };
        if self.builder.client_certificate.is_some() {
            let (certificate, key) = self.client_files("postgres");
            tls.extend([("sslcert", certificate), ("sslkey", key)]);
        }
        tls
    }

    /// Its port on 127.0.0.1, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The certificate that clients must trust, as a PEM file. It is there only with [`Builder::tls`].
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("authority.pem")
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
        let (certificate, key) = self.client_files(name);
        self.file(&certificate, client.certificate_pem());
        self.file(&key, client.key_pem());
        (certificate, key)
    }

    /// The folder of its Unix socket; the port is that of TCP.
    ///
    /// # Panics
    /// When it was not built with [`Builder::socket`].
    #[track_caller]
    pub fn socket(&self) -> &Path {
        let socket = self.socket.as_ref();
        socket
            .expect("the server was built without a socket")
            .path()
    }

    /// What the server has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs SQL by `psql`, beside whatever is being tested; returns what it prints without the frame: a
    /// line a row, `|` between columns.
    ///
    /// # Panics
    /// When the statement fails, with PostgreSQL's message.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        psql::run(self.psql(sql), sql)
    }

    /// Kills it with all its connections at once, as a power cut would.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Shuts it down in the polite way: each client is told, with SQLSTATE 57P01.
    ///
    /// # Panics
    /// When it has not ended after 30 s.
    #[track_caller]
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let went = process.stop("INT", PATIENCE);
            assert!(
                went.is_some(),
                "did not stop within {PATIENCE:?}; it printed:\n{}",
                self.log()
            );
        }
    }

    /// Starts it again, on the same port and with the same data; one that runs is stopped first. Returns
    /// when it answers.
    ///
    /// # Panics
    /// When it does not start, saying why.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        self.launch();
    }

    /// Stops all its processes in their tracks: connections stay open, new ones are taken by the kernel, and
    /// nothing is ever answered.
    pub fn freeze(&mut self) {
        self.process.iter_mut().for_each(Process::freeze);
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&mut self) {
        self.process.iter_mut().for_each(Process::thaw);
    }

    /// A server with a port and a folder, and nothing in that but certificates.
    fn empty(builder: Builder) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("pool-tests-")
            .tempdir()
            .unwrap();
        let user = User::unprivileged();
        user.own(folder.path());
        let socket = builder.socket.then(|| {
            let socket = tempfile::Builder::new()
                .prefix("pool-tests-")
                .tempdir_in("/tmp")
                .unwrap();
            user.own(socket.path());
            socket
        });
        let server = Self {
            builder,
            user,
            port: Port::reserve(),
            process: None,
            socket,
            folder,
        };
        if let Some(certificate) = &server.builder.certificate {
            server.file("authority.pem", &certificate.authority_pem());
            server.file("server.crt", certificate.certificate_pem());
            server.file("server.key", certificate.key_pem());
        }
        if server.builder.client_certificate.is_some() {
            server.client_certificate("postgres");
        }
        server
    }

    /// Makes the data folder.
    #[track_caller]
    fn create(&self) {
        let mut initdb = self.user.command(INITDB.path());
        initdb.arg("--pgdata").arg(self.data());
        // No C library's idea of an alphabet, so that every machine sorts alike.
        initdb.args([
            "--username=postgres",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        if let Some(password) = &self.builder.password {
            let file = self.file("password", password);
            initdb.arg("--pwfile").arg(file);
        }
        let output = initdb.output().expect("initdb can be started");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "initdb failed: {errors}");

        self.file("data/pg_hba.conf", &self.access());
    }

    /// The text of `pg_hba.conf`.
    fn access(&self) -> String {
        let password = match self.builder.password {
            Some(_) => "scram-sha-256",
            None => "trust",
        };
        let method = match self.builder.client_certificate {
            Some(ClientCertificate::User) => "cert".to_owned(),
            Some(ClientCertificate::Any) => format!("{password} clientcert=verify-ca"),
            None => password.to_owned(),
        };
        let connection = match self.builder.certificate {
            Some(_) => "hostssl",
            None => "host",
        };
        let everybody = [
            format!("{connection} all,replication all 127.0.0.1/32 {method}"),
            format!("local all all {password}"),
        ];
        let lines = self.builder.access.iter().chain(&everybody);
        lines.map(|line| format!("{line}\n")).collect()
    }

    /// Starts the server on the data folder.
    #[track_caller]
    fn launch(&mut self) {
        let mut command = self.user.command(POSTGRES.path());
        command.arg("-D").arg(self.data());
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            ("port", &self.port.number().to_string()),
            ("unix_socket_directories", ""),
            // What a commit wrote is then the kernel's, and the kernel outlives the server. A commit that
            // does not wait for its write (`synchronous_commit`) would be lost by a kill.
            ("fsync", "off"),
            ("full_page_writes", "off"),
            // In the data folder, so that nothing of a killed server stays in /dev/shm.
            ("dynamic_shared_memory_type", "mmap"),
            // Files of TLS are read when that is on; seen from the data folder.
            ("ssl_cert_file", "../server.crt"),
            ("ssl_key_file", "../server.key"),
        ];
        for (name, value) in fixed {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        if let Some(socket) = &self.socket {
            let folder = socket.path().display();
            command.arg(format!("--unix_socket_directories={folder}"));
        }
        if self.builder.certificate.is_some() {
            command.arg("--ssl=on");
        }
        // A server that has this asks every client for a certificate.
        if self.builder.client_certificate.is_some() {
            command.arg("--ssl_ca_file=../authority.pem");
        }
        for (name, value) in &self.builder.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut process = Process::spawn(command, &self.log_file());
        process.wait_until("ready", PATIENCE, || self.answers());
        self.process = Some(process);
    }

    fn answers(&self) -> bool {
        let mut pg_isready = Command::new(PG_ISREADY.path());
        pg_isready.args(["--quiet", "--host=127.0.0.1", "--timeout=1"]);
        pg_isready.arg(format!("--port={}", self.port.number()));
        pg_isready
            .status()
            .expect("pg_isready can be started")
            .success()
    }

    fn psql(&self, sql: &str) -> Command {
        psql::command(&self.libpq_url(self.port()), sql)
    }

    /// The address of the server on `port`, with everything that PostgreSQL's own clients need to know.
    fn libpq_url(&self, port: u16) -> String {
        let url = self.url_at(port) + "?connect_timeout=10";
        self.tls().iter().fold(url, |url, (name, value)| {
            let value = percent_encoded(value.as_os_str().as_encoded_bytes());
            format!("{url}&{name}={value}")
        })
    }

    /// Where the certificate for the user `name` is, and its private key.
    fn client_files(&self, name: &str) -> (PathBuf, PathBuf) {
        let path = |kind: &str| self.folder.path().join(format!("client-{name}.{kind}"));
        (path("crt"), path("key"))
    }

    /// Writes a file that its user alone may read, or PostgreSQL refuses the key in it.
    #[track_caller]
    fn file(&self, name: impl AsRef<Path>, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.user.own(&path);
        path
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // QUIT is PostgreSQL's fast way out, and unlike a kill it leaves no shared memory behind.
            process.stop("QUIT", Duration::from_secs(5));
        }
    }
}

/// The address of a server on `port`, or of what stands in front of one.
pub(crate) fn url(port: u16, password: Option<&str>) -> String {
    let password = password.map_or(String::new(), |password| {
        format!(":{}", percent_encoded(password.as_bytes()))
    });
    format!("postgres://postgres{password}@127.0.0.1:{port}/postgres")
}

/// Any byte of `text` could mean something in an address.
fn percent_encoded(text: &[u8]) -> String {
    text.iter()
        .fold(String::new(), |text, byte| format!("{text}%{byte:02X}"))
}

const INITDB: Program = Program::new("initdb", "postgresql");
const POSTGRES: Program = Program::new("postgres", "postgresql");
const PG_ISREADY: Program = Program::new("pg_isready", "postgresql");

/// How long a start or a stop may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::TcpStream;

    #[test]
    fn data_and_port_outlive_a_kill() {
        let mut server = Server::start();
        let url = server.url();
        server.sql("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)");
        server.kill();
        assert!(TcpStream::connect(("127.0.0.1", server.port())).is_err());
        server.restart();
        assert_eq!(server.sql("SELECT n FROM t ORDER BY n"), "1\n2");
        assert_eq!(server.url(), url);
        server.restart();
        assert_eq!(server.sql("SELECT count(*), 'x' FROM t"), "2|x");
    }

    #[test]
    fn a_kill_cuts_connections_that_are_in_a_query() {
        let mut server = Server::start();
        let mut asking = server
            .psql("SELECT pg_sleep(1000)")
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        while server.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
            != "1"
        {}
        server.kill();
        assert!(!asking.wait().unwrap().success());
    }

    #[test]
    fn nothing_is_left_of_a_dropped_server() {
        let server = Server::start();
        let (port, folder) = (server.port(), server.folder.path().to_owned());
        assert!(folder.exists());
        drop(server);
        assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
        assert!(!folder.exists());
    }

    #[test]
    fn a_frozen_server_takes_connections_and_answers_none() {
        let mut server = Server::start();
        server.freeze();
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_millis(200)))
            .unwrap();
        assert!(stream.read(&mut [0]).is_err());
        assert!(!server.answers());
        server.thaw();
        assert_eq!(server.sql("SELECT 1"), "1");
    }

    #[test]
    fn a_password_is_asked_for() {
        let server = Server::builder().password("open sesame: 100%/@").start();
        assert_eq!(server.sql("SELECT current_user"), "postgres");
        let wrong = server.url().replace("%6F", "%4F");
        let output = psql::command(&wrong, "SELECT 1").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            errors.contains("password authentication failed"),
            "{errors}"
        );
    }

    #[test]
    fn with_tls_a_client_without_is_refused() {
        let server = Server::builder().tls().start();
        let ours = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        assert_eq!(server.sql(ours), "t|TLSv1.3");
        let mut without = psql::command(&server.url(), "SELECT 1");
        let output = without.env("PGSSLMODE", "disable").output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains("no encryption"), "{errors}");
        assert!(server.authority().is_file());
    }

    #[test]
    fn settings_reach_the_server() {
        let server = Server::builder().setting("max_connections", 7).start();
        assert_eq!(server.sql("SHOW max_connections"), "7");
    }

    #[test]
    #[should_panic(expected = "invalid value for parameter \"max_connections\"")]
    fn a_server_that_does_not_start_says_why() {
        Server::builder().setting("max_connections", "many").start();
    }
}
