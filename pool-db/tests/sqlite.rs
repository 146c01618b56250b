//! Pools of SQLite connections, on files and in memory.

#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used)]

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use pool_db::{
    ConstraintKind, Error,
    sqlite::{
        Builder, Connection, Pool,
        rusqlite::{self, TransactionBehavior},
    },
};
use tempfile::TempDir;
use tokio::{
    sync::Barrier,
    time::{sleep, timeout},
};

const SOON: Duration = Duration::from_secs(10);
/// A statement that runs until it is stopped.
const ENDLESS: &str =
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

/// A file with one table `t (n)`, and a builder of pools on it.
async fn database() -> (TempDir, Builder) {
    let folder = tempfile::tempdir().unwrap();
    let builder = Pool::builder().path(folder.path().join("test.db"));
    let pool = builder.clone().build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE t (n INTEGER UNIQUE)"))
        .await
        .unwrap();
    assert!(pool.drain(SOON).await.is_complete());
    (folder, builder)
}

async fn count(pool: &Pool) -> i64 {
    pool.run(|sqlite| sqlite.query_row("SELECT count(*) FROM t", [], |row| row.get(0)))
        .await
        .unwrap()
}

async fn endless(connection: &mut Connection) -> Result<i64, Error> {
    connection
        .run(|sqlite| sqlite.query_row(ENDLESS, [], |row| row.get(0)))
        .await
}

/// Waits until the pool has the given status.
async fn until(pool: &Pool, what: impl Fn(&pool_core::Status) -> bool) {
    let begin = Instant::now();
    while !what(&pool.status()) {
        assert!(begin.elapsed() < SOON, "{:?}", pool.status());
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn closures_run_on_the_pools_threads_and_never_block_the_executor() {
    let (_folder, builder) = database().await;
    let pool = builder.name("app").max_size(2).build().unwrap();
    let executor = thread::current().id();
    let mut connection = pool.get().await.unwrap();
    let (thread, name) = connection
        .run(|_| {
            Ok((
                thread::current().id(),
                thread::current().name().map(str::to_owned),
            ))
        })
        .await
        .unwrap();
    assert_ne!(thread, executor);
    assert!(name.unwrap().starts_with("app-"));

    let slow = connection.run(|_| {
        thread::sleep(Duration::from_millis(300));
        Ok(())
    });
    let ticks = Arc::new(AtomicUsize::new(0));
    let ticker = tokio::spawn({
        let ticks = Arc::clone(&ticks);
        async move {
            loop {
                sleep(Duration::from_millis(5)).await;
                ticks.fetch_add(1, Ordering::Relaxed);
            }
        }
    });
    slow.await.unwrap();
    ticker.abort();
    assert!(
        ticks.load(Ordering::Relaxed) >= 10,
        "a single thread went on polling"
    );
}

#[tokio::test]
async fn a_connection_has_the_pragmas_that_services_want() {
    let (_folder, builder) = database().await;
    let read = |sqlite: &mut rusqlite::Connection| {
        let text = |name| sqlite.pragma_query_value(None, name, |row| row.get::<_, String>(0));
        let number = |name| sqlite.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        Ok::<_, rusqlite::Error>((
            text("journal_mode")?,
            number("synchronous")?,
            number("foreign_keys")?,
        ))
    };
    let pool = builder.clone().build().unwrap();
    assert_eq!(pool.run(read).await.unwrap(), ("wal".to_owned(), 1, 1));
    assert!(pool.drain(SOON).await.is_complete());
    let other = builder
        .pragma("journal_mode", "delete")
        .pragma("synchronous", "full")
        .pragma("foreign_keys", "off");
    let pool = other.busy_timeout(Duration::ZERO).build().unwrap();
    assert_eq!(pool.run(read).await.unwrap(), ("delete".to_owned(), 2, 0));
}

#[tokio::test]
async fn a_pragma_that_sqlite_would_ignore_is_an_error() {
    let (_folder, builder) = database().await;
    for (name, value, says) in [
        ("foreing_keys", "on", "there is no pragma `foreing_keys`"),
        (
            "journal_mode",
            "wall",
            "journal_mode cannot be `wall` here: it stays `wal`",
        ),
    ] {
        let pool = builder.clone().pragma(name, value).build().unwrap();
        let error = pool.get().timeout(SOON).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
    let error = Pool::builder()
        .memory()
        .pragma("cahce_size", "1")
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("there is no pragma `cahce_size`"),
        "{error}"
    );
}

#[tokio::test]
async fn a_call_that_is_given_up_keeps_its_connection_until_it_ends() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    let (go, wait) = mpsc::channel::<()>();
    let ended = Arc::new(AtomicBool::new(false));
    let mut connection = pool.get().await.unwrap();
    let running = connection.run({
        let ended = Arc::clone(&ended);
        move |_| {
            wait.recv().unwrap();
            ended.store(true, Ordering::SeqCst);
            Ok(())
        }
    });
    assert!(timeout(Duration::from_millis(50), running).await.is_err());
    let error = connection.run(|_| Ok(())).await.unwrap_err();
    assert!(error.is_abandoned(), "{error}");
    drop(connection);

    assert_eq!(pool.status().leased, 1, "the worker still has it");
    assert!(
        pool.get()
            .timeout(Duration::from_millis(50))
            .await
            .unwrap_err()
            .is_timeout()
    );
    go.send(()).unwrap();
    let mut connection = pool.get().timeout(SOON).await.unwrap();
    assert!(
        ended.load(Ordering::SeqCst),
        "and nobody else got it before"
    );
    connection.run(|_| Ok(())).await.unwrap();
    assert_eq!(pool.status().opened, 1, "it is the same one");
}

#[tokio::test]
async fn dropping_a_call_stops_sqlite() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    for _ in 0..10 {
        let mut connection = pool.get().timeout(SOON).await.unwrap();
        assert!(
            timeout(Duration::from_millis(20), endless(&mut connection))
                .await
                .is_err()
        );
    }
    assert_eq!(count(&pool).await, 0);
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn dropping_a_call_stops_a_loop_of_short_statements_too() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    let looping = connection.run(|sqlite| {
        let mut statement = sqlite.prepare_cached("SELECT count(*) FROM t")?;
        loop {
            statement.query_row([], |row| row.get::<_, i64>(0))?;
        }
        #[allow(unreachable_code)]
        Ok(())
    });
    assert!(timeout(Duration::from_millis(20), looping).await.is_err());
    drop(connection);
    pool.get().timeout(SOON).await.unwrap();
}

