//! Every driver of pool-db with a server: runtimes that end, runtimes that nobody drives any more, and the largest settings.

#![allow(clippy::unwrap_used)]

use std::{
    fmt::Debug,
    time::{Duration, Instant},
};

use pool_db::{mysql::Reset, postgres::Shareable};
use tests::{mariadb, postgres, redis};
use tokio::runtime::{Builder, Runtime};

/// A pool of one driver.
trait Pooled: Clone + Send + Sync + 'static {
    /// Asks the server for 42.
    fn ask(&self) -> impl Future<Output = Result<i64, pool_db::Error>> + Send;
    /// How many connections are ready for the next call.
    fn ready(&self) -> u32;
}

impl Pooled for pool_db::postgres::Pool {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        Ok(self.query_one("SELECT 42::bigint", &[]).await?.get(0))
    }

    fn ready(&self) -> u32 {
        self.status().idle
    }
}

impl Pooled for pool_db::mysql::Pool {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        Ok(self.query_one("SELECT 42", ()).await?.get(0).unwrap())
    }

    fn ready(&self) -> u32 {
        self.status().idle
    }
}

impl Pooled for pool_db::redis::Pool {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        let mut echo = pool_db::redis::redis::cmd("ECHO");
        Ok(echo.arg(42).query_async(&mut self.get().await?).await?)
    }

    fn ready(&self) -> u32 {
        self.status().idle
    }
}

impl Pooled for pool_db::redis::Shared {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        let mut echo = pool_db::redis::redis::cmd("ECHO");
        Ok(echo.arg(42).query_async(&mut &*self).await?)
    }

    fn ready(&self) -> u32 {
        self.status().open
    }
}

impl Pooled for pool_db::postgres::Shared {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        const ASK: Shareable<'static> = Shareable::new("SELECT 42::bigint");
        Ok(self.query_one(ASK, &[]).await?.get(0))
    }

    fn ready(&self) -> u32 {
        self.status().open
    }
}

impl Pooled for pool_db::sqlx::Pool<sqlx::Postgres> {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        let ask = sqlx::query_scalar("SELECT 42::bigint");
        Ok(ask.fetch_one(self).await?)
    }

    fn ready(&self) -> u32 {
        self.status().idle
    }
}

impl Pooled for pool_db::sqlx::Pool<sqlx::MySql> {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        Ok(sqlx::query_scalar("SELECT 42").fetch_one(self).await?)
    }

    fn ready(&self) -> u32 {
        self.status().idle
    }
}

impl Pooled for pool_db::sqlx::Pool<sqlx::Sqlite> {
    async fn ask(&self) -> Result<i64, pool_db::Error> {
        Ok(sqlx::query_scalar("SELECT 42").fetch_one(self).await?)
    }

    fn ready(&self) -> u32 {
        self.status().idle
    }
}

/// The tests of one pool. `$server` holds what it needs, `$builder` makes its builder from that, with timeouts of a second.
macro_rules! each {
    ($($name:ident: $server:expr, |$held:ident| $builder:expr;)+) => {$(
        mod $name {
            use super::*;

            #[test]
            fn works_on_from_the_next_runtime() {
                let $held = $server;
                outlives($builder.max_size(1).build().unwrap());
            }

            #[test]
            fn works_while_the_runtime_of_its_connections_stands_still() {
                let $held = $server;
                // What was left to a task of that runtime holds one place.
                stands($builder.max_size(2).build().unwrap());
            }

            #[test]
            fn takes_the_largest_settings() {
                let $held = $server;
                let builder = $builder
                    .max_size(u32::from(u16::MAX))
                    .acquire_timeout(Duration::MAX)
                    .create_timeout(Duration::MAX)
                    .close_timeout(Duration::MAX)
                    .query_timeout(Duration::MAX)
                    .idle_timeout(Duration::MAX)
                    .max_lifetime(Duration::MAX)
                    .max_waiters(usize::MAX);
                let (pool, runtime) = (builder.build().unwrap(), runtime());
                answers(&runtime, &pool);
                answers(&runtime, &pool);
            }
        }
    )+};
}

