//! Connections of sqlx to PostgreSQL on the pool, against a real server.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};

use futures_util::TryStreamExt as _;
use pool_db::{
    ConstraintKind, Error,
    sqlx::{Builder, Pool, Reset, sqlx},
};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Acquire, Connection as _, Executor, PgConnection, Postgres, Row as _};
use tests::postgres::Server;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

fn builder(server: &Server) -> Builder<Postgres> {
    Pool::<Postgres>::builder()
        .url(server.url())
        .max_size(1)
        .reset_timeout(Duration::from_secs(30))
}

fn pool(server: &Server) -> Pool<Postgres> {
    builder(server).build().unwrap()
}

/// Runs on whatever is an executor.
async fn answer<'e, E: Executor<'e, Database = Postgres>>(executor: E) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("SELECT $1 + 2")
        .bind(40)
        .fetch_one(executor)
        .await
}

async fn backend(pool: &Pool<Postgres>) -> i32 {
    sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(pool)
        .await
        .unwrap()
}

/// Polls `future` up to `polls` times, then drops it. Returns whether it has ended.
async fn drop_after<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = pin!(future);
    for _ in 0..polls {
        if future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
        {
            return true;
        }
        // The socket has to become ready meanwhile.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    false
}

#[tokio::test]
async fn the_pool_a_lease_and_a_transaction_run_what_sqlx_runs() {
    let server = Server::start();
    let pool = pool(&server);
    assert_eq!(answer(&pool).await.unwrap(), 42);
    let mut lease = pool.get().await.unwrap();
    assert_eq!(answer(&mut lease).await.unwrap(), 42);
    assert_eq!(answer(&mut *lease).await.unwrap(), 42);
    // A lease can be acquired, and begin.
    sqlx::Acquire::acquire(&mut lease)
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    lease
        .execute("CREATE TABLE t (id INT PRIMARY KEY)")
        .await
        .unwrap();
    let mut tx = Acquire::begin(&mut lease).await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)").await.unwrap();
    tx.commit().await.unwrap();
    drop(lease);

    let mut tx = pool.begin().await.unwrap();
    assert_eq!(answer(&mut tx).await.unwrap(), 42);
    assert_eq!(answer(&mut *tx).await.unwrap(), 42);
    sqlx::query("INSERT INTO t VALUES (2)")
        .execute(&mut tx)
        .await
        .unwrap();
    let mut savepoint = Acquire::begin(&mut tx).await.unwrap();
    sqlx::query("INSERT INTO t VALUES (3)")
        .execute(&mut *savepoint)
        .await
        .unwrap();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();
    let tx = pool.begin().await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    sqlx::query("INSERT INTO t VALUES (4)")
        .execute(&mut tx)
        .await
        .unwrap();
    drop(tx);

    let ids: Vec<i32> = sqlx::query_scalar("SELECT id FROM t ORDER BY id")
        .fetch_all(&pool)
        .await
        .unwrap();
    assert_eq!(ids, [1, 2]);
    let ids: Vec<i32> = pool
        .fetch("SELECT id FROM t ORDER BY id")
        .map_ok(|row| row.get::<i32, _>(0))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(ids, [1, 2]);
    let many: Vec<_> = (&pool)
        .fetch_many("SELECT 1; SELECT 2")
        .try_collect()
        .await
        .unwrap();
    assert_eq!(many.len(), 4);
    assert_eq!(
        (&pool)
            .describe(sqlx::SqlSafeStr::into_sql_str("SELECT 1"))
            .await
            .unwrap()
            .columns
            .len(),
        1
    );
    assert_eq!(pool.status().opened, 1, "all of that on one connection");
}

