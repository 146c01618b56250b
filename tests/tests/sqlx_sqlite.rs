//! Connections of sqlx to SQLite on the pool.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use pool_db::{
    ConstraintKind, Error,
    sqlx::{Pool, Reset, sqlx},
};
use sqlx::{
    Acquire, Connection as _, Executor, Row as _, Sqlite,
    sqlite::{SqliteConnectOptions, SqliteOperation},
};
use tempfile::TempDir;

/// A pool of one connection to a file, and the directory of that.
fn pool() -> (Pool<Sqlite>, TempDir) {
    let dir = TempDir::new().unwrap();
    (builder(&dir).build().unwrap(), dir)
}

fn builder(dir: &TempDir) -> pool_db::sqlx::Builder<Sqlite> {
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("app.db"))
        .create_if_missing(true);
    Pool::<Sqlite>::builder().options(options).max_size(1)
}

async fn answer<'e, E: Executor<'e, Database = Sqlite>>(executor: E) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT $1 + 2")
        .bind(40)
        .fetch_one(executor)
        .await
}

async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) {
    let mut future = pin!(future);
    for _ in 0..polls {
        if future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_pool_a_lease_and_a_transaction_run_what_sqlx_runs() {
    let (pool, _dir) = pool();
    assert_eq!(answer(&pool).await.unwrap(), 42);
    pool.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
        .await
        .unwrap();
    let mut lease = pool.get().await.unwrap();
    assert_eq!(answer(&mut lease).await.unwrap(), 42);
    assert_eq!(answer(&mut *lease).await.unwrap(), 42);
    sqlx::Acquire::acquire(&mut lease)
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    let mut tx = Acquire::begin(&mut lease).await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)").await.unwrap();
    tx.commit().await.unwrap();
    drop(lease);
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(answer(&mut tx).await.unwrap(), 42);
    sqlx::query("INSERT INTO t VALUES (2)")
        .execute(&mut tx)
        .await
        .unwrap();
    let mut savepoint = Acquire::begin(&mut tx).await.unwrap();
    savepoint.execute("INSERT INTO t VALUES (3)").await.unwrap();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (4)").await.unwrap();
    drop(tx);
    let mut rows = pool.fetch("SELECT id FROM t ORDER BY id");
    let mut ids = Vec::new();
    while let Some(row) = rows.try_next().await.unwrap() {
        ids.push(row.get::<i64, _>(0));
    }
    assert_eq!(ids, [1, 2]);
    drop(rows);
    assert_eq!(pool.status().opened, 1, "all of that on one connection");
}

/// Something that a connection can keep, what makes it, and a query for one value that tells it.
const THINGS: &[(&str, &str, &str)] = &[
    (
        "foreign keys",
        "PRAGMA foreign_keys = off",
        "SELECT foreign_keys || '' FROM pragma_foreign_keys",
    ),
    (
        "no writes",
        "PRAGMA query_only = on",
        "SELECT query_only || '' FROM pragma_query_only",
    ),
    (
        "a timeout",
        "PRAGMA busy_timeout = 7",
        "SELECT timeout || '' FROM pragma_busy_timeout",
    ),
    (
        "a sync",
        "PRAGMA synchronous = off",
        "SELECT synchronous || '' FROM pragma_synchronous",
    ),
    (
        "triggers",
        "PRAGMA recursive_triggers = on",
        "SELECT recursive_triggers || '' FROM pragma_recursive_triggers",
    ),
    (
        "a cache",
        "PRAGMA cache_size = 7",
        "SELECT cache_size || '' FROM pragma_cache_size",
    ),
    (
        "LIKE",
        "PRAGMA case_sensitive_like = on",
        "SELECT ('a' LIKE 'A') || ''",
    ),
    (
        "checks",
        "PRAGMA ignore_check_constraints = on",
        "SELECT ignore_check_constraints || '' FROM pragma_ignore_check_constraints",
    ),
    (
        "a temporary table",
        "CREATE TEMP TABLE left_behind (id)",
        "SELECT count(*) || '' FROM temp.sqlite_schema",
    ),
    (
        "a temporary view",
        "CREATE TEMP VIEW left_behind AS SELECT 1",
        "SELECT count(*) || '' FROM temp.sqlite_schema",
    ),
    (
        "a file",
        "ATTACH ':memory:' AS left_behind",
        "SELECT count(*) || '' FROM pragma_database_list WHERE name <> 'temp'",
    ),
    (
        "a transaction",
        "BEGIN; CREATE TABLE in_it (id)",
        "SELECT count(*) || '' FROM sqlite_schema WHERE name = 'in_it'",
    ),
    (
        "a savepoint",
        "SAVEPOINT s; CREATE TABLE in_it (id)",
        "SELECT count(*) || '' FROM sqlite_schema WHERE name = 'in_it'",
    ),
    (
        "a transaction with an error",
        "BEGIN; CREATE TABLE in_it (id); SELECT x",
        "SELECT count(*) || '' FROM sqlite_schema WHERE name = 'in_it'",
    ),
];

#[tokio::test]
async fn nothing_that_a_lease_leaves_reaches_the_next() {
    let (pool, _dir) = pool();
    let look = async |sql: &'static str| -> String {
        sqlx::query_scalar(sql)
            .fetch_one(&pool)
            .await
            .unwrap_or_else(|error| panic!("{sql}: {error}"))
    };
    for (name, make, sql) in THINGS {
        let before = look(sql).await;
        for by in 0..3 {
            let made = match by {
                0 => (&mut pool.get().await.unwrap()).execute(*make).await,
                1 => (&mut *pool.get().await.unwrap()).execute(*make).await,
                _ => pool.execute(*make).await,
            };
            assert_eq!(
                made.is_err(),
                name.ends_with("an error"),
                "{name}: {made:?}"
            );
            assert_eq!(look(sql).await, before, "{name}, by {by}");
        }
    }
}

