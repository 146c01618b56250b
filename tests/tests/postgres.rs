//! Pools of PostgreSQL connections, on real servers that are killed, frozen and restarted.

#![allow(clippy::unwrap_used)]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use pool_db::postgres::tokio_postgres::IsolationLevel;
use pool_db::postgres::{Client, Connection, Pool, SslMode};
use pool_db::{ConstraintKind, Error};
use tests::postgres::Server;
use tokio::time::{sleep, timeout};

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(20);

fn pool(server: &Server, max_size: u32) -> Pool {
    Pool::builder()
        .url(server.url())
        .max_size(max_size)
        .build()
        .unwrap()
}

/// What the server's process is, of this connection.
async fn pid(client: &Client) -> i32 {
    client
        .query_one("SELECT pg_backend_pid()", &[])
        .await
        .unwrap()
        .get(0)
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

/// Polls a future once and drops it: what it sends is sent, and nobody waits for the answer.
fn poll_once(future: impl Future) {
    let _ = pin!(future)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_ready();
}

/// Waits until the server's answer is this one.
async fn until(server: &Server, sql: &str, answer: &str) {
    let begin = Instant::now();
    while server.sql(sql) != answer {
        assert!(begin.elapsed() < SOON, "{sql}: {}", server.sql(sql));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Gets a connection as soon as the pool has found out that the server is back.
async fn once_back(pool: &Pool) -> Connection {
    let begin = Instant::now();
    loop {
        match pool.get().timeout(SOON).await {
            Ok(connection) => return connection,
            Err(error) => assert!(error.is_connect() && begin.elapsed() < SOON, "{error}"),
        }
        sleep(Duration::from_millis(10)).await;
    }
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
async fn statements_are_run_prepared_and_answered() {
    let server = Server::start();
    let pool = pool(&server, 1);
    let connection = pool.get().await.unwrap();
    connection
        .batch_execute("CREATE TABLE users (id bigint PRIMARY KEY, name text)")
        .await
        .unwrap();
    for (id, name) in [(1_i64, "Ada"), (2, "Bob")] {
        let rows = connection
            .execute("INSERT INTO users VALUES ($1, $2)", &[&id, &name])
            .await
            .unwrap();
        assert_eq!(rows, 1);
    }
    let rows = connection
        .query("SELECT name FROM users ORDER BY id", &[])
        .await
        .unwrap();
    assert_eq!(
        rows.iter()
            .map(|row| row.get::<_, String>(0))
            .collect::<Vec<_>>(),
        ["Ada", "Bob"]
    );
    let none = connection
        .query_opt("SELECT name FROM users WHERE id = $1", &[&3_i64])
        .await
        .unwrap();
    assert!(none.is_none());
    let statement = connection
        .prepare_cached("SELECT name FROM users WHERE id = $1")
        .await
        .unwrap();
    assert_eq!(statement.columns()[0].name(), "name");
    assert_eq!(
        connection
            .query_one(&statement, &[&2_i64])
            .await
            .unwrap()
            .get::<_, String>(0),
        "Bob"
    );
    let prepared = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%users%'";
    assert_eq!(
        number(&connection, prepared).await,
        4,
        "each text once, this one among them"
    );

    // Requests that are polled together are sent together.
    let (a, b) = tokio::join!(
        number(&connection, "SELECT 1::bigint"),
        number(&connection, "SELECT 2::bigint")
    );
    assert_eq!((a, b), (1, 2));
}

#[tokio::test]
async fn no_more_statements_stay_prepared_than_asked_for() {
    let server = Server::start();
    for (capacity, left) in [(2, 2), (0, 1)] {
        let pool = Pool::builder()
            .url(server.url())
            .max_size(1)
            .statement_cache(capacity)
            .build()
            .unwrap();
        let connection = pool.get().await.unwrap();
        for n in 0..10 {
            assert_eq!(number(&connection, &format!("SELECT {n}::bigint")).await, n);
        }
        // With no capacity there is only this one itself.
        assert_eq!(
            number(&connection, "SELECT count(*) FROM pg_prepared_statements").await,
            left
        );
    }
}

#[tokio::test]
async fn a_statement_of_a_table_that_was_changed_is_prepared_again() {
    let server = Server::start();
    server.sql("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let pool = pool(&server, 1);
    let mut connection = pool.get().await.unwrap();
    let columns = async |client: &Client| {
        client
            .query_one("SELECT * FROM t", &[])
            .await
            .map(|row| row.len())
    };
    assert_eq!(columns(&connection).await.unwrap(), 1);
    server.sql("ALTER TABLE t ADD b int");
    assert_eq!(columns(&connection).await.unwrap(), 2);
    connection.batch_execute("DEALLOCATE ALL").await.unwrap();
    assert_eq!(columns(&connection).await.unwrap(), 2);

    // The first error costs the transaction; the next one is right again.
    server.sql("ALTER TABLE t ADD c int");
    let transaction = connection.transaction().await.unwrap();
    let error = columns(&transaction).await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("0A000"), "{error}");
    drop(transaction);
    let transaction = connection.transaction().await.unwrap();
    assert_eq!(columns(&transaction).await.unwrap(), 3);
}

#[tokio::test]
async fn errors_say_what_they_are() {
    let server = Server::start();
    let pool = pool(&server, 1);
    let connection = pool.get().await.unwrap();
    connection
        .batch_execute("CREATE TABLE t (n int UNIQUE)")
        .await
        .unwrap();
    let insert = async || connection.execute("INSERT INTO t VALUES (1)", &[]).await;
    insert().await.unwrap();
    let error = insert().await.unwrap_err();
    assert!(
        error.is_database() && error.is_unique_violation(),
        "{error}"
    );
    assert_eq!(
        error.to_string(),
        "ERROR: duplicate key value violates unique constraint \"t_n_key\" (SQLSTATE 23505)"
    );
    let error = connection.query("SELEC 1", &[]).await.unwrap_err();
    assert_eq!(
        (error.is_database(), error.as_sqlstate()),
        (true, Some("42601"))
    );
    let error = connection
        .query("SELECT $1::int", &[&"text"])
        .await
        .unwrap_err();
    assert!(!error.is_database(), "{error}");
    let error = connection
        .query_one("SELECT 1 WHERE false", &[])
        .await
        .unwrap_err();
    assert!(error.is_no_rows() && !error.is_many_rows(), "{error}");
    assert!(!error.is_database(), "{error}");
    for error in [
        connection.query_one("VALUES (1), (2)", &[]).await.err(),
        connection.query_opt("VALUES (1), (2)", &[]).await.err(),
    ] {
        let error = error.unwrap();
        assert!(error.is_many_rows() && !error.is_no_rows(), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("the statement returned 2 rows")
        );
    }
    drop(connection);
    assert_eq!(
        number(&pool.get().await.unwrap(), "SELECT count(*) FROM t").await,
        1
    );
    assert_eq!(pool.status().opened, 1, "none of them costs the connection");
}

#[tokio::test]
async fn an_error_says_what_the_caller_may_do() {
    let server = Server::start();
    server.sql(
        "CREATE TABLE n (n int PRIMARY KEY, half int CONSTRAINT is_half CHECK (half * 2 = n), \
         of int CONSTRAINT is_of REFERENCES n, word text NOT NULL DEFAULT ''); INSERT INTO n VALUES (2, 1), (4, 2)",
    );
    let pool = pool(&server, 2);
    let (mut one, mut other) = (pool.get().await.unwrap(), pool.get().await.unwrap());

    for (values, kind, name, column) in [
        ("(2, 1)", ConstraintKind::Unique, Some("n_pkey"), None),
        ("(6, 2)", ConstraintKind::Check, Some("is_half"), None),
        ("(6, 3, 7)", ConstraintKind::ForeignKey, Some("is_of"), None),
        (
            "(6, 3, 2, NULL)",
            ConstraintKind::NotNull,
            None,
            Some("word"),
        ),
    ] {
        let sql = format!("INSERT INTO n VALUES {values}");
        let error = one.execute(&sql, &[]).await.unwrap_err();
        let constraint = error.constraint().unwrap();
        assert_eq!(
            (constraint.kind(), constraint.name()),
            (kind, name),
            "{error}"
        );
        assert_eq!(
            (constraint.table(), constraint.column()),
            (Some("n"), column)
        );
        assert!(
            !error.is_retryable() && !error.may_have_happened(),
            "{error}"
        );
    }

    // A transaction that has seen what another one has changed since.
    let sees = one
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead);
    let sees = sees.start().await.unwrap();
    sees.query("SELECT * FROM n", &[]).await.unwrap();
    let change = "UPDATE n SET word = word || 'x' WHERE n = 4";
    other.execute(change, &[]).await.unwrap();
    let error = sees.execute(change, &[]).await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("40001"));
    assert!(
        error.is_retryable() && !error.may_have_happened(),
        "{error}"
    );
    drop(sees);

    // A lock that another one holds.
    let holds = one.transaction().await.unwrap();
    holds.execute(change, &[]).await.unwrap();
    let locks = "SELECT * FROM n WHERE n = 4 FOR UPDATE NOWAIT";
    let error = other.query(locks, &[]).await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("55P03"));
    assert!(error.is_retryable(), "{error}");
    drop(holds);

    let reads = other
        .build_transaction()
        .read_only(true)
        .start()
        .await
        .unwrap();
    let error = reads.execute(change, &[]).await.unwrap_err();
    assert!(error.is_read_only() && !error.is_retryable(), "{error}");
    drop(reads);

    one.batch_execute("SET statement_timeout = '20ms'")
        .await
        .unwrap();
    let error = one.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(error.is_canceled() && !error.is_timeout(), "{error}");
    assert!(!error.may_have_happened() && !error.is_unavailable());
    other.set_query_timeout(Some(Duration::from_millis(20)));
    let error = other.query("SELECT pg_sleep(60)", &[]).await.unwrap_err();
    assert!(error.is_timeout() && !error.is_canceled(), "{error}");
    assert!(error.may_have_happened() && !error.is_unavailable());
    assert_eq!((error.phase(), error.waited()), (None, None));
}

#[tokio::test]
async fn a_server_without_a_place_says_so_and_nothing_has_happened() {
    let server = Server::start();
    server.sql("CREATE ROLE few LOGIN CONNECTION LIMIT 1");
    let url = server.url().replacen("postgres@", "few@", 1);
    assert!(url.contains("few@"), "{url}");
    let begin = || Pool::builder().url(&*url).max_size(1);
    let (one, other) = (begin().build().unwrap(), begin().build().unwrap());
    let held = one.get().await.unwrap();
    let error = other.get().timeout(SOON).await.unwrap_err();
    assert!(error.is_too_many() && error.is_connect(), "{error}");
    assert!(error.is_unavailable() && !error.may_have_happened());
    assert!(error.waited().is_some() && error.status().is_some());
    drop(held);
}

#[tokio::test]
async fn transactions_end_as_they_are_told() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    let pool = pool(&server, 1);
    let mut connection = pool.get().await.unwrap();
    let insert = async |client: &Client, n: i32| {
        client
            .execute("INSERT INTO t VALUES ($1)", &[&n])
            .await
            .map(drop)
    };
    let left = || server.sql("SELECT string_agg(n::text, ',' ORDER BY n) FROM t");

    let transaction = connection.transaction().await.unwrap();
    insert(&transaction, 1).await.unwrap();
    transaction.commit().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    insert(&transaction, 2).await.unwrap();
    transaction.rollback().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    insert(&transaction, 3).await.unwrap();
    drop(transaction);
    assert_eq!(number(&connection, "SELECT count(*) FROM t").await, 1);
    assert_eq!(left(), "1");

    let mut transaction = connection.transaction().await.unwrap();
    insert(&transaction, 4).await.unwrap();
    let part = transaction.transaction().await.unwrap();
    insert(&part, 5).await.unwrap();
    part.query("SELECT 1 / 0", &[]).await.unwrap_err();
    drop(part);
    let part = transaction.transaction().await.unwrap();
    insert(&part, 6).await.unwrap();
    part.commit().await.unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(left(), "1,4,6");

    let serializable = connection
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable)
        .read_only(true);
    let transaction = serializable.deferrable(true).start().await.unwrap();
    let show = transaction
        .query_one("SHOW transaction_isolation", &[])
        .await
        .unwrap();
    assert_eq!(show.get::<_, String>(0), "serializable");
    assert_eq!(
        insert(&transaction, 7).await.unwrap_err().as_sqlstate(),
        Some("25006")
    );
}

