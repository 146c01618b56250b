//! Opens connections to a server.

use std::{
    fmt, io,
    net::SocketAddr,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pool_core::ConfigError;
use redis::{
    AsyncConnectionConfig, Pipeline, RedisConnectionInfo, RedisError, Value,
    aio::{MultiplexedConnection, PubSub},
};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, ToSocketAddrs, UnixStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;

use super::{
    DriverSettings, Protocol,
    handshake::ask,
    location::{EXPECTED, Host, Location, Place},
    secret::Secret,
    sentinel::{self, NoMaster},
    socket::{Socket, Stream, Traffic},
};
use crate::{
    Error,
    address::{Address, bad_address, shown},
};

/// Where and how connections are opened.
pub(super) struct Dial {
    place: Place,
    tls: Option<TlsConnector>,
    login: Login,
    /// What is said to sentinels.
    sentinel_login: Login,
    pub(super) db: u32,
    pub(super) protocol: Protocol,
    client_name: Option<String>,
    /// The name of the server in error messages.
    pub(super) target: String,
    /// The master that the sentinels have named last.
    master: Mutex<Option<Host>>,
    /// How often they have named another one.
    epoch: AtomicU64,
}

/// A connection that was opened, before a task drives it.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    pub(super) traffic: Arc<Traffic>,
    pub(super) peer: Peer,
    pub(super) epoch: u64,
    /// The number by which the server knows the connection. `None` if the user may not ask.
    pub(super) id: Option<i64>,
}

/// A socket on which the server has let the pool in.
struct Greeted {
    socket: Socket,
    peer: Peer,
    epoch: u64,
    id: Option<i64>,
}

/// A user and a password.
#[derive(Clone, Debug)]
struct Login {
    user: Option<String>,
    password: Option<Secret>,
}

/// A connection beside another one, with the task that drives it.
pub(super) struct Beside {
    pub(super) connection: MultiplexedConnection,
    task: JoinHandle<()>,
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The server at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) enum Peer {
    Unix(PathBuf),
    Tcp {
        address: SocketAddr,
        /// The name that its certificate is checked against.
        name: String,
    },
}

