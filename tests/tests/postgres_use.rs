//! What a pool of PostgreSQL connections does by itself: statements, streams, copies and transactions, on a real server.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    task::{Context, Waker},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use pool_db::{
    Error,
    postgres::{Connection, IsolationLevel, Pool, Reset},
};
use tests::postgres::Server;

fn pool(server: &Server, max_size: u32) -> Pool {
    Pool::builder()
        .url(server.url())
        .max_size(max_size)
        .build()
        .unwrap()
}

async fn pid(pool: &Pool) -> i32 {
    let row = pool.query_one("SELECT pg_backend_pid()", &[]).await;
    row.unwrap().get(0)
}

/// Polls a future once, and drops it.
fn give_up<T>(future: impl Future<Output = T>) {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    let _ = future.as_mut().poll(&mut context).is_ready();
}

#[tokio::test]
async fn a_pool_runs_statements() {
    let server = Server::start();
    let pool = pool(&server, 2);
    pool.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let added = pool.execute("INSERT INTO t SELECT generate_series(1, 3)", &[]);
    assert_eq!(added.await.unwrap(), 3);
    let rows = pool.query("SELECT n FROM t WHERE n > $1 ORDER BY n", &[&1]);
    let rows: Vec<i32> = rows.await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(rows, [2, 3]);
    let one = pool.query_one("SELECT count(*) FROM t", &[]).await.unwrap();
    assert_eq!(one.get::<_, i64>(0), 3);
    let none = pool.query_opt("SELECT n FROM t WHERE n = 9", &[]).await;
    assert!(none.unwrap().is_none());
    for (sql, found) in [("SELECT n FROM t WHERE n = 9", 0), ("SELECT n FROM t", 3)] {
        let error = pool.query_one(sql, &[]).await.unwrap_err();
        assert!(error.to_string().contains(&found.to_string()), "{error}");
    }
    assert_eq!(pool.status().open, 1, "one after the other");
}

#[tokio::test]
async fn a_stream_has_its_rows_in_order_and_returns_its_connection() {
    let server = Server::start();
    let pool = pool(&server, 1);
    let mut rows = pool
        .stream("SELECT generate_series(1, $1::int)", &[&100_000])
        .await
        .unwrap();
    let mut sum = 0_i64;
    while let Some(row) = rows.try_next().await.unwrap() {
        sum += i64::from(row.get::<_, i32>(0));
    }
    assert_eq!((sum, rows.rows_affected()), (5_000_050_000, Some(100_000)));
    assert!(rows.next().await.is_none());
    drop(rows);
    let before = pid(&pool).await;

    // One that is left in the middle: what is left of it is cancelled, and the connection is kept.
    let mut rows = pool
        .stream("SELECT generate_series(1, 100000000)", &[])
        .await
        .unwrap();
    for n in 1..=3 {
        let row = rows.next().await.unwrap().unwrap();
        assert_eq!(row.get::<_, i32>(0), n);
    }
    drop(rows);
    assert_eq!(pid(&pool).await, before);

    let error = pool.stream("SELECT 1 / n FROM generate_series(-1, 1) n", &[]);
    let error = error
        .await
        .unwrap()
        .try_collect::<Vec<_>>()
        .await
        .unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("22012"));
    assert_eq!(pid(&pool).await, before);
}

