//! A private PgBouncer.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::postgres::{self, Server};
use crate::{Port, Process, Program, User, psql};

/// A PgBouncer of this test's own in front of a [`Server`]: listening on 127.0.0.1 only, for every database of the
/// server. It asks clients for the server's password where there is one (by SCRAM), and knows the same superuser.
///
/// Dropping it ends it. It does not need the server to be there, and keeps none alive.
///
/// ```
/// use tests::{pgbouncer::Bouncer, postgres::Server};
///
/// let server = Server::start();
/// let bouncer = Bouncer::builder(&server).transactions().pool_size(2).start();
/// assert_eq!(bouncer.sql("SELECT 6 * 7"), "42");
/// ```
#[derive(Debug)]
pub struct Bouncer {
    user: User,
    port: Port,
    password: Option<String>,
    /// None after [`kill`](Self::kill) and [`stop`](Self::stop).
    process: Option<Process>,
    folder: TempDir,
}

/// How a [`Bouncer`] is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    server: u16,
    password: Option<String>,
    /// How it verifies the server, and what it shows, by libpq's names.
    tls: Vec<(&'static str, PathBuf)>,
    users: Vec<(String, String)>,
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Lends a connection to the server for one transaction at a time. Default: for a whole session.
    pub fn transactions(self) -> Self {
        self.setting("pool_mode", "transaction")
    }

    /// How many connections to the server it has for each pair of user and database. Default: 20.
    pub fn pool_size(self, connections: u32) -> Self {
        self.setting("default_pool_size", connections)
    }

    /// Knows another role of the server, with its password; that of one without is the empty text.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// Reaches the server by way of another port of 127.0.0.1, as that of a [`Proxy`](crate::proxy::Proxy).
    pub fn by_way_of(mut self, port: u16) -> Self {
        self.server = port;
        self
    }

    /// Sets one of PgBouncer's own settings, such as `max_client_conn`; the last value counts.
    pub fn setting(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.settings.push((name.into(), value.to_string()));
        self
    }

    /// Starts it; returns when it answers.
    ///
    /// # Panics
    /// When PgBouncer is not installed or does not start, saying why.
    #[track_caller]
    pub fn start(self) -> Bouncer {
        let folder = tempfile::Builder::new()
            .prefix("pool-tests-")
            .tempdir()
            .unwrap();
        let user = User::unprivileged();
        user.own(folder.path());
        let mut bouncer = Bouncer {
            user,
            port: Port::reserve(),
            password: self.password.clone(),
            process: None,
            folder,
        };
        bouncer.file("users", &self.list_of_users());
        let settings = self.ini(bouncer.port(), bouncer.folder.path().join("users"));
        bouncer.file("pgbouncer.ini", &settings);
        bouncer.restart();
        bouncer
    }

    fn ini(&self, port: u16, users: PathBuf) -> String {
        let server = self.server;
        let method = match self.password {
            Some(_) => "scram-sha-256",
            None => "trust",
        };
        let mut text = format!(
            "[databases]\n\
             * = host=127.0.0.1 port={server}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = {method}\n\
             auth_file = {}\n\
             admin_users = postgres\n",
            users.display(),
        );
        for (name, value) in &self.tls {
            let name = match *name {
                "sslrootcert" => "ca_file",
                "sslcert" => "cert_file",
                "sslkey" => "key_file",
                mode => mode,
            };
            text += &format!("server_tls_{name} = {}\n", value.display());
        }
        for (name, value) in &self.settings {
            text += &format!("{name} = {value}\n");
        }
        text
    }

    /// The passwords stand there in clear: from a hash PgBouncer could not log in to the server by SCRAM.
    fn list_of_users(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let password = self.password.as_deref().unwrap_or_default();
        let mut list = format!("\"postgres\" {}\n", quoted(password));
        for (name, password) in &self.users {
            writeln!(list, "{} {}", quoted(name), quoted(password)).unwrap();
        }
        list
    }
}

impl Bouncer {
    /// One in front of `server`.
    pub fn builder(server: &Server) -> Builder {
        Builder {
            server: server.port(),
            password: server.password().map(str::to_owned),
            tls: server.tls(),
            users: Vec::new(),
            settings: Vec::new(),
        }
    }