each! {
    postgres_pool: postgres::Server::start(), |server| short(pool_db::postgres::Pool::builder().url(server.url()));
    // With `Seen` nothing is left to be cleaned: a cleaning that nobody drives is waited for, although there is room.
    mysql_pool: mariadb::Server::start(), |server| short(pool_db::mysql::Pool::builder().url(server.url())).reset(Reset::Seen);
    redis_pool: redis::Server::start(), |server| short(pool_db::redis::Pool::builder().url(server.url()));
    postgres_shared: postgres::Server::start(), |server| pool_db::postgres::Shared::builder().url(server.url())
        .acquire_timeout(SECOND).create_timeout(5 * SECOND).query_timeout(SECOND).statement_timeout(SECOND / 4);
    redis_shared: redis::Server::start(), |server| pool_db::redis::Shared::builder()
        .url(server.url()).acquire_timeout(SECOND).create_timeout(SECOND).query_timeout(SECOND);
    sqlx_postgres: postgres::Server::start(), |server| short(pool_db::sqlx::Pool::<sqlx::Postgres>::builder().url(server.url()));
    sqlx_mysql: mariadb::Server::start(), |server| short(pool_db::sqlx::Pool::<sqlx::MySql>::builder().url(server.url()));
    sqlx_sqlite: tempfile::tempdir().unwrap(), |folder| short(pool_db::sqlx::Pool::<sqlx::Sqlite>::builder()
        .url(format!("sqlite://{}?mode=rwc", folder.path().join("test.db").display())));
}

fn short<D: pool_db::Driver>(builder: pool_db::Builder<D>) -> pool_db::Builder<D> {
    builder
        .acquire_timeout(5 * SECOND)
        .create_timeout(5 * SECOND)
        .close_timeout(SECOND)
        .reset_timeout(SECOND)
        .query_timeout(SECOND)
}

/// A runtime ends with a connection idle, and another one with a call in flight. The next one has what it asks for: at once where
/// the connection was idle.
fn outlives<P: Pooled>(pool: P) {
    let first = runtime();
    answers(&first, &pool);
    first.block_on(async {
        while pool.ready() == 0 {
            tokio::time::sleep(SECOND / 100).await;
        }
    });
    drop(first);
    let second = runtime();
    answers(&second, &pool);
    let loops = second.spawn({
        let pool = pool.clone();
        async move {
            loop {
                drop(pool.ask().await);
            }
        }
    });
    second.block_on(async { tokio::time::sleep(SECOND / 20).await });
    drop((loops, second));
    comes(&runtime(), &pool);
}

/// Nobody drives the runtime any more on which the first connection was opened. Another one has what it asks for.
fn stands<P: Pooled>(pool: P) {
    let first = runtime();
    answers(&first, &pool);
    let second = runtime();
    comes(&second, &pool);
    answers(&second, &pool);
    drop(first);
    comes(&second, &pool);
}

fn answers<P: Pooled>(runtime: &Runtime, pool: &P) {
    let answer = runtime.block_on(pool.ask());
    assert_eq!(said(answer), Ok(42));
}

/// The pool answers before long: a connection that died with its runtime may cost errors, each within its timeout.
fn comes<P: Pooled>(runtime: &Runtime, pool: &P) {
    let begin = Instant::now();
    loop {
        let last = said(runtime.block_on(pool.ask()));
        if last == Ok(42) {
            return;
        }
        assert!(begin.elapsed() < SOON, "{last:?}");
    }
}

fn said<T, E: Debug>(answer: Result<T, E>) -> Result<T, String> {
    answer.map_err(|error| format!("{error:?}"))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

const SECOND: Duration = Duration::from_secs(1);
/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(30);