#[tokio::test]
async fn a_stream_waits_for_each_row_for_query_timeout_only() {
    let server = Server::start();
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .query_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    // The server sends rows when its buffer is full.
    let slow = "SELECT n, CASE n WHEN 90000 THEN pg_sleep(3600)::text END
        FROM (SELECT generate_series(1, 100000) n) numbers";
    let mut count = 0;
    let all = async {
        let mut rows = pool.stream(slow, &[]).await?;
        while rows.try_next().await?.is_some() {
            count += 1;
        }
        Ok::<_, Error>(())
    };
    let error = all.await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!((10_000..90_000).contains(&count), "{count}");
    pool.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn copies_go_in_and_out() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int PRIMARY KEY, text text)")
        .await
        .unwrap();
    let before = pid(&pool).await;
    let mut copy = pool.copy_in("COPY t FROM STDIN").await.unwrap();
    for n in 0..10_000 {
        copy.send(format!("{n}\ttext {n}\n")).await.unwrap();
    }
    assert_eq!(copy.finish().await.unwrap(), 10_000);

    let out = pool
        .copy_out("COPY (SELECT n, text FROM t ORDER BY n) TO STDOUT")
        .await
        .unwrap();
    let out: Vec<_> = out.try_collect().await.unwrap();
    assert_eq!(out.len(), 10_000);
    assert_eq!(&*out[7], b"7\ttext 7\n");

    // Given up: nothing is stored, and the connection is kept.
    let mut copy = pool.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("10001\tx\n").await.unwrap();
    drop(copy);
    let mut copy = pool
        .copy_out("COPY (SELECT generate_series(1, 10000000)) TO STDOUT")
        .await
        .unwrap();
    drop(copy.next().await);
    drop(copy);
    assert_eq!(server.sql("SELECT count(*) FROM t"), "10000");
    assert_eq!(pid(&pool).await, before);

    // What the server refuses is told at the end, and the connection goes on.
    let mut copy = pool.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("1\tagain\n").await.unwrap();
    let error = copy.finish().await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("23505"), "{error}");
    let mut copy = pool.copy_in("COPY t FROM STDIN").await.unwrap();
    copy.send("nonsense\n").await.unwrap();
    let error = copy.finish().await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("22P02"), "{error}");
    let error = pool.copy_in("COPY nowhere FROM STDIN").await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("42P01"), "{error}");
    for n in 0..3 {
        let row = pool.query_one("SELECT $1::int", &[&n]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), n, "each gets its own answer");
    }
    assert_eq!(pid(&pool).await, before);
    // Both in one lease, with requests on their heels.
    let connection = pool.get().await.unwrap();
    for n in 0..20 {
        give_up(connection.copy_in("COPY nowhere FROM STDIN"));
        let row = connection.query_one("SELECT $1::int", &[&n]).await;
        if let Ok(row) = row {
            assert_eq!(row.get::<_, i32>(0), n, "each gets its own answer");
        }
    }
    drop(connection);
    pool.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_copy_by_the_wrong_method_is_an_error_and_keeps_the_connection() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let before = pid(&pool).await;
    for sql in ["COPY t FROM STDIN", "COPY t TO STDOUT"] {
        let error = pool.execute(sql, &[]).await.unwrap_err();
        assert!(error.to_string().contains("copy_in"), "{error}");
        assert_eq!(pid(&pool).await, before, "after {sql}");
        let error = pool.batch_execute(sql).await.unwrap_err();
        assert!(error.to_string().contains("copy_in"), "{error}");
        assert_eq!(pid(&pool).await, before, "after {sql}");
    }
}

#[tokio::test]
async fn a_server_that_was_restarted_while_the_pool_was_idle_costs_no_error() {
    let mut server = Server::start();
    let pool = pool(&server, 8);
    for round in 0..3 {
        let all: Vec<Connection> = futures_util::future::try_join_all((0..8).map(|_| pool.get()))
            .await
            .unwrap();
        drop(all);
        server.restart();
        let rows = pool.query("SELECT 7", &[]).await;
        assert_eq!(rows.unwrap()[0].get::<_, i32>(0), 7, "round {round}");
        pool.transaction(async |tx| tx.execute("SELECT 1", &[]).await)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_transaction_is_what_its_closure_says() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int PRIMARY KEY)")
        .await
        .unwrap();
    let before = pid(&pool).await;
    let count = pool
        .transaction(|tx| async move {
            tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
            let undone = tx
                .savepoint(|tx| async move {
                    tx.execute("INSERT INTO t VALUES (2)", &[]).await?;
                    tx.execute("INSERT INTO t VALUES (1)", &[]).await
                })
                .await;
            assert_eq!(undone.unwrap_err().as_sqlstate(), Some("23505"));
            tx.savepoint(|tx| async move { tx.execute("INSERT INTO t VALUES (3)", &[]).await })
                .await
        })
        .await;
    assert_eq!(count.unwrap(), 1);
    assert_eq!(server.sql("SELECT n FROM t ORDER BY n"), "1\n3");

    // An error of the closure's own, a panic and a future that is dropped: nothing of it stays.
    #[derive(Debug, PartialEq)]
    struct Refused;
    impl From<Error> for Refused {
        fn from(error: Error) -> Self {
            panic!("{error}")
        }
    }
    let refused: Result<(), Refused> = pool
        .transaction(|tx| async move {
            tx.execute("INSERT INTO t VALUES (4)", &[]).await?;
            Err(Refused)
        })
        .await;
    assert_eq!(refused, Err(Refused));
    let panics = pool.clone();
    let panicked = tokio::spawn(async move {
        let work = panics.transaction(|tx| async move {
            tx.execute("INSERT INTO t VALUES (5)", &[]).await?;
            assert_eq!(1, 2, "on purpose");
            Ok::<_, Error>(())
        });
        work.await
    });
    assert!(panicked.await.unwrap_err().is_panic());
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let mut begun = Some(begun);
    let dropped = pool.clone();
    let task = tokio::spawn(async move {
        let work = dropped.transaction(|tx| {
            let begun = begun.take();
            async move {
                tx.execute("INSERT INTO t VALUES (6)", &[]).await?;
                begun.unwrap().send(()).unwrap();
                std::future::pending::<Result<(), Error>>().await
            }
        });
        work.await
    });
    has_begun.await.unwrap();
    task.abort();
    drop(task.await);
    assert_eq!(pid(&pool).await, before);
    assert_eq!(server.sql("SELECT n FROM t ORDER BY n"), "1\n3");
}

