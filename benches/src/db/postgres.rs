//! The pools of PostgreSQL connections, and a connection without a pool.

use std::str::FromStr;
use std::sync::Arc;

use bb8_postgres::PostgresConnectionManager;
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use pool_db::postgres::{Shareable, Shared};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_postgres::{Client, Config, NoTls, Statement};

use super::failure::Failure;
use super::peer::{Lookup, Pool};

const SELECT: &str = "SELECT value FROM items WHERE id = $1";

/// pool-db as it is by default.
#[derive(Debug, Clone)]
pub(super) struct Ours(pool_db::postgres::Pool);

impl Lookup for Ours {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        let connection = self.0.get().await?;
        let row = connection.query_one(SELECT, &[&id]).await?;
        Ok(row.try_get(0)?)
    }
}

impl Pool for Ours {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        let builder = pool_db::postgres::Pool::builder().url(url);
        Ok(Self(builder.max_size(size).build()?))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        let mut held = Vec::new();
        for _ in 0..size {
            let connection = self.0.get().await?;
            connection.query_one(SELECT, &[&0]).await?;
            held.push(connection);
        }
        Ok(())
    }
}

/// pool-db's shared connections, on which statements are pipelined, as they are by default.
#[derive(Debug, Clone)]
pub(super) struct Pipelined(Shared);

const SHAREABLE: Shareable<'_> = Shareable::new(SELECT);

impl Lookup for Pipelined {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        let row = self.0.query_one(SHAREABLE, &[&id]).await?;
        Ok(row.try_get(0)?)
    }
}

impl Pool for Pipelined {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        // Else a second connection would be opened only when the first is full.
        let builder = Shared::builder().url(url).min_idle(size);
        Ok(Self(builder.max_size(size).build()?))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        self.0.warm_up().await?;
        let mut held = Vec::new();
        for _ in 0..size {
            // The least loaded connection: another each time, while the others are held.
            let connection = self.0.get().await?;
            connection.query_one(SHAREABLE, &[&0]).await?;
            held.push(connection);
        }
        Ok(())
    }
}

/// deadpool-postgres, which checks nothing that costs a round trip, and caches statements.
#[derive(Debug, Clone)]
pub(super) struct Deadpool(deadpool_postgres::Pool);

impl Deadpool {
    async fn ask(client: &deadpool_postgres::Client, id: i32) -> Result<i32, Failure> {
        let select = client.prepare_cached(SELECT).await?;
        Ok(client.query_one(&select, &[&id]).await?.try_get(0)?)
    }
}

impl Lookup for Deadpool {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        Self::ask(&self.0.get().await?, id).await
    }
}

impl Pool for Deadpool {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        let recycling = ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        };
        let config = Config::from_str(url)?;
        let manager = deadpool_postgres::Manager::from_config(config, NoTls, recycling);
        let builder = deadpool_postgres::Pool::builder(manager);
        Ok(Self(builder.max_size(size as usize).build()?))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        let mut held = Vec::new();
        for _ in 0..size {
            let client = self.0.get().await?;
            Self::ask(&client, 0).await?;
            held.push(client);
        }
        Ok(())
    }
}

/// bb8-postgres without its test on check-out, its statement prepared once on each connection.
#[derive(Debug, Clone)]
pub(super) struct Bb8(bb8::Pool<Preparing>);

impl Lookup for Bb8 {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        self.0.get().await?.ask(id).await
    }
}

impl Pool for Bb8 {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        let manager = Preparing(PostgresConnectionManager::new_from_stringlike(url, NoTls)?);
        let builder = bb8::Pool::builder().test_on_check_out(false);
        Ok(Self(builder.max_size(size).build(manager).await?))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        let mut held = Vec::new();
        for _ in 0..size {
            let connection = self.0.get().await?;
            connection.ask(0).await?;
            held.push(connection);
        }
        Ok(())
    }
}

/// bb8-postgres's manager, and the statement: it has no cache of its own.
#[derive(Debug)]
struct Preparing(PostgresConnectionManager<NoTls>);

