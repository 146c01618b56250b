//! bb8-redis.
//!
//! Its `has_broken` always says no, and a broken connection of it never mends: only `is_valid` finds it out.

use std::time::Duration;

use bb8_redis::RedisConnectionManager;
use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{self, AsyncCommands, RedisError, cmd, pipe};
use pool_core::adapt::Bb8;
use pool_core::observe::CloseReason;
use pool_core::{Lease, Pool};
use tests::redis::Server;
use tokio::time::{sleep, timeout};

use crate::{
    SIZE, ends, finds_out_that_it_is_silent, outlasts, pool, recovers, says_why, share, wary,
};

fn bb8_redis(server: &Server) -> Bb8<RedisConnectionManager> {
    Bb8::new(RedisConnectionManager::new(server.url()).unwrap())
}

async fn works(connection: &mut MultiplexedConnection) -> bool {
    let answer: redis::RedisResult<String> = cmd("PING").query_async(connection).await;
    answer.is_ok_and(|answer| answer == "PONG")
}

async fn id(connection: &mut MultiplexedConnection) -> u64 {
    let mut id = cmd("CLIENT");
    id.arg("ID").query_async(connection).await.unwrap()
}

#[tokio::test]
async fn bb8_redis_shares_and_recovers() {
    let server = Server::start();
    let pool = pool(bb8_redis(&server));
    share(&pool, async |connection, n| {
        let key = format!("key {n}");
        let (got,): (usize,) = pipe()
            .atomic()
            .set(&key, n)
            .ignore()
            .get(&key)
            .query_async(connection)
            .await
            .unwrap();
        got
    })
    .await;
    let clients: String = {
        let mut connection = pool.get().await.unwrap();
        let mut list = cmd("CLIENT");
        let list = list.arg("LIST").query_async(&mut *connection);
        list.await.unwrap()
    };
    assert_eq!(clients.lines().count(), SIZE as usize, "{clients}");

    server.command("CLIENT KILL TYPE normal");
    recovers(&pool, works).await;
    let mut server = outlasts(&pool, server, works).await;
    server.kill();
    says_why::<_, RedisError>(bb8_redis(&server)).await;
    server.restart();
    recovers(&pool, works).await;
    ends(pool).await;
}

/// What was idle for a while is asked for a sign of life before anybody has it.
#[tokio::test]
async fn bb8_redis_checks_what_was_idle() {
    let server = Server::start();
    let pool = Pool::builder(bb8_redis(&server))
        .max_size(1)
        .check_after(Duration::from_millis(50))
        .build()
        .unwrap();
    let first = id(&mut pool.get().await.unwrap()).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(id(&mut pool.get().await.unwrap()).await, first);

    server.command("CLIENT KILL TYPE normal");
    sleep(Duration::from_millis(100)).await;
    let mut connection = pool.get().await.unwrap();
    assert_ne!(id(&mut connection).await, first);
    // While it was idle, or, where all this took long, just before.
    let closed = pool.status().closed;
    let found = closed.by(CloseReason::CheckFailed) + closed.by(CloseReason::ResetFailed);
    assert_eq!(found, 1);
    drop(connection);
    ends(pool).await;
}

#[tokio::test]
async fn bb8_redis_finds_out_that_the_server_is_silent() {
    let mut server = Server::start();
    let pool = wary(bb8_redis(&server)).build().unwrap();
    finds_out_that_it_is_silent(&pool, &mut server).await;
    ends(pool).await;
}

/// In other pools the next user gets the answer to what was dropped (deadpool#97). Here nobody gets that connection.
#[tokio::test]
async fn bb8_redis_hands_on_no_connection_in_the_middle_of_something() {
    let server = Server::start();
    let pool = Pool::builder(bb8_redis(&server))
        .max_size(1)
        .build()
        .unwrap();
    let mut connection = pool.get().await.unwrap();
    let first = id(&mut connection).await;
    let () = cmd("WATCH")
        .arg("watched")
        .query_async(&mut *connection)
        .await
        .unwrap();
    let half = Lease::run(&mut connection, async |connection| {
        let popped: redis::RedisResult<(String, String)> = connection.blpop("queue", 30.0).await;
        popped
    });
    assert!(timeout(Duration::from_millis(100), half).await.is_err());
    drop(connection);

    let mut connection = pool.get().await.unwrap();
    assert_ne!(id(&mut connection).await, first);
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    // Nobody is left who would pop that.
    assert_eq!(server.command("LPUSH queue it"), ":1");
    assert_eq!(server.command("LLEN queue"), ":1");
    assert!(works(&mut connection).await);
    drop(connection);
    ends(pool).await;
}