#[tokio::test]
async fn a_handle_that_outlives_its_closure_fails_the_transaction() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let kept = std::sync::Mutex::new(None);
    let error = pool
        .transaction(|tx| {
            *kept.lock().unwrap() = Some(tx.clone());
            async move { tx.execute("INSERT INTO t VALUES (1)", &[]).await }
        })
        .await
        .unwrap_err();
    assert!(error.to_string().contains("handle"), "{error}");
    drop(kept);
    let count = pool.query_one("SELECT count(*) FROM t", &[]).await;
    assert_eq!(count.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test]
async fn transactions_that_lose_against_others_run_again() {
    let server = Server::start();
    let pool = pool(&server, 4);
    pool.batch_execute("CREATE TABLE counter (n int); INSERT INTO counter VALUES (0)")
        .await
        .unwrap();
    let runs = AtomicU32::new(0);
    let add = async || {
        let plan = pool
            .build_transaction()
            .isolation_level(IsolationLevel::Serializable)
            .tries(1000);
        plan.run(|tx| {
            runs.fetch_add(1, Relaxed);
            async move {
                let row = tx.query_one("SELECT n FROM counter", &[]).await?;
                let next = row.get::<_, i32>(0) + 1;
                tx.execute("UPDATE counter SET n = $1", &[&next]).await?;
                Ok::<_, Error>(())
            }
        })
        .await
    };
    futures_util::future::try_join_all((0..40).map(|_| add()))
        .await
        .unwrap();
    assert_eq!(server.sql("SELECT n FROM counter"), "40");
    assert!(runs.load(Relaxed) >= 40);

    // Deadlocks as well: two who take two rows in opposite order, many times.
    pool.batch_execute("CREATE TABLE two (id int, n int); INSERT INTO two VALUES (1, 0), (2, 0)")
        .await
        .unwrap();
    let both = async |first: i32, second: i32| {
        for _ in 0..5 {
            let plan = pool.build_transaction().tries(1000);
            plan.run(|tx| async move {
                tx.batch_execute("SET LOCAL deadlock_timeout = '10ms'")
                    .await?;
                for id in [first, second] {
                    tx.execute("UPDATE two SET n = n + 1 WHERE id = $1", &[&id])
                        .await?;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Ok::<_, Error>(())
            })
            .await?;
        }
        Ok::<_, Error>(())
    };
    let (one, two) = tokio::join!(both(1, 2), both(2, 1));
    one.and(two).unwrap();
    assert_eq!(server.sql("SELECT n FROM two ORDER BY id"), "10\n10");

    // Any other error is told at once, and one that the closure got over is none.
    let runs = AtomicU32::new(0);
    let error = pool
        .transaction(|tx| {
            runs.fetch_add(1, Relaxed);
            async move { tx.execute("SELECT 1 / 0", &[]).await }
        })
        .await
        .unwrap_err();
    assert_eq!(
        (error.as_sqlstate(), runs.load(Relaxed)),
        (Some("22012"), 1)
    );
    let runs = AtomicU32::new(0);
    let error: Result<(), Error> = pool
        .transaction(|tx| {
            runs.fetch_add(1, Relaxed);
            async move {
                let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
                let lost = tx.savepoint(|tx| async move { tx.batch_execute(raise).await });
                assert_eq!(lost.await.unwrap_err().as_sqlstate(), Some("40001"));
                Err(Error::other("something else"))
            }
        })
        .await;
    assert_eq!(error.unwrap_err().to_string(), "something else");
    assert_eq!(runs.load(Relaxed), 1);
    let runs = AtomicU32::new(0);
    let error: Result<(), Error> = pool
        .build_transaction()
        .tries(3)
        .backoff(Duration::from_millis(1), Duration::from_millis(2))
        .run(|tx| {
            runs.fetch_add(1, Relaxed);
            async move {
                tx.batch_execute("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$")
                    .await
            }
        })
        .await;
    assert_eq!(error.unwrap_err().as_sqlstate(), Some("40P01"));
    assert_eq!(runs.load(Relaxed), 3);
}

#[tokio::test]
async fn a_transaction_that_waits_to_run_again_leaves_its_connection_to_others() {
    let server = Server::start();
    let pool = pool(&server, 1);
    let hour = Duration::from_secs(3600);
    let plan = pool.build_transaction().backoff(hour, hour);
    let waits = plan.run(|tx| async move {
        let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
        tx.batch_execute(raise).await
    });
    tokio::select! {
        biased;
        ended = waits => panic!("{ended:?}"),
        other = pool.query_one("SELECT 1", &[]) => assert!(other.is_ok(), "{other:?}"),
    }
}

#[tokio::test]
async fn a_statement_whose_outcome_is_unknown_keeps_its_transaction_from_a_commit() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let error = pool
        .transaction(|tx| async move {
            tx.execute("INSERT INTO t VALUES (1)", &[]).await?;
            give_up(tx.execute("INSERT INTO t VALUES (2)", &[]));
            Ok::<_, Error>(())
        })
        .await
        .unwrap_err();
    assert!(error.is_abandoned(), "{error}");
    let mut connection = pool.get().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    give_up(transaction.execute("INSERT INTO t VALUES (3)", &[]));
    let error = transaction.commit().await.unwrap_err();
    assert!(error.is_abandoned(), "{error}");
    drop(connection);
    pool.query("SELECT 1", &[]).await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
}