impl bb8::ManageConnection for Preparing {
    type Connection = Prepared;
    type Error = tokio_postgres::Error;

    async fn connect(&self) -> Result<Prepared, tokio_postgres::Error> {
        Prepared::new(self.0.connect().await?).await
    }

    async fn is_valid(&self, connection: &mut Prepared) -> Result<(), tokio_postgres::Error> {
        self.0.is_valid(&mut connection.client).await
    }

    fn has_broken(&self, connection: &mut Prepared) -> bool {
        self.0.has_broken(&mut connection.client)
    }
}

/// A client and its statement.
#[derive(Debug)]
struct Prepared {
    client: Client,
    select: Statement,
}

impl Prepared {
    async fn new(client: Client) -> Result<Self, tokio_postgres::Error> {
        let select = client.prepare(SELECT).await?;
        Ok(Self { client, select })
    }

    async fn ask(&self, id: i32) -> Result<i32, Failure> {
        let row = self.client.query_one(&self.select, &[&id]).await?;
        Ok(row.try_get(0)?)
    }
}

/// sqlx without its test before acquire. It keeps statements by default.
#[derive(Debug, Clone)]
pub(super) struct Sqlx(sqlx::PgPool);

impl Lookup for Sqlx {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        let select = sqlx::query_scalar(SELECT).bind(id);
        Ok(select.fetch_one(&self.0).await?)
    }
}

impl Pool for Sqlx {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        let options = PgPoolOptions::new().test_before_acquire(false);
        let lazy = options.max_connections(size);
        Ok(Self(
            lazy.connect_lazy_with(PgConnectOptions::from_str(url)?),
        ))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        let mut held = Vec::new();
        for _ in 0..size {
            let mut connection = self.0.acquire().await?;
            let select = sqlx::query_scalar::<_, i32>(SELECT).bind(0);
            select.fetch_one(&mut *connection).await?;
            held.push(connection);
        }
        Ok(())
    }
}

/// sqlx as it is by default: it tests before each acquire.
#[derive(Debug, Clone)]
pub(super) struct SafeSqlx(Sqlx);

impl Lookup for SafeSqlx {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        self.0.look_up(id).await
    }
}

impl Pool for SafeSqlx {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        let lazy = PgPoolOptions::new().max_connections(size);
        let options = PgConnectOptions::from_str(url)?;
        Ok(Self(Sqlx(lazy.connect_lazy_with(options))))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        self.0.warm(size).await
    }
}

/// The connections of sqlx on our pool, as it is by default: each lease is clean.
#[derive(Debug, Clone)]
pub(super) struct OursOfSqlx(pool_db::sqlx::Pool<sqlx::Postgres>);

impl Lookup for OursOfSqlx {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        let select = sqlx::query_scalar(SELECT).bind(id);
        Ok(select.fetch_one(&self.0).await?)
    }
}

impl Pool for OursOfSqlx {
    async fn build(url: &str, size: u32) -> Result<Self, Failure> {
        let builder = pool_db::sqlx::Pool::builder().url(url);
        Ok(Self(builder.max_size(size).build()?))
    }

    async fn warm(&self, size: u32) -> Result<(), Failure> {
        let mut held = Vec::new();
        for _ in 0..size {
            let mut connection = self.0.get().await?;
            let select = sqlx::query_scalar::<_, i32>(SELECT).bind(0);
            select.fetch_one(&mut connection).await?;
            held.push(connection);
        }
        Ok(())
    }
}

/// A client of tokio-postgres by itself. A clone is another handle on the same connection.
#[derive(Debug, Clone)]
pub(super) struct Bare(Arc<Prepared>);

impl Bare {
    /// Opens a connection and prepares the statement.
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        // It ends with the client; an error in it is the client's as well.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self(Arc::new(Prepared::new(client).await?)))
    }
}

impl Lookup for Bare {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        self.0.ask(id).await
    }
}