#[tokio::test]
async fn a_transaction_in_which_a_statement_failed_is_no_success() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    let pool = pool(&server, 1);
    let mut connection = pool.get().await.unwrap();
    let transaction = connection.transaction().await.unwrap();
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    transaction.query("SELECT 1 / 0", &[]).await.unwrap_err();
    // PostgreSQL itself says yes to this commit, and rolls back.
    let error = transaction.commit().await.unwrap_err();
    assert!(
        error.is_database() && error.to_string().contains("was rolled back"),
        "{error}"
    );
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
    connection.query("SELECT 1 / 0", &[]).await.unwrap_err();
    let transaction = connection.transaction().await.unwrap();
    transaction
        .execute("INSERT INTO t VALUES (1)", &[])
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "1");
}

// transact-rs/sqlx#4385, #4393: a BEGIN that was given up returned a connection in a transaction.
#[tokio::test]
async fn a_transaction_that_is_given_up_anywhere_is_never_handed_on() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    let pool = pool(&server, 1);
    let insert = "INSERT INTO t VALUES (1)";
    for step in 0..6 {
        let mut connection = pool.get().timeout(SOON).await.unwrap();
        match step {
            0 => poll_once(connection.transaction()),
            1 => drop(connection.transaction().await.unwrap()),
            2 => {
                let transaction = connection.transaction().await.unwrap();
                poll_once(transaction.execute(insert, &[]));
            }
            3 => {
                let transaction = connection.transaction().await.unwrap();
                transaction.execute(insert, &[]).await.unwrap();
                poll_once(transaction.rollback());
            }
            4 => connection
                .batch_execute(&format!("BEGIN; {insert}"))
                .await
                .unwrap(),
            // By hand, and failed: it takes nothing but its end.
            _ => drop(
                connection
                    .batch_execute("BEGIN; SELECT 1 / 0")
                    .await
                    .unwrap_err(),
            ),
        }
        drop(connection);
        let connection = pool.get().timeout(SOON).await.unwrap();
        let state = format!(
            "SELECT state FROM pg_stat_activity WHERE pid = {}",
            pid(&connection).await
        );
        until(&server, &state, "idle").await;
        connection.execute(insert, &[]).await.unwrap();
        assert_eq!(
            server.sql("SELECT count(*) FROM t"),
            (step + 1).to_string(),
            "step {step}: committed by itself"
        );
    }
    assert!(
        !server.log().contains("no transaction in progress"),
        "and the server's log is not filled with warnings"
    );
}