#[tokio::test]
async fn a_savepoint_by_hand_does_not_fail_the_commit() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let mut connection = pool.get().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    transaction
        .batch_execute("INSERT INTO t VALUES (1); SAVEPOINT s")
        .await
        .unwrap();
    transaction.execute("SELECT 1 / 0", &[]).await.unwrap_err();
    transaction.batch_execute("ROLLBACK TO s").await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "1");
}

#[tokio::test]
async fn a_forgotten_transaction_is_rolled_back() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE t (n int)").await.unwrap();
    let mut connection = pool.get().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    std::mem::forget(transaction);
    drop(connection);
    pool.execute("INSERT INTO t VALUES (2)", &[]).await.unwrap();
    assert_eq!(server.sql("SELECT n FROM t"), "2");
}

#[tokio::test]
async fn a_parameter_whose_type_has_changed_is_prepared_again() {
    let server = Server::start();
    let pool = pool(&server, 1);
    pool.batch_execute("CREATE TABLE visits (id int)")
        .await
        .unwrap();
    let sql = "SELECT id FROM visits WHERE id = $1";
    pool.query(sql, &[&1_i32]).await.unwrap();
    server.sql("ALTER TABLE visits ALTER COLUMN id TYPE bigint");
    let mut connection = pool.get().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    transaction.query(sql, &[&1_i64]).await.unwrap();
    transaction.commit().await.unwrap();
    for _ in 0..2 {
        connection.query(sql, &[&1_i64]).await.unwrap();
        let error = connection.query(sql, &[&"one"]).await.unwrap_err();
        assert!(!error.is_database(), "{error}");
    }
}

#[tokio::test]
async fn statements_that_a_caller_dropped_are_prepared_again_and_none_is_left() {
    let server = Server::start();
    server.sql("CREATE TYPE mood AS ENUM ('fine')");
    let pool = pool(&server, 1);
    for drops in ["DISCARD ALL", "DEALLOCATE ALL"] {
        let kept = "SELECT 1 AS kept";
        pool.query(kept, &[]).await.unwrap();
        let connection = pool.get().await.unwrap();
        connection.query("SELECT 'fine'::mood", &[]).await.unwrap();
        connection.batch_execute(drops).await.unwrap();
        drop(connection);
        let mut connection = pool.get().await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction.query(kept, &[]).await.unwrap();
        transaction
            .query("SELECT 'fine'::mood AS again", &[])
            .await
            .unwrap();
        transaction.commit().await.unwrap();
    }
    // Fifty prepares that are given up at once leave no more than the cache holds.
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .statement_cache(3)
        .build()
        .unwrap();
    let connection = pool.get().await.unwrap();
    for n in 0..50 {
        give_up(connection.query(&format!("SELECT {n}"), &[]));
    }
    drop(connection);
    let connection = pool.get().await.unwrap();
    let count = "SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql";
    let row = connection.query_one(count, &[]).await.unwrap();
    // The one that counts is among them, and the one that it has replaced may not be closed yet.
    let count: i64 = row.get(0);
    assert!(count <= 4, "{count}");
}

