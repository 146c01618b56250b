//! Opens connections to a server.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use pool_core::ConfigError;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tokio_postgres::{CancelToken, SimpleQueryMessage, config::SslMode, error::SqlState};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    CredentialsRequest, Prepare,
    keyring::{Keyring, Login, ProviderError},
    resolve::Names,
    session::Session,
    session_attrs::SessionAttrs,
    settings::{Host, Settings, Target},
    socket::{Connector, Encrypted, Socket, Watched},
    trust::Trust,
    wire::Wire,
};

/// Where and how connections are opened.
pub(super) struct Dial {
    pub(super) settings: Settings,
    tls: MakeRustlsConnect,
    pub(super) prepare: Prepare,
    /// The credentials in place of those in the settings.
    pub(super) credentials: Option<Keyring>,
    /// What the connections know of the servers.
    pub(super) trust: Arc<Trust>,
    pub(super) names: Names,
}

/// What one connection is for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Purpose<'a> {
    /// The name of its session (`application_name`), in place of that of the settings.
    pub(super) name: Option<&'a str>,
    /// The only server that will do.
    pub(super) only: Option<&'a Address>,
}

/// A connection that was opened, before anything drives it.
pub(super) struct Dialled {
    pub(super) driver: tokio_postgres::Client,
    pub(super) connection: tokio_postgres::Connection<Watched<Socket>, Encrypted>,
    pub(super) session: Arc<Session>,
    pub(super) socket: Socket,
    pub(super) server: Server,
}

/// A server that has taken a connection: where to send a request to cancel.
#[derive(Clone, Debug)]
pub(super) struct Server {
    address: Address,
    /// The name that the server's certificate is checked against.
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Server {
    pub(super) const fn address(&self) -> &Address {
        &self.address
    }
}

impl Dial {
    /// # Errors
    /// A certificate or a key cannot be used.
    pub(super) fn new(settings: Settings) -> Result<Self, ConfigError> {
        Ok(Self {
            tls: settings.tls.connector()?,
            settings,
            prepare: Prepare::default(),
            credentials: None,
            trust: Arc::default(),
            names: Names::default(),
        })
    }

    /// Opens a connection to the first host that takes it and that suits `target_session_attrs`.
    ///
    /// # Errors
    /// The failures of all hosts.
    pub(super) async fn connect(self: &Arc<Self>) -> Result<Dialled, Failures> {
        self.connect_for(&Purpose::default()).await
    }

    /// The same with a name of the session, or to one server only.
    ///
    /// # Errors
    /// The failures of all hosts.
    pub(super) async fn connect_for(
        self: &Arc<Self>,
        purpose: &Purpose<'_>,
    ) -> Result<Dialled, Failures> {
        self.watch_names();
        let mut targets: Vec<_> = self.settings.targets.iter().collect();
        if self.settings.is_shuffled {
            fastrand::shuffle(&mut targets);
        }
        let mut failures = Failures(Vec::new());
        for wanted in self.settings.session_attrs.rounds() {
            // A second round tries every host again, and says again what is wrong with it.
            failures.0.clear();
            for target in &targets {
                let addresses = match self.resolve(target).await {
                    Ok(addresses) => addresses,
                    Err(error) => {
                        failures.add(target, error);
                        continue;
                    }
                };
                for address in addresses {
                    if purpose.only.is_some_and(|only| *only != address) {
                        continue;
                    }
                    match self.connect_to(target, &address, *wanted, purpose).await {
                        Ok(dialled) => return Ok(dialled),
                        Err(error) => failures.add(target, error),
                    }
                }
            }
        }
        if let (Some(only), []) = (purpose.only, failures.0.as_slice()) {
            failures.0.push((format!("{only:?}"), Failure::Elsewhere));
        }
        Err(failures)
    }

    /// Forgets the credentials that the provider has given, if there is one.
    pub(super) fn rotate_credentials(&self) {
        if let Some(keyring) = &self.credentials {
            keyring.forget_all();
        }
    }