#[tokio::test]
async fn errors_say_the_same_as_everywhere_and_cross_sqlx_unharmed() {
    let server = Server::start();
    server.sql("CREATE TABLE users (email TEXT CONSTRAINT one_email UNIQUE, age INT NOT NULL CHECK (age > 17))");
    let pool = builder(&server)
        .acquire_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let insert = "INSERT INTO users VALUES ('a', 20)";
    pool.execute(insert).await.unwrap();
    let error = Error::from(pool.execute(insert).await.unwrap_err());
    let constraint = error.constraint().unwrap();
    assert_eq!(
        (constraint.kind(), constraint.name(), constraint.table()),
        (ConstraintKind::Unique, Some("one_email"), Some("users"))
    );
    assert_eq!(error.as_sqlstate(), Some("23505"));
    assert!(error.is_database() && !error.may_have_happened());
    let again = sqlx::Error::from(error);
    assert!(
        again
            .as_database_error()
            .is_some_and(|error| error.is_unique_violation())
    );
    let none = sqlx::query("SELECT 1 WHERE false")
        .fetch_one(&pool)
        .await
        .unwrap_err();
    assert!(matches!(none, sqlx::Error::RowNotFound) && Error::from(none).is_no_rows());

    let held = pool.get().await.unwrap();
    let late = answer(&pool).await.unwrap_err();
    assert!(
        matches!(&late, sqlx::Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut),
        "{late}"
    );
    let late = Error::from(late);
    assert!(
        late.is_timeout() && late.is_unavailable() && !late.may_have_happened(),
        "{late}"
    );
    assert_eq!(late.status().map(|status| status.leased), Some(1));
    pool.close();
    assert!(Error::from(answer(&pool).await.unwrap_err()).is_closed());
    drop(held);

    let url = format!(
        "postgres://nobody:topsecret@127.0.0.1:{}/postgres",
        server.port()
    );
    let refused = Pool::<Postgres>::builder().url(url).build().unwrap();
    let error = refused.get().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(error.to_string().contains("as nobody"), "{error}");
    let all = format!(
        "{error} {error:?} {refused:?} {:?} {:?}",
        refused.status(),
        refused.manager()
    );
    assert!(!all.contains("topsecret"), "{all}");
}

/// Something that a session can keep, what makes it, and a query for one text that tells it.
const THINGS: &[(&str, &str, &str)] = &[
    ("a setting", "SET work_mem = '123kB'", "SHOW work_mem"),
    (
        "a setting by a function",
        "SELECT set_config('shop.tenant', 'Ada', false)",
        "SELECT coalesce(current_setting('shop.tenant', true), '')",
    ),
    ("a role", "SET ROLE weak", "SELECT current_user::text"),
    (
        "an authorization",
        "SET SESSION AUTHORIZATION weak",
        "SELECT session_user::text",
    ),
    (
        "how transactions begin",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW default_transaction_read_only",
    ),
    (
        "a temporary table",
        "CREATE TEMP TABLE left_behind (id INT)",
        "SELECT to_regclass('left_behind') IS NULL",
    ),
    (
        "a temporary table by INTO",
        "SELECT 1 AS id INTO TEMP left_behind",
        "SELECT to_regclass('left_behind') IS NULL",
    ),
    (
        "a channel",
        "LISTEN news",
        "SELECT coalesce(string_agg(c, ','), '') FROM pg_listening_channels() c",
    ),
    (
        "a lock",
        "SELECT pg_advisory_lock(7)",
        "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory'",
    ),
    (
        "a statement",
        "PREPARE left_behind AS SELECT 1",
        "SELECT count(*)::text FROM pg_prepared_statements WHERE from_sql",
    ),
    (
        "a cursor",
        "BEGIN; DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "SELECT count(*)::text FROM pg_cursors WHERE name = 'left_behind'",
    ),
    (
        "a transaction",
        "BEGIN; CREATE TABLE in_it (id INT)",
        "SELECT (to_regclass('in_it') IS NULL)::text",
    ),
    (
        "a failed transaction",
        "BEGIN; CREATE TABLE in_it (id INT); SELECT 1 / 0",
        "SELECT (to_regclass('in_it') IS NULL)::text",
    ),
    (
        "a transaction in which settings changed",
        "BEGIN; SET work_mem = '99kB'; SAVEPOINT s",
        "SHOW work_mem",
    ),
    (
        "sqlx's own statements dropped",
        "DISCARD ALL",
        "SELECT ($1::int + 1)::text",
    ),
    (
        "the sequence of an insert",
        "SELECT nextval('numbers')",
        "SELECT last_value::text FROM (SELECT 1 AS last_value) x",
    ),
    (
        "an anonymous block",
        "DO $$ BEGIN PERFORM set_config('work_mem', '77kB', false); END $$",
        "SHOW work_mem",
    ),
];