#[tokio::test]
async fn a_cold_text_is_prepared_once_however_many_ask() {
    let server = Server::builder()
        .setting("log_min_duration_statement", 0)
        .start();
    let pool = pool(&server, 1);
    let connection = pool.get().await.unwrap();
    let ask = || connection.query("SELECT $1::int AS once", &[&1]);
    futures_util::future::try_join_all((0..64).map(|_| ask()))
        .await
        .unwrap();
    let log = server.log();
    let lines = |what: &str| {
        let has = |line: &&str| line.contains(what) && line.contains("AS once");
        log.lines().filter(has).count()
    };
    assert_eq!((lines(" parse "), lines(" execute ")), (1, 64), "{log}");
}

#[tokio::test]
async fn what_an_abandoned_call_still_does_can_be_cancelled_within_the_lease() {
    let server = Server::start();
    let pool = pool(&server, 1);
    let connection = pool.get().await.unwrap();
    let sleep = connection.query("SELECT pg_sleep(3600)", &[]);
    tokio::time::timeout(Duration::from_millis(100), sleep)
        .await
        .unwrap_err();
    connection.cancel_abandoned().await.unwrap();
    connection.query("SELECT 1", &[]).await.unwrap();
    connection.cancel_abandoned().await.unwrap();
}

#[tokio::test]
async fn too_much_is_an_error_that_says_so() {
    let server = Server::start();
    let pool = pool(&server, 1);
    let many: Vec<&(dyn pool_db::postgres::tokio_postgres::types::ToSql + Sync)> =
        vec![&1_i32; 70_000];
    let error = pool.query("SELECT 1", &many).await.unwrap_err();
    assert!(error.to_string().contains("65535"), "{error}");
    for sql in ["SELECT 'a\0b'", "SELECT 1; SELECT 2"] {
        pool.query(sql, &[]).await.unwrap_err();
    }
    let error = pool.query("SELECT $1::text", &[&"a\0b"]).await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("22021"));
    pool.query("SELECT 1", &[]).await.unwrap();
}

#[tokio::test]
async fn a_policy_says_what_is_cleaned() {
    let server = Server::start();
    for (policy, leaks, keeps) in [
        (Reset::Seen, true, true),
        (Reset::Always, false, true),
        (Reset::DiscardAll, false, false),
        (Reset::Nothing, true, true),
    ] {
        let pool = Pool::builder()
            .url(server.url())
            .max_size(1)
            .reset(policy)
            .build()
            .unwrap();
        let before = pid(&pool).await;
        // A function does this, so no tag of a statement tells.
        pool.query("SELECT set_config('shop.tenant', 'Ada', false)", &[])
            .await
            .unwrap();
        let row = pool.query_one(
            "SELECT coalesce(current_setting('shop.tenant', true), '')",
            &[],
        );
        let left: String = row.await.unwrap().get(0);
        assert_eq!(left == "Ada", leaks, "{policy:?}");
        let kept = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%set_config%' AND NOT statement LIKE '%count%'";
        let kept: i64 = pool.query_one(kept, &[]).await.unwrap().get(0);
        assert_eq!(kept == 1, keeps, "{policy:?}");
        assert_eq!(pid(&pool).await, before, "{policy:?}");
        // Whatever the policy, a transaction does not go on.
        server.sql("CREATE TABLE t (n int)");
        pool.batch_execute("BEGIN").await.unwrap();
        pool.batch_execute("INSERT INTO t VALUES (1)")
            .await
            .unwrap();
        assert_eq!(server.sql("SELECT count(*) FROM t"), "1", "{policy:?}");
        server.sql("DROP TABLE t");
    }
}

#[tokio::test]
async fn a_dropped_statement_is_cancelled_at_once_if_that_is_asked_for() {
    let server = Server::start();
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .cancel_on_drop(true)
        .build()
        .unwrap();
    let connection = pool.get().await.unwrap();
    let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    for round in 0..20 {
        if round % 2 == 0 {
            // It may not even have been written yet.
            give_up(connection.query("SELECT pg_sleep(3600)", &[]));
        } else {
            let sleep = connection.query("SELECT pg_sleep(3600)", &[]);
            let limit = Duration::from_millis(round);
            tokio::time::timeout(limit, sleep).await.unwrap_err();
        }
        // The next call of the same lease is not hit, and does not wait for an hour.
        let row = connection.query_one("SELECT $1::int", &[&7]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), 7, "round {round}");
        assert_eq!(server.sql(running), "0", "round {round}");
    }
    // A stream, and a lease that is kept and idle.
    let rows = connection.stream("SELECT pg_sleep(3600)", &[]);
    let limit = Duration::from_millis(50);
    drop(tokio::time::timeout(limit, rows).await);
    while server.sql(running) != "0" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
