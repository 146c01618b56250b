//! One writer and many readers, and group commit.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pool_db::{
    Error,
    sqlite::{
        Builder, Pool, Reset,
        rusqlite::{self, ffi},
    },
};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

const SOON: Duration = Duration::from_secs(10);
const MS: Duration = Duration::from_millis(1);
/// A statement that runs until it is stopped.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// A file with one table `t (n)`, and a builder of pools on it.
async fn database() -> (TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Pool::builder().path(folder.path().join("test.db"));
    let pool = builder.clone().build().unwrap();
    pool.write(|tx| tx.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)"))
        .await
        .unwrap();
    assert!(pool.drain(SOON).await.is_complete());
    (folder, builder)
}

async fn rows(pool: &Pool) -> Vec<i64> {
    pool.read(|db| {
        let mut statement = db.prepare("SELECT n FROM t ORDER BY n")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    })
    .await
    .unwrap()
}

async fn insert(pool: &Pool, n: i64) -> Result<usize, Error> {
    pool.write(move |tx| tx.execute("INSERT INTO t VALUES (?1)", [n]))
        .await
}

/// Waits until the queue of the writer has the given length.
async fn until_waiting(pool: &Pool, waiting: usize) {
    let begin = Instant::now();
    while pool.writer_status().unwrap().waiting != waiting {
        assert!(begin.elapsed() < SOON, "{:?}", pool.writer_status());
        sleep(MS).await;
    }
}

/// A write that holds the writer until the returned sender is used or dropped.
async fn hold(pool: &Pool) -> (tokio::task::JoinHandle<Result<(), Error>>, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let (begun, has_begun) = tokio::sync::oneshot::channel();
    let held = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.write(move |_| {
                begun.send(()).unwrap();
                wait.recv().ok();
                Ok(())
            })
            .await
        }
    });
    has_begun.await.unwrap();
    (held, go)
}

#[tokio::test]
async fn a_pool_that_only_reads_by_its_pragma_stays_so_after_a_read() {
    let (_folder, builder) = database().await;
    let pool = builder
        .max_size(1)
        .pragma("query_only", "1")
        .build()
        .unwrap();
    let count = |db: &mut rusqlite::Connection| {
        db.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(pool.read(count).await.unwrap(), 0);
    let insert = |db: &mut rusqlite::Connection| db.execute_batch("INSERT INTO t VALUES (1)");
    let error = pool.run(insert).await.unwrap_err();
    assert!(error.is_read_only(), "{error}");
    assert_eq!(pool.read(count).await.unwrap(), 0);
}

#[tokio::test]
async fn a_write_is_kept_if_it_returns_ok_and_else_rolled_back() {
    let (_folder, builder) = database().await;
    for builder in [builder.clone(), builder.group_commit(8)] {
        let pool = builder.build().unwrap();
        pool.run(|db| db.execute("DELETE FROM t", []))
            .await
            .unwrap();
        insert(&pool, 1).await.unwrap();
        let error = insert(&pool, 1).await.unwrap_err();
        assert!(error.is_unique_violation(), "{error}");
        let error = pool
            .call_write(|tx| {
                tx.execute("INSERT INTO t VALUES (2)", [])
                    .map_err(Error::from)?;
                Err::<(), _>(Error::other("too poor"))
            })
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "too poor");
        let error = pool
            .write::<(), _>(|tx| {
                tx.execute("INSERT INTO t VALUES (3)", [])?;
                panic!("as planned")
            })
            .await
            .unwrap_err();
        assert!(
            error.is_panic() && error.to_string().contains("as planned"),
            "{error}"
        );
        insert(&pool, 4).await.unwrap();
        assert_eq!(rows(&pool).await, [1, 4]);
        let status = pool.writer_status().unwrap();
        assert_eq!(
            (status.opened, status.open),
            (2, 1),
            "the panic cost one: {status:?}"
        );
        assert!(pool.drain(SOON).await.is_complete());
        assert!(insert(&pool, 5).await.unwrap_err().is_closed());
    }
}

