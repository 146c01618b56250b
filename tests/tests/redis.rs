//! Redis connections that many share, and what a service builds on them, against a real server that is killed.

#![allow(clippy::unwrap_used)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bb8_redis::redis::aio::MultiplexedConnection;
use bb8_redis::redis::{
    AsyncCommands, AsyncConnectionConfig, Client, RedisError, RedisResult, cmd, pipe,
};
use futures_util::future::join_all;
use pool_core::{
    Flight, Gauge, KeyedLease, KeyedManager, KeyedPool, Share, SharedManager, SharedPool, Usage,
    fan_out,
};
use tests::redis::Server;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// Nothing here takes that long, but for the start of a server.
const SOON: Duration = Duration::from_secs(20);

/// Waits for `what` to be true.
async fn comes(mut what: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !what().await {
        assert!(begin.elapsed() < SOON, "it never came");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Commands of many go down one socket.
struct Multiplexed(Client);

impl SharedManager for Multiplexed {
    type Resource = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self, gauge: Gauge) -> RedisResult<MultiplexedConnection> {
        let info = self.0.get_connection_info();
        let stream = TcpStream::connect(info.addr().to_string()).await?;
        // A test bounds what it waits for by itself.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let (connection, driver) =
            MultiplexedConnection::new_with_config(info.redis_settings(), stream, config).await?;
        gauge.set_capacity(DEPTH);
        drop(tokio::spawn(async move {
            // It reads the socket, and ends with it.
            driver.await;
            gauge.dead();
        }));
        Ok(connection)
    }
}

/// How many wait for an answer of the server.
const BLOCKED: &str = r#"EVAL "return tonumber(string.match(redis.call('INFO', 'clients'), 'blocked_clients:(%d+)'))" 0"#;
const DEPTH: u32 = 32;
const CONNECTIONS: u32 = 2;
const CALLERS: usize = 200;

fn shared(server: &Server) -> SharedPool<Multiplexed> {
    let client = Client::open(server.url()).unwrap();
    SharedPool::builder(Multiplexed(client))
        .max_waiters(Some(CALLERS))
        .max_size(CONNECTIONS)
        .acquire_timeout(SOON)
        .build()
        .unwrap()
}

/// Writes a value of its own and reads it back, among the commands of all the others.
async fn echo(pool: &SharedPool<Multiplexed>, n: usize) -> Result<usize, Box<dyn Error>> {
    let share = pool.get().await?;
    let answer = Share::run(&share, async |connection| {
        let key = format!("key {n}");
        let mut both = pipe();
        both.set(&key, n).ignore().get(&key);
        let answer: RedisResult<(usize,)> = both.query_async(&mut connection.clone()).await;
        answer
    });
    let (n,) = answer.await??;
    Ok(n)
}

async fn all_echo(pool: &SharedPool<Multiplexed>) {
    let callers = (0..CALLERS).map(async |n| {
        for round in 0..5 {
            let n = n * 5 + round;
            assert_eq!(echo(pool, n).await.unwrap(), n);
        }
    });
    join_all(callers).await;
    let status = pool.status();
    assert_eq!((status.shares, status.waiting), (0, 0), "{status:?}");
    assert_eq!(status.open, CONNECTIONS, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_share_two_connections_to_redis_and_outlast_its_end() {
    let mut server = Server::start();
    let pool = shared(&server);
    all_echo(&pool).await;
    let status = pool.status();
    assert_eq!((status.opened, status.died), (2, 0));
    assert!(status.waited > 0, "more callers than shares");

    // One works on each connection when the server goes, and one rests.
    let shares = [
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
    ];
    let [popping, pushing, resting] = &shares;
    let block = async |connection: &MultiplexedConnection| {
        let mut connection = connection.clone();
        let popped: RedisResult<(String, String)> = connection.blpop("queue", 0.0).await;
        popped
    };
    let working = async {
        let both = tokio::join!(Share::run(popping, block), Share::run(pushing, block));
        for outcome in [both.0, both.1] {
            // Its driver heard of it first, or the pool did.
            assert!(outcome.is_err() || outcome.is_ok_and(|popped| popped.is_err()));
        }
    };
    let killing = async {
        // Both are at it.
        comes(async || server.command(BLOCKED) == ":2").await;
        server.kill();
    };
    timeout(SOON, async { tokio::join!(working, killing) })
        .await
        .expect("those who work are told");
    for share in &shares {
        timeout(SOON, Share::died(share))
            .await
            .expect("all are told");
    }
    assert!(Share::is_dead(resting));
    let status = pool.status();
    assert_eq!((status.dead, status.died, status.shares), (2, 2, 3));
    drop(shares);

    // Told at once why, and not at the deadline.
    let begin = Instant::now();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert!(
        error.connect_error().is_some_and(RedisError::is_io_error),
        "{error}"
    );
    assert!(begin.elapsed() < SOON / 2, "{:?}", begin.elapsed());
    assert!(pool.status().last_error.is_some());

    server.restart();
    comes(async || echo(&pool, 1).await.is_ok()).await;
    all_echo(&pool).await;
    let status = pool.status();
    assert_eq!((status.opened, status.died), (4, 2));
    assert_eq!(status.last_error, None);
    assert_eq!(pool.drain(SOON).await.left, 0);
}

/// A database of the server for each shard.
struct Shards(String);

impl KeyedManager<u8> for Shards {
    type Resource = MultiplexedConnection;
    type Error = RedisError;

    async fn create(&self, shard: &u8) -> RedisResult<MultiplexedConnection> {
        let client = Client::open(format!("{}{shard}", self.0))?;
        client.get_multiplexed_async_connection().await
    }

    async fn check(&self, connection: &mut MultiplexedConnection, _: &Usage) -> RedisResult<()> {
        cmd("PING").query_async(connection).await
    }
}

const SHARDS: u8 = 4;

/// What a page shows of a user: something of every shard, read once for all who look at it at the same time.
struct Pages {
    shards: KeyedPool<u8, Shards>,
    flight: Flight<u32, Arc<Vec<u32>>, String>,
}

impl Pages {
    async fn page(&self, user: u32) -> Result<Arc<Vec<u32>>, String> {
        let shards = self.shards.clone();
        let compute = move || async move {
            let read = fan_out(0..SHARDS)
                .limit(2)
                .each_within(SOON)
                .map(async |shard| {
                    let mut lease = shards
                        .get(&shard)
                        .await
                        .map_err(|error| error.to_string())?;
                    let reads = KeyedLease::run(&mut lease, async |connection| {
                        let reads: RedisResult<u32> = connection.incr(user, 1).await;
                        reads
                    });
                    let reads = reads.await;
                    if reads.is_err() {
                        // It may be cut off, and nobody has asked it since.
                        KeyedLease::taint(&mut lease);
                    }
                    reads.map_err(|error| error.to_string())
                })
                .await;
            read.map(Arc::new).map_err(|error| error.to_string())
        };
        let page = self.flight.run(user, compute).await;
        page.map_err(|error| error.to_string())
    }
}

#[tokio::test]
async fn a_page_of_many_shards_is_read_once_for_all_who_ask_and_comes_back_with_the_server() {
    let mut server = Server::start();
    let shards = KeyedPool::builder(Shards(server.url()))
        .max_size(2)
        .max_total(3)
        .acquire_timeout(SOON)
        .build()
        .unwrap();
    let pages = Pages {
        shards,
        flight: Flight::new(),
    };
    for times in 1..=3 {
        let answers = join_all((0..50).map(|_| pages.page(7))).await;
        for answer in answers {
            assert_eq!(*answer.unwrap(), [times; SHARDS as usize]);
        }
    }
    assert_eq!(pages.flight.status().started, 3);
    let most = pages.shards.status();
    assert!(most.open <= 3, "{most:?}");

    server.kill();
    comes(async || pages.page(7).await.is_err()).await;
    let failed = join_all((0..50).map(|_| pages.page(7))).await;
    assert!(failed.iter().all(Result::is_err));
    server.restart();
    // It has forgotten everything.
    comes(async || pages.page(8).await.is_ok()).await;
    assert_eq!(*pages.page(9).await.unwrap(), [1; SHARDS as usize]);
    assert_eq!(pages.flight.status().keys, 0);
    let drained = pages.shards.drain(SOON).await;
    assert!(drained.is_complete(), "{drained:?}");
}
