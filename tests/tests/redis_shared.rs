//! The pool of shared connections to Redis, against real servers that are killed, frozen and full.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pool_db::{
    Error,
    redis::{
        Protocol, Shared,
        redis::{self, AsyncCommands as _, RedisResult, aio::ConnectionLike, cmd, pipe},
    },
};
use tests::redis::Server;
use tokio::time::{sleep, timeout};

/// Nothing here takes that long, but for the start of a server.
const SOON: Duration = Duration::from_secs(20);

fn shared(server: &Server) -> Shared {
    Shared::builder()
        .url(server.url())
        .max_size(2)
        .capacity(32)
        .max_waiters(10_000)
        .acquire_timeout(SOON)
        .query_timeout(SOON)
        .build()
        .unwrap()
}

/// Waits for `what` to be true.
async fn comes(mut what: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !what().await {
        assert!(begin.elapsed() < SOON, "it never came");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Writes a value of its own and reads it back, among the commands of all the others.
async fn echo(mut redis: impl ConnectionLike + Send, n: usize) -> Result<(), Error> {
    let key = format!("key {}", n % 7);
    let (value,): (String,) = pipe()
        .atomic()
        .set(&key, format!("value {n}"))
        .ignore()
        .get(&key)
        .query_async(&mut redis)
        .await?;
    assert_eq!(value, format!("value {n}"));
    let said: String = cmd("ECHO").arg(n).query_async(&mut redis).await?;
    assert_eq!(said, n.to_string());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_share_two_connections_and_each_gets_its_own_answer() {
    let server = Server::start();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let shared = Shared::builder()
            .url(server.url())
            .protocol(protocol)
            .capacity(32)
            .max_waiters(10_000)
            .build()
            .unwrap();
        let callers = (0..200).map(async |n| {
            for round in 0..10 {
                echo(&shared, n * 10 + round).await.unwrap();
                echo(shared.share().await.unwrap(), n).await.unwrap();
            }
        });
        join_all(callers).await;
        let mut redis = shared.clone();
        let () = redis.set("k", "v").await.unwrap();
        assert_eq!(redis.get::<_, String>("k").await.unwrap(), "v");
        let error = Error::from(redis.incr::<_, _, i64>("k", 1).await.unwrap_err());
        assert!(error.is_database() && error.as_redis_code() == Some("ERR"));
        let status = shared.status();
        assert_eq!((status.shares, status.waiting, status.died), (0, 0, 0));
        assert_eq!(status.open, 2, "{status:?}");
        assert!(shared.drain(SOON).await.is_complete());
    }
}

#[tokio::test]
async fn a_server_that_is_killed_is_found_out_and_comes_back() {
    let mut server = Server::start();
    let shared = shared(&server);
    echo(&shared, 1).await.unwrap();
    server.kill();
    comes(async || shared.status().died == 1).await;
    let error = echo(&shared, 2).await.unwrap_err();
    assert!(error.is_connect() && error.is_unavailable(), "{error}");
    assert!(!error.may_have_happened());
    server.restart();
    comes(async || echo(&shared, 3).await.is_ok()).await;
}

#[tokio::test]
async fn a_frozen_server_costs_each_call_its_query_timeout_and_its_connections() {
    let mut server = Server::start();
    let shared = Shared::builder()
        .url(server.url())
        .query_timeout(Duration::from_millis(300))
        .create_timeout(Duration::from_millis(300))
        .acquire_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    echo(&shared, 1).await.unwrap();
    server.freeze();
    let begin = Instant::now();
    let error = echo(&shared, 2).await.unwrap_err();
    assert!(error.may_have_happened(), "{error}");
    assert!(error.is_timeout() || error.is_disconnected(), "{error}");
    // Also where every caller gives up sooner than that.
    for _ in 0..20 {
        let impatient = timeout(Duration::from_millis(50), echo(&shared, 3)).await;
        assert!(!matches!(impatient, Ok(Ok(()))));
    }
    comes(async || shared.status().died >= 1).await;
    assert!(begin.elapsed() < SOON);
    server.thaw();
    comes(async || echo(&shared, 4).await.is_ok()).await;
}

#[tokio::test]
async fn what_must_not_be_shared_is_refused_before_it_is_sent() {
    let server = Server::start();
    let shared = shared(&server);
    let mut redis = shared.clone();
    let popped: RedisResult<Option<(String, String)>> = redis.blpop("queue", 0.0).await;
    let error = Error::from(popped.unwrap_err());
    assert!(
        error
            .to_string()
            .contains("`BLPOP` cannot share a connection"),
        "{error}"
    );
    assert!(!error.may_have_happened());
    assert_eq!(shared.status().opened, 0);
    echo(&shared, 1).await.unwrap();
    let mut nameless = pipe();
    nameless
        .add_command(redis::Cmd::new())
        .cmd("ECHO")
        .arg("another's");
    let answer: RedisResult<Vec<String>> = nameless.query_async(&mut redis).await;
    assert!(answer.is_err());
    echo(&shared, 2).await.unwrap();
}
