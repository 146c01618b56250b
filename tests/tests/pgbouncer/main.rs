//! Pools behind a real PgBouncer, in its modes `session` and `transaction`.
#![allow(clippy::unwrap_used)]

mod kinds;

use std::{
    collections::HashSet,
    future::Future,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use futures_util::{StreamExt, TryStreamExt};
use kinds::{Mood, ask};
use pool_db::{
    Error,
    postgres::{IsolationLevel, Pool, Prepare, Query},
};
use tests::{pgbouncer::Bouncer, postgres::Server};

/// A server that logs each message of its clients, with types of its own.
fn server() -> Server {
    let server = Server::builder()
        .setting("log_min_duration_statement", 0)
        .start();
    server.sql(
        "CREATE TYPE mood AS ENUM ('sad', 'calm', 'glad');
         CREATE DOMAIN even AS int CHECK (value % 2 = 0);
         CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL, feels mood NOT NULL);
         INSERT INTO accounts SELECT id, 1000, 'calm' FROM generate_series(0, 63) AS id;",
    );
    server
}

/// One in each mode, with so many connections to the server.
fn bouncers(server: &Server, connections: u32) -> [Bouncer; 2] {
    let session = Bouncer::builder(server).start();
    [session, transactions(server, connections)]
}

fn transactions(server: &Server, connections: u32) -> Bouncer {
    let bouncer = Bouncer::builder(server).transactions();
    bouncer.pool_size(connections).start()
}

fn pool(url: &str, max_size: u32, prepare: Prepare) -> Pool {
    Pool::builder()
        .url(url)
        .max_size(max_size)
        .prepare(prepare)
        .build()
        .unwrap()
}