#[tokio::test]
async fn a_call_that_takes_too_long_is_an_error_and_costs_no_place() {
    let (_folder, builder) = database().await;
    let pool = builder
        .max_size(1)
        .query_timeout(Duration::from_millis(250))
        .build()
        .unwrap();
    let mut connection = pool.get().await.unwrap();
    let error = endless(&mut connection).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_connect(), "{error}");
    assert_eq!(error.to_string(), "no answer within 250ms (query_timeout)");
    drop(connection);
    assert_eq!(count(&pool).await, 0);

    let mut connection = pool.get().await.unwrap();
    connection.set_query_timeout(None);
    connection
        .run(|_| {
            thread::sleep(Duration::from_millis(400));
            Ok(())
        })
        .await
        .unwrap();
    drop(connection);
    let mut connection = pool.get().await.unwrap();
    assert!(
        endless(&mut connection).await.unwrap_err().is_timeout(),
        "the next user has the pool's bound again"
    );
}

// transact-rs/sqlx#4385, #4393: a connection was returned inside a transaction.
#[tokio::test]
async fn an_open_transaction_is_rolled_back_before_the_next_user() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("BEGIN; INSERT INTO t VALUES (1)"))
        .await
        .unwrap();
    assert_eq!(count(&pool).await, 0);

    let mut connection = pool.get().await.unwrap();
    let given_up = connection.run(|sqlite| {
        sqlite.execute_batch("BEGIN; INSERT INTO t VALUES (1)")?;
        sqlite.query_row(ENDLESS, [], |row| row.get::<_, i64>(0))
    });
    assert!(timeout(Duration::from_millis(50), given_up).await.is_err());
    drop(connection);
    let autocommit = pool.run(|sqlite| Ok(sqlite.is_autocommit())).await.unwrap();
    assert!(autocommit);
    assert_eq!(count(&pool).await, 0);
    let status = pool.status();
    assert_eq!((status.opened, status.open), (1, 1), "{status:?}");
}

