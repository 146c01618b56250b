//! deadpool-postgres and bb8-postgres.

use std::time::Duration;

use bb8_postgres::PostgresConnectionManager;
use deadpool_postgres::tokio_postgres::{self, NoTls};
use deadpool_postgres::{ManagerConfig, RecyclingMethod};
use pool_core::adapt::{Bb8, Deadpool};
use pool_core::observe::CloseReason;
use pool_core::{Lease, Pool};
use tests::postgres::Server;
use tokio::time::timeout;

use crate::{
    SIZE, ends, finds_out_that_it_is_silent, outlasts, pool, recovers, says_why, share, wary,
};

fn deadpool_postgres(
    server: &Server,
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
    let server = Server::start();
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

    let works = async |client: &mut deadpool_postgres::ClientWrapper| {
        client.query_one("SELECT 1", &[]).await.is_ok()
    };
    let mut server = outlasts(&pool, server, works).await;
    server.kill();
    says_why::<_, tokio_postgres::Error>(deadpool_postgres(&server, RecyclingMethod::Fast)).await;
    server.restart();
    recovers(&pool, works).await;
    ends(pool).await;
}

#[tokio::test]
async fn deadpool_postgres_cleans_between_two_leases() {
    let server = Server::start();
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

fn bb8_postgres(server: &Server) -> Bb8<PostgresConnectionManager<NoTls>> {
    Bb8::new(PostgresConnectionManager::new_from_stringlike(server.url(), NoTls).unwrap())
}

#[tokio::test]
async fn bb8_postgres_shares_and_recovers() {
    let server = Server::start();
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

    let mut server = outlasts(&pool, server, works).await;
    server.kill();
    says_why::<_, tokio_postgres::Error>(bb8_postgres(&server)).await;
    server.restart();
    recovers(&pool, works).await;
    ends(pool).await;
}

#[tokio::test]
async fn bb8_postgres_finds_out_that_the_server_is_silent() {
    let mut server = Server::start();
    let pool = wary(bb8_postgres(&server)).build().unwrap();
    finds_out_that_it_is_silent(&pool, &mut server).await;
    ends(pool).await;
}
