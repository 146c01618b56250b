//! Connections to PostgreSQL that many callers share, on real servers that are killed, frozen and restarted.

#![allow(clippy::unwrap_used)]

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use pool_db::Error;
use pool_db::postgres::{Shareable, Shared, SharedBuilder};
use tests::pgbouncer::Bouncer;
use tests::postgres::Server;
use tokio::time::{sleep, timeout};

/// Nothing here takes that long.
const SOON: Duration = Duration::from_secs(20);

const ECHO: Shareable<'_> = Shareable::new("SELECT $1::bigint");
const SLEEP: Shareable<'_> = Shareable::new("SELECT pg_sleep($1)");
const PID: Shareable<'_> = Shareable::new("SELECT pg_backend_pid()");

fn builder(server: &Server, max_size: u32) -> SharedBuilder {
    Shared::builder().url(server.url()).max_size(max_size)
}

fn shared(server: &Server, max_size: u32) -> Shared {
    builder(server, max_size).build().unwrap()
}

async fn echo(shared: &Shared, number: i64) -> Result<i64, Error> {
    Ok(shared.query_one(ECHO, &[&number]).await?.get(0))
}

/// Polls a future so often, and drops it right after that. `None` if it was not ready by then.
async fn polled<F: Future>(future: F, times: u32) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), times);
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Waits until no share is out.
async fn at_rest(shared: &Shared) {
    let begin = Instant::now();
    while shared.status().shares > 0 {
        assert!(begin.elapsed() < SOON, "{:?}", shared.status());
        sleep(Duration::from_millis(1)).await;
    }
}

/// Waits until the server's answer is this one.
async fn until(server: &Server, sql: &str, answer: &str) {
    let begin = Instant::now();
    while server.sql(sql) != answer {
        assert!(begin.elapsed() < SOON, "{sql}: {}", server.sql(sql));
        sleep(Duration::from_millis(10)).await;
    }
}

