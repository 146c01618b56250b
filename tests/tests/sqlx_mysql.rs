//! Connections of sqlx to MariaDB on the pool, against a real server.
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
    sqlx::{Builder, Pool, sqlx},
};
use sqlx::{Acquire, Executor, MySql};
use tests::mariadb::Server;

fn builder(server: &Server) -> Builder<MySql> {
    Pool::<MySql>::builder().url(server.url()).max_size(1)
}

async fn answer<'e, E: Executor<'e, Database = MySql>>(executor: E) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar("SELECT CAST(? + 2 AS SIGNED)")
        .bind(40)
        .fetch_one(executor)
        .await
}

async fn id(pool: &Pool<MySql>) -> u64 {
    sqlx::query_scalar("SELECT CAST(CONNECTION_ID() AS UNSIGNED)")
        .fetch_one(pool)
        .await
        .unwrap()
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
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn the_pool_a_lease_and_a_transaction_run_what_sqlx_runs() {
    let server = Server::start();
    let pool = builder(&server).build().unwrap();
    assert_eq!(answer(&pool).await.unwrap(), 42);
    pool.execute("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .unwrap();
    let mut lease = pool.get().await.unwrap();
    assert_eq!(answer(&mut lease).await.unwrap(), 42);
    assert_eq!(answer(&mut *lease).await.unwrap(), 42);
    drop(lease);
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (1)")
        .execute(&mut tx)
        .await
        .unwrap();
    let mut savepoint = Acquire::begin(&mut tx).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (2)")
        .execute(&mut *savepoint)
        .await
        .unwrap();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (3)")
        .execute(&mut tx)
        .await
        .unwrap();
    drop(tx);
    let rows: Vec<_> = pool.fetch("SELECT id FROM t").try_collect().await.unwrap();
    assert_eq!(
        (rows.len(), pool.status().opened),
        (1, 1),
        "all of that on one connection"
    );
    let error = Error::from(pool.execute("INSERT INTO t VALUES (1)").await.unwrap_err());
    assert_eq!(error.constraint().unwrap().kind(), ConstraintKind::Unique);
    assert_eq!(error.as_mysql_code(), Some(1062));
}

/// Something that a session can keep, what makes it, and a value that tells it.
const THINGS: &[(&str, &str, &str)] = &[
    ("a setting", "SET sql_mode = ''", "@@sql_mode"),
    (
        "a variable",
        "SET @left_behind = 7",
        "coalesce(@left_behind, '')",
    ),
    (
        "a temporary table",
        "CREATE TEMPORARY TABLE words (id INT)",
        "(SELECT count(*) FROM words)",
    ),
    (
        "a lock",
        "SELECT GET_LOCK('left_behind', 0)",
        "coalesce(IS_USED_LOCK('left_behind'), '')",
    ),
    (
        "locked tables",
        "LOCK TABLES words READ",
        "(SELECT count(*) FROM others)",
    ),
    ("a database", "USE information_schema", "DATABASE()"),
    (
        "a statement",
        "PREPARE left_behind FROM 'SELECT 1'",
        "(SELECT VARIABLE_VALUE FROM information_schema.SESSION_STATUS WHERE VARIABLE_NAME = 'Com_prepare_sql')",
    ),
    ("a transaction", "BEGIN", "@@in_transaction"),
    (
        "a transaction with a row",
        "BEGIN; INSERT INTO words VALUES (7)",
        "(SELECT count(*) FROM words)",
    ),
    ("no commits", "SET autocommit = 0", "@@autocommit"),
];

#[tokio::test]
async fn nothing_that_a_lease_leaves_reaches_the_next() {
    let server = Server::start();
    let pool = builder(&server).build().unwrap();
    let make =
        "CREATE TABLE words (id INT); CREATE TABLE others (id INT); INSERT INTO words VALUES (1)";
    pool.execute(make).await.unwrap();
    let look = async |value: &str| -> String {
        let sql = sqlx::AssertSqlSafe(format!("SELECT CAST({value} AS CHAR)"));
        let found = sqlx::query_scalar(sql).fetch_one(&pool).await;
        found.unwrap_or_else(|error| panic!("{value}: {error}"))
    };
    for (name, make, value) in THINGS {
        let before = look(value).await;
        for by in 0..3 {
            let made = match by {
                0 => (&mut pool.get().await.unwrap()).execute(*make).await,
                1 => (&mut *pool.get().await.unwrap()).execute(*make).await,
                _ => pool.execute(*make).await,
            };
            made.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(look(value).await, before, "{name}, by {by}");
        }
    }
}

#[tokio::test]
async fn a_lease_that_leaves_nothing_keeps_its_connection() {
    let server = Server::start();
    let pool = builder(&server).build().unwrap();
    let first = id(&pool).await;
    for _ in 0..3 {
        let mut lease = pool.get().await.unwrap();
        assert_eq!(answer(&mut *lease).await.unwrap(), 42);
        let mut tx = Acquire::begin(&mut lease).await.unwrap();
        assert_eq!(answer(&mut *tx).await.unwrap(), 42);
        tx.commit().await.unwrap();
        drop(lease);
        assert_eq!(id(&pool).await, first);
    }
}

// A prepare whose future is dropped: sqlx takes its answer for that of the next statement.
#[tokio::test]
async fn what_is_dropped_at_any_poll_gives_nobody_a_wrong_answer() {
    let server = Server::start();
    let pool = builder(&server).build().unwrap();
    pool.execute("CREATE TABLE t (id INT)").await.unwrap();
    for polls in 0..6 {
        for number in 0..4 {
            let sql = format!("SELECT {polls}{number}, ?");
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number);
            if number % 2 == 0 {
                drop_after(polls, query.fetch_all(&pool)).await;
            } else {
                drop_after(polls, query.fetch_all(&mut *pool.get().await.unwrap())).await;
            }
            assert_eq!(answer(&pool).await.unwrap(), 42);
        }
        drop_after(polls, pool.begin()).await;
        sqlx::query("INSERT INTO t VALUES (?)")
            .bind(i32::try_from(polls).unwrap())
            .execute(&pool)
            .await
            .unwrap();
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM t")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(usize::try_from(rows).unwrap(), polls + 1);
    }
}

#[tokio::test]
async fn what_a_dropped_call_runs_is_stopped_on_the_server() {
    let server = Server::start();
    let pool = builder(&server).build().unwrap();
    for with_the_connection in [false, true] {
        let mut lease = pool.get().await.unwrap();
        let sleep = sqlx::query("SELECT SLEEP(3600)");
        let limit = Duration::from_millis(50);
        let late = if with_the_connection {
            tokio::time::timeout(limit, sleep.execute(&mut *lease)).await
        } else {
            tokio::time::timeout(limit, sleep.execute(&mut lease)).await
        };
        assert!(late.is_err());
        drop(lease);
        assert_eq!(answer(&pool).await.unwrap(), 42);
    }
    let still =
        "SELECT count(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SELECT SLEEP(3600%'";
    for _ in 0..200 {
        if server.sql(still).trim() == "0" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it still runs");
}

#[tokio::test]
async fn a_transaction_that_lost_to_a_deadlock_is_run_again() {
    let server = Server::start();
    let pool = builder(&server).max_size(4).build().unwrap();
    pool.execute("CREATE TABLE n (id INT PRIMARY KEY, v INT); INSERT INTO n VALUES (1, 0), (2, 0)")
        .await
        .unwrap();
    let tasks: Vec<_> = (0..8_i32)
        .map(|at| {
            let pool = pool.clone();
            tokio::spawn(async move {
                pool.build_transaction()
                    .tries(100)
                    .run(|tx| {
                        Box::pin(async move {
                            for id in if at % 2 == 0 { [1, 2] } else { [2, 1] } {
                                sqlx::query("UPDATE n SET v = v + 1 WHERE id = ?")
                                    .bind(id)
                                    .execute(&mut *tx)
                                    .await?;
                                tokio::time::sleep(Duration::from_millis(5)).await;
                            }
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
    assert_eq!(server.sql("SELECT GROUP_CONCAT(v) FROM n").trim(), "8,8");
}
