//! Opens connections to a server.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};
use tokio_postgres::{
    CancelToken, Config, SimpleQueryMessage,
    config::{Host, LoadBalanceHosts, TargetSessionAttrs},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    session::Session,
    socket::{Connector, Encrypted, Socket, Watched},
    wire::Wire,
};

/// Where and how connections are opened.
pub(super) struct Dial {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
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

#[derive(Clone, Debug)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// One host of the address, as it was written.
struct Place {
    /// The name to look up, or the directory of a socket.
    host: Host,
    name: String,
    port: u16,
}

impl Dial {
    /// Opens a connection to the first host that takes it and that `suits`.
    ///
    /// # Errors
    /// The failures of all hosts.
    pub(super) async fn connect(&self) -> Result<Dialled, Failures> {
        let mut failures = Failures(Vec::new());
        for place in self.places() {
            let addresses = match self.resolve(&place).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    failures.add(&place, error);
                    continue;
                }
            };
            for address in addresses {
                match self.connect_to(&place, address).await {
                    Ok(dialled) => return Ok(dialled),
                    Err(error) => failures.add(&place, error),
                }
            }
        }
        Err(failures)
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

    fn places(&self) -> Vec<Place> {
        let config = &self.config;
        let (hosts, addresses, ports) = (
            config.get_hosts(),
            config.get_hostaddrs(),
            config.get_ports(),
        );
        let place = |at: usize| {
            let host = hosts.get(at);
            let address = addresses.get(at).map(|ip| Host::Tcp(ip.to_string()));
            let name = match host {
                Some(Host::Tcp(name)) => name.clone(),
                _ => String::new(),
            };
            Some(Place {
                host: address.or_else(|| host.cloned())?,
                name,
                port: ports.get(at).or(ports.first()).copied().unwrap_or(5432),
            })
        };
        let mut places: Vec<_> = (0..hosts.len().max(addresses.len()))
            .filter_map(place)
            .collect();
        if config.get_load_balance_hosts() == LoadBalanceHosts::Random {
            fastrand::shuffle(&mut places);
        }
        places
    }

    async fn resolve(&self, place: &Place) -> Result<Vec<Address>, Failure> {
        match &place.host {
            Host::Unix(folder) => Ok(vec![Address::Unix(
                folder.join(format!(".s.PGSQL.{}", place.port)),
            )]),
            Host::Tcp(name) => {
                let found = self
                    .in_time(lookup_host((name.as_str(), place.port)))
                    .await?;
                let mut found: Vec<_> = found.map(Address::Tcp).collect();
                if self.config.get_load_balance_hosts() == LoadBalanceHosts::Random {
                    fastrand::shuffle(&mut found);
                }
                if found.is_empty() {
                    return Err(Failure::Io(io::Error::other("the name has no address")));
                }
                Ok(found)
            }
        }
    }

    async fn connect_to(&self, place: &Place, address: Address) -> Result<Dialled, Failure> {
        let socket = self.open(&address).await?;
        let session = Arc::new(Session::default());
        let watched = Watched::socket(&socket, Wire::new(Arc::clone(&session)));
        let connector = Connector::new(self.tls.clone(), &place.name);
        let (driver, mut connection) = self.config.connect_raw(watched, connector).await?;
        let wanted = match self.config.get_target_session_attrs() {
            TargetSessionAttrs::ReadWrite => Some(false),
            TargetSessionAttrs::ReadOnly => Some(true),
            _ => None,
        };
        if let Some(wanted) = wanted {
            let only_reads = match session.only_reads() {
                Some(only_reads) => only_reads,
                None => asked_whether_it_only_reads(&driver, &mut connection).await?,
            };
            if only_reads != wanted {
                return Err(Failure::Unsuitable(if wanted {
                    "takes writes"
                } else {
                    "only takes reads"
                }));
            }
        }
        Ok(Dialled {
            driver,
            connection,
            session,
            socket,
            server: Server {
                address,
                name: place.name.clone(),
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
        let config = &self.config;
        stream.set_nodelay(true)?;
        let socket = SockRef::from(stream);
        #[cfg(target_os = "linux")]
        if let Some(limit) = config.get_tcp_user_timeout() {
            socket.set_tcp_user_timeout(Some(*limit))?;
        }
        if config.get_keepalives() {
            let mut keepalive = TcpKeepalive::new().with_time(config.get_keepalives_idle());
            if let Some(interval) = config.get_keepalives_interval() {
                keepalive = keepalive.with_interval(interval);
            }
            if let Some(retries) = config.get_keepalives_retries() {
                keepalive = keepalive.with_retries(retries);
            }
            socket.set_tcp_keepalive(&keepalive)?;
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
        match self.config.get_connect_timeout() {
            None => Ok(work.await?),
            Some(limit) => match timeout(*limit, work).await {
                Ok(done) => Ok(done?),
                Err(_) => Err(Failure::Late(*limit)),
            },
        }
    }
}

/// Asks a server that does not say it by itself (before version 14) whether it only takes reads.
async fn asked_whether_it_only_reads(
    driver: &tokio_postgres::Client,
    connection: &mut tokio_postgres::Connection<Watched<Socket>, Encrypted>,
) -> Result<bool, Failure> {
    let asked = driver.simple_query("SHOW transaction_read_only");
    let said = tokio::select! {
        said = asked => said?,
        ended = connection => {
            ended?;
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    };
    let is_on = |message: &SimpleQueryMessage| match message {
        SimpleQueryMessage::Row(row) => row.get(0) == Some("on"),
        _ => false,
    };
    Ok(said.iter().any(is_on))
}

/// Why one host was of no use.
#[derive(Debug)]
pub(super) enum Failure {
    Io(io::Error),
    /// Not within `connect_timeout`.
    Late(Duration),
    Driver(tokio_postgres::Error),
    /// It is not what `target_session_attrs` asks for.
    Unsuitable(&'static str),
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
            Self::Unsuitable(what) => write!(f, "the server {what} (target_session_attrs)"),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            Self::Late(_) | Self::Unsuitable(_) => None,
            // The text contains its causes. This error is there to be looked at.
            Self::Driver(error) => Some(error),
        }
    }
}

/// Why no host was of any use, in the order in which they were tried.
#[derive(Debug)]
pub(super) struct Failures(Vec<(String, Failure)>);

impl Failures {
    fn add(&mut self, place: &Place, failure: Failure) {
        let host = match &place.host {
            Host::Tcp(name) => format!("{name}:{}", place.port),
            Host::Unix(folder) => format!("{}:{}", folder.display(), place.port),
        };
        self.0.push((host, failure));
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
