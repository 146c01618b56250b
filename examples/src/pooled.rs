//! The same through the pools.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use pool_core::ConfigError;
use pool_cpu::{CpuPool, WithState};
use pool_db::{postgres as postgres_pool, sqlite as sqlite_pool};
use pool_http::Client;
use rusqlite::OptionalExtension;

use crate::data::{Database, User, postgres, sqlite};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::operated::Operated;
use crate::password::{Scratch, Stored};
use crate::service::{self, Logins, Quotes, Unavailable};
use crate::settings::Settings;
use crate::upstream::Upstream;

/// The users, asked for through the pool of their database.
pub(crate) struct Users {
    pub(crate) users: Arc<dyn service::Users>,
    pub(crate) pool: Arc<dyn Operated>,
}

/// Builds the pool of the database.
///
/// # Errors
/// [`Failure::Usage`] for settings that cannot be used.
pub(crate) fn users(database: &Database) -> Result<Users, Failure> {
    Ok(match database {
        Database::Sqlite { pool, .. } => {
            let pool = built(pool.clone().build())?;
            let operated = Arc::new((*pool).clone());
            Users {
                users: Arc::new(SqliteUsers(pool)),
                pool: operated,
            }
        }
        Database::Postgres(pool) => {
            let pool = built(pool.clone().build())?;
            let operated = Arc::new((*pool).clone());
            Users {
                users: Arc::new(PostgresUsers(pool)),
                pool: operated,
            }
        }
    })
}

/// A client that trusts the upstream.
///
/// # Errors
/// [`Failure::Usage`] for settings that cannot be used.
pub(crate) fn client(settings: &Settings, upstream: &Upstream) -> Result<Client, Failure> {
    built(
        Client::builder()
            .config(settings.http.clone())
            .add_root_certificate(upstream.certificate())
            .build(),
    )
}

/// Workers for computing.
///
/// # Errors
/// [`Failure::Usage`] for settings that cannot be used, a number of threads that cannot be started among them.
pub(crate) fn workers(settings: &Settings) -> Result<CpuPool, Failure> {
    built(CpuPool::builder().config(settings.cpu.clone()).build())
}

/// A pool, if its settings are good.
///
/// # Errors
/// [`Failure::Usage`] if they are not.
pub(crate) fn built<P>(pool: Result<P, ConfigError>) -> Result<P, Failure> {
    pool.map_err(|error| Failure::Usage(error.to_string()))
}

/// Asks SQLite over a connection that is kept open, on one of the pool's threads.
#[derive(Debug)]
pub(crate) struct SqliteUsers(pub(crate) sqlite_pool::Pool);

impl service::Users for SqliteUsers {
    fn find(&self, id: i64) -> BoxFuture<'_, Result<Option<User>, Unavailable>> {
        async move {
            let find = self.0.run(move |connection| {
                connection
                    .prepare_cached(sqlite::FIND)?
                    .query_row([id], sqlite::user)
                    .optional()
            });
            find.await
                .map_err(|error| Unavailable::new("database", &error))
        }
        .boxed()
    }
}

/// Asks Postgres over a connection that is kept open.
#[derive(Debug)]
pub(crate) struct PostgresUsers(pub(crate) postgres_pool::Pool);

impl service::Users for PostgresUsers {
    fn find(&self, id: i64) -> BoxFuture<'_, Result<Option<User>, Unavailable>> {
        async move {
            let find = async { postgres::find(&*self.0.get().await?, id).await };
            find.await
                .map_err(|error| Unavailable::new("database", &error))
        }
        .boxed()
    }
}

/// Calls the upstream over connections that are kept alive.
#[derive(Debug)]
pub(crate) struct HttpsQuotes {
    pub(crate) client: Client,
    pub(crate) upstream: SocketAddr,
}

impl Quotes for HttpsQuotes {
    fn quote(&self, id: u32) -> BoxFuture<'_, Result<Bytes, Unavailable>> {
        async move {
            let call = async {
                let answer = self
                    .client
                    .get(format!("https://{}/quote/{id}", self.upstream))
                    .send()
                    .await?;
                let status = answer.status();
                Ok::<_, pool_http::Error>((status, answer.into_body().bytes().await?))
            };
            match call.await {
                Ok((StatusCode::OK, body)) => Ok(body),
                Ok((status, _)) => Err(Unavailable::because(format!("upstream: status {status}"))),
                Err(error) => Err(Unavailable::new("upstream", &error)),
            }
        }
        .boxed()
    }
}

/// Hashes on the pool's workers, each in memory of its own.
#[derive(Debug)]
pub(crate) struct CpuLogins {
    pool: CpuPool,
    scratch: WithState<Scratch>,
    stored: Stored,
    hashing: Meter,
}

impl CpuLogins {
    pub(crate) fn new(pool: CpuPool, stored: Stored, hashing: Meter) -> Self {
        let scratch = pool.with_state(Scratch::new);
        Self {
            pool,
            scratch,
            stored,
            hashing,
        }
    }
}

impl Logins for CpuLogins {
    fn check(&self, password: String) -> BoxFuture<'_, Result<bool, Unavailable>> {
        let (stored, hashing) = (self.stored.clone(), self.hashing.clone());
        async move {
            let check = self.scratch.with(move |scratch| {
                let _at_work = hashing.open();
                stored.matches_in(&password, scratch)
            });
            let check = self.pool.job("login").run(check);
            check
                .await
                .map_err(|error| Unavailable::new("password hash", &error))
        }
        .boxed()
    }
}