async fn look(pool: &Pool<Postgres>, sql: &'static str) -> String {
    let mut query = sqlx::query(sql);
    if sql.contains("$1") {
        query = query.bind(1);
    }
    let row = query
        .fetch_one(pool)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    row.try_get::<String, _>(0)
        .or_else(|_| row.try_get::<bool, _>(0).map(|is| is.to_string()))
        .unwrap()
}

#[tokio::test]
async fn nothing_that_a_lease_leaves_reaches_the_next() {
    let server = Server::start();
    server.sql("CREATE ROLE weak; CREATE SEQUENCE numbers; GRANT weak TO CURRENT_USER");
    let pool = pool(&server);
    for (name, make, sql) in THINGS {
        let before = (look(&pool, sql).await, backend(&pool).await);
        // By a statement that the pool sees, by one that it does not, and by the pool itself.
        for by in 0..3 {
            let made = match by {
                0 => (&mut pool.get().await.unwrap()).execute(*make).await,
                1 => (&mut *pool.get().await.unwrap()).execute(*make).await,
                _ => pool.execute(*make).await,
            };
            assert_eq!(
                made.is_err(),
                name.starts_with("a failed"),
                "{name}: {made:?}"
            );
            assert_eq!(
                (look(&pool, sql).await, backend(&pool).await),
                before,
                "{name}, by {by}"
            );
        }
    }
    assert_eq!(pool.status().opened, 1);
    assert_eq!(
        server
            .sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'")
            .trim(),
        "0"
    );
}

#[tokio::test]
async fn a_policy_of_nothing_still_ends_transactions() {
    let server = Server::start();
    let pool = builder(&server).reset(Reset::Nothing).build().unwrap();
    pool.execute("SET work_mem = '123kB'").await.unwrap();
    pool.execute("BEGIN").await.unwrap();
    assert_eq!(look(&pool, "SHOW work_mem").await, "123kB");
    assert_eq!(
        server
            .sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'")
            .trim(),
        "0"
    );
}

// transact-rs/sqlx#4393: a BEGIN that was dropped leaves its session in a transaction, of which sqlx knows nothing.
#[tokio::test]
async fn a_begin_that_is_dropped_at_any_poll_leaves_no_transaction() {
    let server = Server::start();
    server.sql("CREATE TABLE t (id INT)");
    let pool = pool(&server);
    for polls in 0..8 {
        let by_pool = drop_after(polls, pool.begin()).await;
        let mut lease = pool.get().await.unwrap();
        let by_sqlx = drop_after(polls, Acquire::begin(&mut lease)).await;
        drop(lease);
        // Would be lost in a transaction that is rolled back later.
        sqlx::query("INSERT INTO t VALUES ($1)")
            .bind(i32::try_from(polls).unwrap())
            .execute(&pool)
            .await
            .unwrap();
        assert_eq!(
            server.sql("SELECT max(id) FROM t").trim(),
            polls.to_string(),
            "{by_pool} {by_sqlx}"
        );
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_at_any_poll_gives_nobody_a_wrong_answer() {
    let server = Server::start();
    let pool = pool(&server);
    for polls in 0..6 {
        for number in 0..6 {
            let sql = format!("SELECT {number}, $1::int FROM generate_series(1, 3)");
            let query = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(number);
            match number % 3 {
                0 => _ = drop_after(polls, query.fetch_all(&pool)).await,
                1 => _ = drop_after(polls, query.fetch_one(&mut pool.get().await.unwrap())).await,
                _ => _ = drop_after(polls, query.fetch_all(&mut *pool.get().await.unwrap())).await,
            }
            assert_eq!(answer(&pool).await.unwrap(), 42);
        }
    }
    // A statement whose prepare was dropped is not kept by the server for ever.
    let mut lease = pool.get().await.unwrap();
    let kept: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql")
            .fetch_one(&mut lease)
            .await
            .unwrap();
    assert_eq!(
        usize::try_from(kept).unwrap(),
        lease.cached_statements_size()
    );
}

#[tokio::test]
async fn what_a_dropped_call_runs_is_cancelled_and_its_connection_goes_on() {
    let server = Server::start();
    let pool = pool(&server);
    let pid = backend(&pool).await;
    let sleep = sqlx::query("SELECT pg_sleep(3600)").execute(&pool);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), sleep)
            .await
            .is_err()
    );
    assert_eq!(backend(&pool).await, pid);
    // With the connection itself.
    let mut lease = pool.get().await.unwrap();
    let sleep = sqlx::query("SELECT pg_sleep(3600)").execute(&mut *lease);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), sleep)
            .await
            .is_err()
    );
    drop(lease);
    assert_eq!(backend(&pool).await, pid);
    assert_eq!(server.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(3600)%' AND state = 'active' AND pid <> pg_backend_pid()").trim(), "0");
}

