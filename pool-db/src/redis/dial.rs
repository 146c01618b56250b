//! Opens connections to a server.

use std::{io, pin::Pin, sync::Arc, time::Duration};

use pool_core::ConfigError;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, aio::MultiplexedConnection};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::{
    DriverSettings,
    location::{EXPECTED, Host, Location, Place},
    secret::Secret,
    socket::{Socket, Stream, Traffic},
};
use crate::{
    Error,
    address::{Address, shown},
};

/// Where and how connections are opened.
pub(super) struct Dial {
    place: Place,
    tls: Option<TlsConnector>,
    user: Option<String>,
    password: Option<Secret>,
    pub(super) db: u32,
    pub(super) protocol: super::Protocol,
    client_name: Option<String>,
    /// The name of the server in error messages.
    pub(super) target: String,
}

/// A connection that was opened, before a task drives it.
pub(super) struct Dialled {
    pub(super) connection: MultiplexedConnection,
    pub(super) driver: Driver,
    pub(super) traffic: Arc<Traffic>,
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
            return Err(crate::address::bad_address("url", url, expected));
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
        Ok(Self {
            tls: location.tls.then(|| tls.connector()).transpose()?,
            place: location.place,
            user,
            password,
            db,
            protocol: settings.protocol.or(location.protocol).unwrap_or_default(),
            client_name: settings.client_name.clone(),
            target,
        })
    }

    /// Opens a connection, logs in and hears a first answer.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses.
    pub(super) async fn connect(&self, buffer: usize) -> Result<Dialled, Error> {
        let refused = |error: RedisError| Error::connect(&self.target, error);
        let socket = self.socket().await;
        let socket = socket.map_err(|error| Error::connect(&self.target, error))?;
        let traffic = socket.traffic();
        let config = AsyncConnectionConfig::new()
            // Each caller has its own clock.
            .set_response_timeout(None)
            .set_connection_timeout(None)
            .set_pipeline_buffer_size(buffer);
        let login = self.login();
        let opened = MultiplexedConnection::new_with_config(&login, socket, config);
        let (mut connection, driver) = opened.await.map_err(refused)?;
        let mut driver: Driver = Box::pin(driver);
        let ended = || refused(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        tokio::select! {
            biased;
            greeted = self.greet(&mut connection) => greeted.map_err(refused)?,
            () = &mut driver => return Err(ended()),
        }
        Ok(Dialled {
            connection,
            driver,
            traffic,
        })
    }

    /// Hears a first answer: a server that is full, or asks for a password, says so to any command.
    async fn greet(&self, connection: &mut MultiplexedConnection) -> Result<(), RedisError> {
        if let Some(name) = &self.client_name {
            let mut set = redis::cmd("CLIENT");
            set.arg("SETNAME").arg(name);
            set.exec_async(connection).await?;
        }
        match redis::cmd("PING").exec_async(connection).await {
            // It answers, and the calls are told.
            Err(error)
                if matches!(
                    error.code(),
                    Some("LOADING" | "MASTERDOWN" | "BUSY" | "MISCONF" | "NOPERM")
                ) =>
            {
                Ok(())
            }
            answer => answer,
        }
    }

    fn login(&self) -> RedisConnectionInfo {
        let mut login = RedisConnectionInfo::default()
            .set_db(self.db.into())
            .set_protocol(self.protocol.version())
            .set_skip_set_lib_name();
        if let Some(user) = &self.user {
            login = login.set_username(user);
        }
        if let Some(Secret(password)) = &self.password {
            login = login.set_password(password);
        }
        login
    }

    async fn socket(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Socket(path) => Ok(Socket::new(Stream::Unix(UnixStream::connect(path).await?))),
            Place::Host(host) => self.tcp(host).await,
            Place::Sentinel { .. } => Err(io::Error::from(io::ErrorKind::Unsupported)),
        }
    }

    async fn tcp(&self, host: &Host) -> io::Result<Socket> {
        let stream = TcpStream::connect((host.name.as_str(), host.port)).await?;
        stream.set_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE)
            .with_interval(KEEPALIVE / 2);
        SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        let Some(tls) = &self.tls else {
            return Ok(Socket::new(Stream::Tcp(stream)));
        };
        let name = ServerName::try_from(host.name.clone());
        let name = name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let stream = tls.connect(name, stream).await?;
        Ok(Socket::new(Stream::Tls(Box::new(stream))))
    }
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// After this time without traffic, the kernel asks whether the server is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
