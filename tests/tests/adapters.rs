//! Managers that other people wrote and published, unchanged on this engine, against real servers that are killed.

#![allow(clippy::unwrap_used)]

use std::error::Error as StdError;
use std::time::{Duration, Instant};

use bb8_postgres::PostgresConnectionManager;
use deadpool_lapin::lapin::options::{BasicGetOptions, BasicPublishOptions, QueueDeclareOptions};
use deadpool_lapin::lapin::types::FieldTable;
use deadpool_lapin::lapin::{self, BasicProperties, ConnectionProperties};
use deadpool_postgres::tokio_postgres::{self, NoTls};
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use futures_util::future::join_all;
use pool_core::adapt::{Bb8, Deadpool, ForeignError};
use pool_core::observe::CloseReason;
use pool_core::{Lease, Manager, Pool};
use tests::{postgres, rabbitmq};
use tokio::time::{sleep, timeout};

/// Nothing here takes that long, but for the start of a server.
const SOON: Duration = Duration::from_secs(20);
const SIZE: u32 = 3;

fn pool<M: Manager>(manager: M) -> Pool<M> {
    Pool::builder(manager)
        .max_size(SIZE)
        .acquire_timeout(SOON)
        .build()
        .unwrap()
}

/// Thirty callers, ten leases each, of a few connections.
async fn share<M: Manager>(
    pool: &Pool<M>,
    operation: impl AsyncFn(&mut M::Resource, usize) -> usize,
) {
    let callers = (0..30).map(async |n| {
        for round in 0..10 {
            let mut lease = pool.get().await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(operation(&mut lease, n * 10 + round).await, n * 10 + round);
        }
    });
    join_all(callers).await;
    let status = pool.status();
    assert!(status.opened <= SIZE.into(), "{status:?}");
    assert_eq!((status.gets, status.leased, status.waiting), (300, 0, 0));
    all_capacity(pool).await;
}

/// As many at once as there may be.
async fn all_capacity<M: Manager>(pool: &Pool<M>) {
    let leases = join_all((0..SIZE).map(|_| pool.get())).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(pool.status().leased, SIZE);
}

/// Works again, once the server is back, after a few that were cut off at most.
async fn recovers<M: Manager>(pool: &Pool<M>, operation: impl AsyncFn(&mut M::Resource) -> bool) {
    let begin = Instant::now();
    loop {
        let works = match pool.get().await {
            Ok(mut lease) => operation(&mut lease).await,
            Err(_) => false,
        };
        if works {
            break;
        }
        assert!(begin.elapsed() < SOON, "{:?}", pool.status());
        sleep(Duration::from_millis(50)).await;
    }
    all_capacity(pool).await;
}

/// With the server gone callers are told at once, by the driver's own error.
async fn says_why<M, E>(manager: M)
where
    M: Manager<Error = ForeignError>,
    E: StdError + 'static,
{
    let Err(error) = pool(manager).get().await else {
        panic!("there is no server")
    };
    assert!(error.is_connect(), "{error}");
    let said = error.connect_error().and_then(|it| it.downcast_ref::<E>());
    assert!(said.is_some(), "{error}");
}

async fn ends<M: Manager>(pool: Pool<M>) {
    let drained = pool.drain(SOON).await;
    assert!(drained.is_complete(), "{drained:?}");
}

fn deadpool_postgres(
    server: &postgres::Server,
    recycling_method: RecyclingMethod,
) -> Deadpool<deadpool_postgres::Manager> {
    let config = server.url().parse().unwrap();
    let manager_config = ManagerConfig { recycling_method };
    Deadpool::new(deadpool_postgres::Manager::from_config(
        config,
        NoTls,
        manager_config,
    ))
}

const BACKENDS: &str = "SELECT count(*) FROM pg_stat_activity \
    WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";

#[tokio::test]
async fn deadpool_postgres_shares_and_recovers() {
    let mut server = postgres::Server::start();
    let pool = pool(deadpool_postgres(&server, RecyclingMethod::Fast));
    share(&pool, async |client, n| {
        // Through the statement cache of deadpool's wrapper.
        let statement = client.prepare_cached("SELECT $1::bigint").await.unwrap();
        let row = client.query_one(&statement, &[&(n as i64)]).await.unwrap();
        row.get::<_, i64>(0) as usize
    })
    .await;
    assert_eq!(server.sql(BACKENDS), SIZE.to_string());
    let caches = &pool.manager().inner().statement_caches;
    caches.clear();

    server.kill();
    says_why::<_, tokio_postgres::Error>(deadpool_postgres(&server, RecyclingMethod::Fast)).await;
    server.restart();
    let works = async |client: &mut deadpool_postgres::ClientWrapper| {
        client.query_one("SELECT 1", &[]).await.is_ok()
    };
    recovers(&pool, works).await;
    ends(pool).await;
}