#[tokio::test]
async fn a_closure_cannot_end_the_transaction_of_the_pool() {
    let (_folder, builder) = database().await;
    let pool = builder.group_commit(8).build().unwrap();
    for sql in [
        "COMMIT",
        "ROLLBACK",
        "END",
        "BEGIN",
        "RELEASE pool_db_write",
        "ROLLBACK TO \"pool_db_write\"",
    ] {
        let error = pool
            .write(move |tx| {
                tx.execute("INSERT INTO t VALUES (1)", [])?;
                tx.execute_batch(sql)
            })
            .await
            .unwrap_err();
        assert_eq!(
            error.as_sqlite_code(),
            Some(ffi::SQLITE_AUTH),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains("cannot begin or end"), "{error}");
    }
    assert!(rows(&pool).await.is_empty());
    let own = "SAVEPOINT mine; INSERT INTO t VALUES (1); ROLLBACK TO mine; INSERT INTO t VALUES (2); RELEASE mine";
    pool.write(move |tx| tx.execute_batch(own)).await.unwrap();
    assert_eq!(rows(&pool).await, [2]);
}

#[tokio::test]
async fn a_read_never_waits_for_a_write_and_cannot_write() {
    let (_folder, builder) = database().await;
    let pool = builder
        .max_size(2)
        .busy_timeout(Duration::ZERO)
        .build()
        .unwrap();
    let (held, go) = hold(&pool).await;
    for _ in 0..4 {
        assert!(rows(&pool).await.is_empty());
    }
    drop(go);
    held.await.unwrap().unwrap();
    for sql in [
        "INSERT INTO t VALUES (1)",
        "CREATE TABLE x (n)",
        "CREATE TEMP TABLE x (n)",
        "PRAGMA user_version = 7",
    ] {
        let error = pool
            .read(move |db| db.execute_batch(sql))
            .await
            .unwrap_err();
        assert_eq!(
            error.as_sqlite_code(),
            Some(ffi::SQLITE_READONLY),
            "{sql}: {error}"
        );
        assert!(error.to_string().contains("`read` cannot write"), "{error}");
    }
    let error = pool
        .read(|db| db.execute_batch("PRAGMA query_only = 0; INSERT INTO t VALUES (1)"))
        .await
        .unwrap_err();
    assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_AUTH), "{error}");
    // The same connections may write in `run`, whatever came before.
    for n in 0..6 {
        pool.run(move |db| db.execute("INSERT INTO t VALUES (?1)", [n]))
            .await
            .unwrap();
        assert_eq!(rows(&pool).await.len() as i64, n + 1);
    }
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn writes_run_in_order_of_arrival() {
    let (_folder, builder) = database().await;
    for builder in [builder.clone(), builder.group_commit(3)] {
        let pool = builder
            .max_size(1)
            .busy_timeout(Duration::ZERO)
            .build()
            .unwrap();
        let (held, go) = hold(&pool).await;
        let order = Arc::new(std::sync::Mutex::new(Vec::new()));
        let mut writes = Vec::new();
        for n in 0..10 {
            let (handle, order) = (pool.clone(), Arc::clone(&order));
            writes.push(tokio::spawn(async move {
                let write = handle.write(move |_| {
                    order.lock().unwrap().push(n);
                    Ok(())
                });
                write.await
            }));
            until_waiting(&pool, n + 1).await;
        }
        drop(go);
        held.await.unwrap().unwrap();
        for write in writes {
            write.await.unwrap().unwrap();
        }
        assert_eq!(*order.lock().unwrap(), (0..10).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn in_a_group_each_write_fails_alone() {
    let (_folder, builder) = database().await;
    let pool = builder.group_commit(16).build().unwrap();
    let (held, go) = hold(&pool).await;
    let seen = Arc::new(AtomicI64::new(0));
    let writes: Vec<_> = (0..8_i64)
        .map(|n| {
            let (pool, seen) = (pool.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                pool.write(move |tx| {
                    // Those before it in the group, which nobody else sees yet.
                    let before = tx.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
                    seen.fetch_max(before, Ordering::Relaxed);
                    tx.execute("INSERT INTO t VALUES (?1)", [n])?;
                    match n % 4 {
                        1 => tx.execute("INSERT INTO t VALUES (?1)", [n]),
                        2 => panic!("as planned"),
                        _ => Ok(1),
                    }
                })
                .await
            })
        })
        .collect();
    until_waiting(&pool, 8).await;
    drop(go);
    held.await.unwrap().unwrap();
    for (n, write) in writes.into_iter().enumerate() {
        let result = write.await.unwrap();
        match n % 4 {
            1 => assert!(result.unwrap_err().is_unique_violation()),
            2 => assert!(result.unwrap_err().is_panic()),
            _ => assert_eq!(result.unwrap(), 1),
        }
    }
    assert_eq!(rows(&pool).await, [0, 3, 4, 7]);
    assert_eq!(
        seen.load(Ordering::Relaxed),
        3,
        "they were in one transaction"
    );
}

#[tokio::test]
async fn a_commit_that_fails_fails_all_of_its_group_and_keeps_nothing() {
    let (_folder, builder) = database().await;
    let pool = builder.group_commit(16).build().unwrap();
    let tables = "CREATE TABLE child (n REFERENCES t (n) DEFERRABLE INITIALLY DEFERRED)";
    pool.write(move |tx| tx.execute_batch(tables))
        .await
        .unwrap();
    let (held, go) = hold(&pool).await;
    let writes: Vec<_> = (0..3)
        .map(|n| {
            let pool = pool.clone();
            tokio::spawn(async move {
                pool.write(move |tx| match n {
                    1 => tx.execute("INSERT INTO child VALUES (77)", []),
                    _ => tx.execute("INSERT INTO t VALUES (?1)", [n]),
                })
                .await
            })
        })
        .collect();
    until_waiting(&pool, 3).await;
    drop(go);
    held.await.unwrap().unwrap();
    for write in writes {
        let error = write.await.unwrap().unwrap_err();
        assert_eq!(
            error.as_sqlite_code(),
            Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY),
            "{error}"
        );
    }
    assert!(rows(&pool).await.is_empty());
    insert(&pool, 1).await.unwrap();
}

#[tokio::test]
async fn a_write_that_was_dropped_before_it_began_never_runs() {
    let (_folder, builder) = database().await;
    for builder in [builder.clone(), builder.group_commit(16)] {
        let pool = builder.build().unwrap();
        let (held, go) = hold(&pool).await;
        for _ in 0..3 {
            assert!(timeout(20 * MS, insert(&pool, 1)).await.is_err());
        }
        assert_eq!(pool.writer_status().unwrap().waiting, 0);
        drop(go);
        held.await.unwrap().unwrap();
        insert(&pool, 2).await.unwrap();
        assert_eq!(rows(&pool).await, [2]);
        pool.write(|tx| tx.execute("DELETE FROM t", []))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_write_that_is_dropped_while_it_runs_is_stopped_and_rolled_back() {
    let (_folder, builder) = database().await;
    for builder in [builder.clone(), builder.group_commit(16)] {
        let pool = builder.build().unwrap();
        let endless = pool.write(|tx| {
            tx.execute("INSERT INTO t VALUES (1)", [])?;
            tx.query_row(ENDLESS, [], |_| Ok(()))
        });
        assert!(timeout(50 * MS, endless).await.is_err());
        timeout(SOON, insert(&pool, 2)).await.unwrap().unwrap();
        assert_eq!(rows(&pool).await, [2]);
        pool.write(|tx| tx.execute("DELETE FROM t", []))
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn a_write_that_was_given_up_does_not_hold_its_group_for_ever() {
    let (_folder, builder) = database().await;
    let pool = builder.group_commit(16).build().unwrap();
    let (held, go) = hold(&pool).await;
    let spawn = |sql: &'static str| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.write(move |tx| tx.execute(sql, [])).await })
    };
    let first = spawn("INSERT INTO t VALUES (1)");
    until_waiting(&pool, 1).await;
    let endless = spawn(
        "INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 9 UNION ALL SELECT i + 1 FROM n) SELECT min(i) FROM n",
    );
    until_waiting(&pool, 2).await;
    let last = spawn("INSERT INTO t VALUES (3)");
    until_waiting(&pool, 3).await;
    drop(go);
    held.await.unwrap().unwrap();
    sleep(50 * MS).await;
    endless.abort();
    let error = timeout(SOON, first).await.unwrap().unwrap().unwrap_err();
    assert_eq!(
        error.as_sqlite_code(),
        Some(ffi::SQLITE_ABORT_ROLLBACK),
        "{error}"
    );
    assert_eq!(timeout(SOON, last).await.unwrap().unwrap().unwrap(), 1);
    assert_eq!(rows(&pool).await, [3]);
}

#[tokio::test]
async fn a_write_that_loses_its_turn_at_the_lock_says_so_and_a_dropped_one_frees_the_writer() {
    let (folder, builder) = database().await;
    let path = folder.path().join("test.db");
    let other = pool_db::sqlite::rusqlite::Connection::open(path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let pool = builder.clone().busy_timeout(50 * MS).build().unwrap();
    let error = insert(&pool, 1).await.unwrap_err();
    assert_eq!(error.as_sqlite_code(), Some(ffi::SQLITE_BUSY), "{error}");
    let pool = builder.busy_timeout(1000 * SOON).build().unwrap();
    assert!(timeout(50 * MS, insert(&pool, 1)).await.is_err());
    let begin = Instant::now();
    while pool.writer_status().unwrap().leased > 0 {
        assert!(begin.elapsed() < SOON);
        sleep(MS).await;
    }
    drop(other);
    insert(&pool, 2).await.unwrap();
    assert_eq!(rows(&pool).await, [2]);
}

#[tokio::test]
async fn what_a_write_leaves_does_not_reach_the_next_one_of_its_group() {
    let (_folder, builder) = database().await;
    for builder in [builder.clone(), builder.reset(Reset::DiscardAll)] {
        let pool = builder.group_commit(16).build().unwrap();
        let (held, go) = hold(&pool).await;
        let writes: Vec<_> = (0..6)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    pool.write(|tx| {
                        tx.execute_batch("CREATE TEMP TABLE mine (n); PRAGMA cache_size = 3")
                    })
                    .await
                })
            })
            .collect();
        until_waiting(&pool, 6).await;
        drop(go);
        held.await.unwrap().unwrap();
        for write in writes {
            timeout(SOON, write).await.unwrap().unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_pool_that_only_reads_has_no_writer() {
    let (_folder, builder) = database().await;
    let pool = builder.read_only(true).build().unwrap();
    assert!(pool.writer_status().is_none());
    let error = insert(&pool, 1).await.unwrap_err();
    assert!(
        error.to_string().contains("the pool is read-only"),
        "{error}"
    );
    assert!(rows(&pool).await.is_empty());
}

#[tokio::test]
async fn a_database_in_memory_has_a_writer_too() {
    let pool = Pool::builder()
        .memory()
        .group_commit(8)
        .max_size(2)
        .build()
        .unwrap();
    pool.write(|tx| tx.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)"))
        .await
        .unwrap();
    let writes = (0..20).map(|n| insert(&pool, n));
    for write in join_all(writes).await {
        write.unwrap();
    }
    assert_eq!(rows(&pool).await.len(), 20);
}

#[tokio::test]
async fn a_full_line_and_a_closed_pool_refuse_writes_and_leave_nothing_in_the_queue() {
    let (_folder, builder) = database().await;
    let pool = builder
        .group_commit(8)
        .max_waiters(1)
        .acquire_timeout(100 * MS)
        .build()
        .unwrap();
    let (held, go) = hold(&pool).await;
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { insert(&pool, 1).await }
    });
    until_waiting(&pool, 1).await;
    assert!(insert(&pool, 2).await.unwrap_err().is_overloaded());
    assert!(waits.await.unwrap().unwrap_err().is_timeout());
    drop(go);
    held.await.unwrap().unwrap();
    insert(&pool, 3).await.unwrap();
    assert_eq!(rows(&pool).await, [3], "what was refused did not run");
}

/// Throughput of single writes and of groups. `cargo test --release --test sqlite_write -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures"]
async fn group_commit_against_single_writes() {
    for synchronous in ["full", "normal"] {
        for most in [None, Some(32)] {
            let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let pool = Pool::builder()
                .path(folder.path().join("test.db"))
                .pragma("synchronous", synchronous)
                .group_commit(most)
                .build()
                .unwrap();
            pool.write(|tx| tx.execute_batch("CREATE TABLE t (n)"))
                .await
                .unwrap();
            let begin = Instant::now();
            let writers: Vec<_> = (0..32)
                .map(|_| {
                    let pool = pool.clone();
                    tokio::spawn(async move {
                        for n in 0..100 {
                            insert(&pool, n).await.unwrap();
                        }
                    })
                })
                .collect();
            for writer in writers {
                writer.await.unwrap();
            }
            let each = begin.elapsed() / 3200;
            println!("synchronous={synchronous} group_commit={most:?}: {each:?} a write");
        }
    }
}

/// What the look after each call costs.
#[tokio::test]
#[ignore = "measures"]
async fn calls_with_and_without_a_look() {
    let (_folder, builder) = database().await;
    for _ in 0..3 {
        for policy in [Reset::Nothing, Reset::Seen, Reset::Always] {
            let pool = builder.clone().reset(policy).build().unwrap();
            let calls: u32 = if policy == Reset::Always {
                2_000
            } else {
                50_000
            };
            let begin = Instant::now();
            for _ in 0..calls {
                pool.run(|db| {
                    let mut statement = db.prepare_cached("SELECT 1")?;
                    statement.query_row([], |row| row.get::<_, i64>(0))
                })
                .await
                .unwrap();
            }
            println!("{policy:?}: {:?} a call", begin.elapsed() / calls);
        }
    }
}