/// Runs `work` as 32 tasks.
async fn in_32_tasks<F, R>(pool: &Pool, work: F)
where
    F: Fn(Pool, i64) -> R,
    R: Future<Output = ()> + Send + 'static,
{
    let tasks: Vec<_> = (0..32)
        .map(|task| tokio::spawn(work(pool.clone(), task)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// The lines of the server's log on statements that have a name on the server.
fn named(server: &Server) -> Vec<String> {
    let log = server.log();
    let is_named = |line: &&str| {
        ["parse s", "bind s", "execute s"]
            .iter()
            .any(|message| line.contains(&format!(" ms  {message}")))
    };
    log.lines().filter(is_named).map(str::to_owned).collect()
}

/// How often a PgBouncer was asked something by its clients and the server has answered.
fn answers(bouncer: &Bouncer) -> u64 {
    let stats = bouncer.admin("SHOW STATS_TOTALS");
    let of_postgres = stats.lines().find(|line| line.starts_with("postgres|"));
    of_postgres
        .unwrap()
        .split('|')
        .nth(2)
        .unwrap()
        .parse()
        .unwrap()
}

/// Polls a future once, and drops it.
fn give_up<T>(future: impl Future<Output = T>) {
    let mut future = std::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_hundred_queries_by_32_tasks_are_all_right_in_both_modes() {
    let server = server();
    for bouncer in bouncers(&server, 4) {
        let pool = pool(&bouncer.url(), 8, Prepare::Auto);
        // All eight, however fast the first ones are.
        let all = futures_util::future::join_all((0..8).map(|_| pool.get())).await;
        assert!(all.iter().all(Result::is_ok));
        drop(all);
        in_32_tasks(&pool, |pool, task| async move {
            for n in 0..25 {
                let connection = pool.get().await.unwrap();
                ask(&connection, 25 * task + n).await.unwrap();
            }
        })
        .await;
    }
    assert_eq!(
        named(&server),
        [""; 0],
        "no statement has a name on the server"
    );
    let log = server.log();
    assert!(
        log.contains("parse <unnamed>"),
        "the log shows what is looked for"
    );
    assert!(!log.contains("CLOSE ALL"), "nothing had to be cleaned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_in_480_transactions_are_all_right_in_both_modes() {
    let server = server();
    for bouncer in bouncers(&server, 4) {
        let pool = pool(&bouncer.url(), 8, Prepare::Auto);
        in_32_tasks(&pool, |pool, task| async move {
            for n in 0..15 {
                let n = 15 * task + n;
                let one = i32::try_from(n % 64).unwrap();
                let other = i32::try_from(n * 7 % 64).unwrap();
                // In one order, so that no two of them wait for each other. The fifth kind of statement locks rows as well.
                let (from, to) = (one.min(other), one.max(other));
                let asked = if n % 8 == 4 { n + 1 } else { n };
                let moves = "UPDATE accounts SET balance = balance + $2 WHERE id = $1";
                // Half of them by the closure, half of them by hand, and every fifth is rolled back.
                if n % 2 == 0 {
                    let done = pool.transaction(|tx| async move {
                        ask(&tx, asked).await?;
                        tx.execute(moves, &[&from, &-n]).await?;
                        if n % 5 == 0 {
                            return Err(Error::other("not this time"));
                        }
                        tx.execute(moves, &[&to, &n]).await
                    });
                    match done.await {
                        Ok(count) => assert_eq!(count, 1),
                        Err(error) => assert_eq!(error.to_string(), "not this time"),
                    }
                } else {
                    let mut connection = pool.get().await.unwrap();
                    let tx = connection.transaction().await.unwrap();
                    tx.execute(moves, &[&from, &-n]).await.unwrap();
                    ask(&tx, asked).await.unwrap();
                    if n % 5 == 0 {
                        tx.rollback().await.unwrap();
                    } else {
                        tx.execute(moves, &[&to, &n]).await.unwrap();
                        tx.commit().await.unwrap();
                    }
                }
            }
        })
        .await;
        let sum = pool.query_one("SELECT sum(balance)::int8 FROM accounts", &[]);
        assert_eq!(sum.await.unwrap().get::<_, i64>(0), 64 * 1000);
    }
    assert_eq!(named(&server), [""; 0]);
}

#[tokio::test]
async fn a_proxy_is_noticed_and_a_server_keeps_the_names() {
    let server = server();
    let direct = pool(&server.url(), 1, Prepare::Auto);
    direct
        .query("SELECT $1::mood", &[&Mood::of(1)])
        .await
        .unwrap();
    let connection = direct.get().await.unwrap();
    let statement = connection.prepare_cached("SELECT $1::int8").await.unwrap();
    let row = connection.query_one(Query::Prepared(&statement), &[&5_i64]);
    assert_eq!(row.await.unwrap().get::<_, i64>(0), 5);
    assert!(!named(&server).is_empty());
    drop(connection);

    for (prepare, bouncer) in [Prepare::Auto, Prepare::Unnamed]
        .into_iter()
        .zip(bouncers(&server, 1))
    {
        let before = named(&server).len();
        let pool = pool(&bouncer.url(), 1, prepare);
        pool.query("SELECT $1::mood", &[&Mood::of(1)])
            .await
            .unwrap();
        let error = pool
            .get()
            .await
            .unwrap()
            .prepare_cached("SELECT 1")
            .await
            .unwrap_err();
        let says = error.to_string();
        assert!(
            says.contains("`prepare_cached`") && says.contains("unnamed"),
            "{says}"
        );
        assert!(!error.may_have_happened());
        assert_eq!(named(&server).len(), before);
    }
    // It is possible without a proxy, too, and without a cache.
    let before = named(&server).len();
    let uncached = Pool::builder().url(server.url()).statement_cache(0);
    let uncached = uncached.prepare(Prepare::Unnamed).build().unwrap();
    for pool in [pool(&server.url(), 2, Prepare::Unnamed), uncached] {
        for n in 0..32 {
            ask(&pool.get().await.unwrap(), n).await.unwrap();
        }
    }
    assert_eq!(named(&server).len(), before);
}

#[tokio::test]
async fn a_statement_is_asked_for_once_when_its_text_is_known() {
    let server = server();
    for bouncer in bouncers(&server, 2) {
        let pool = pool(&bouncer.url(), 1, Prepare::Unnamed);
        let connection = pool.get().await.unwrap();
        for n in 0..8 {
            ask(&connection, n).await.unwrap();
        }
        let before = answers(&bouncer);
        for n in [8, 9, 10, 11, 13, 15] {
            ask(&connection, n).await.unwrap();
        }
        assert_eq!(answers(&bouncer) - before, 6);
        drop(connection);
        let before = answers(&bouncer);
        ask(&pool.get().await.unwrap(), 16).await.unwrap();
        assert_eq!(
            answers(&bouncer) - before,
            1,
            "and the next caller gets it as it is"
        );
    }
}

#[tokio::test]
async fn with_names_a_transaction_fails_and_the_error_says_what_helps() {
    let server = server();
    let bouncer = transactions(&server, 2);
    let pool = pool(&bouncer.url(), 2, Prepare::Named);
    let (mut first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let sql = "SELECT 1 + $1::int4";
    first.query_one(sql, &[&1]).await.unwrap();
    // It takes the connection that has the statement.
    second.batch_execute("BEGIN").await.unwrap();
    let tx = first.transaction().await.unwrap();
    let error = tx.query_one(sql, &[&1]).await.unwrap_err();
    assert_eq!(error.as_sqlstate(), Some("26000"));
    let says = error.to_string();
    assert!(
        says.contains("the setting prepare must be unnamed"),
        "{says}"
    );
    tx.rollback().await.unwrap();
    second.batch_execute("ROLLBACK").await.unwrap();
}

#[tokio::test]
async fn requests_at_the_same_time_get_their_own_answers() {
    let server = server();
    let bouncer = transactions(&server, 4);
    let pool = pool(&bouncer.url(), 2, Prepare::Auto);
    let connections = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    for round in 0..4 {
        let all = (0..64).map(|n| {
            let connection = &connections[n as usize % 2];
            async move { ask(connection, n + round).await.unwrap() }
        });
        futures_util::future::join_all(all).await;
    }
    assert_eq!(named(&server), [""; 0]);
}

#[tokio::test]
async fn changes_of_tables_and_types_are_followed() {
    let server = server();
    for bouncer in bouncers(&server, 1) {
        let pool = pool(&bouncer.url(), 1, Prepare::Auto);
        pool.batch_execute(
            "CREATE TABLE t (id int, a text, b text); INSERT INTO t VALUES (5, 'a', 'b')",
        )
        .await
        .unwrap();
        let sql = "SELECT * FROM t WHERE id = $1";
        let mood = "SELECT $1::mood";
        assert_eq!(
            pool.query_one(sql, &[&5])
                .await
                .unwrap()
                .get::<_, String>("b"),
            "b"
        );
        pool.query_one(mood, &[&Mood::of(0)]).await.unwrap();
        pool.batch_execute("ALTER TABLE t DROP COLUMN a, ADD COLUMN c text DEFAULT 'c'")
            .await
            .unwrap();
        let row = pool.query_one(sql, &[&5]).await.unwrap();
        assert_eq!(
            (row.get::<_, String>("b"), row.get::<_, String>("c")),
            ("b".into(), "c".into())
        );
        assert!(row.try_get::<_, String>("a").is_err());
        // Other types of parameters, once by what the caller passes and once by what the server says.
        pool.batch_execute("ALTER TABLE t ALTER COLUMN id TYPE text")
            .await
            .unwrap();
        assert_eq!(
            pool.query_one(sql, &[&"5"])
                .await
                .unwrap()
                .get::<_, String>("c"),
            "c"
        );
        pool.batch_execute(
            "ALTER TYPE mood RENAME TO humour; CREATE TYPE mood AS ENUM ('sad', 'calm', 'glad')",
        )
        .await
        .unwrap();
        assert_eq!(
            pool.query_one(mood, &[&Mood::of(0)])
                .await
                .unwrap()
                .get::<_, Mood>(0),
            Mood::of(0)
        );
        pool.batch_execute(
            "DROP TYPE mood; ALTER TYPE humour RENAME TO mood; DROP TABLE t; CREATE TYPE colour AS ENUM ('red')",
        )
        .await
        .unwrap();
        // A type that is new, on a connection that has looked up others.
        let row = pool
            .query_one("SELECT ARRAY['red']::colour[]", &[])
            .await
            .unwrap();
        assert_eq!(row.columns()[0].type_().name(), "_colour");
        let error = pool.query(sql, &[&"5"]).await.unwrap_err();
        assert_eq!(error.as_sqlstate(), Some("42P01"));
        pool.batch_execute("DROP TYPE colour").await.unwrap();
    }
    assert_eq!(named(&server), [""; 0]);
}

#[tokio::test]
async fn copies_and_large_values_go_through() {
    let server = server();
    for bouncer in bouncers(&server, 2) {
        let pool = pool(&bouncer.url(), 2, Prepare::Auto);
        pool.batch_execute("CREATE TABLE words (n int, word text)")
            .await
            .unwrap();
        for round in 1..=2 {
            let mut copy = pool.copy_in("COPY words FROM STDIN").await.unwrap();
            for n in 0..10_000 {
                copy.send(format!("{n}\tword {n}\n")).await.unwrap();
            }
            assert_eq!(copy.finish().await.unwrap(), 10_000);
            let out = pool.copy_out("COPY words TO STDOUT").await.unwrap();
            let lines: Vec<_> = out.try_collect().await.unwrap();
            assert_eq!(lines.len(), round * 10_000);
        }
        // One that is dropped, one that is refused, and one where it does not belong.
        let mut copy = pool.copy_in("COPY words FROM STDIN").await.unwrap();
        copy.send("1\tlost\n").await.unwrap();
        drop(copy);
        let mut copy = pool.copy_in("COPY words FROM STDIN").await.unwrap();
        copy.send("one\tword\n").await.unwrap();
        assert_eq!(
            copy.finish().await.unwrap_err().as_sqlstate(),
            Some("22P02")
        );
        assert!(pool.execute("COPY words FROM STDIN", &[]).await.is_err());
        let count = pool
            .query_one("SELECT count(*) FROM words", &[])
            .await
            .unwrap();
        assert_eq!(count.get::<_, i64>(0), 20_000);
        // More than any buffer, both ways.
        let large = vec![7_u8; 20_000_000];
        let row = pool.query_one("SELECT $1::bytea", &[&large]).await.unwrap();
        assert!(row.get::<_, &[u8]>(0) == large);
        pool.batch_execute("DROP TABLE words").await.unwrap();
    }
    assert_eq!(named(&server), [""; 0]);
}

#[tokio::test]
async fn a_transaction_that_loses_is_run_again() {
    let server = server();
    let bouncer = transactions(&server, 4);
    let pool = pool(&bouncer.url(), 4, Prepare::Auto);
    let plan = pool
        .build_transaction()
        .isolation_level(IsolationLevel::Serializable);
    let plan = plan.tries(50);
    let both = Arc::new(tokio::sync::Barrier::new(2));
    let tasks = [0, 1].map(|_| {
        let (plan, both) = (plan.clone(), Arc::clone(&both));
        tokio::spawn(async move {
            let mut runs = 0;
            let done = plan.run(|tx| {
                runs += 1;
                let both = (runs == 1).then(|| Arc::clone(&both));
                async move {
                    let sql = "SELECT balance FROM accounts WHERE id = $1";
                    let balance: i64 = tx.query_one(sql, &[&0]).await?.get(0);
                    // Both have read before either writes.
                    if let Some(both) = both {
                        both.wait().await;
                    }
                    let sql = "UPDATE accounts SET balance = $2 WHERE id = $1";
                    tx.execute(sql, &[&0, &(balance + 1)]).await?;
                    Ok::<_, Error>(())
                }
            });
            done.await.unwrap();
            runs
        })
    });
    let mut runs = 0;
    for task in tasks {
        runs += task.await.unwrap();
    }
    assert!(runs > 2, "one of the two has lost");
    assert_eq!(
        server.sql("SELECT balance FROM accounts WHERE id = 0"),
        "1002"
    );
}

#[tokio::test]
async fn what_is_dropped_is_cancelled_and_its_connection_used_again() {
    let server = server();
    for bouncer in bouncers(&server, 1) {
        let pool = pool(&bouncer.url(), 1, Prepare::Auto);
        let sleep = "SELECT pg_sleep($1)";
        pool.query(sleep, &[&0.0]).await.unwrap();
        let connection = pool.get().await.unwrap();
        give_up(connection.query(sleep, &[&600.0]));
        // It is written only now.
        tokio::task::yield_now().await;
        drop(connection);
        for n in 0..8 {
            ask(&pool.get().await.unwrap(), n).await.unwrap();
        }
        assert_eq!(pool.status().opened, 1, "one connection did it all");
        let sql = "SELECT generate_series(1, 100000000)";
        let mut rows = pool.stream(sql, &[]).await.unwrap();
        assert!(rows.next().await.unwrap().is_ok());
        drop(rows);
        // What has left the server is still to be read, which may take longer than the pool waits: then it is another connection.
        pool.query("SELECT 1", &[]).await.unwrap();
        let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query ~ 'pg_sleep|generate_series'";
        assert_eq!(server.sql(running), "1", "only the question itself");
        pool.close();
    }
}

#[tokio::test]
async fn a_proxy_or_a_server_that_was_restarted_is_used_again() {
    let mut server = server();
    for mut bouncer in bouncers(&server, 2) {
        let pool = pool(&bouncer.url(), 4, Prepare::Auto);
        let backends = async || -> HashSet<i32> {
            let asked = (0..8).map(|n| {
                let pool = &pool;
                async move {
                    for _ in 0..1000 {
                        // What was sent to what has gone is an error, and so is a connect in that moment.
                        let Ok(connection) = pool.get().await else {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            continue;
                        };
                        if ask(&connection, n).await.is_ok() {
                            let sql = "SELECT pg_backend_pid()";
                            if let Ok(row) = connection.query_one(sql, &[]).await {
                                return row.get(0);
                            }
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    panic!("it does not come back")
                }
            });
            futures_util::future::join_all(asked)
                .await
                .into_iter()
                .collect()
        };
        let before = backends().await;
        bouncer.kill();
        bouncer.restart();
        assert!(before.is_disjoint(&backends().await));
        let before = backends().await;
        server.restart();
        assert!(before.is_disjoint(&backends().await));
        pool.close();
    }
    assert_eq!(named(&server), [""; 0]);
}

/// Waits until the server has so many sessions for PgBouncer.
async fn until_connected(server: &Server, count: &str) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    let begin = std::time::Instant::now();
    while server.sql(sql) != count {
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "{}",
            server.sql(sql)
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_mode_transaction_many_connections_share_few_of_the_server() {
    let server = server();
    let bouncer = transactions(&server, 3);
    // Two processes' pools, each larger than what there is.
    let pools = [(); 2].map(|()| pool(&bouncer.url(), 8, Prepare::Unnamed));
    for pool in &pools {
        in_32_tasks(pool, |pool, _| async move {
            for _ in 0..5 {
                pool.query("SELECT pg_sleep(0.002)", &[]).await.unwrap();
            }
        })
        .await;
    }
    assert!(pools.iter().all(|pool| pool.status().open > 3));
    until_connected(&server, "3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_mode_session_a_pool_above_the_proxys_size_waits_until_another_closes() {
    let server = server();
    let bouncer = Bouncer::builder(&server).pool_size(2).start();
    let one = Pool::builder()
        .url(bouncer.url())
        .max_size(2)
        .idle_timeout(Duration::from_millis(500))
        .build()
        .unwrap();
    let held = [one.get().await.unwrap(), one.get().await.unwrap()];
    let other = pool(&bouncer.url(), 2, Prepare::Auto);
    let get = tokio::spawn({
        let other = other.clone();
        async move { other.query_one("SELECT 1", &[]).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!get.is_finished());
    drop(held);
    // The first process needs them no more, and its `idle_timeout` is short.
    let got = tokio::time::timeout(Duration::from_secs(30), get).await;
    got.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_proxy_that_is_full_says_so() {
    let server = server();
    let bouncer = Bouncer::builder(&server)
        .transactions()
        .setting("max_client_conn", 2)
        .start();
    let pool = pool(&bouncer.url(), 3, Prepare::Unnamed);
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    let error = pool.get().timeout(Duration::from_secs(1)).await.map(drop);
    let error = error.unwrap_err();
    assert!(error.is_connect() && error.is_unavailable(), "{error}");
    assert!(
        error.to_string().contains("no more connections allowed"),
        "{error}"
    );
    drop(held);
}
