//! The same through the pools.

use std::net::SocketAddr;

use axum::body::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::StatusCode;
use pool_core::ConfigError;
use pool_cpu::{CpuPool, WithState};
use pool_db::Database;
use pool_http::Client;

use crate::data::{self, User};
use crate::failure::Failure;
use crate::meter::Meter;
use crate::password::{Scratch, Stored};
use crate::service::{Logins, Quotes, Unavailable, Users};
use crate::settings::Settings;
use crate::upstream::Upstream;

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

/// Asks the database over connections that are kept open.
#[derive(Debug)]
pub(crate) struct PooledUsers(pub(crate) Database);

impl Users for PooledUsers {
    fn find(&self, id: i64) -> BoxFuture<'_, Result<Option<User>, Unavailable>> {
        async move {
            let find = data::find(&self.0, id).await;
            find.map_err(|error| Unavailable::new("database", &error))
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