// deadpool-rs/deadpool#97, #102: the answer to a request that was given up went to the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_the_answer_to_a_question_that_was_given_up() {
    let server = Server::start();
    let pool = pool(&server, 4);
    let tasks: Vec<_> = (0..16_i64)
        .map(|task| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for step in 0..60_i64 {
                    let ask = task * 1000 + step;
                    let patience = Duration::from_micros((task * 131 + step * 373) as u64 % 4000);
                    let work = async {
                        let mut connection = pool.get().await.unwrap();
                        let first = connection
                            .query_one("SELECT $1::bigint", &[&ask])
                            .await
                            .unwrap();
                        let transaction = connection.transaction().await.unwrap();
                        let second = transaction
                            .query_one("SELECT -$1::bigint", &[&ask])
                            .await
                            .unwrap();
                        transaction.commit().await.unwrap();
                        (first.get::<_, i64>(0), second.get::<_, i64>(0))
                    };
                    if let Ok(answers) = timeout(patience, work).await {
                        assert_eq!(answers, (ask, -ask));
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // Full capacity is there.
    let mut connections = Vec::new();
    for n in 0..4_i64 {
        let connection = pool.get().timeout(SOON).await.unwrap();
        assert_eq!(number(&connection, &format!("SELECT {n}::bigint")).await, n);
        connections.push(connection);
    }
    let status = pool.status();
    assert_eq!((status.open, status.leased), (4, 4), "{status:?}");
    drop(connections);
    settled(&pool).await;
    assert_eq!(
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE state LIKE '%transaction%'"),
        "0"
    );
}

#[tokio::test]
async fn a_statement_that_was_given_up_is_stopped_on_the_server() {
    let server = Server::start();
    let pool = pool(&server, 1);
    for _ in 0..3 {
        let connection = pool.get().timeout(SOON).await.unwrap();
        let sleeping = connection.query("SELECT pg_sleep(3600)", &[]);
        assert!(timeout(Duration::from_millis(50), sleeping).await.is_err());
        drop(connection);
        let begin = Instant::now();
        let connection = pool.get().timeout(SOON).await.unwrap();
        assert_eq!(number(&connection, "SELECT 1::bigint").await, 1);
        assert!(
            begin.elapsed() < Duration::from_secs(3),
            "{:?}",
            begin.elapsed()
        );
        until(&server, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%3600%' AND pid <> pg_backend_pid()", "0").await;
    }
}

#[tokio::test]
async fn a_short_statement_that_was_given_up_does_not_cost_the_connection() {
    let server = Server::start();
    let pool = pool(&server, 1);
    for _ in 0..20 {
        let connection = pool.get().timeout(SOON).await.unwrap();
        poll_once(connection.query("SELECT pg_sleep(0.005)", &[]));
        drop(connection);
    }
    drop(pool.get().timeout(SOON).await.unwrap());
    // It would be 21 if each did. A machine that is very busy may make one or the other slow.
    assert!(pool.status().opened < 6, "{:?}", pool.status());
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_an_error() {
    let server = Server::start();
    let limit = Duration::from_millis(200);
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .query_timeout(Some(limit))
        .build()
        .unwrap();
    let mut connection = pool.get().await.unwrap();
    let error = connection
        .query("SELECT pg_sleep(3600)", &[])
        .await
        .unwrap_err();
    assert!(error.is_timeout() && !error.is_connect(), "{error}");
    assert_eq!(error.to_string(), "no answer within 200ms (query_timeout)");
    connection.set_query_timeout(None);
    drop(connection);
    let mut connection = pool.get().timeout(SOON).await.unwrap();
    assert!(
        connection
            .query("SELECT pg_sleep(3600)", &[])
            .await
            .unwrap_err()
            .is_timeout()
    );
    drop(connection);
    connection = pool.get().timeout(SOON).await.unwrap();
    connection.set_query_timeout(Some(SOON));
    connection.query("SELECT pg_sleep(0.3)", &[]).await.unwrap();
}

#[tokio::test]
async fn nothing_of_a_session_is_left_for_the_next_user() {
    let server = Server::start();
    server.sql("CREATE SEQUENCE s");
    let pool = Pool::builder()
        .url(server.url())
        .max_size(1)
        .on_connect("SET application_name = 'shop'")
        .build()
        .unwrap();
    let first = pid(&pool.get().await.unwrap()).await;
    for change in [
        "SET work_mem = '123kB'",
        "SET application_name = 'other'",
        "CREATE TEMP TABLE leftover (n int)",
        "LISTEN news",
        "SET ROLE pg_monitor",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_advisory_lock(7)",
    ] {
        let connection = pool.get().timeout(SOON).await.unwrap();
        connection.execute(change, &[]).await.unwrap();
        if change.contains("advisory") {
            connection.clean_on_return();
        }
        drop(connection);
        let connection = pool.get().timeout(SOON).await.unwrap();
        let clean = connection
            .query_one(
                "SELECT current_setting('work_mem') || ' ' || current_setting('application_name') || ' ' || current_user
                    || ' ' || (SELECT count(*) FROM pg_listening_channels())
                    || ' ' || (SELECT count(*) FROM pg_cursors WHERE name <> '')
                    || ' ' || (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')
                    || ' ' || coalesce(to_regclass('leftover')::text, 'none')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(
            clean.get::<_, String>(0),
            "4MB shop postgres 0 0 0 none",
            "after {change}"
        );
        assert_eq!(pid(&connection).await, first, "it is the same session");
    }
}

#[tokio::test]
async fn plain_statements_and_finished_transactions_need_no_cleaning() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n int)");
    let pool = pool(&server, 1);
    for _ in 0..10 {
        let mut connection = pool.get().await.unwrap();
        connection.query("SELECT 1", &[]).await.unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction
            .execute("SET LOCAL work_mem = '1MB'", &[])
            .await
            .unwrap();
        transaction
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        drop(connection);
        let status = pool.status();
        assert_eq!(
            (status.idle, status.open),
            (1, 1),
            "it is idle at once: {status:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_killed_is_an_error_with_a_reason_and_then_a_new_connection() {
    let mut server = Server::start();
    let pool = pool(&server, 2);
    let (in_flight, idle) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(idle);
    let asking = tokio::spawn(async move {
        in_flight
            .query("SELECT pg_sleep(3600)", &[])
            .await
            .map(drop)
    });
    until(
        &server,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        "1",
    )
    .await;
    server.kill();

    let error = timeout(SOON, asking).await.unwrap().unwrap().unwrap_err();
    assert!(error.is_disconnected(), "{error}");
    assert!(
        error.to_string().starts_with("the connection was lost: ") || error.as_sqlstate().is_some(),
        "{error}"
    );
    let begin = Instant::now();
    let error = loop {
        match pool.get().timeout(Duration::from_secs(5)).await {
            Err(error) => break error,
            // The idle one, when its own task has not been told yet: it was used a moment ago, and is not asked.
            Ok(lost) => {
                let error = lost.query("SELECT 1", &[]).await.unwrap_err();
                assert!(error.is_disconnected(), "{error}");
            }
        }
    };
    assert!(error.is_connect(), "{error}");
    assert!(
        error
            .to_string()
            .contains("cannot connect to postgres at 127.0.0.1:"),
        "{error}"
    );
    assert!(error.to_string().contains("onnection refused"), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(6),
        "{:?}",
        begin.elapsed()
    );

    server.restart();
    let connection = once_back(&pool).await;
    assert_eq!(number(&connection, "SELECT 1::bigint").await, 1);
}

#[tokio::test]
async fn a_server_that_is_shut_down_says_so() {
    let mut server = Server::start();
    let pool = pool(&server, 2);
    let (in_flight, idle) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let asking = async {
        in_flight
            .query("SELECT pg_sleep(3600)", &[])
            .await
            .map(drop)
    };
    let stopping = async {
        until(
            &server,
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
            "1",
        )
        .await;
        server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()");
    };
    let (error, ()) = tokio::join!(asking, stopping);
    let error = error.unwrap_err();
    assert_eq!(
        (error.is_disconnected(), error.as_sqlstate()),
        (true, Some("57P01")),
        "{error}"
    );
    // It was told although it asked nothing.
    let error = idle.query("SELECT 1", &[]).await.unwrap_err();
    assert_eq!(
        (error.is_disconnected(), error.as_sqlstate()),
        (true, Some("57P01")),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("terminating connection due to administrator command"),
        "{error}"
    );
    drop((in_flight, idle));

    server.restart();
    for _ in 0..4 {
        let connection = pool.get().timeout(SOON).await.unwrap();
        assert_eq!(number(&connection, "SELECT 1::bigint").await, 1);
    }
}

#[tokio::test]
async fn a_connection_that_ended_while_it_was_idle_is_not_handed_out() {
    let server = Server::start();
    let pool = pool(&server, 1);
    for _ in 0..3 {
        let old = pid(&pool.get().timeout(SOON).await.unwrap()).await;
        server.sql(&format!("SELECT pg_terminate_backend({old})"));
        until(
            &server,
            &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {old}"),
            "0",
        )
        .await;
        sleep(Duration::from_millis(20)).await;
        assert_ne!(pid(&pool.get().timeout(SOON).await.unwrap()).await, old);
    }
}

// transact-rs/sqlx#4349: a silent peer, a release that never returned, and the place was lost.
#[tokio::test]
async fn a_server_that_is_silent_costs_time_but_no_place() {
    let mut server = Server::start();
    let short = Duration::from_millis(500);
    let config = pool_db::Config::new()
        .max_size(2)
        .create_timeout(short)
        .check_timeout(short)
        .reset_timeout(short);
    let config = config.close_timeout(short).check_after(Duration::ZERO);
    let pool = Pool::builder()
        .url(server.url())
        .config(config)
        .query_timeout(Some(short))
        .build()
        .unwrap();
    let (one, two) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    server.freeze();
    let error = one.query("SELECT 1", &[]).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    poll_once(two.query("SELECT 1", &[]));
    drop((one, two));
    let begin = Instant::now();
    let error = pool
        .get()
        .timeout(Duration::from_secs(3))
        .await
        .unwrap_err();
    assert!(error.is_timeout() || error.is_connect(), "{error}");
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );

    server.thaw();
    let (one, two) = (once_back(&pool).await, once_back(&pool).await);
    assert_eq!(
        number(&one, "SELECT 1::bigint").await + number(&two, "SELECT 1::bigint").await,
        2
    );
}

#[tokio::test]
async fn a_wrong_password_is_told_and_not_shown() {
    let server = Server::builder().password("hunter2").start();
    let connection = pool(&server, 1)
        .get()
        .await
        .map(|connection| connection.is_closed());
    assert!(!connection.unwrap());
    let wrong = format!(
        "postgres://postgres:swordfish@127.0.0.1:{}/postgres",
        server.port()
    );
    let pool = Pool::builder().url(wrong).max_size(1).build().unwrap();
    let error = pool.get().timeout(SOON).await.unwrap_err();
    assert!(
        error.is_connect() && error.as_sqlstate() == Some("28P01"),
        "{error}"
    );
    assert!(error.is_auth() && error.is_unavailable() && !error.may_have_happened());
    assert!(
        error.to_string().contains("password authentication failed"),
        "{error}"
    );
    for text in [error.to_string(), format!("{error:?}"), format!("{pool:?}")] {
        assert!(!text.contains("swordfish"), "{text}");
    }
}

#[tokio::test]
async fn tls_proves_what_its_mode_says() {
    let server = Server::builder().tls().password("hunter2").start();
    let address = server.url();
    // The certificate is for localhost and 127.0.0.1.
    let other_name = format!(
        "{}?host=db.example&hostaddr=127.0.0.1&port={}",
        address.replace(&format!("127.0.0.1:{}", server.port()), ""),
        server.port()
    );
    let try_it = async |url: &str, mode: SslMode, trusted: bool| -> Result<String, Error> {
        let mut builder = Pool::builder().url(url).ssl_mode(mode).max_size(1);
        if trusted {
            builder = builder.root_certificate(server.authority());
        }
        let pool = builder.build().unwrap();
        let connection = pool.get().timeout(Duration::from_secs(2)).await?;
        let sql = "SELECT coalesce(version, 'none') FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok(connection.query_one(sql, &[]).await?.get(0))
    };
    for (url, mode, trusted) in [
        (&address, SslMode::Prefer, false),
        (&address, SslMode::Require, false),
        (&address, SslMode::Require, true),
        (&address, SslMode::VerifyCa, true),
        (&address, SslMode::VerifyFull, true),
        (&other_name, SslMode::VerifyCa, true),
        (&other_name, SslMode::Require, true),
    ] {
        assert_eq!(
            try_it(url, mode, trusted).await.unwrap(),
            "TLSv1.3",
            "{url} {mode:?}"
        );
    }
    for (url, mode, trusted, says) in [
        (&address, SslMode::Disable, false, "no encryption"),
        (&address, SslMode::VerifyCa, false, "UnknownIssuer"),
        (&address, SslMode::VerifyFull, false, "UnknownIssuer"),
        (
            &other_name,
            SslMode::VerifyFull,
            true,
            "certificate not valid for name",
        ),
    ] {
        let error = try_it(url, mode, trusted).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains(says), "{url} {mode:?}: {error}");
    }

    // A statement that was given up is stopped over TLS as well.
    let pool = Pool::builder()
        .url(&address)
        .ssl_mode(SslMode::VerifyFull)
        .root_certificate(server.authority());
    let pool = pool.max_size(1).build().unwrap();
    let connection = pool.get().await.unwrap();
    assert!(
        timeout(
            Duration::from_millis(50),
            connection.query("SELECT pg_sleep(3600)", &[])
        )
        .await
        .is_err()
    );
    drop(connection);
    until(
        &server,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
        "0",
    )
    .await;
}

#[tokio::test]
async fn a_server_without_tls_is_taken_by_prefer_and_refused_by_require() {
    let server = Server::start();
    let try_it = async |mode| {
        let pool = Pool::builder()
            .url(server.url())
            .ssl_mode(mode)
            .max_size(1)
            .build()
            .unwrap();
        pool.get().timeout(Duration::from_secs(2)).await.map(drop)
    };
    try_it(SslMode::Disable).await.unwrap();
    try_it(SslMode::Prefer).await.unwrap();
    let error = try_it(SslMode::Require).await.unwrap_err();
    assert!(
        error.to_string().contains("server does not support TLS"),
        "{error}"
    );
}

#[tokio::test]
async fn drain_says_goodbye_to_the_server() {
    let server = Server::start();
    let pool = pool(&server, 3);
    let connections = [
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
    ];
    drop(connections);
    assert!(pool.drain(SOON).await.is_complete());
    assert!(pool.get().await.unwrap_err().is_closed());
    until(&server, "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()", "0").await;
    assert!(
        !server.log().contains("unexpected EOF") && !server.log().contains("reset by peer"),
        "{}",
        server.log()
    );
}

// transact-rs/sqlx#1396: a guard that was dropped into a runtime that was gone leaked its place.
#[test]
fn a_connection_can_outlive_its_runtime() {
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let server = Server::start();
    let pool = pool(&server, 1);
    let first = runtime();
    let connection = first.block_on(pool.get()).unwrap();
    first.block_on(connection.batch_execute("BEGIN")).unwrap();
    drop(first);
    drop(connection);
    let second = runtime();
    second.block_on(async {
        let connection = pool.get().timeout(SOON).await.unwrap();
        assert_eq!(number(&connection, "SELECT 1::bigint").await, 1);
    });
}

#[tokio::test]
async fn its_futures_can_be_spawned() {
    let server = Server::start();
    let pool = pool(&server, 2);
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut connection = pool.get().label("spawned").await?;
            let text = "SELECT $1::text".to_owned();
            connection.query(&text, &[&"a"]).await?;
            let transaction = connection.transaction().await?;
            transaction.execute("SELECT 1", &[]).await?;
            transaction.commit().await
        }
    });
    task.await.unwrap().unwrap();
    pool.warm_up().await.unwrap();
    let client = pool.try_get().unwrap().detach();
    assert_eq!(number(&client, "SELECT 1::bigint").await, 1);
}