#[tokio::test]
async fn without_cancelling_the_connection_is_closed_after_the_reset_timeout() {
    let server = Server::start();
    let pool = builder(&server)
        .cancel(false)
        .reset_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    let pid = backend(&pool).await;
    let sleep = sqlx::query("SELECT pg_sleep(3600)").execute(&pool);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), sleep)
            .await
            .is_err()
    );
    assert_ne!(backend(&pool).await, pid);
}

#[tokio::test]
async fn a_call_ends_at_its_timeout_and_the_connection_is_used_again() {
    let server = Server::start();
    let pool = builder(&server)
        .query_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let pid = backend(&pool).await;
    let late = Error::from(pool.execute("SELECT pg_sleep(3600)").await.unwrap_err());
    assert!(
        late.is_timeout() && late.may_have_happened() && !late.is_unavailable(),
        "{late}"
    );
    let late: Result<Vec<_>, _> = pool.fetch("SELECT pg_sleep(3600)").try_collect().await;
    assert!(Error::from(late.unwrap_err()).is_timeout());
    assert_eq!(backend(&pool).await, pid);
    let mut tx = pool.begin().await.unwrap();
    tx.execute("SELECT pg_sleep(3600)").await.unwrap_err();
    assert!(tx.commit().await.unwrap_err().is_abandoned());
    assert_eq!(backend(&pool).await, pid);
}

#[tokio::test]
async fn a_commit_of_a_failed_transaction_is_an_error() {
    let server = Server::start();
    server.sql("CREATE TABLE t (id INT PRIMARY KEY DEFERRABLE INITIALLY DEFERRED)");
    let pool = pool(&server);
    for by_pool in [true, false] {
        let mut tx = pool.begin().await.unwrap();
        tx.execute("INSERT INTO t VALUES (1)").await.unwrap();
        let failed = if by_pool {
            (&mut tx).execute("SELECT 1 / 0").await
        } else {
            (&mut *tx).execute("SELECT 1 / 0").await
        };
        failed.unwrap_err();
        let error = tx.commit().await.unwrap_err();
        assert!(error.is_database() && !error.may_have_happened(), "{error}");
    }
    // A savepoint gets over it.
    let mut tx = pool.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (2)").await.unwrap();
    let mut savepoint = Acquire::begin(&mut tx).await.unwrap();
    savepoint.execute("SELECT 1 / 0").await.unwrap_err();
    savepoint.rollback().await.unwrap();
    tx.commit().await.unwrap();
    // A constraint that is checked by the commit.
    let mut tx = pool.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (2)").await.unwrap();
    assert!(tx.commit().await.unwrap_err().is_unique_violation());
    assert_eq!(
        look(&pool, "SELECT string_agg(id::text, ',') FROM t").await,
        "2"
    );
}