#[tokio::test]
async fn deadpool_postgres_cleans_between_two_leases() {
    let server = postgres::Server::start();
    let pool = Pool::builder(deadpool_postgres(&server, RecyclingMethod::Clean))
        .max_size(1)
        .build()
        .unwrap();
    for _ in 0..5 {
        let client = pool.get().await.unwrap();
        let row = client.query_one("SHOW statement_timeout", &[]).await;
        assert_eq!(row.unwrap().get::<_, &str>(0), "0");
        let change = "SET statement_timeout = 12345; CREATE TEMP TABLE mine (n int)";
        client.batch_execute(change).await.unwrap();
    }
    assert_eq!(pool.status().opened, 1);

    // An operation that was dropped half-way: recycling would not see the transaction.
    let mut client = pool.get().await.unwrap();
    let half = Lease::run(&mut client, async |client| {
        client.batch_execute("BEGIN; SELECT pg_sleep(10)").await
    });
    assert!(timeout(Duration::from_millis(100), half).await.is_err());
    drop(client);
    let mut client = pool.get().await.unwrap();
    client.transaction().await.unwrap().commit().await.unwrap();
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    drop(client);
    ends(pool).await;
}

fn bb8_postgres(server: &postgres::Server) -> Bb8<PostgresConnectionManager<NoTls>> {
    Bb8::new(PostgresConnectionManager::new_from_stringlike(server.url(), NoTls).unwrap())
}

#[tokio::test]
async fn bb8_postgres_shares_and_recovers() {
    let mut server = postgres::Server::start();
    let pool = pool(bb8_postgres(&server));
    share(&pool, async |client, n| {
        let row = client.query_one("SELECT $1::bigint", &[&(n as i64)]).await;
        row.unwrap().get::<_, i64>(0) as usize
    })
    .await;
    assert_eq!(server.sql(BACKENDS), SIZE.to_string());

    let works =
        async |client: &mut tokio_postgres::Client| client.simple_query("SELECT 1").await.is_ok();
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
    recovers(&pool, works).await;

    server.kill();
    says_why::<_, tokio_postgres::Error>(bb8_postgres(&server)).await;
    server.restart();
    recovers(&pool, works).await;
    ends(pool).await;
}

/// A frozen server answers nothing: what was idle is not handed out on trust, and nobody waits longer than the deadline.
#[tokio::test]
async fn bb8_postgres_finds_out_that_the_server_is_silent() {
    let mut server = postgres::Server::start();
    let pool = Pool::builder(bb8_postgres(&server))
        .max_size(1)
        .check_after(Duration::ZERO)
        .check_timeout(Duration::from_millis(300))
        .create_timeout(Duration::from_millis(300))
        .close_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    sleep(Duration::from_millis(20)).await;
    server.freeze();
    let begin = Instant::now();
    let error = pool
        .get()
        .timeout(Duration::from_secs(2))
        .await
        .unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(4), "{error}");
    assert_eq!(pool.status().closed.by(CloseReason::CheckFailed), 1);
    server.thaw();
    let begin = Instant::now();
    while pool.get().await.is_err() {
        assert!(begin.elapsed() < SOON, "{:?}", pool.status());
        sleep(Duration::from_millis(50)).await;
    }
    ends(pool).await;
}

fn deadpool_lapin(server: &rabbitmq::Server) -> Deadpool<deadpool_lapin::Manager> {
    let runtime = lapin::runtime::default_runtime().unwrap();
    Deadpool::new(deadpool_lapin::Manager::new(
        server.url(),
        ConnectionProperties::default,
        runtime,
    ))
}

/// Sends a message to a queue of its own and fetches it.
async fn relay(connection: &mut lapin::Connection, n: usize) -> lapin::Result<usize> {
    let channel = connection.create_channel().await?;
    let queue = format!("queue {n}");
    let declare = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.as_str().into(), declare, FieldTable::default())
        .await?;
    let payload = n.to_string();
    let sent = channel.basic_publish(
        "".into(),
        queue.as_str().into(),
        BasicPublishOptions::default(),
        payload.as_bytes(),
        BasicProperties::default(),
    );
    sent.await?.await?;
    let message = channel
        .basic_get(queue.as_str().into(), BasicGetOptions { no_ack: true })
        .await?;
    let text = String::from_utf8(message.unwrap().delivery.data).unwrap();
    Ok(text.parse().unwrap())
}

#[tokio::test]
async fn deadpool_lapin_shares_and_recovers() {
    let mut server = rabbitmq::Server::start();
    let pool = pool(deadpool_lapin(&server));
    share(&pool, async |connection, n| {
        relay(connection, n).await.unwrap()
    })
    .await;
    server.kill();
    says_why::<_, deadpool_lapin::lapin::Error>(deadpool_lapin(&server)).await;
    server.restart();
    let works = async |connection: &mut lapin::Connection| relay(connection, 7).await.is_ok();
    recovers(&pool, works).await;
    ends(pool).await;
}
