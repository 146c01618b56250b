//! What is done to each new session, on a real server: `on_connect`, `after_connect` and the server's own limits.

#![allow(clippy::unwrap_used)]

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use pool_db::postgres::{Builder, Client, Pool, Reset, Shareable, Shared};
use tests::pgbouncer::Bouncer;
use tests::postgres::Server;
use tokio::time::sleep;

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(20);

fn builder(server: &Server) -> Builder {
    Pool::builder().url(server.url()).max_size(1)
}

async fn text(client: &Client, sql: &str) -> String {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

async fn pid(client: &Client) -> String {
    text(client, "SELECT pg_backend_pid()::text").await
}

/// Waits until everything that was given back has been cleaned or closed.
async fn settled(pool: &Pool) {
    let begin = Instant::now();
    while pool.status().open != pool.status().idle {
        assert!(begin.elapsed() < SOON, "{:?}", pool.status());
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn what_after_connect_leaves_is_how_every_caller_finds_the_session() {
    let server = Server::start();
    let runs = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&runs);
    let pool = builder(&server)
        .on_connect("SET lock_timeout = '7s'")
        .after_connect(move |client| {
            counted.fetch_add(1, Relaxed);
            Box::pin(async move {
                let set = text(client, "SHOW lock_timeout").await;
                client
                    .batch_execute(&format!(
                        "SET statement_timeout = '{set}'; CREATE TEMP TABLE mine (n int)"
                    ))
                    .await?;
                let transaction = client.transaction().await?;
                transaction
                    .execute("INSERT INTO mine VALUES (7)", &[])
                    .await?;
                transaction.commit().await
            })
        })
        .build()
        .unwrap();
    let connection = pool.get().await.unwrap();
    let first = pid(&connection).await;
    assert_eq!(text(&connection, "SHOW statement_timeout").await, "7s");
    drop(connection);
    settled(&pool).await;
    assert_eq!(runs.load(Relaxed), 1, "there was nothing to clean");

    let connection = pool.get().await.unwrap();
    connection
        .batch_execute("SET statement_timeout = 0; UPDATE mine SET n = 8")
        .await
        .unwrap();
    drop(connection);
    settled(&pool).await;
    assert_eq!(runs.load(Relaxed), 2);
    let connection = pool.get().await.unwrap();
    assert_eq!(text(&connection, "SHOW statement_timeout").await, "7s");
    assert_eq!(text(&connection, "SELECT n::text FROM mine").await, "7");
    assert_eq!(pid(&connection).await, first);
}

#[tokio::test]
async fn statements_that_the_setup_prepares_are_there_after_each_cleaning() {
    let server = Server::start();
    for policy in [Reset::Seen, Reset::Always, Reset::DiscardAll] {
        let pool = builder(&server)
            .reset(policy)
            .on_connect("PREPARE by_sql AS SELECT 'by sql'")
            .after_connect(|client| {
                Box::pin(async {
                    client
                        .batch_execute("PREPARE by_hook AS SELECT 'by hook'")
                        .await
                })
            })
            .build()
            .unwrap();
        let first = pid(&pool.get().await.unwrap()).await;
        for round in 0..3 {
            let connection = pool.get().await.unwrap();
            assert_eq!(pid(&connection).await, first, "{policy:?}, round {round}");
            assert_eq!(
                text(&connection, "SELECT string_agg(name, ' ' ORDER BY name) FROM pg_prepared_statements WHERE from_sql").await,
                "by_hook by_sql"
            );
            connection
                .batch_execute("PREPARE \"lea\"\"k\" AS SELECT 1; SET work_mem = '1MB'")
                .await
                .unwrap();
            drop(connection);
            settled(&pool).await;
        }
    }
}

#[tokio::test]
async fn a_setup_that_fails_is_a_failed_connect_that_says_so() {
    let server = Server::start();
    let ok = || builder(&server).acquire_timeout(Duration::from_secs(2));
    for (builder, says, code) in [
        (
            ok().on_connect("SELECT nothing"),
            "on_connect failed: ERROR: column \"nothing\" does not exist",
            Some("42703"),
        ),
        (
            ok().after_connect(|client| {
                Box::pin(async { client.batch_execute("SELECT nothing").await })
            }),
            "after_connect failed: ERROR: column \"nothing\" does not exist",
            Some("42703"),
        ),
        (
            ok().after_connect(|_| Box::pin(async { panic!("no shard is mine") })),
            "after_connect panicked: no shard is mine",
            None,
        ),
        (
            ok().after_connect(|_| panic!("not even begun")),
            "after_connect panicked: not even begun",
            None,
        ),
        (
            ok().after_connect(|client| Box::pin(async { client.batch_execute("BEGIN").await })),
            "after_connect left a transaction open",
            None,
        ),
        (
            ok().after_connect(|_| Box::pin(async { Err(pool_db::Error::other("not today")) })),
            "after_connect failed: not today",
            None,
        ),
    ] {
        let pool = builder.build().unwrap();
        let error = pool.get().await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(error.as_sqlstate(), code, "{error}");
        assert!(pool.drain(SOON).await.is_complete());
        let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        assert_eq!(server.sql(left), "0", "{says}");
    }
}

#[tokio::test]
async fn a_hook_that_hangs_is_bounded_by_the_time_to_open() {
    let server = Server::start();
    let pool = builder(&server)
        .create_timeout(Duration::from_millis(300))
        .acquire_timeout(SOON)
        .after_connect(|_| Box::pin(pending()))
        .build()
        .unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(error.to_string().contains("300ms"), "{error}");
}

#[tokio::test]
async fn a_hook_that_fails_when_a_session_is_cleaned_closes_the_connection() {
    let server = Server::start();
    let runs = Arc::new(AtomicU32::new(0));
    let pool = builder(&server)
        .after_connect(move |_| {
            let run = runs.fetch_add(1, Relaxed);
            Box::pin(async move {
                assert_ne!(run, 1, "the second run fails");
                Ok(())
            })
        })
        .build()
        .unwrap();
    let connection = pool.get().await.unwrap();
    let first = pid(&connection).await;
    connection
        .batch_execute("SET work_mem = '1MB'")
        .await
        .unwrap();
    drop(connection);
    let connection = pool.get().await.unwrap();
    assert_ne!(pid(&connection).await, first);
    assert_eq!(text(&connection, "SHOW work_mem").await, "4MB");
}

#[tokio::test]
async fn the_servers_limits_are_part_of_the_session_and_survive_cleaning() {
    let server = Server::start();
    let second = Duration::from_secs(1);
    let pool = builder(&server)
        .url(format!("{}?options=-c%20geqo%3Doff", server.url()))
        .statement_timeout(5 * second)
        .idle_in_transaction_session_timeout(7 * second)
        .lock_timeout(Duration::from_micros(2_500_001))
        .build()
        .unwrap();
    for round in 0..2 {
        let connection = pool.get().await.unwrap();
        for (name, value) in [
            ("statement_timeout", "5s"),
            ("idle_in_transaction_session_timeout", "7s"),
            ("lock_timeout", "2501ms"),
            ("geqo", "off"),
        ] {
            assert_eq!(
                text(&connection, &format!("SHOW {name}")).await,
                value,
                "{round}"
            );
        }
        connection
            .batch_execute("SET statement_timeout = 0; SET lock_timeout = 0; SET geqo = on")
            .await
            .unwrap();
        drop(connection);
        settled(&pool).await;
    }
}

#[tokio::test]
async fn off_is_sent_and_nothing_is_sent_by_default() {
    let server = Server::start();
    server.sql("ALTER ROLE postgres SET statement_timeout = '9s'");
    let own = builder(&server).build().unwrap();
    let connection = own.get().await.unwrap();
    assert_eq!(text(&connection, "SHOW statement_timeout").await, "9s");
    let off = builder(&server).statement_timeout(None).build().unwrap();
    let connection = off.get().await.unwrap();
    assert_eq!(text(&connection, "SHOW statement_timeout").await, "0");
}

#[tokio::test]
async fn the_server_ends_what_takes_too_long() {
    let server = Server::start();
    let pool = builder(&server)
        .statement_timeout(Duration::from_millis(300))
        .idle_in_transaction_session_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let mut connection = pool.get().await.unwrap();
    let error = connection
        .query("SELECT pg_sleep(60)", &[])
        .await
        .unwrap_err();
    assert!(error.is_database(), "{error}");
    assert_eq!(error.as_sqlstate(), Some("57014"));
    assert!(error.to_string().contains("statement timeout"), "{error}");

    let transaction = connection.transaction().await.unwrap();
    let begin = Instant::now();
    while !transaction.is_closed() {
        assert!(begin.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    }
    let error = transaction.query("SELECT 1", &[]).await.unwrap_err();
    assert!(error.is_disconnected(), "{error}");
    assert_eq!(error.as_sqlstate(), Some("25P03"), "{error}");
    drop(transaction);
    drop(connection);
    assert_eq!(
        text(&pool.get().await.unwrap(), "SELECT 'again'").await,
        "again"
    );
}

#[tokio::test]
async fn behind_pgbouncer_the_limits_are_the_roles() {
    let server = Server::start();
    let second = Duration::from_secs(1);
    let limited = |bouncer: &Bouncer| {
        let builder = Pool::builder().url(bouncer.url()).statement_timeout(second);
        builder.acquire_timeout(2 * second).build().unwrap()
    };
    let strict = Bouncer::builder(&server).start();
    let error = limited(&strict).get().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    let says = "unsupported startup parameter";
    assert!(error.to_string().contains(says), "{error}");

    server.sql("ALTER ROLE postgres SET statement_timeout = '9s'");
    let lenient = Bouncer::builder(&server)
        .setting("ignore_startup_parameters", "options")
        .start();
    let connection = limited(&lenient).get().await.unwrap();
    assert_eq!(text(&connection, "SHOW statement_timeout").await, "9s");
}

#[tokio::test]
async fn what_after_connect_leaves_on_a_shared_connection_is_there_for_every_caller() {
    const SEEN: Shareable<'_> = Shareable::new(
        "SELECT current_setting('search_path') || ' ' || current_setting('lock_timeout') || ' ' || current_setting('statement_timeout')",
    );
    let server = Server::start();
    let ok = || {
        Shared::builder()
            .url(server.url())
            .acquire_timeout(Duration::from_secs(2))
            .max_size(1)
    };
    let shared = ok()
        .lock_timeout(Duration::from_secs(7))
        .on_connect("CREATE SCHEMA IF NOT EXISTS mine")
        .after_connect(|client| {
            Box::pin(async {
                let row = client.query_one(
                    "SELECT nspname::text FROM pg_namespace WHERE nspname = 'mine'",
                    &[],
                );
                let path: String = row.await?.get(0);
                client
                    .batch_execute(&format!("SET search_path = {path}"))
                    .await
            })
        })
        .build()
        .unwrap();
    for _ in 0..3 {
        let row = shared.query_one(SEEN, &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "mine 7s 1s");
    }
    assert_eq!(
        shared.timings().create.count(),
        1,
        "the connection was kept"
    );
    for (builder, says) in [
        (
            ok().on_connect("SELECT nothing"),
            "on_connect failed: ERROR: column \"nothing\"",
        ),
        (
            ok().after_connect(|_| Box::pin(async { panic!("no shard is mine") })),
            "after_connect panicked: no shard is mine",
        ),
        (
            ok().after_connect(|client| Box::pin(async { client.batch_execute("BEGIN").await })),
            "after_connect left a transaction open",
        ),
    ] {
        let shared = builder.build().unwrap();
        let error = shared.query(SEEN, &[]).await.unwrap_err();
        assert!(
            error.is_connect() && error.to_string().contains(says),
            "{error}"
        );
        assert!(shared.drain(SOON).await.is_complete());
    }
    assert!(shared.drain(SOON).await.is_complete());
    let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    assert_eq!(server.sql(left), "0");
}