#[tokio::test]
async fn a_transaction_that_loses_is_run_again() {
    let server = Server::start();
    server.sql("CREATE TABLE n (id INT PRIMARY KEY, v INT); INSERT INTO n VALUES (1, 0)");
    let pool = Pool::<Postgres>::builder()
        .url(server.url())
        .max_size(4)
        .on_connect("SET default_transaction_isolation = 'serializable'")
        .build()
        .unwrap();
    let tasks = (0..8).map(|at| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let plan = pool
                .build_transaction()
                .tries(100)
                .backoff(Duration::from_millis(1), Duration::from_millis(20));
            plan.run(|tx| {
                Box::pin(async move {
                    // Half of them where the pool does not see the error.
                    let v: i32 = sqlx::query_scalar("SELECT v FROM n WHERE id = 1")
                        .fetch_one(&mut *tx)
                        .await?;
                    let update = sqlx::query("UPDATE n SET v = $1 WHERE id = 1").bind(v + 1);
                    if at % 2 == 0 {
                        update.execute(&mut *tx).await?;
                    } else {
                        update.execute(&mut **tx).await?;
                    }
                    Ok::<_, sqlx::Error>(())
                })
            })
            .await
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap().unwrap();
    }
    assert_eq!(look(&pool, "SELECT v::text FROM n").await, "8");
    let failed: Result<(), Error> = pool
        .transaction(|tx| {
            Box::pin(async move {
                tx.execute("UPDATE n SET v = 99").await?;
                Err(Error::other("no"))
            })
        })
        .await;
    assert_eq!(failed.unwrap_err().to_string(), "no");
    assert_eq!(look(&pool, "SELECT v::text FROM n").await, "8");
}

#[tokio::test]
async fn a_transaction_that_waits_to_run_again_leaves_its_connection_to_others() {
    let server = Server::start();
    let pool = builder(&server).max_size(1).build().unwrap();
    let hour = Duration::from_secs(3600);
    let plan = pool.build_transaction().backoff(hour, hour);
    let waits = plan.run(|tx| {
        Box::pin(async move {
            let raise = "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$";
            tx.execute(raise).await.map(drop)
        })
    });
    tokio::select! {
        biased;
        ended = waits => panic!("{ended:?}"),
        other = answer(&pool) => assert_eq!(other.unwrap(), 42),
    }
}

#[tokio::test]
async fn a_forgotten_transaction_of_sqlx_is_rolled_back() {
    let server = Server::start();
    server.sql("CREATE TABLE t (id INT)");
    let pool = pool(&server);
    let mut lease = pool.get().await.unwrap();
    let mut tx = Acquire::begin(&mut lease).await.unwrap();
    tx.execute("INSERT INTO t VALUES (1)").await.unwrap();
    std::mem::forget(tx);
    drop(lease);
    let mut tx = pool.begin().await.unwrap();
    tx.execute("INSERT INTO t VALUES (2)").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(
        server.sql("SELECT string_agg(id::text, ',') FROM t").trim(),
        "2"
    );
}

/// Passes connections on to a server, and counts the messages after which a client waits for its answer.
async fn round_trips(server: &Server) -> (u16, Arc<AtomicU32>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let (port, target) = (listener.local_addr().unwrap().port(), server.port());
    let trips = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&trips);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            let ((mut of_client, mut to_client), (mut of_server, mut to_server)) =
                (client.into_split(), server.into_split());
            tokio::spawn(async move { tokio::io::copy(&mut of_server, &mut to_client).await });
            let trips = Arc::clone(&counts);
            tokio::spawn(async move {
                // The first messages have no letter: a request for TLS, which is refused, and the start.
                for turn in 0.. {
                    let mut head = vec![0; 4];
                    let mut letter = 0;
                    of_client.read_exact(&mut head).await?;
                    let mut length = u32::from_be_bytes(head[..4].try_into().unwrap());
                    if turn > 0 && head[0] != 0 {
                        letter = head[0];
                        head.push(of_client.read_u8().await?);
                        length = u32::from_be_bytes(head[1..].try_into().unwrap());
                    }
                    let mut body = vec![0; usize::try_from(length).unwrap() - 4];
                    of_client.read_exact(&mut body).await?;
                    if letter == b'S' || letter == b'Q' {
                        trips.fetch_add(1, Relaxed);
                    }
                    to_server.write_all(&[head, body].concat()).await?;
                }
                Ok::<_, std::io::Error>(())
            });
        }
    });
    (port, trips)
}