    /// `postgres://postgres[:password]@127.0.0.1:<port>/postgres`: what [`Server::url`] is, by way of this.
    pub fn url(&self) -> String {
        postgres::url(self.port(), self.password.as_deref())
    }

    /// Its port on 127.0.0.1, the same after each restart.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs SQL on the server by way of this, as [`Server::sql`].
    ///
    /// # Panics
    /// When the statement fails, with the message.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        psql::run(psql::command(&self.url(), sql), sql)
    }

    /// Runs a command of PgBouncer's own, such as `SHOW POOLS` or `RECONNECT`; returns what it prints: a line a
    /// row, `|` between columns.
    ///
    /// # Panics
    /// When the command fails, with the message.
    #[track_caller]
    pub fn admin(&self, command: &str) -> String {
        let url = self.url();
        let url = url.strip_suffix("/postgres").unwrap();
        psql::run(psql::command(&format!("{url}/pgbouncer"), command), command)
    }

    /// The connections that it has to the server, in use or not.
    ///
    /// # Panics
    /// When it does not answer.
    #[track_caller]
    pub fn servers(&self) -> usize {
        self.admin("SHOW SERVERS").lines().count()
    }

    /// Kills it with all its connections at once.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Shuts it down in its fast way, which closes all connections.
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

    /// Starts it again, on the same port; one that runs is stopped first. Returns when it answers.
    ///
    /// # Panics
    /// When it does not start, saying why.
    #[track_caller]
    pub fn restart(&mut self) {
        self.stop();
        let mut command = self.user.command(PGBOUNCER.path());
        command.arg(self.folder.path().join("pgbouncer.ini"));
        let mut process = Process::spawn(command, &self.log_file());
        process.wait_until("ready", PATIENCE, || self.answers());
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

    fn answers(&self) -> bool {
        let url = self.url();
        let url = url.strip_suffix("/postgres").unwrap();
        let asked = psql::command(&format!("{url}/pgbouncer"), "SHOW VERSION").output();
        asked.expect("psql can be started").status.success()
    }

    /// Writes a file that its user alone may read.
    #[track_caller]
    fn file(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {path:?}: {e}"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        self.user.own(&path);
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

const PGBOUNCER: Program = Program::new("pgbouncer", "pgbouncer");

/// How long a start or a stop may take on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postgres::ClientCertificate;
    use crate::proxy::Proxy;
    use std::io::{BufRead, BufReader, Lines, Write};
    use std::net::TcpStream;
    use std::process::{Child, ChildStdout, Stdio};

    #[test]
    fn between_transactions_clients_share_a_connection() {
        let server = Server::start();
        let bouncer = Bouncer::builder(&server)
            .transactions()
            .pool_size(1)
            .start();
        let (mut first, mut second) = (Client::of(&bouncer), Client::of(&bouncer));
        let backend = first.ask("SELECT pg_backend_pid();");
        assert_eq!(second.ask("SELECT pg_backend_pid();"), backend);
        assert_eq!(bouncer.servers(), 1);
        // Inside one the other has to wait.
        first.ask("BEGIN; SELECT 1;");
        second.say("SELECT 2;");
        while !bouncer.admin("SHOW CLIENTS").contains("|waiting|") {}
        first.ask("COMMIT; SELECT 3;");
        assert_eq!(second.answer(), "2");
    }

    #[test]
    fn by_default_a_session_keeps_its_connection() {
        let server = Server::start();
        let bouncer = Bouncer::builder(&server).start();
        let (mut first, mut second) = (Client::of(&bouncer), Client::of(&bouncer));
        let backend = first.ask("SELECT pg_backend_pid();");
        assert_ne!(second.ask("SELECT pg_backend_pid();"), backend);
        assert_eq!(first.ask("SELECT pg_backend_pid();"), backend);
        assert_eq!(bouncer.servers(), 2);
    }

    #[test]
    fn the_password_of_the_server_is_asked_for() {
        let server = Server::builder()
            .password("open \"sesame\": 100%/@")
            .start();
        server.sql("CREATE ROLE ali LOGIN PASSWORD 'baba'");
        let bouncer = Bouncer::builder(&server).user("ali", "baba").start();
        assert_eq!(bouncer.sql("SELECT current_user"), "postgres");
        let ali = format!("postgres://ali:baba@127.0.0.1:{}/postgres", bouncer.port());
        let asked = psql::run(psql::command(&ali, "SELECT current_user"), "as ali");
        assert_eq!(asked, "ali");
        let wrong = psql::command(&ali.replace("baba", "kasim"), "SELECT 1").output();
        let errors = wrong.unwrap().stderr;
        let errors = String::from_utf8_lossy(&errors);
        assert!(errors.contains("authentication failed"), "{errors}");
    }

    #[test]
    fn a_server_with_tls_is_reached_by_tls() {
        let ours = "SELECT ssl, client_dn FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let server = Server::builder().tls().start();
        let bouncer = Bouncer::builder(&server).start();
        assert_eq!(bouncer.sql(ours), "t|");
        let server = Server::builder()
            .tls()
            .client_certificate(ClientCertificate::User)
            .start();
        let bouncer = Bouncer::builder(&server).start();
        assert_eq!(bouncer.sql(ours), "t|/CN=postgres");
    }

    #[test]
    fn a_server_is_reached_through_a_proxy() {
        let server = Server::start();
        let proxy = Proxy::start(("127.0.0.1", server.port()));
        let bouncer = Bouncer::builder(&server).by_way_of(proxy.port()).start();
        assert_eq!(bouncer.sql("SELECT 1"), "1");
        assert_eq!(proxy.counts().opened, 1);
    }

    #[test]
    fn the_port_outlives_a_kill_and_a_stop() {
        let server = Server::start();
        let mut bouncer = Bouncer::builder(&server).start();
        let url = bouncer.url();
        bouncer.kill();
        assert!(TcpStream::connect(("127.0.0.1", bouncer.port())).is_err());
        bouncer.restart();
        assert_eq!(bouncer.sql("SELECT 1"), "1");
        bouncer.stop();
        assert!(TcpStream::connect(("127.0.0.1", bouncer.port())).is_err());
        bouncer.restart();
        assert_eq!((bouncer.sql("SELECT 1"), bouncer.url()), ("1".into(), url));
        bouncer.freeze();
        let mut asking = psql::command(&bouncer.url(), "SELECT 2");
        asking.env("PGCONNECT_TIMEOUT", "2").stderr(Stdio::null());
        assert!(!asking.status().unwrap().success());
        bouncer.thaw();
        assert_eq!(bouncer.sql("SELECT 1"), "1");
        assert!(bouncer.log().contains("process up"), "{}", bouncer.log());
    }

    #[test]
    #[should_panic(expected = "invalid value \"many\"")]
    fn one_that_does_not_start_says_why() {
        let server = Server::start();
        Bouncer::builder(&server)
            .setting("max_client_conn", "many")
            .start();
    }

    /// A session that lasts: a psql that is spoken with.
    struct Client {
        psql: Child,
        answers: Lines<BufReader<ChildStdout>>,
    }

    impl Client {
        fn of(bouncer: &Bouncer) -> Self {
            let mut command = psql::command(&bouncer.url(), "");
            // The last commands of a psql may be files, and that file its input.
            command.args(["--file", "-"]);
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut psql = command.spawn().unwrap();
            let answers = BufReader::new(psql.stdout.take().unwrap()).lines();
            Self { psql, answers }
        }

        fn ask(&mut self, sql: &str) -> String {
            self.say(sql);
            self.answer()
        }

        fn say(&mut self, sql: &str) {
            writeln!(self.psql.stdin.as_ref().unwrap(), "{sql}").unwrap();
        }

        /// The next line that it prints.
        fn answer(&mut self) -> String {
            self.answers.next().unwrap().unwrap()
        }
    }

    impl Drop for Client {
        fn drop(&mut self) {
            // It ends with its input.
            drop(self.psql.stdin.take());
            self.psql.wait().unwrap();
        }
    }
}