/// Calls until the pool has found out that the server is back.
async fn once_back(shared: &Shared) {
    let begin = Instant::now();
    while let Err(error) = timeout(SOON, echo(shared, 1)).await.unwrap() {
        let expected = error.is_connect() || error.is_disconnected() || error.is_timeout();
        assert!(expected && begin.elapsed() < SOON, "{error}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn statements_are_run_prepared_and_answered() {
    let server = Server::start();
    server.sql("CREATE TABLE users (id bigint PRIMARY KEY, name text)");
    let shared = shared(&server, 2);
    let insert = Shareable::parse("INSERT INTO users VALUES ($1, $2)").unwrap();
    for (id, name) in [(1_i64, Some("Ada")), (2, None)] {
        assert_eq!(shared.execute(insert, &[&id, &name]).await.unwrap(), 1);
    }
    let names = Shareable::new("SELECT name FROM users WHERE id >= $1 ORDER BY id");
    let rows = shared.query(names, &[&1_i64]).await.unwrap();
    let found: Vec<Option<String>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, [Some("Ada".to_owned()), None]);
    let none = shared.query_opt(names, &[&3_i64]).await.unwrap();
    assert!(none.is_none());
    let many = shared.query_one(names, &[&1_i64]).await.unwrap_err();
    assert!(many.to_string().contains("returned 2 rows"), "{many}");

    // An error is the error of one call, and the connection goes on.
    let twice = shared.execute(insert, &[&1_i64, &"Eve"]).await.unwrap_err();
    assert!(twice.is_unique_violation(), "{twice}");
    let wrong = shared.execute(insert, &[&"1", &"Eve"]).await.unwrap_err();
    let says = "error serializing parameter 0: cannot convert between the Rust type";
    assert!(wrong.to_string().starts_with(says), "{wrong}");
    let count = shared.execute(insert, &[&1_i64]).await.unwrap_err();
    assert_eq!(count.to_string(), "expected 2 parameters but got 1");
    let syntax = Shareable::new("SELECT FROM WHERE");
    let syntax = shared.query(syntax, &[]).await.unwrap_err();
    assert_eq!(syntax.as_sqlstate(), Some("42601"));
    let two = Shareable::__unchecked("SELECT 1; SELECT 2");
    let two = shared.query(two, &[]).await.unwrap_err();
    assert_eq!(two.as_sqlstate(), Some("42601"));
    assert_eq!(shared.status().opened, 1);
    assert!(shared.drain(SOON).await.is_complete());
    assert!(echo(&shared, 1).await.unwrap_err().is_closed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn answers_are_never_mixed_up_whoever_leaves() {
    let server = Server::start();
    // However slow the machine is, no statement is ended for that.
    let shared = builder(&server, 2)
        .capacity(16)
        .statement_timeout(None)
        .build()
        .unwrap();
    let tasks = (0..200_i64).map(|task| {
        let shared = shared.clone();
        tokio::spawn(async move {
            let mut answered = 0;
            for call in 0..50 {
                let number = task * 1000 + call;
                // Some are small, and some come in many pieces.
                let width = if call % 7 == 0 { 60_000 } else { 10 };
                let work = async {
                    let wide = Shareable::new(
                        "SELECT $1::bigint, repeat('x', $2) FROM generate_series(1, 3)",
                    );
                    let rows = shared.query(wide, &[&number, &width]).await.unwrap();
                    assert_eq!(rows.len(), 3);
                    for row in rows {
                        assert_eq!(row.get::<_, i64>(0), number);
                        assert_eq!(row.get::<_, &str>(1).len(), width as usize);
                    }
                };
                let times = if fastrand::bool() {
                    u32::MAX
                } else {
                    fastrand::u32(0..6)
                };
                answered += u32::from(polled(work, times).await.is_some());
            }
            answered
        })
    });
    let mut answered = 0;
    for task in tasks.collect::<Vec<_>>() {
        answered += timeout(6 * SOON, task).await.unwrap().unwrap();
    }
    assert!(answered > 4_000, "{answered}");
    at_rest(&shared).await;
    let status = shared.status();
    assert_eq!((status.opened, status.died), (2, 0));
    assert_eq!(status.available, 32);
}

#[tokio::test]
async fn ten_thousand_dropped_futures_leave_every_place() {
    let server = Server::start();
    server.sql("CREATE TABLE marks (id bigint)");
    let shared = builder(&server, 2).capacity(8).build().unwrap();
    let mark = Shareable::new("INSERT INTO marks VALUES ($1)");
    shared.execute(mark, &[&-1_i64]).await.unwrap();
    for number in 0..10_000_i64 {
        polled(shared.execute(mark, &[&number]), 1 + fastrand::u32(0..2)).await;
        if number % 8 == 0 {
            tokio::task::yield_now().await;
        }
    }
    at_rest(&shared).await;
    let status = shared.status();
    assert_eq!(status.shares, 0);
    assert_eq!(status.available, 8 * status.open);
    assert_eq!(status.died + status.closed.total(), 0);
    let all = futures_util::future::join_all((0..16).map(|number| echo(&shared, number))).await;
    for (number, answer) in (0..16).zip(all) {
        assert_eq!(answer.unwrap(), number);
    }
}

#[tokio::test]
async fn a_place_is_taken_until_the_server_has_answered() {
    let server = Server::start();
    let shared = builder(&server, 1).capacity(1).build().unwrap();
    shared.query(SLEEP, &[&0_f64]).await.unwrap();
    let begin = Instant::now();
    polled(shared.query(SLEEP, &[&0.3_f64]), 1).await;
    let status = shared.status();
    assert_eq!(
        (status.shares, status.available),
        (1, 0),
        "the server sleeps, though nobody waits"
    );
    at_rest(&shared).await;
    assert!(begin.elapsed() >= Duration::from_millis(300));
    assert_eq!(echo(&shared, 2).await.unwrap(), 2);
}

#[tokio::test]
async fn a_future_that_nobody_polls_holds_back_nobody() {
    let server = Server::start();
    let shared = builder(&server, 1).statement_timeout(None).build().unwrap();
    let much = Shareable::new("SELECT repeat('x', 8000) FROM generate_series(1, 500)");
    shared.query(much, &[]).await.unwrap();
    let mut idle = pin!(shared.query(much, &[]));
    let mut context = Context::from_waker(Waker::noop());
    assert!(idle.as_mut().poll(&mut context).is_pending());
    for number in 0..100 {
        assert_eq!(
            timeout(SOON, echo(&shared, number)).await.unwrap().unwrap(),
            number
        );
    }
    assert_eq!(idle.await.unwrap().len(), 500, "and has its own answer");
    at_rest(&shared).await;
    assert_eq!(shared.status().opened, 1);
}

#[tokio::test]
async fn a_slow_statement_holds_back_its_own_connection_only() {
    let server = Server::start();
    let shared = builder(&server, 2)
        .min_idle(2)
        .statement_timeout(None)
        .build()
        .unwrap();
    shared.warm_up().await.unwrap();
    let both = shared.get().await.unwrap();
    both.query(SLEEP, &[&0_f64]).await.unwrap();
    let slow = tokio::spawn(async move { both.query(SLEEP, &[&0.9_f64]).await });
    let begin = Instant::now();
    while shared.status().suspect == 0 {
        assert!(begin.elapsed() < SOON, "{:?}", shared.status());
        sleep(Duration::from_millis(1)).await;
    }
    let mut answered = 0;
    while !slow.is_finished() {
        assert_eq!(echo(&shared, answered).await.unwrap(), answered);
        answered += 1;
    }
    assert!(answered > 20, "{answered} while the other slept");
    slow.await.unwrap().unwrap();
    while shared.status().suspect > 0 {
        assert!(begin.elapsed() < SOON, "{:?}", shared.status());
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn the_server_ends_a_statement_that_takes_too_long_and_no_other() {
    let server = Server::start();
    let shared = builder(&server, 1)
        .statement_timeout(Duration::from_millis(200))
        .build()
        .unwrap();
    shared.query(SLEEP, &[&0_f64]).await.unwrap();
    let connection = shared.get().await.unwrap();
    let (slow, next) = tokio::join!(
        connection.query(SLEEP, &[&3600_f64]),
        connection.query_one(ECHO, &[&5_i64])
    );
    assert_eq!(slow.unwrap_err().as_sqlstate(), Some("57014"));
    assert_eq!(next.unwrap().get::<_, i64>(0), 5);
    drop(connection);
    assert_eq!(shared.status().opened, 1);
    let show = "SELECT current_setting('statement_timeout')";
    let said: String = shared
        .query_one(Shareable::new(show), &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(said, "200ms");
    let off = builder(&server, 1).statement_timeout(None).build().unwrap();
    let said: String = off
        .query_one(Shareable::new(show), &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(said, "0", "the server's own");
}

#[tokio::test]
async fn a_connection_on_which_something_was_left_is_closed() {
    let server = Server::start();
    for sql in [
        "SET search_path = tenant",
        "SET LOCAL search_path = tenant",
        "CREATE TEMP TABLE mine (id int)",
        "SELECT 1 INTO TEMP mine",
        "LISTEN news",
        "DO $$ BEGIN END $$",
        "SHOW search_path",
        "PREPARE mine AS SELECT 1",
        "DISCARD ALL",
        "COPY (SELECT 1) TO STDOUT",
        // Shareable by its text, and the server reports what it does.
        "SELECT set_config('TimeZone', 'Asia/Tokyo', false)",
    ] {
        let shared = shared(&server, 1);
        let before: i32 = shared.query_one(PID, &[]).await.unwrap().get(0);
        // Some are errors, as of a COPY: the driver expects no such answer.
        drop(shared.execute(Shareable::__unchecked(sql), &[]).await);
        at_rest(&shared).await;
        let after: i32 = shared.query_one(PID, &[]).await.unwrap().get(0);
        assert_ne!(before, after, "{sql}");
        let status = shared.status();
        assert_eq!(status.closed.total(), 1, "{sql}: {status:?}");
        until(
            &server,
            &format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {before}"),
            "0",
        )
        .await;
        assert!(shared.drain(SOON).await.is_complete());
    }
}

#[tokio::test]
async fn what_runs_in_a_transaction_of_another_is_not_said_to_be_done() {
    let server = Server::start();
    server.sql("CREATE TABLE marks (id bigint)");
    let shared = shared(&server, 1);
    let mark = Shareable::new("INSERT INTO marks VALUES ($1)");
    shared.execute(mark, &[&1_i64]).await.unwrap();
    let connection = shared.get().await.unwrap();
    let (begin, marked) = tokio::join!(
        connection.execute(Shareable::__unchecked("BEGIN"), &[]),
        connection.execute(mark, &[&2_i64])
    );
    assert!(begin.unwrap_err().is_disconnected());
    // The begin is prepared first, so the mark may have come before it. Its caller may not know, but is told nothing that is wrong.
    match marked {
        Ok(_) => assert_eq!(server.sql("SELECT id FROM marks WHERE id = 2"), "2"),
        Err(error) => assert!(error.is_disconnected(), "{error}"),
    }
    let inside = connection.execute(mark, &[&3_i64]).await.unwrap_err();
    assert!(inside.is_disconnected(), "{inside}");
    drop(connection);
    shared.execute(mark, &[&4_i64]).await.unwrap();
    let kept = "SELECT id FROM marks WHERE id <> 2 ORDER BY id";
    assert_eq!(server.sql(kept), "1\n4");
}

#[tokio::test]
async fn an_answer_is_bounded_and_the_connection_goes_on() {
    let server = Server::start();
    let shared = builder(&server, 1)
        .max_rows(10)
        .max_bytes(5_000)
        .build()
        .unwrap();
    let rows = Shareable::new("SELECT g::text FROM generate_series(1, $1::int) g");
    assert_eq!(shared.query(rows, &[&10]).await.unwrap().len(), 10);
    let error = shared.query(rows, &[&100_000]).await.unwrap_err();
    let says = "the answer has more than 10 rows (max_rows): the rest was read and dropped";
    assert!(error.to_string().starts_with(says), "{error}");
    let wide = Shareable::new("SELECT repeat('x', $1)");
    assert_eq!(shared.query(wide, &[&4_000]).await.unwrap().len(), 1);
    let error = shared.query(wide, &[&6_000]).await.unwrap_err();
    assert!(
        error.to_string().contains("5000 bytes (max_bytes)"),
        "{error}"
    );
    assert_eq!(echo(&shared, 7).await.unwrap(), 7);
    let status = shared.status();
    assert_eq!((status.opened, status.shares), (1, 0));
}

#[tokio::test]
async fn each_text_is_prepared_once_for_each_connection() {
    let server = Server::start();
    let shared = builder(&server, 1).capacity(64).build().unwrap();
    let cold = (0..64).map(|number| echo(&shared, number));
    for (number, answer) in (0..64).zip(futures_util::future::join_all(cold).await) {
        assert_eq!(answer.unwrap(), number);
    }
    let count = Shareable::new("SELECT count(*) FROM pg_prepared_statements");
    let kept: i64 = shared.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(kept, 2, "the echo, and this one");
    // A prepare whose callers have all left leaves nothing that is not kept.
    let texts: Vec<_> = (0..20).map(|n| format!("SELECT {n} AS n")).collect();
    for text in &texts {
        polled(shared.query(Shareable::parse(text).unwrap(), &[]), 1).await;
    }
    at_rest(&shared).await;
    for text in &texts {
        shared
            .query(Shareable::parse(text).unwrap(), &[])
            .await
            .unwrap();
    }
    let kept: i64 = shared.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(kept, 22);
    let small = builder(&server, 1).statement_cache(3).build().unwrap();
    for text in &texts {
        small
            .query(Shareable::parse(text).unwrap(), &[])
            .await
            .unwrap();
    }
    let kept: i64 = small.query_one(count, &[]).await.unwrap().get(0);
    assert!(kept <= 4, "{kept} are kept");
}

#[tokio::test]
async fn a_statement_of_a_table_that_was_changed_is_prepared_again() {
    let server = Server::start();
    server.sql("CREATE TABLE things (id bigint, size integer); INSERT INTO things VALUES (1, 2)");
    let shared = shared(&server, 2);
    let all = Shareable::new("SELECT * FROM things WHERE id = $1");
    assert_eq!(shared.query_one(all, &[&1_i64]).await.unwrap().len(), 2);
    server.sql("ALTER TABLE things ADD COLUMN name text");
    let calls = (0..40).map(|_| shared.query_one(all, &[&1_i64]));
    for row in futures_util::future::join_all(calls).await {
        assert_eq!(row.unwrap().len(), 3);
    }
    // A parameter's type has changed as well: the driver refuses the value before it is sent.
    server.sql("ALTER TABLE things ALTER COLUMN id TYPE text");
    assert_eq!(shared.query_one(all, &[&"1"]).await.unwrap().len(), 3);
    // The statements are gone from the server. The connection that lost them is closed as well.
    drop(
        shared
            .execute(Shareable::__unchecked("DEALLOCATE ALL"), &[])
            .await,
    );
    assert_eq!(shared.query_one(all, &[&"1"]).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_and_restarted_costs_the_calls_of_that_moment() {
    let mut server = Server::start();
    server.sql("CREATE TABLE marks (id bigint)");
    let shared = shared(&server, 2);
    let mark = Shareable::new("INSERT INTO marks VALUES ($1)");
    for round in 0..2 {
        let tasks: Vec<_> = (0..32_i64)
            .map(|task| {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for call in 0.. {
                        let number = (round * 32 + task) * 1_000_000 + call;
                        match shared.execute(mark, &[&number]).await {
                            Ok(_) => done.push(number),
                            Err(error) => {
                                assert!(error.is_disconnected() || error.is_connect(), "{error}");
                                break;
                            }
                        }
                    }
                    done
                })
            })
            .collect();
        sleep(Duration::from_millis(100)).await;
        if round == 0 {
            server.stop();
        } else {
            server.kill();
        }
        let mut done = Vec::new();
        for task in tasks {
            done.extend(timeout(SOON, task).await.unwrap().unwrap());
        }
        server.restart();
        once_back(&shared).await;
        let kept: Vec<i64> = server
            .sql(&format!(
                "SELECT id FROM marks WHERE id >= {}",
                round * 32_000_000
            ))
            .lines()
            .map(|line| line.parse().unwrap())
            .collect();
        if round == 0 {
            let missing = done.iter().filter(|number| !kept.contains(number)).count();
            assert_eq!(missing, 0, "of {} that were acknowledged", done.len());
        }
        assert!(!done.is_empty());
    }
    at_rest(&shared).await;
    let own = "SELECT count(*) <= 2 FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    until(&server, own, "t").await;
}

#[tokio::test]
async fn a_lost_connection_is_replaced_before_a_call_finds_out() {
    let server = Server::start();
    let shared = shared(&server, 1);
    let pid: i32 = shared.query_one(PID, &[]).await.unwrap().get(0);
    server.sql(&format!("SELECT pg_terminate_backend({pid})"));
    let begin = Instant::now();
    while shared.status().died == 0 {
        assert!(begin.elapsed() < SOON, "{:?}", shared.status());
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(echo(&shared, 3).await.unwrap(), 3);
    assert_eq!(shared.status().opened, 2);
}

#[tokio::test]
async fn a_frozen_server_fails_calls_in_time_and_goes_on_when_it_is_back() {
    let mut server = Server::start();
    let shared = builder(&server, 1)
        .query_timeout(Duration::from_millis(700))
        .build()
        .unwrap();
    echo(&shared, 1).await.unwrap();
    server.freeze();
    let calls = futures_util::future::join_all((0..8).map(|number| echo(&shared, number)));
    for answer in timeout(SOON, calls).await.unwrap() {
        let error = answer.unwrap_err();
        assert!(error.is_timeout() || error.is_disconnected(), "{error}");
    }
    let begin = Instant::now();
    while shared.status().died == 0 {
        assert!(begin.elapsed() < SOON, "{:?}", shared.status());
        sleep(Duration::from_millis(1)).await;
    }
    server.thaw();
    once_back(&shared).await;
    at_rest(&shared).await;
    let own = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    until(&server, own, "1").await;
}

#[tokio::test]
async fn a_short_freeze_costs_nothing() {
    let mut server = Server::start();
    let shared = builder(&server, 1).build().unwrap();
    echo(&shared, 1).await.unwrap();
    server.freeze();
    let begin = Instant::now();
    let (answer, ()) = tokio::join!(echo(&shared, 2), async {
        while shared.status().suspect == 0 {
            assert!(begin.elapsed() < SOON, "{:?}", shared.status());
            sleep(Duration::from_millis(1)).await;
        }
        server.thaw();
    });
    assert_eq!(answer.unwrap(), 2);
    assert_eq!(echo(&shared, 3).await.unwrap(), 3);
    assert_eq!((shared.status().opened, shared.status().died), (1, 0));
}

#[tokio::test]
async fn behind_a_pooling_proxy_nothing_is_shared() {
    let server = Server::start();
    for bouncer in [
        Bouncer::builder(&server).start(),
        Bouncer::builder(&server).transactions().start(),
    ] {
        let shared = Shared::builder().url(bouncer.url()).build().unwrap();
        let error = echo(&shared, 1).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(
            error.to_string().contains("this is a pooling proxy"),
            "{error}"
        );
    }
}

#[test]
fn calls_end_with_the_runtime_of_their_connection() {
    let server = Server::start();
    let shared = builder(&server, 1).build().unwrap();
    let of_connection = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    of_connection.block_on(echo(&shared, 1)).unwrap();
    let other = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    other.block_on(async {
        let asked = tokio::spawn({
            let shared = shared.clone();
            async move { shared.query(SLEEP, &[&0.5_f64]).await }
        });
        while shared.status().shares == 0 {
            tokio::task::yield_now().await;
        }
        sleep(Duration::from_millis(50)).await;
        of_connection.shutdown_background();
        let error = timeout(SOON, asked).await.unwrap().unwrap().unwrap_err();
        assert!(error.is_disconnected(), "{error}");
        at_rest(&shared).await;
    });
}
