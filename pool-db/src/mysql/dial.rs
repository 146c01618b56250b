//! How a connection is made to the server.

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    thread,
};

use futures_util::future::BoxFuture;
use mysql_async::{
    Conn, DriverError, Error as MysqlError, IoError, Opts, Row, TlsError, prelude::Queryable as _,
};
use rustls::CertificateError;

use super::{Client, client::Identity, settings::Settings, ssl::SslMode};

/// Opens connections to one server.
pub(super) struct Dial {
    pub(super) settings: Settings,
    /// The name that the server's certificate has, where the mode does not ask for one.
    tls_name: Mutex<Option<String>>,
}

impl Dial {
    pub(super) const fn new(settings: Settings) -> Self {
        Self {
            settings,
            tls_name: Mutex::new(None),
        }
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Conn, MysqlError> {
        let name = self.lock().clone();
        let mode = self.settings.tls.mode;
        let error = match Handshake::new(self.settings.driver(true, name.as_deref())).await {
            Ok(conn) => return Ok(conn),
            Err(error) => error,
        };
        match &error {
            // Nothing but the greeting was sent by then.
            MysqlError::Driver(DriverError::NoClientSslFlagFromServer)
                if mode == SslMode::Prefer =>
            {
                Handshake::new(self.settings.driver(false, None)).await
            }
            _ if mode == SslMode::VerifyCa => {
                // The chain was found valid before the name was looked at. The driver cannot be told to accept any name, but to
                // look for the one that is there.
                let Some(presented) = presented(&error) else {
                    return Err(error);
                };
                let conn = Handshake::new(self.settings.driver(true, Some(&presented))).await?;
                *self.lock() = Some(presented);
                Ok(conn)
            }
            _ => Err(error),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.tls_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    /// Asks a new session for what identifies it.
    pub(super) async fn identify(&mut self) -> Result<(), MysqlError> {
        let Some(conn) = self.conn.as_mut() else {
            return Err(DriverError::ConnectionClosed.into());
        };
        let (major, _, _) = conn.server_version();
        let sql = "SELECT VERSION(), DATABASE(), @@max_allowed_packet";
        let row: Option<Row> = conn.query_first(sql).await?;
        let version = text(row.as_ref(), 0).unwrap_or_default();
        let database = text(row.as_ref(), 1);
        let longest = row.as_ref().and_then(|row| row.get_opt(2)?.ok());
        // MySQL has them since 8.0.
        let is_mariadb = version.contains("MariaDB");
        let role = if major >= 8 || is_mariadb {
            let row: Option<Row> = conn.query_first("SELECT CURRENT_ROLE()").await?;
            text(row.as_ref(), 0)
        } else {
            None
        };
        let set_role = match &role {
            _ if !is_mariadb => (major >= 8).then(|| "SET ROLE DEFAULT".to_owned()),
            None => Some("SET ROLE NONE".to_owned()),
            Some(role) => Some(format!("SET ROLE `{}`", role.replace('`', "``"))),
        };
        let row: Option<Row> = conn.query_first(WHO_AM_I).await?;
        let id = row.as_ref().and_then(|row| row.get_opt(0)?.ok());
        self.identity = Identity {
            id: id.unwrap_or_else(|| u64::from(conn.id())),
            host: text(row.as_ref(), 1),
            home: (database, role),
            set_role,
            longest: longest.unwrap_or(usize::MAX),
        };
        Ok(())
    }
}

/// A connect under way. The drop of the driver's future would leave the socket to a task, which panics where TLS was being begun. The
/// driver starts that task only where there is a runtime, so the future is dropped where there is none.
struct Handshake(Option<BoxFuture<'static, Result<Conn, MysqlError>>>);

impl Handshake {
    fn new(options: Opts) -> Self {
        Self(Some(Conn::new(options)))
    }
}

impl Future for Handshake {
    type Output = Result<Conn, MysqlError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(connecting) = &mut self.0 else {
            return Poll::Ready(Err(DriverError::ConnectionClosed.into()));
        };
        let done = ready!(connecting.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(done)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        if let Some(connecting) = self.0.take() {
            // Without another thread it is dropped on this one.
            drop(thread::Builder::new().spawn(move || drop(connecting)));
        }
    }
}

/// The text in a column that may be NULL.
pub(super) fn text(row: Option<&Row>, column: usize) -> Option<String> {
    row?.get_opt::<Option<String>, _>(column)?.ok()?
}

/// A name for which the certificate that was refused for its name is valid.
fn presented(error: &MysqlError) -> Option<String> {
    let refused = match error {
        MysqlError::Io(IoError::Tls(TlsError::Tls(error))) => error.clone(),
        MysqlError::Io(IoError::Io(error)) => {
            error.get_ref()?.downcast_ref::<rustls::Error>()?.clone()
        }
        _ => return None,
    };
    let rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext {
        presented,
        ..
    }) = refused
    else {
        return None;
    };
    // As rustls lists them: `DnsName("db.example")`, `IpAddress(127.0.0.1)`.
    presented.iter().find_map(|name| {
        let (_, name) = name.split_once('(')?;
        let name = name.trim_end_matches(')').trim_matches('"');
        let name = name.replacen('*', "any", 1);
        rustls::pki_types::ServerName::try_from(name.as_str()).ok()?;
        Some(name)
    })
}

impl fmt::Debug for Dial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dial")
            .field("target", &self.settings.target())
            .finish_non_exhaustive()
    }
}

const WHO_AM_I: &str =
    "SELECT id, host FROM information_schema.processlist WHERE id = CONNECTION_ID()";