#[tokio::test]
async fn plain_leases_cost_no_round_trip_more_than_their_statements() {
    const TIMES: u32 = 10;
    let server = Server::start();
    let (port, trips) = round_trips(&server).await;
    let url = server.url_at(port);
    let ours = Pool::<Postgres>::builder()
        .url(&url)
        .max_size(1)
        .check_after(Duration::from_secs(600))
        .build()
        .unwrap();
    answer(&ours).await.unwrap();
    let before = trips.load(Relaxed);
    for _ in 0..TIMES {
        answer(&ours).await.unwrap();
        answer(&mut ours.get().await.unwrap()).await.unwrap();
    }
    assert_eq!(trips.load(Relaxed) - before, 2 * TIMES);
    let mut tx = ours.begin().await.unwrap();
    answer(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    answer(&ours).await.unwrap();
    assert_eq!(
        trips.load(Relaxed) - before,
        2 * TIMES + 4,
        "BEGIN, COMMIT and two selects"
    );
    // With the connection itself, one more for each lease.
    for _ in 0..TIMES {
        answer(&mut *ours.get().await.unwrap()).await.unwrap();
    }
    drop(ours.get().await.unwrap());
    assert_eq!(trips.load(Relaxed) - before, 2 * TIMES + 4 + 2 * TIMES);

    let theirs = PgPoolOptions::new()
        .max_connections(1)
        .connect(&url)
        .await
        .unwrap();
    answer(&theirs).await.unwrap();
    let before = trips.load(Relaxed);
    for _ in 0..TIMES {
        answer(&theirs).await.unwrap();
    }
    let of_sqlx = trips.load(Relaxed) - before;
    assert!(of_sqlx >= 2 * TIMES, "sqlx's own pool took {of_sqlx}");
}

#[tokio::test]
async fn a_hook_runs_on_each_connection_and_after_each_cleaning() {
    let server = Server::start();
    let pool = builder(&server)
        .on_connect("SET work_mem = '111kB'")
        .after_connect(|connection: &mut PgConnection| {
            Box::pin(async move {
                connection
                    .execute("SET statement_timeout = '77s'")
                    .await
                    .map(drop)
            })
        })
        .build()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(look(&pool, "SHOW work_mem").await, "111kB");
        assert_eq!(look(&pool, "SHOW statement_timeout").await, "77s");
        pool.execute("SET work_mem = '222kB'; SET statement_timeout = 0")
            .await
            .unwrap();
        pool.execute("PREPARE x AS SELECT 1; SET work_mem = '222kB'")
            .await
            .unwrap();
    }
    let failing = builder(&server)
        .after_connect(|_| Box::pin(async { Err(sqlx::Error::RowNotFound) }))
        .build()
        .unwrap();
    let error = failing.get().await.unwrap_err();
    assert!(
        error.is_connect() && error.to_string().contains("after_connect failed: no rows"),
        "{error}"
    );
    let panics = builder(&server)
        .after_connect(|_| Box::pin(async { panic!("no luck") }))
        .build()
        .unwrap();
    let error = panics.get().await.unwrap_err().to_string();
    assert!(error.contains("after_connect panicked: no luck"), "{error}");
}

#[tokio::test]
async fn without_a_cache_the_server_keeps_no_statement() {
    let server = Server::start();
    let pool = builder(&server).statement_cache(0).build().unwrap();
    for number in 0..5 {
        answer(&pool).await.unwrap();
        let mut lease = pool.get().await.unwrap();
        sqlx::query("SELECT $1")
            .bind(number)
            .execute(&mut *lease)
            .await
            .unwrap();
    }
    assert_eq!(
        look(&pool, "SELECT count(*)::text FROM pg_prepared_statements").await,
        "0"
    );
}