/// Reads and writes the socket of a connection.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Dial {
    /// # Errors
    /// The address is missing or is none, a setting contradicts it, or a certificate cannot be used.
    pub(super) fn new(
        url: Option<&Address>,
        settings: &DriverSettings,
    ) -> Result<Self, ConfigError> {
        let Some(Address(url)) = url else {
            let expected = format!("set, as REDIS_URL in the environment or in code: {EXPECTED}");
            return Err(ConfigError::secret("url", expected));
        };
        let location = Location::parse("url", url)?;
        let tls = &settings.tls;
        if tls.is_set() && !location.tls {
            let expected = "an address of a server with TLS (rediss://), as certificates are set";
            return Err(bad_address("url", url, expected));
        }
        let has_sentinels = matches!(location.place, Place::Sentinel { .. });
        if settings.sentinel_password.is_some() && !has_sentinels {
            let expected =
                "an address of sentinels (redis+sentinel://), as sentinel_password is set";
            return Err(bad_address("url", url, expected));
        }
        let user = settings.user.clone().or(location.user);
        let password = settings.password.clone().or(location.password);
        if user.is_some() && password.is_none() {
            return Err(ConfigError::secret("password", "set, as a user is"));
        }
        let db = settings.db.or(location.db).unwrap_or(0);
        let mut target = format!("redis at {}/{db}", location.place);
        if let Some(user) = &user {
            target.push_str(" as ");
            target.push_str(&shown(user));
        }
        let protocol = settings.protocol.or(location.protocol).unwrap_or_default();
        let login = Login { user, password };
        let sentinel_login = Login {
            user: settings.sentinel_user.clone(),
            password: settings.sentinel_password.clone(),
        };
        Ok(Self {
            tls: location.tls.then(|| tls.connector()).transpose()?,
            place: location.place,
            login,
            sentinel_login,
            db,
            protocol,
            client_name: settings.client_name.clone(),
            target,
            master: Mutex::default(),
            epoch: AtomicU64::new(0),
        })
    }

    /// Opens a connection, logs in and hears a first answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses, or is no master although sentinels say so.
    pub(super) async fn connect(&self, buffer: usize) -> Result<Dialled, Error> {
        let Greeted {
            socket,
            peer,
            epoch,
            id,
        } = self.socket().await?;
        let traffic = socket.traffic();
        let opened = multiplexed(socket, buffer).await;
        let (connection, driver) = opened.map_err(|error| Error::connect(&self.target, error))?;
        Ok(Dialled {
            connection,
            driver,
            traffic,
            peer,
            epoch,
            id,
        })
    }

    /// Opens a connection for messages.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub(super) async fn subscriber(&self) -> Result<PubSub, Error> {
        let socket = self.socket().await?.socket;
        let opened = PubSub::new(&silent(), socket).await;
        opened.map_err(|error| Error::connect(&self.target, error))
    }

    async fn socket(&self) -> Result<Greeted, Error> {
        let refused = |error: RedisError| Error::connect(&self.target, error);
        let (mut socket, peer) = match &self.place {
            Place::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                let stream = stream.map_err(|error| refused(error.into()))?;
                let socket = Socket::new(Stream::Unix(stream));
                (socket, Peer::Unix(path.clone()))
            }
            Place::Host(host) => self
                .tcp(&host.name, (host.name.as_str(), host.port))
                .await
                .map_err(|error| refused(error.into()))?,
            Place::Sentinel { sentinels, service } => {
                let master = self.master(sentinels, service).await?;
                self.tcp(&master.name, (master.name.as_str(), master.port))
                    .await
                    .map_err(|error| refused(error.into()))?
            }
        };
        let epoch = self.epoch();
        let id = self.greet(&mut socket).await.map_err(refused)?;
        Ok(Greeted {
            socket,
            peer,
            epoch,
            id,
        })
    }

    /// Opens a connection to the server that another connection has.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(super) async fn beside(&self, peer: &Peer) -> Result<Beside, Error> {
        let refused = |error: RedisError| Error::connect(&self.target, error);
        let socket = match peer {
            Peer::Unix(path) => UnixStream::connect(path)
                .await
                .map(|stream| Socket::new(Stream::Unix(stream))),
            Peer::Tcp { address, name } => self.tcp(name, *address).await.map(|(socket, _)| socket),
        };
        let mut socket = socket.map_err(|error| refused(error.into()))?;
        self.greet(&mut socket).await.map_err(refused)?;
        let (connection, driver) = multiplexed(socket, 1).await.map_err(refused)?;
        Ok(Beside {
            connection,
            task: tokio::spawn(driver),
        })
    }

    /// Returns how often the sentinels have named another master.
    pub(super) fn epoch(&self) -> u64 {
        // Ordering: Relaxed. It only says that older connections lead elsewhere.
        self.epoch.load(Ordering::Relaxed)
    }

    /// Adds the commands with which a connection begins, also after a `RESET`.
    pub(super) fn log_in(&self, requests: &mut Pipeline) {
        match self.protocol {
            Protocol::Resp3 => {
                requests.cmd("HELLO").arg(3);
                if let Some(Secret(password)) = &self.login.password {
                    let user = self.login.user.as_deref().unwrap_or("default");
                    requests.arg("AUTH").arg(user).arg(password);
                }
            }
            Protocol::Resp2 => self.login.add_to(requests),
        }
        if self.db != 0 {
            requests.cmd("SELECT").arg(self.db);
        }
        if let Some(name) = &self.client_name {
            requests.cmd("CLIENT").arg("SETNAME").arg(name);
        }
    }

    /// Logs in, and hears whether the server takes commands and has the right role. Returns the number of the connection.
    async fn greet(&self, socket: &mut Socket) -> Result<Option<i64>, RedisError> {
        let mut requests = redis::pipe();
        self.log_in(&mut requests);
        let login = requests.len();
        let needs_master = matches!(self.place, Place::Sentinel { .. });
        requests.cmd("CLIENT").arg("ID");
        requests.cmd(if needs_master { "ROLE" } else { "PING" });
        let mut answers = ask(socket, &requests).await?.into_iter();
        for answer in answers.by_ref().take(login) {
            answer.extract_error()?;
        }
        let id = match answers.next() {
            Some(Value::Int(id)) => Some(id),
            _ => None,
        };
        match answers.next() {
            // A server that loads its data, say, or a user who may not ask. It answers, and calls are told.
            Some(Value::ServerError(error)) if TOLD_LATER.contains(&error.code()) => Ok(id),
            Some(Value::ServerError(error)) => Err(error.into()),
            Some(Value::Array(role)) if needs_master && !is_master(&role) => {
                let why = "the sentinels name a server that is no master: a failover is going on";
                Err(io::Error::other(why).into())
            }
            _ => Ok(id),
        }
    }

    /// Asks one sentinel after the other for the master.
    async fn master(&self, sentinels: &[Host], service: &str) -> Result<Host, Error> {
        let mut failures = Vec::new();
        for host in sentinels {
            let asked = sentinel::in_time(async {
                let (socket, _) = self
                    .tcp(&host.name, (host.name.as_str(), host.port))
                    .await?;
                let mut login = redis::pipe();
                self.sentinel_login.add_to(&mut login);
                sentinel::master(socket, login, service).await
            });
            match asked.await {
                Ok(master) => {
                    self.heard_of(&master);
                    return Ok(master);
                }
                Err(error) => failures.push((host.clone(), error)),
            }
        }
        Err(Error::connect(&self.target, NoMaster(failures)))
    }

    fn heard_of(&self, master: &Host) {
        let mut known = self.master.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() != Some(master) && known.replace(master.clone()).is_some() {
            // Ordering: as in `epoch`.
            self.epoch.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn tcp(&self, name: &str, to: impl ToSocketAddrs) -> io::Result<(Socket, Peer)> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 2);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let peer = Peer::Tcp {
            address: stream.peer_addr()?,
            name: name.to_owned(),
        };
        let Some(tls) = &self.tls else {
            return Ok((Socket::new(Stream::Tcp(stream)), peer));
        };
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = tls.connect(name, stream).await?;
        Ok((Socket::new(Stream::Tls(Box::new(stream))), peer))
    }
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl Login {
    fn add_to(&self, requests: &mut Pipeline) {
        if let Some(Secret(password)) = &self.password {
            requests.cmd("AUTH").arg(&self.user).arg(password);
        }
    }
}

/// The driver says nothing to the server by itself.
fn silent() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// Gives a connection on which everything was said to the driver.
async fn multiplexed(
    socket: Socket,
    buffer: usize,
) -> Result<(MultiplexedConnection, Driver), RedisError> {
    let config = AsyncConnectionConfig::new()
        // Each caller has its own clock.
        .set_response_timeout(None)
        .set_connection_timeout(None)
        .set_pipeline_buffer_size(buffer);
    let silent = silent();
    let opened = MultiplexedConnection::new_with_config(&silent, socket, config);
    let (connection, driver) = opened.await?;
    Ok((connection, Box::pin(driver)))
}

/// Whether an answer to `ROLE` is that of a master.
fn is_master(role: &[Value]) -> bool {
    match role.first() {
        Some(Value::BulkString(role)) => role == b"master",
        Some(Value::SimpleString(role)) => role == "master",
        _ => false,
    }
}

/// Errors of a server that takes the connection, and will take commands too.
const TOLD_LATER: [&str; 5] = ["LOADING", "MASTERDOWN", "BUSY", "MISCONF", "NOPERM"];

/// After this time without traffic, the kernel asks whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