    /// Asks the server to cancel what a connection runs, and waits until the server has passed that on.
    pub(super) async fn cancel(&self, server: &Server, token: &CancelToken) -> Result<(), Failure> {
        let socket = self.open(&server.address).await?;
        let connector = Connector::new(self.tls.clone(), &server.name);
        // The socket's shutdown waits for the end of the server's stream, which comes after the signal to the server's process.
        Ok(token
            .cancel_query_raw(Watched::unwatched(socket), connector)
            .await?)
    }

    async fn resolve(&self, target: &Target) -> Result<Vec<Address>, Failure> {
        if let Some(address) = target.hostaddr {
            return Ok(vec![Address::Tcp((address, target.port).into())]);
        }
        match &target.host {
            Host::Unix(folder) => Ok(vec![Address::Unix(
                folder.join(format!(".s.PGSQL.{}", target.port)),
            )]),
            Host::Tcp(name) => {
                let found = self.in_time(self.names.look_up(name, target.port)).await?;
                let mut found: Vec<_> = found.into_iter().map(Address::Tcp).collect();
                if self.settings.is_shuffled {
                    fastrand::shuffle(&mut found);
                }
                Ok(found)
            }
        }
    }

    /// Connects with the credentials of the settings or of the provider. Those that the server refuses are asked for once more.
    async fn connect_to(
        &self,
        target: &Target,
        address: &Address,
        wanted: SessionAttrs,
        purpose: &Purpose<'_>,
    ) -> Result<Dialled, Failure> {
        let Some(keyring) = &self.credentials else {
            return self
                .connect_as(None, target, address, wanted, purpose)
                .await;
        };
        let request = self.request(target);
        let login = keyring.login(&request).await?;
        let connected = self
            .connect_as(Some(&login), target, address, wanted, purpose)
            .await;
        match connected {
            Err(failure) if failure.is_refusal() => {
                let Some(login) = keyring.instead_of(&login, &request).await? else {
                    return Err(failure);
                };
                self.connect_as(Some(&login), target, address, wanted, purpose)
                    .await
            }
            connected => connected,
        }
    }

    /// What the provider of the credentials is told of a server.
    fn request(&self, target: &Target) -> CredentialsRequest {
        let session = &self.settings.session;
        CredentialsRequest {
            host: match &target.host {
                Host::Tcp(name) => name.clone(),
                Host::Unix(folder) => folder.display().to_string(),
            },
            port: target.port,
            user: session.get_user().map(str::to_owned),
            database: session.get_dbname().map(str::to_owned),
        }
    }

    async fn connect_as(
        &self,
        login: Option<&Login>,
        target: &Target,
        address: &Address,
        wanted: SessionAttrs,
        purpose: &Purpose<'_>,
    ) -> Result<Dialled, Failure> {
        let (first, others) = self.settings.attempts(target);
        let attempt = async |mode| {
            let attempt = self.attempt(login, target, address, wanted, mode, purpose);
            match self.settings.connect_timeout {
                None => attempt.await,
                Some(limit) => timeout(limit, attempt)
                    .await
                    .unwrap_or(Err(Failure::Late(limit))),
            }
        };
        let mut result = attempt(first).await;
        for mode in others {
            match &result {
                // The server has answered, and may take it in another way.
                Err(Failure::Driver(error)) if error.as_db_error().is_some() => {
                    result = attempt(*mode).await;
                }
                _ => break,
            }
        }
        result
    }

    async fn attempt(
        &self,
        login: Option<&Login>,
        target: &Target,
        address: &Address,
        wanted: SessionAttrs,
        mode: SslMode,
        purpose: &Purpose<'_>,
    ) -> Result<Dialled, Failure> {
        let socket = self.open(address).await?;
        let session = Arc::new(Session::new(self.trust.of(address)));
        let watched = Watched::socket(&socket, Wire::new(Arc::clone(&session)));
        let name = match &target.host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(_) => String::new(),
        };
        let connector = Connector::new(self.tls.clone(), &name);
        let mut config = self.settings.driver(target, mode);
        if let Some(login) = login {
            login.replace_in(&mut config);
        }
        if let Some(name) = purpose.name {
            config.application_name(name);
        }
        let (driver, mut connection) = config.connect_raw(watched, connector).await?;
        let is_unnamed = match self.prepare {
            Prepare::Named => false,
            Prepare::Unnamed => true,
            Prepare::Auto => is_behind_a_proxy(&session, &driver, &mut connection).await?,
        };
        if is_unnamed {
            session.let_be_unnamed();
        }
        let suits = match (session.suits(wanted), wanted.question()) {
            (Some(suits), _) => suits,
            (None, None) => true,
            (None, Some(question)) => is_yes(&asked(question, &driver, &mut connection).await?),
        };
        if !suits {
            return Err(Failure::Unsuitable(wanted));
        }
        Ok(Dialled {
            driver,
            connection,
            session,
            socket,
            server: Server {
                address: address.clone(),
                name,
            },
        })
    }