#[tokio::test]
async fn a_connection_that_was_only_lent_is_kept_and_its_hooks_are_removed() {
    let (pool, _dir) = pool();
    pool.execute("CREATE TABLE t (id)").await.unwrap();
    let (told, tells) = std::sync::mpsc::channel();
    {
        let mut lease = pool.get().await.unwrap();
        let mut handle = lease.lock_handle().await.unwrap();
        handle.set_update_hook(move |done| {
            assert_eq!(done.operation, SqliteOperation::Insert);
            told.send(done.rowid).unwrap();
        });
        // And one that would stop every statement.
        handle.set_progress_handler(1, || true);
        drop(handle);
        sqlx::query("INSERT INTO t VALUES (1)")
            .execute(&mut *lease)
            .await
            .unwrap();
    }
    sqlx::query("INSERT INTO t VALUES (2)")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(tells.iter().count(), 1);
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn a_policy_of_nothing_still_ends_transactions() {
    let dir = TempDir::new().unwrap();
    let pool = builder(&dir).reset(Reset::Nothing).build().unwrap();
    pool.execute("PRAGMA cache_size = 7").await.unwrap();
    pool.execute("BEGIN; CREATE TABLE in_it (id)")
        .await
        .unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) + cache_size FROM sqlite_schema, pragma_cache_size")
            .fetch_one(&pool)
            .await
            .unwrap_or(0);
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&pool)
        .await
        .unwrap();
    let cache: i64 = sqlx::query_scalar("SELECT cache_size FROM pragma_cache_size")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((tables, cache, pool.status().opened), (0, 7, 1), "{left}");
}

#[tokio::test]
async fn what_is_dropped_at_any_poll_leaves_nothing() {
    let (pool, _dir) = pool();
    pool.execute("CREATE TABLE t (id)").await.unwrap();
    for polls in 0..6_i64 {
        let count = usize::try_from(polls).unwrap();
        drop_after(count, pool.begin()).await;
        let mut lease = pool.get().await.unwrap();
        drop_after(count, Acquire::begin(&mut lease)).await;
        drop(lease);
        drop_after(
            count,
            sqlx::query("SELECT $1 FROM generate_series(1, 9)")
                .bind(7)
                .fetch_all(&pool),
        )
        .await;
        assert_eq!(answer(&pool).await.unwrap(), 42);
        sqlx::query("INSERT INTO t VALUES ($1)")
            .bind(polls)
            .execute(&pool)
            .await
            .unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(rows, polls + 1);
    }
    assert_eq!(pool.status().opened, 1);
}