#[tokio::test]
async fn a_panic_is_an_error_and_costs_one_connection_and_no_place() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    for _ in 0..3 {
        let mut connection = pool.get().timeout(SOON).await.unwrap();
        let error = connection
            .run::<(), _>(|_| panic!("no such user"))
            .await
            .unwrap_err();
        assert!(error.is_panic(), "{error}");
        assert!(error.to_string().contains("no such user"), "{error}");
        assert!(connection.run(|_| Ok(())).await.unwrap_err().is_abandoned());
    }
    assert_eq!(count(&pool).await, 0);
    assert_eq!(pool.status().opened, 4);
}

#[tokio::test]
async fn a_call_that_no_worker_took_yet_never_runs() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(2).threads(1).build().unwrap();
    let (mut first, mut second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let (go, wait) = mpsc::channel::<()>();
    let busy = first.run(move |_| {
        wait.recv().unwrap();
        Ok(())
    });
    let ran = Arc::new(AtomicBool::new(false));
    let queued = second.run({
        let ran = Arc::clone(&ran);
        move |_| {
            ran.store(true, Ordering::SeqCst);
            Ok(())
        }
    });
    tokio::pin!(busy);
    assert!(timeout(Duration::from_millis(20), &mut busy).await.is_err());
    assert!(timeout(Duration::from_millis(20), queued).await.is_err());
    drop(second);
    until(&pool, |status| status.leased == 1).await;
    go.send(()).unwrap();
    busy.await.unwrap();
    assert_eq!(count(&pool).await, 0);
    assert!(!ran.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_database_in_memory_is_shared_by_its_pool_and_by_nobody_else() {
    let pool = Pool::builder().memory().max_size(4).build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE t (n)"))
        .await
        .unwrap();
    let mut connections = Vec::new();
    for n in 0..4 {
        let mut connection = pool.get().await.unwrap();
        connection
            .run(move |sqlite| sqlite.execute("INSERT INTO t VALUES (?1)", [n]))
            .await
            .unwrap();
        connections.push(connection);
    }
    drop(connections);
    assert_eq!(count(&pool).await, 4);
    pool.retire_all();
    until(&pool, |status| status.open + status.opening == 0).await;
    assert_eq!(
        count(&pool).await,
        4,
        "it is there although no connection was"
    );

    let other = Pool::builder().url("sqlite::memory:").build().unwrap();
    let error = other
        .run(|sqlite| sqlite.execute("INSERT INTO t VALUES (1)", []))
        .await
        .unwrap_err();
    assert!(
        error.is_database() && error.to_string().contains("no such table"),
        "{error}"
    );
}

#[tokio::test]
async fn in_memory_writers_wait_for_each_other() {
    let pool = Pool::builder().memory().max_size(4).build().unwrap();
    pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE t (n)"))
        .await
        .unwrap();
    write_from_many_tasks(&pool).await;
}

#[tokio::test]
async fn a_file_that_is_only_read_is_not_made_and_not_changed() {
    let (folder, builder) = database().await;
    let pool = builder.read_only(true).build().unwrap();
    assert_eq!(count(&pool).await, 0);
    let error = pool
        .run(|sqlite| sqlite.execute("INSERT INTO t VALUES (1)", []))
        .await
        .unwrap_err();
    assert!(error.is_read_only() && !error.is_retryable(), "{error}");
    assert!(
        error.is_database() && error.to_string().contains("readonly"),
        "{error}"
    );

    let missing: PathBuf = folder.path().join("missing.db");
    for builder in [
        Pool::builder().path(&missing).read_only(true),
        Pool::builder().url(format!("sqlite:{}?mode=rw", missing.display())),
        Pool::builder().path(folder.path().join("no such folder").join("a.db")),
    ] {
        let error = builder
            .build()
            .unwrap()
            .get()
            .timeout(SOON)
            .await
            .unwrap_err();
        assert!(error.is_connect(), "{error}");
        let text = error.to_string();
        assert!(
            text.contains("cannot connect to sqlite /")
                && text.contains("unable to open database file"),
            "{text}"
        );
        assert_eq!(error.as_sqlite_code(), Some(rusqlite::ffi::SQLITE_CANTOPEN));
    }
    assert!(!missing.exists());
}

#[tokio::test]
async fn errors_say_what_they_are() {
    let (_folder, builder) = database().await;
    let pool = builder.build().unwrap();
    let insert = || pool.run(|sqlite| sqlite.execute("INSERT INTO t VALUES (1)", []));
    insert().await.unwrap();
    let error = insert().await.unwrap_err();
    assert!(
        error.is_database() && error.is_unique_violation(),
        "{error}"
    );
    let error = pool
        .run(|sqlite| sqlite.execute("INSRT", []))
        .await
        .unwrap_err();
    assert!(
        error.is_database() && !error.is_unique_violation(),
        "{error}"
    );
    let error = pool
        .call(|_| Err::<(), _>(Error::other("too poor")))
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "too poor");
    assert!(!error.is_database());
}

#[tokio::test]
async fn an_error_says_what_the_caller_may_do() {
    let (_folder, builder) = database().await;
    let pool = builder.busy_timeout(Duration::ZERO).build().unwrap();
    let (mut one, mut other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let insert = "INSERT INTO t VALUES (1)";

    // It has read what another one has changed since: it cannot write any more.
    let reads = |sqlite: &mut rusqlite::Connection| {
        sqlite.execute_batch("BEGIN")?;
        sqlite.query_row("SELECT count(*) FROM t", [], |_| Ok(()))
    };
    one.run(reads).await.unwrap();
    other
        .run(|sqlite| sqlite.execute(insert, []))
        .await
        .unwrap();
    let error = one
        .run(|sqlite| sqlite.execute(insert, []))
        .await
        .unwrap_err();
    assert_eq!(error.as_sqlite_code(), Some(517));
    assert!(
        error.is_retryable() && !error.may_have_happened(),
        "{error}"
    );
    one.run(|sqlite| sqlite.execute_batch("ROLLBACK; BEGIN IMMEDIATE"))
        .await
        .unwrap();

    // Another one writes.
    let error = other
        .run(|sqlite| sqlite.execute(insert, []))
        .await
        .unwrap_err();
    assert!(error.is_retryable() && !error.is_unavailable(), "{error}");
    one.run(|sqlite| sqlite.execute_batch("ROLLBACK"))
        .await
        .unwrap();

    let error = other
        .run(|sqlite| sqlite.execute(insert, []))
        .await
        .unwrap_err();
    let constraint = error.constraint().unwrap();
    let names = (constraint.table(), constraint.column());
    assert_eq!(
        (constraint.kind(), names),
        (ConstraintKind::Unique, (Some("t"), Some("n")))
    );
    let none = |sqlite: &mut rusqlite::Connection| {
        sqlite.query_row("SELECT n FROM t WHERE n > 1", [], |row| {
            row.get::<_, i64>(0)
        })
    };
    assert!(other.run(none).await.unwrap_err().is_no_rows());

    other.set_query_timeout(Duration::from_millis(20));
    let late = other.run(|sqlite| sqlite.query_row(ENDLESS, [], |_| Ok(())));
    let error = late.await.unwrap_err();
    assert!(error.is_timeout() && error.may_have_happened(), "{error}");
    assert!(
        !error.is_unavailable() && error.phase().is_none(),
        "{error}"
    );
    let error = other.run(|_| Ok(())).await.unwrap_err();
    assert!(
        error.is_abandoned() && !error.may_have_happened(),
        "{error}"
    );
    let error = one
        .run::<(), _>(|_| panic!("no such user"))
        .await
        .unwrap_err();
    assert!(error.is_panic() && error.may_have_happened(), "{error}");
}

/// An error and its sources.
fn texts(error: &dyn std::error::Error) -> Vec<String> {
    let causes = std::iter::successors(Some(error), |error| (*error).source());
    causes.map(ToString::to_string).collect()
}

#[tokio::test]
async fn no_error_says_the_same_twice_and_all_keep_what_they_came_of() {
    let (folder, builder) = database().await;
    let pool = builder.build().unwrap();
    let error = pool
        .run(|sqlite| sqlite.execute("INSRT", []))
        .await
        .unwrap_err();
    let says = texts(&error);
    assert!(
        says.iter()
            .enumerate()
            .all(|(at, text)| !says[at + 1..].contains(text)),
        "{says:?}"
    );
    let inner = error.inner().unwrap();
    assert!(inner.downcast_ref::<rusqlite::Error>().is_some());

    let nowhere = folder.path().join("nowhere").join("app.db");
    let pool = Pool::builder().path(nowhere).build().unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_connect() && error.as_sqlite_code() == Some(14));
    assert_eq!(texts(&error).len(), 1, "{:?}", texts(&error));
}

/// An error type of an application.
#[derive(Debug)]
enum Refused {
    TooPoor,
    Database(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Database(error)
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

#[tokio::test]
async fn a_closure_may_fail_with_an_error_of_its_own() {
    async fn pay(pool: &Pool, has: i64) -> Result<i64, Refused> {
        pool.call(move |sqlite| {
            sqlite.execute("INSERT INTO t VALUES (?1)", [has])?;
            if has < 10 {
                return Err(Refused::TooPoor);
            }
            Ok(sqlite.query_row("SELECT max(n) FROM t", [], |row| row.get(0))?)
        })
        .await
    }

    async fn read(
        pool: &Pool,
        text: &str,
    ) -> Result<i64, Box<dyn std::error::Error + Send + Sync>> {
        let text = text.to_owned();
        let mut connection = pool.get().await?;
        connection.call(move |_| Ok(text.parse()?)).await
    }

    let (_folder, builder) = database().await;
    let pool = builder.build().unwrap();
    assert!(matches!(pay(&pool, 1).await, Err(Refused::TooPoor)));
    assert_eq!(pay(&pool, 11).await.unwrap(), 11);
    let Err(Refused::Database(error)) = pay(&pool, 11).await else {
        panic!("it is there already");
    };
    assert!(error.is_unique_violation(), "{error}");
    assert_eq!(read(&pool, "7").await.unwrap(), 7);
    assert!(read(&pool, "seven").await.is_err());
    pool.close();
    let Err(Refused::Database(error)) = pay(&pool, 12).await else {
        panic!("it is closed");
    };
    assert!(error.is_closed(), "{error}");
}

#[test]
fn a_connection_can_be_shared_and_sent() {
    fn anywhere<T: Send + Sync + 'static>() {}
    anywhere::<Connection>();
    anywhere::<Pool>();
    anywhere::<Builder>();
}

#[tokio::test]
async fn a_new_file_can_be_opened_by_all_connections_at_once() {
    for _ in 0..5 {
        let folder = tempfile::tempdir().unwrap();
        let config = pool_db::Config::new().max_size(16).max_opening(16);
        let builder = Pool::builder().path(folder.path().join("new.db"));
        let pool = builder.config(config).build().unwrap();
        let all_have_one = Arc::new(Barrier::new(16));
        let opening: Vec<_> = (0..16)
            .map(|_| {
                let (pool, all_have_one) = (pool.clone(), Arc::clone(&all_have_one));
                tokio::spawn(async move {
                    let connection = pool.get().timeout(SOON).await.unwrap();
                    all_have_one.wait().await;
                    drop(connection);
                })
            })
            .collect();
        for task in opening {
            task.await.unwrap();
        }
        let status = pool.status();
        assert_eq!((status.opened, status.open_failures), (16, 0), "{status:?}");
        assert!(pool.drain(SOON).await.is_complete());
    }
}

async fn write_from_many_tasks(pool: &Pool) {
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            tokio::spawn({
                let pool = pool.clone();
                async move {
                    for n in 0..20 {
                        pool.run(move |sqlite| {
                            let transaction =
                                sqlite.transaction_with_behavior(TransactionBehavior::Immediate)?;
                            transaction.execute("INSERT INTO t VALUES (?1)", [100 * writer + n])?;
                            transaction.commit()
                        })
                        .await
                        .unwrap();
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(count(pool).await, 320);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_wait_for_each_other() {
    let (_folder, builder) = database().await;
    write_from_many_tasks(&builder.max_size(4).build().unwrap()).await;
}

// importcjj/mobc#63: capacity was lost after callers cancelled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_capacity_is_there_after_a_storm_of_calls_given_up_anywhere() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(4).build().unwrap();
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            tokio::spawn({
                let pool = pool.clone();
                async move {
                    for step in 0..60_u64 {
                        let patience = Duration::from_micros((task * 37 + step * 101) % 1500);
                        let work = async {
                            let mut connection = pool.get().await.unwrap();
                            connection
                                .run(move |sqlite| {
                                    sqlite.execute_batch("BEGIN")?;
                                    if step % 7 == 0 {
                                        panic!("as planned")
                                    }
                                    sqlite.query_row("SELECT count(*) FROM t", [], |row| {
                                        row.get::<_, i64>(0)
                                    })
                                })
                                .await
                        };
                        drop(timeout(patience, work).await);
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut connections = Vec::new();
    for _ in 0..4 {
        let mut connection = pool.get().timeout(SOON).await.unwrap();
        connection
            .run(|sqlite| sqlite.execute_batch("BEGIN; COMMIT"))
            .await
            .unwrap();
        connections.push(connection);
    }
    assert_eq!(pool.status().leased, 4);
}

#[tokio::test]
async fn drain_closes_the_files_and_ends_what_waits() {
    let (folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    let mut connection = pool.get().await.unwrap();
    connection
        .run(|sqlite| sqlite.execute("INSERT INTO t VALUES (1)", []))
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop) }
    });
    until(&pool, |status| status.waiting == 1).await;
    let report = pool.drain(Duration::from_millis(20)).await;
    assert_eq!((report.left, report.leased.len()), (1, 1));
    assert!(waiting.await.unwrap().unwrap_err().is_closed());
    connection
        .run(|sqlite| sqlite.execute("INSERT INTO t VALUES (2)", []))
        .await
        .unwrap();
    drop(connection);
    assert!(pool.drain(SOON).await.is_complete());
    assert!(pool.get().await.unwrap_err().is_closed());
    assert!(
        !folder.path().join("test.db-wal").exists(),
        "the last close writes the log back"
    );
}

// transact-rs/sqlx#1396: a connection that was dropped outside a runtime leaked or panicked.
#[test]
fn a_connection_can_outlive_its_runtime_and_its_pool() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let first = runtime();
    let (_folder, builder) = first.block_on(database());
    let pool = builder.max_size(1).build().unwrap();
    let mut connection = first.block_on(pool.get()).unwrap();
    first
        .block_on(connection.run(|sqlite| sqlite.execute_batch("BEGIN")))
        .unwrap();
    drop(first);
    drop(connection);
    let second = runtime();
    assert_eq!(second.block_on(count(&pool)), 0);
    let connection = second.block_on(pool.get()).unwrap();
    drop(pool);
    drop(connection);
}

#[tokio::test]
async fn the_last_handle_may_be_dropped_by_a_worker() {
    let (_folder, builder) = database().await;
    let pool = builder.build().unwrap();
    let mut connection = pool.get().await.unwrap();
    timeout(
        SOON,
        connection.run(move |_| {
            drop(pool);
            Ok(())
        }),
    )
    .await
    .unwrap()
    .unwrap();
    drop(connection);
}

#[tokio::test]
async fn a_connection_can_be_taken_out_of_the_pool() {
    let (_folder, builder) = database().await;
    let pool = builder.max_size(1).build().unwrap();
    let sqlite = pool.get().await.unwrap().detach().unwrap();
    sqlite.execute("INSERT INTO t VALUES (1)", []).unwrap();
    assert_eq!(count(&pool).await, 1);
}

#[tokio::test]
async fn its_futures_can_be_spawned() {
    fn spawnable<T: Send + 'static>(value: T) -> T {
        value
    }
    let pool = Pool::builder().memory().build().unwrap();
    let (a, b) = (pool.clone(), pool.clone());
    spawnable(async move { a.get().await }).await.unwrap();
    spawnable(async move { b.run(|sqlite| sqlite.execute_batch("SELECT 1")).await })
        .await
        .unwrap();
    pool.warm_up().await.unwrap();
    pool.try_get().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_clock_waits_for_what_sqlite_is_at() -> Result<(), Error> {
    let start = tokio::time::Instant::now();
    let pool = Pool::builder().memory().max_size(2).build()?;
    for _ in 0..40 {
        let seven = pool.run(|sqlite| {
            thread::sleep(Duration::from_millis(2));
            sqlite.query_row("SELECT 7", [], |row| row.get::<_, i64>(0))
        });
        assert_eq!(seven.await?, 7);
    }
    // The opens, resets and runs took no time on that clock, so no deadline came nearer.
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
    Ok(())
}