    async fn open(&self, address: &Address) -> Result<Socket, Failure> {
        match address {
            Address::Unix(path) => Ok(self.in_time(UnixStream::connect(path)).await?.into()),
            Address::Tcp(address) => {
                let stream = self.in_time(TcpStream::connect(address)).await?;
                self.set_up(&stream)?;
                Ok(stream.into())
            }
        }
    }

    fn set_up(&self, stream: &TcpStream) -> io::Result<()> {
        let settings = &self.settings;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        #[cfg(target_os = "linux")]
        if let Some(limit) = settings.tcp_user_timeout {
            socket.set_tcp_user_timeout(Some(limit))?;
        }
        if let Some(keepalives) = settings.keepalives {
            let mut keepalive = TcpKeepalive::new().with_time(keepalives.idle);
            if let Some(interval) = keepalives.interval {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(count) = keepalives.count {
                keepalive = keepalive.with_retries(count);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        match self.settings.connect_timeout {
            None => Ok(work.await?),
            Some(limit) => match timeout(limit, work).await {
                Ok(done) => Ok(done?),
                Err(_) => Err(Failure::Late(limit)),
            },
        }
    }
}

/// Whether a proxy has answered in the server's place.
async fn is_behind_a_proxy(
    session: &Session,
    driver: &tokio_postgres::Client,
    connection: &mut tokio_postgres::Connection<Watched<Socket>, Encrypted>,
) -> Result<bool, Failure> {
    match asked(PROCESS_ID, driver, connection).await {
        Ok(said) => Ok(said.iter().any(|message| match message {
            SimpleQueryMessage::Row(row) => row
                .get(0)
                .is_some_and(|id| id != session.process_id().to_string()),
            _ => false,
        })),
        // What does not know its process is no PostgreSQL, and the names of statements are part of the protocol.
        Err(Failure::Driver(error)) if error.as_db_error().is_some() && !driver.is_closed() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Asks a server that is not driven yet.
async fn asked(
    question: &str,
    driver: &tokio_postgres::Client,
    connection: &mut tokio_postgres::Connection<Watched<Socket>, Encrypted>,
) -> Result<Vec<SimpleQueryMessage>, Failure> {
    let asked = driver.simple_query(question);
    let said = tokio::select! {
        said = asked => said?,
        ended = connection => {
            ended?;
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    Ok(said)
}

/// Whether the answer to a [`question`](SessionAttrs::question) is yes.
pub(super) fn is_yes(said: &[SimpleQueryMessage]) -> bool {
    said.iter()
        .any(|message| matches!(message, SimpleQueryMessage::Row(row) if row.get(0) == Some("t")))
}

/// Why one host was of no use.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    /// Not within `connect_timeout`.
    Late(Duration),
    Driver(tokio_postgres::Error),
    /// It is not what `target_session_attrs` asks for.
    Unsuitable(SessionAttrs),
    /// There are no credentials to log in with.
    Credentials(Arc<ProviderError>),
    /// The names have no such address any more.
    Elsewhere,
}

impl Failure {
    /// Whether the server does not accept the credentials.
    fn is_refusal(&self) -> bool {
        let Self::Driver(error) = self else {
            return false;
        };
        let refusals = [
            SqlState::INVALID_PASSWORD,
            SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            // All that `PgBouncer` says in some versions.
            SqlState::PROTOCOL_VIOLATION,
        ];
        error.code().is_some_and(|code| refusals.contains(code))
    }
}

impl From<Arc<ProviderError>> for Failure {
    fn from(error: Arc<ProviderError>) -> Self {
        Self::Credentials(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Driver(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Late(limit) => write!(f, "no answer within {limit:?} (connect_timeout)"),
            Self::Driver(error) => f.write_str(&crate::error::reason(error)),
            Self::Unsuitable(wanted) => {
                let is = match wanted {
                    SessionAttrs::ReadWrite => "only takes reads",
                    SessionAttrs::ReadOnly => "takes writes",
                    SessionAttrs::Primary => "is a standby",
                    _ => "is not a standby",
                };
                let wanted = wanted.as_str();
                write!(f, "the server {is} (target_session_attrs={wanted})")
            }
            Self::Credentials(error) => error.fmt(f),
            Self::Elsewhere => f.write_str("the names of the hosts no longer lead there"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            Self::Late(_) | Self::Unsuitable(_) | Self::Elsewhere => None,
            // The text contains its causes. This error is there to be looked at.
            Self::Driver(error) => Some(error),
            Self::Credentials(error) => Some(error),
        }
    }
}

/// Why no host was of any use, in the order in which they were tried.
#[derive(Debug)]
pub(super) struct Failures(Vec<(String, Failure)>);

impl Failures {
    fn add(&mut self, target: &Target, failure: Failure) {
        self.0.push((target.to_string(), failure));
    }

    /// Whether a server is not what it was when another connection to it was opened.
    pub(super) fn are_of_another_server(&self) -> bool {
        let other =
            |failure: &Failure| matches!(failure, Failure::Unsuitable(_) | Failure::Elsewhere);
        self.0.iter().any(|(_, failure)| other(failure))
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [(_, failure)] => failure.fmt(f),
            failures => {
                for (at, (host, failure)) in failures.iter().enumerate() {
                    let end = if at == 0 { "" } else { "; " };
                    write!(f, "{end}{host}: {failure}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Failures {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        let (_, last) = self.0.last()?;
        Some(last)
    }
}

const PROCESS_ID: &str = "SELECT pg_catalog.pg_backend_pid()";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Mutex;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::{super::settings::Options, *};

    /// How a server answers a connection that is not encrypted.
    #[derive(Clone, Copy)]
    enum Answer {
        /// It takes it, and says whether it is a standby and whether it only reads.
        Takes {
            standby: bool,
            reads: bool,
        },
        Refuses,
    }

    /// What a server was asked, in order: `plain` or `tls`.
    type Asked = Arc<Mutex<Vec<&'static str>>>;

    /// Starts a server, and returns its port.
    async fn server(answer: Answer) -> (u16, Asked) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Asked::default();
        let seen = Arc::clone(&asked);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let length = stream.read_u32().await.unwrap();
                let code = stream.read_u32().await.unwrap();
                if code == SSL_REQUEST {
                    seen.lock().unwrap().push("tls");
                    stream.write_all(b"N").await.unwrap();
                    continue;
                }
                seen.lock().unwrap().push("plain");
                let mut rest = vec![0; length as usize - 8];
                stream.read_exact(&mut rest).await.unwrap();
                stream.write_all(&reply(answer)).await.unwrap();
                // The client ends it.
                tokio::spawn(async move { stream.read_to_end(&mut Vec::new()).await });
            }
        });
        (port, asked)
    }

    fn reply(answer: Answer) -> Vec<u8> {
        let message = |kind: u8, body: &[u8]| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[kind], &length[..], body].concat()
        };
        let Answer::Takes { standby, reads } = answer else {
            return message(b'E', b"SFATAL\0VFATAL\0C28000\0Mnot like this\0\0");
        };
        let status = |name: &str, on: bool| {
            let value = if on { "on" } else { "off" };
            message(b'S', format!("{name}\0{value}\0").as_bytes())
        };
        [
            message(b'R', &[0; 4]),
            status("in_hot_standby", standby),
            status("default_transaction_read_only", reads),
            message(b'K', &[0; 8]),
            message(b'Z', b"I"),
        ]
        .concat()
    }

    /// The servers of these tests answer no question.
    /// The servers of these tests answer no question.
    fn dial(settings: Settings) -> Dial {
        let mut dial = Dial::new(settings).unwrap();
        dial.prepare = Prepare::Named;
        dial
    }

    async fn dialled(ports: &[u16], options: &str) -> Result<u16, String> {
        let ports: Vec<_> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let address = format!("postgres://u@{}/db?{options}", ports.join(","));
        let settings = Options::parse("url", &address).unwrap().complete().unwrap();
        let dialled = Arc::new(dial(settings)).connect().await;
        match dialled
            .map_err(|failures| failures.to_string())?
            .server
            .address
        {
            Address::Tcp(address) => Ok(address.port()),
            Address::Unix(path) => panic!("{}", path.display()),
        }
    }

    #[tokio::test]
    async fn the_first_server_that_suits_is_taken() {
        let takes = |standby, reads| server(Answer::Takes { standby, reads });
        let (standby, _) = takes(true, false).await;
        let (reads, _) = takes(false, true).await;
        let (primary, _) = takes(false, false).await;
        let (refuses, _) = server(Answer::Refuses).await;
        let all = [refuses, standby, reads, primary];
        for (attrs, ports, taken) in [
            ("any", &all[..], standby),
            ("primary", &all, reads),
            ("read-write", &all, primary),
            ("read-only", &all, standby),
            ("read-only", &all[2..], reads),
            ("standby", &[primary, refuses, standby], standby),
            ("prefer-standby", &[primary, refuses, standby], standby),
            ("prefer-standby", &[refuses, reads, primary], reads),
        ] {
            let options = format!("sslmode=disable&target_session_attrs={attrs}");
            assert_eq!(dialled(ports, &options).await, Ok(taken), "{attrs}");
        }
        for (attrs, port, says) in [
            (
                "primary",
                standby,
                "the server is a standby (target_session_attrs=primary)",
            ),
            (
                "standby",
                primary,
                "the server is not a standby (target_session_attrs=standby)",
            ),
            (
                "read-write",
                reads,
                "the server only takes reads (target_session_attrs=read-write)",
            ),
            (
                "read-only",
                primary,
                "the server takes writes (target_session_attrs=read-only)",
            ),
            ("prefer-standby", refuses, "FATAL: not like this"),
        ] {
            let options = format!("sslmode=disable&target_session_attrs={attrs}");
            let said = dialled(&[port], &options).await.unwrap_err();
            assert!(said.contains(says), "{said}");
        }
    }

    #[tokio::test]
    async fn a_server_that_takes_the_connection_and_says_nothing_is_left_in_time() {
        let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let takes = Answer::Takes {
            standby: false,
            reads: false,
        };
        let (next, _) = server(takes).await;
        let options = "sslmode=disable&connect_timeout=0.1";
        let said = dialled(&[port], options).await.unwrap_err();
        assert_eq!(said, "no answer within 100ms (connect_timeout)");
        let options = "sslmode=disable&connect_timeout=2";
        assert_eq!(dialled(&[port, next], options).await, Ok(next));
    }

    #[tokio::test]
    async fn each_mode_asks_in_its_order() {
        for (mode, refused, taken) in [
            ("disable", &["plain"][..], &["plain"][..]),
            ("allow", &["plain", "tls"], &["plain"]),
            ("require", &["tls"], &["tls"]),
        ] {
            for (answer, expected) in [
                (Answer::Refuses, refused),
                (
                    Answer::Takes {
                        standby: false,
                        reads: false,
                    },
                    taken,
                ),
            ] {
                let (port, asked) = server(answer).await;
                let is_open = dialled(&[port], &format!("sslmode={mode}")).await.is_ok();
                assert_eq!(*asked.lock().unwrap(), expected, "{mode}");
                let is_taken = mode != "require" && matches!(answer, Answer::Takes { .. });
                assert_eq!(is_open, is_taken, "{mode}");
            }
        }
    }

    #[tokio::test]
    async fn an_address_is_dialled_in_place_of_the_name() {
        let (port, _) = server(Answer::Takes {
            standby: false,
            reads: false,
        })
        .await;
        let options = Options::parse(
            "url",
            &format!(
                "host=no.such.name.invalid hostaddr=127.0.0.1 port={port} user=u sslmode=disable"
            ),
        );
        let settings = options.unwrap().complete().unwrap();
        let dial = Arc::new(dial(settings));
        let dialled = dial.connect().await.unwrap();
        assert_eq!(dialled.server.name, "no.such.name.invalid");
    }

    const SSL_REQUEST: u32 = 80_877_103;
}