// After a commit whose future was dropped, sqlx leaves out the next rollback.
#[tokio::test]
async fn a_commit_that_is_dropped_at_any_poll_costs_nobody_a_rollback() {
    let (pool, _dir) = pool();
    pool.execute("CREATE TABLE t (id)").await.unwrap();
    for polls in 0..4 {
        let mut tx = pool.begin().await.unwrap();
        sqlx::query("INSERT INTO t VALUES (1)")
            .execute(&mut tx)
            .await
            .unwrap();
        drop_after(polls, tx.commit()).await;
        let mut lease = pool.get().await.unwrap();
        let mut tx = Acquire::begin(&mut lease).await.unwrap();
        tx.execute("INSERT INTO t VALUES (99)").await.unwrap();
        drop(tx);
        let count = sqlx::query_scalar("SELECT count(*) FROM t WHERE id = 99");
        let count: i64 = count.fetch_one(&mut lease).await.unwrap();
        assert_eq!(count, 0, "dropped after {polls} polls");
    }
}

const ENDLESS: &str =
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";

#[tokio::test]
async fn a_statement_that_nobody_waits_for_is_stopped_and_its_connection_goes_on() {
    let dir = TempDir::new().unwrap();
    let pool = builder(&dir)
        .query_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let late = Error::from(pool.execute(ENDLESS).await.unwrap_err());
    assert!(late.is_timeout(), "{late}");
    assert_eq!(answer(&pool).await.unwrap(), 42);
    let mut lease = pool.get().await.unwrap();
    let endless = sqlx::query(ENDLESS).execute(&mut *lease);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), endless)
            .await
            .is_err()
    );
    drop(lease);
    assert_eq!(answer(&pool).await.unwrap(), 42);
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn errors_say_the_same_as_everywhere() {
    let (pool, dir) = pool();
    pool.execute("CREATE TABLE users (email TEXT UNIQUE)")
        .await
        .unwrap();
    pool.execute("INSERT INTO users VALUES ('a')")
        .await
        .unwrap();
    let error = Error::from(
        pool.execute("INSERT INTO users VALUES ('a')")
            .await
            .unwrap_err(),
    );
    let constraint = error.constraint().unwrap();
    assert_eq!(
        (constraint.kind(), constraint.table(), constraint.column()),
        (ConstraintKind::Unique, Some("users"), Some("email"))
    );
    assert_eq!(error.as_sqlite_code(), Some(2067));
    assert!(error.is_database() && !error.may_have_happened());
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("app.db"))
        .busy_timeout(Duration::ZERO);
    let other = Pool::<Sqlite>::builder().options(options).build().unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("INSERT INTO users VALUES ('b')").await.unwrap();
    let busy = Error::from(
        other
            .execute("INSERT INTO users VALUES ('c')")
            .await
            .unwrap_err(),
    );
    assert!(busy.is_retryable(), "{busy}");
    let nowhere = Pool::<Sqlite>::builder()
        .url("sqlite:/nowhere/app.db")
        .build()
        .unwrap();
    let error = nowhere.get().await.unwrap_err();
    assert!(
        error.is_connect() && error.to_string().contains("sqlite /nowhere/app.db"),
        "{error}"
    );
}

#[tokio::test]
async fn a_transaction_that_loses_is_run_again() {
    let dir = TempDir::new().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(dir.path().join("app.db"))
        .create_if_missing(true)
        .busy_timeout(Duration::ZERO);
    let pool = Pool::<Sqlite>::builder()
        .options(options)
        .max_size(4)
        .build()
        .unwrap();
    pool.execute("PRAGMA journal_mode = wal; CREATE TABLE n (v INTEGER); INSERT INTO n VALUES (0)")
        .await
        .unwrap();
    let tasks: Vec<_> = (0..6)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                pool.build_transaction()
                    .tries(200)
                    .backoff(Duration::from_millis(1), Duration::from_millis(20))
                    .run(|tx| {
                        Box::pin(async move {
                            let v: i64 = sqlx::query_scalar("SELECT v FROM n")
                                .fetch_one(&mut *tx)
                                .await?;
                            sqlx::query("UPDATE n SET v = $1")
                                .bind(v + 1)
                                .execute(&mut **tx)
                                .await?;
                            Ok::<_, sqlx::Error>(())
                        })
                    })
                    .await
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let v: i64 = sqlx::query_scalar("SELECT v FROM n")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(v, 6);
}

