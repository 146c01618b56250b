//! Many tasks that read keys of a Redis server at once.

use deadpool_redis::{Config, Runtime};
use pool_db::redis::Shared;
use pool_db::redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use pool_db::redis::redis::{Client, cmd, pipe};
use tests::redis::Server;

use super::crowd::ask;
use super::failure::Failure;
use super::figures::Figures;
use super::peer::{Lookup, ROWS, value_of};

/// Tasks that read.
pub(super) const TASKS: usize = 64;

/// Connections of the pool whose connections are exclusive.
pub(super) const SIZE: usize = 16;

/// A pool or a connection, which connects to `url`.
pub(super) trait Reader: Lookup + Clone + Sync {
    /// All its connections are open.
    fn open(url: &str) -> impl Future<Output = Result<Self, Failure>> + Send;
}

/// The time of a read, on a server of its own.
pub(super) async fn run<R: Reader>(times: usize) -> Result<Figures, Failure> {
    let server = tokio::task::spawn_blocking(Server::start).await?;
    fill(&server.url()).await?;
    let reader = R::open(&server.url()).await?;
    let asked = ask(vec![reader; TASKS], times).await?;
    Ok(Figures::new(asked.ns(), asked.p99()))
}

async fn fill(url: &str) -> Result<(), Failure> {
    let mut connection = Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let mut all = pipe();
    for id in 0..ROWS {
        all.set(key(id), value_of(id)).ignore();
    }
    Ok(all.exec_async(&mut connection).await?)
}

fn key(id: i32) -> String {
    format!("item:{id}")
}

async fn get(connection: &mut (impl ConnectionLike + Send), id: i32) -> Result<i32, Failure> {
    Ok(cmd("GET").arg(key(id)).query_async(connection).await?)
}

/// pool-db's shared connections, as they are by default.
#[derive(Debug, Clone)]
pub(super) struct Ours(Shared);

impl Lookup for Ours {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        get(&mut &self.0, id).await
    }
}

impl Reader for Ours {
    async fn open(url: &str) -> Result<Self, Failure> {
        let shared = Shared::builder().url(url).build()?;
        shared.warm_up().await?;
        Ok(Self(shared))
    }
}

/// deadpool-redis, which asks a connection whether it is alive each time.
#[derive(Clone)]
pub(super) struct Deadpool(deadpool_redis::Pool);

impl Lookup for Deadpool {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        get(&mut self.0.get().await?, id).await
    }
}

impl Reader for Deadpool {
    async fn open(url: &str) -> Result<Self, Failure> {
        let builder = Config::from_url(url).builder()?;
        let pool = builder.max_size(SIZE).runtime(Runtime::Tokio1).build()?;
        let mut held = Vec::new();
        for _ in 0..SIZE {
            held.push(pool.get().await?);
        }
        drop(held);
        Ok(Self(pool))
    }
}

/// A connection of the driver by itself. A clone is another handle on the same connection.
#[derive(Debug, Clone)]
pub(super) struct Bare(MultiplexedConnection);

impl Lookup for Bare {
    async fn look_up(&self, id: i32) -> Result<i32, Failure> {
        get(&mut self.0.clone(), id).await
    }
}

impl Reader for Bare {
    async fn open(url: &str) -> Result<Self, Failure> {
        let client = Client::open(url)?;
        Ok(Self(client.get_multiplexed_async_connection().await?))
    }
}
