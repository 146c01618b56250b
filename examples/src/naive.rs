//! The ways in which people first write it. Each is correct, short, and found in real services.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pool_core::Manager as _;
use pool_db::Database;
use rusqlite::{Connection, OptionalExtension};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::data::{self, User};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::password::Stored;
use crate::service::{Logins, Quotes, Unavailable, Users};
use crate::upstream::Upstream;

/// Opens a connection for each request: it comes from where the pool would get it, but is not kept. (A file of SQLite is opened on
/// the executor's thread.)
#[derive(Debug)]
pub(crate) struct NaiveUsers {
    pub(crate) database: Database,
    pub(crate) opened: Meter,
}

impl NaiveUsers {
    async fn ask(&self, id: i64) -> Result<Option<User>, pool_db::Error> {
        match &self.database {
            Database::Sqlite(pool) => {
                let Some(file) = pool.manager().path() else {
                    let why = "a database in memory is gone with its connection";
                    return Err(pool_db::Error::other(why));
                };
                let connection = Connection::open(file)?;
                let _open = self.opened.open();
                let find = connection.query_row(data::FIND, [id], |row| {
                    Ok(User {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        email: row.get(2)?,
                    })
                });
                Ok(find.optional()?)
            }
            Database::Postgres(pool) => {
                let client = pool.manager().create().await?;
                let _open = self.opened.open();
                let row = client.query_opt(data::FIND, &[&id]).await?;
                Ok(row.map(|row| User {
                    id: row.get(0),
                    name: row.get(1),
                    email: row.get(2),
                }))
            }
            Database::MySql(pool) => {
                let mut client = pool.manager().create().await?;
                let _open = self.opened.open();
                let find = data::FIND.replace("$1", "?");
                let row = client.query_opt(&find, (id,)).await?;
                let user = row.map(|row| {
                    Some(User {
                        id: row.get(0)?,
                        name: row.get(1)?,
                        email: row.get(2)?,
                    })
                });
                Ok(user.flatten())
            }
            _ => Err(pool_db::Error::other("this database has no naive way")),
        }
    }
}

impl Users for NaiveUsers {
    fn find(&self, id: i64) -> BoxFuture<'_, Result<Option<User>, Unavailable>> {
        async move {
            match timeout(PATIENCE, self.ask(id)).await {
                Ok(user) => user.map_err(|error| Unavailable::new("database", &error)),
                Err(_) => Err(Unavailable::because(format!(
                    "database: no answer within {PATIENCE:?}"
                ))),
            }
        }
        .boxed()
    }
}

/// Calls the upstream over a new TCP connection and a new TLS handshake each time.
#[derive(Debug)]
pub(crate) struct HttpsQuotes {
    upstream: std::net::SocketAddr,
    tls: Arc<ClientConfig>,
}

impl HttpsQuotes {
    pub(crate) fn new(upstream: &Upstream) -> Result<Self, Failure> {
        let mut roots = RootCertStore::empty();
        roots
            .add(upstream.certificate().clone())
            .map_err(|error| Failure::run("cannot trust the upstream", &error))?;
        // Shared by all calls, so that each can resume the session of an earlier one: the kindest form of this way.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::run("cannot speak TLS", &error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            upstream: upstream.address(),
            tls: Arc::new(tls),
        })
    }

    async fn call(&self, id: u32) -> io::Result<Bytes> {
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(self.upstream.ip());
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        tokio::spawn(connection);
        let request = Request::get(format!("/quote/{id}"))
            .header(header::HOST, self.upstream.to_string())
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(io::Error::other)?;
        let answer = sender
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        if answer.status() != StatusCode::OK {
            return Err(io::Error::other(format!("status {}", answer.status())));
        }
        Ok(answer
            .into_body()
            .collect()
            .await
            .map_err(io::Error::other)?
            .to_bytes())
    }
}

impl Quotes for HttpsQuotes {
    fn quote(&self, id: u32) -> BoxFuture<'_, Result<Bytes, Unavailable>> {
        async move {
            match timeout(PATIENCE, self.call(id)).await {
                Ok(answer) => answer.map_err(|error| Unavailable::new("upstream", &error)),
                Err(_) => Err(Unavailable::because(format!(
                    "upstream: no answer within {PATIENCE:?}"
                ))),
            }
        }
        .boxed()
    }
}

/// Hashes on the executor's thread.
#[derive(Debug)]
pub(crate) struct ExecutorLogins {
    pub(crate) stored: Stored,
    pub(crate) hashing: Meter,
}

impl Logins for ExecutorLogins {
    fn check(&self, password: String) -> BoxFuture<'_, Result<bool, Unavailable>> {
        async move {
            let _at_work = self.hashing.open();
            Ok(self.stored.matches(&password))
        }
        .boxed()
    }
}

/// Hashes in tokio's `spawn_blocking`.
#[derive(Debug)]
pub(crate) struct SpawnBlockingLogins {
    pub(crate) stored: Stored,
    pub(crate) hashing: Meter,
}

impl Logins for SpawnBlockingLogins {
    fn check(&self, password: String) -> BoxFuture<'_, Result<bool, Unavailable>> {
        let (stored, hashing) = (self.stored.clone(), self.hashing.clone());
        async move {
            tokio::task::spawn_blocking(move || {
                let _at_work = hashing.open();
                stored.matches(&password)
            })
            .await
            .map_err(|error| Unavailable::new("password hash", &error))
        }
        .boxed()
    }
}

/// The deadline that even this way has.
const PATIENCE: Duration = Duration::from_secs(5);