// transact-rs/sqlx#1647, #2510: the database in memory was gone after idle_timeout.
#[tokio::test]
async fn a_database_in_memory_lives_as_long_as_its_pool() {
    let pool = Pool::<Sqlite>::builder()
        .url("sqlite::memory:")
        .max_size(3)
        .build()
        .unwrap();
    pool.execute("CREATE TABLE t (id)").await.unwrap();
    pool.retire_all();
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(pool.get().await.unwrap());
    }
    for lease in &mut leases {
        lease.execute("INSERT INTO t VALUES (1)").await.unwrap();
    }
    drop(leases);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(rows, 3);
}

#[tokio::test]
async fn on_a_paused_clock_a_wait_ends_at_its_timeout_and_no_call_fails() {
    let dir = TempDir::new().unwrap();
    let pool = builder(&dir)
        .acquire_timeout(Duration::from_secs(7))
        .query_timeout(Duration::MAX)
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    // The thread of a connection knows no paused clock: it is open by now.
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    assert!(Error::from(answer(&pool).await.unwrap_err()).is_timeout());
    assert_eq!(start.elapsed().as_secs(), 7);
    drop(held);
}

#[test]
fn settings_come_from_the_address_the_environment_or_the_options_and_hide_the_password() {
    let wrong = |url: &str| {
        Pool::<Sqlite>::builder()
            .url(url)
            .build()
            .unwrap_err()
            .to_string()
    };
    let says = "url is an address of 28 characters that begins with `postgres:`, but must be `sqlite:PATH`";
    assert!(
        wrong("postgres://u:topsecret@h/db1").starts_with(says),
        "{}",
        wrong("postgres://u:topsecret@h/db1")
    );
    assert!(
        wrong("sqlite:a.db?mode=topsecret")
            .starts_with("url is an address of 26 characters that begins with `sqlite:`")
    );
    assert!(wrong("").starts_with("url is empty"));
    let none = Pool::<Sqlite>::builder().build().unwrap_err().to_string();
    assert!(
        none.starts_with("url must be set, as DATABASE_URL"),
        "{none}"
    );
    let pool = Pool::<Sqlite>::builder()
        .url("sqlite:app.db")
        .statement_cache(7)
        .build()
        .unwrap();
    assert_eq!(
        format!("{:?}", pool.manager()),
        "Manager { target: \"sqlite app.db\", .. }"
    );
    assert!(pool.name().starts_with("sqlite"));
}

#[derive(Debug, PartialEq, Eq)]
struct User {
    id: i64,
    name: String,
}

// What the macros know of the database is in `.sqlx`, so no database is asked when this is compiled.
#[tokio::test]
async fn the_macros_of_sqlx_run_on_the_pool_a_lease_and_a_transaction() {
    let (pool, _dir) = pool();
    pool.execute("CREATE TABLE users (id INTEGER PRIMARY KEY NOT NULL, name TEXT NOT NULL)")
        .await
        .unwrap();
    pool.execute("INSERT INTO users VALUES (7, 'Ada')")
        .await
        .unwrap();
    let row = sqlx::query!("SELECT id, name FROM users WHERE id = ?", 7)
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!((row.id, &*row.name), (7, "Ada"));
    let ada = User {
        id: 7,
        name: "Ada".to_owned(),
    };
    let mut lease = pool.get().await.unwrap();
    let user = sqlx::query_as!(User, "SELECT id, name FROM users WHERE id = ?", 7);
    assert_eq!(user.fetch_one(&mut lease).await.unwrap(), ada);
    drop(lease);
    let mut tx = pool.begin().await.unwrap();
    let user = sqlx::query_as!(User, "SELECT id, name FROM users WHERE id = ?", 7);
    assert_eq!(user.fetch_one(&mut *tx).await.unwrap(), ada);
    tx.commit().await.unwrap();
}