#[tokio::test]
async fn a_lost_connection_is_told_and_the_next_get_has_another() {
    let server = Server::start();
    let pool = Pool::<Postgres>::builder()
        .url(server.url())
        .max_size(3)
        .check_after(Duration::from_secs(600))
        .build()
        .unwrap();
    let leases = futures_util::future::try_join_all((0..3).map(|_| pool.get()))
        .await
        .unwrap();
    drop(leases);
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'");
    let error = Error::from(answer(&pool).await.unwrap_err());
    assert!(error.is_disconnected() && error.is_unavailable(), "{error}");
    assert_eq!(error.as_sqlstate(), Some("57P01"));
    // The others are checked before anybody gets them.
    for _ in 0..5 {
        assert_eq!(answer(&pool).await.unwrap(), 42);
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let mut server = Server::start();
    let pool = pool(&server);
    assert_eq!(answer(&pool).await.unwrap(), 42);
    let tx = pool.begin().await.unwrap();
    server.restart();
    let error = tx.commit().await.unwrap_err();
    assert!(error.is_disconnected() && error.is_unavailable(), "{error}");
    assert_eq!(answer(&pool).await.unwrap(), 42);
    server.kill();
    assert!(Error::from(answer(&pool).await.unwrap_err()).is_unavailable());
    assert!(Error::from(answer(&pool).await.unwrap_err()).is_unavailable());
    server.restart();
    // Gets fail at once until the pool has found that it is back.
    for _ in 0..600 {
        match answer(&pool).await {
            Ok(found) => return assert_eq!(found, 42),
            Err(error) => assert!(Error::from(error).is_unavailable()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it was not found again");
}

#[tokio::test]
async fn a_server_that_hangs_costs_a_bounded_time() {
    let mut server = Server::start();
    let pool = builder(&server)
        .query_timeout(Duration::from_millis(200))
        .reset_timeout(Duration::from_millis(500))
        .acquire_timeout(Duration::from_millis(300))
        .close_timeout(Duration::from_millis(300))
        .build()
        .unwrap();
    assert_eq!(answer(&pool).await.unwrap(), 42);
    server.freeze();
    assert!(Error::from(answer(&pool).await.unwrap_err()).is_timeout());
    let error = Error::from(answer(&pool).await.unwrap_err());
    assert!(error.is_timeout() && error.is_unavailable(), "{error}");
    server.thaw();
    let answer = pool.get().timeout(Duration::from_secs(30)).await;
    assert_eq!(self::answer(&mut answer.unwrap()).await.unwrap(), 42);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_on_few_connections_count_right() {
    let server = Server::start();
    server.sql("CREATE TABLE ledger (id SERIAL, amount INT)");
    let pool = Pool::<Postgres>::builder()
        .url(server.url())
        .max_size(4)
        .build()
        .unwrap();
    let tasks = (0..16_u32).map(|task| {
        let pool = pool.clone();
        tokio::spawn(async move {
            let mut done = 0_i64;
            for turn in 0..20_u32 {
                match (task + turn) % 5 {
                    0 => {
                        sqlx::query("INSERT INTO ledger (amount) VALUES (1)")
                            .execute(&pool)
                            .await
                            .unwrap();
                        done += 1;
                    }
                    1 => {
                        let mut tx = pool.begin().await.unwrap();
                        sqlx::query("INSERT INTO ledger (amount) VALUES (1)")
                            .execute(&mut tx)
                            .await
                            .unwrap();
                        tx.commit().await.unwrap();
                        done += 1;
                    }
                    2 => {
                        let mut tx = pool.begin().await.unwrap();
                        sqlx::query("INSERT INTO ledger (amount) VALUES (1)")
                            .execute(&mut *tx)
                            .await
                            .unwrap();
                    }
                    3 => {
                        let slow =
                            sqlx::query("INSERT INTO ledger (amount) SELECT 100 FROM pg_sleep(30)")
                                .execute(&pool);
                        drop(tokio::time::timeout(Duration::from_millis(1), slow).await);
                    }
                    _ => assert_eq!(answer(&mut *pool.get().await.unwrap()).await.unwrap(), 42),
                }
            }
            done
        })
    });
    let mut done = 0;
    for task in tasks.collect::<Vec<_>>() {
        done += task.await.unwrap();
    }
    let sum: i64 = sqlx::query_scalar("SELECT sum(amount) FROM ledger")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(sum, done);
    assert!(pool.status().open <= 4);
    let drained = pool.drain(Duration::from_secs(10)).await;
    assert!(drained.is_complete(), "{drained:?}");
}
