//! The pool of exclusive connections to Redis, against real servers: what callers leave, and what they abandon.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use pool_db::{
    Error,
    redis::{
        Connection, Pool, Protocol,
        redis::{AsyncCommands as _, RedisResult, Value, cmd, pipe},
    },
};
use tests::redis::{Sentinel, Server};
use tokio::time::{sleep, timeout};

/// Nothing here takes that long, but for the start of a server.
const SOON: Duration = Duration::from_secs(20);

fn pool(server: &Server) -> Pool {
    Pool::builder()
        .url(format!("{}3", server.url()))
        .max_size(1)
        .client_name("web")
        .acquire_timeout(SOON)
        .reset_timeout(SOON)
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

async fn say(connection: &mut Connection, line: &str) -> RedisResult<Value> {
    let mut words = line.split(' ');
    let mut command = cmd(words.next().unwrap());
    for word in words {
        command.arg(word);
    }
    command.query_async(connection).await
}

/// What the server says of the connection, but for what changes by itself.
async fn seen(connection: &mut Connection) -> String {
    let info: String = cmd("CLIENT")
        .arg("INFO")
        .query_async(connection)
        .await
        .unwrap();
    let parts = info.split_whitespace().filter(|part| {
        let name = part.split('=').next().unwrap();
        [
            "name", "db", "flags", "sub", "psub", "multi", "user", "redir", "resp", "watch",
        ]
        .contains(&name)
    });
    parts.collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn what_a_caller_leaves_is_gone_for_the_next_one() {
    let server = Server::start();
    assert_eq!(server.command("ACL SETUSER other on >pw ~* +@all"), "+OK");
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let pool = Pool::builder()
            .url(format!("{}3", server.url()))
            .protocol(protocol)
            .max_size(1)
            .client_name("web")
            .acquire_timeout(SOON)
            .build()
            .unwrap();
        let clean = seen(&mut pool.get().await.unwrap()).await;
        for (leaves, closes) in [
            ("WATCH k", false),
            ("MULTI", false),
            ("WATCH k;MULTI;SET k v", false),
            ("WATCH k;MULTI;NONSENSE", false),
            ("SELECT 5", false),
            ("AUTH other pw", false),
            ("HELLO 3 AUTH other pw SETNAME x", false),
            ("HELLO 2", false),
            ("CLIENT SETNAME x", false),
            ("CLIENT TRACKING on BCAST", false),
            ("CLIENT NO-EVICT on", false),
            ("RESET", false),
            ("MULTI;SELECT 5;EXEC", false),
            ("SCRIPT DEBUG sync", true),
            ("QUIT", true),
        ] {
            let opened = pool.status().opened;
            let mut connection = pool.get().await.unwrap();
            for line in leaves.split(';') {
                let _maybe_refused = say(&mut connection, line).await;
            }
            drop(connection);
            let mut next = pool.get().await.unwrap();
            assert_eq!(seen(&mut next).await, clean, "{leaves}");
            let value: Option<String> = next.get("k").await.unwrap();
            assert_eq!(value, None, "{leaves}");
            let reopened = pool.status().opened - opened;
            // `CLIENT TRACKING` needs RESP3, or a connection to tell: else it is refused and leaves nothing.
            assert_eq!(reopened, u64::from(closes), "{leaves}");
        }
        assert!(pool.drain(SOON).await.is_complete());
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_was_left_is_not_reset() {
    let server = Server::start();
    let pool = pool(&server);
    for _ in 0..3 {
        let mut connection = pool.get().await.unwrap();
        let _: () = connection.set("k", 1).await.unwrap();
        let (n,): (i64,) = pipe()
            .atomic()
            .incr("k", 1)
            .query_async(&mut connection)
            .await
            .unwrap();
        assert_eq!(n, 2);
        let watched = say(&mut connection, "WATCH k").await;
        assert!(watched.is_ok());
        say(&mut connection, "UNWATCH").await.unwrap();
        assert!(say(&mut connection, "SELECT 99").await.is_err());
    }
    // A reset would have sent at least one of these.
    let stats = cmd("INFO").arg("commandstats").to_owned();
    let stats: String = stats
        .query_async(&mut pool.get().await.unwrap())
        .await
        .unwrap();
    assert!(
        !stats.contains("cmdstat_reset") && !stats.contains("cmdstat_discard"),
        "{stats}"
    );
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn the_next_caller_does_not_get_the_answer_to_what_was_dropped() {
    let server = Server::start();
    let pool = pool(&server);
    for n in 0..200_u64 {
        let mut connection = pool.get().await.unwrap();
        let slow = format!(
            "local n = 0 for i = 1, {} do n = n + i end return '{n}'",
            n * 200
        );
        let asked = async {
            let _done: String = cmd("EVAL")
                .arg(slow)
                .arg(0)
                .query_async(&mut connection)
                .await
                .unwrap();
        };
        let _dropped = timeout(Duration::from_micros(n * 3), asked).await;
        drop(connection);
        let mut next = pool.get().await.unwrap();
        let said: String = cmd("ECHO")
            .arg(format!("mine {n}"))
            .query_async(&mut next)
            .await
            .unwrap();
        assert_eq!(said, format!("mine {n}"));
    }
    assert_eq!(pool.status().opened, 1);
}

#[tokio::test]
async fn a_command_that_waits_is_ended_when_its_caller_goes() {
    let server = Server::start();
    let pool = pool(&server);
    let mut connection = pool.get().await.unwrap();
    let waits = timeout(
        Duration::from_millis(50),
        connection.blpop::<_, (String, String)>("queue", 0.0),
    );
    assert!(waits.await.is_err());
    let error = Error::from(say(&mut connection, "PING").await.unwrap_err());
    assert!(error.is_abandoned(), "{error}");
    drop(connection);
    let mut next = pool.get().await.unwrap();
    say(&mut next, "PING").await.unwrap();
    let _: u64 = next.lpush("queue", "a").await.unwrap();
    assert_eq!(
        next.llen::<_, u64>("queue").await.unwrap(),
        1,
        "nobody takes it"
    );
    assert_eq!(pool.status().opened, 1, "the connection goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_element_is_lost_with_the_callers_that_wait_for_it() {
    const ELEMENTS: usize = 300;
    let server = Server::start();
    let build = |size| {
        Pool::builder()
            .url(server.url())
            .max_size(size)
            .acquire_timeout(SOON)
            .reset_timeout(SOON)
            .build()
            .unwrap()
    };
    let (pool, pushers) = (build(4), build(1));
    let pushing = async {
        let mut connection = pushers.get().await.unwrap();
        for n in 0..ELEMENTS {
            let _: u64 = connection.rpush("queue", n).await.unwrap();
            sleep(Duration::from_millis(1)).await;
        }
    };
    let popping = (0..4).map(async |_| {
        let mut popped = Vec::new();
        let mut empty = 0;
        while empty < 40 {
            let mut connection = pool.get().await.unwrap();
            let limit = Duration::from_micros(fastrand::u64(0..4000));
            let pop = connection.blpop::<_, (String, usize)>("queue", 0.0);
            match timeout(limit, pop).await {
                Ok(answer) => {
                    popped.push(answer.unwrap().1);
                    empty = 0;
                }
                Err(_) => empty += 1,
            }
        }
        popped
    });
    let (all, ()) = tokio::join!(futures_util::future::join_all(popping), pushing);
    assert!(
        pool.drain(SOON).await.is_complete(),
        "what is closed puts back too"
    );
    let mut all: Vec<usize> = all.concat();
    let mut rest = pushers.get().await.unwrap();
    all.extend(rest.lrange::<_, Vec<usize>>("queue", 0, -1).await.unwrap());
    all.sort_unstable();
    assert_eq!(all, (0..ELEMENTS).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_the_driver_cannot_follow_is_refused() {
    let server = Server::start();
    let pool = pool(&server);
    let mut connection = pool.get().await.unwrap();
    for line in ["SUBSCRIBE c", "MONITOR", "CLIENT REPLY off"] {
        let error = Error::from(say(&mut connection, line).await.unwrap_err());
        assert!(error.to_string().contains("cannot be used here"), "{error}");
    }
    let mut waits = pipe();
    waits.cmd("BLPOP").arg("k").arg(0).cmd("GET").arg("k");
    assert!(waits.exec_async(&mut connection).await.is_err());
    say(&mut connection, "PING").await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_full_or_wants_a_password_says_so() {
    let server = Server::start_with(&["--maxclients", "4", "--requirepass", "topsecret"]);
    let build = |password: &str| {
        Pool::builder()
            .url(server.url())
            .password(password)
            .max_size(8)
            .acquire_timeout(Duration::from_secs(2))
            .build()
            .unwrap()
    };
    let open = Pool::builder().url(server.url()).build().unwrap();
    let error = open.get().await.unwrap_err();
    assert!(error.is_auth() && error.is_connect(), "{error}");
    let error = build("wrongsecret").get().await.unwrap_err();
    assert!(
        error.is_auth() && !error.to_string().contains("secret"),
        "{error}"
    );
    let pool = build("topsecret");
    let mut held = Vec::new();
    let error = loop {
        match pool.get().await {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
        assert!(held.len() < 8);
    };
    assert!(error.is_too_many() && error.is_unavailable(), "{error}");
    assert!(!format!("{error:?} {pool:?}").contains("topsecret"));
}

#[tokio::test]
async fn the_master_is_found_by_its_sentinel_also_after_a_failover() {
    let group = Sentinel::start();
    // The first sentinel of the address is not there.
    let url = group.url().replace("//", "//127.0.0.1:1,");
    let pool = Pool::builder().url(&url).max_size(2).build().unwrap();
    let shared = pool_db::redis::Shared::builder().url(&url).build().unwrap();
    let mut redis = shared.clone();
    let _: () = pool.get().await.unwrap().set("k", 1).await.unwrap();
    let _: () = redis.set("j", 1).await.unwrap();
    group.fail_over();
    comes(async || {
        let mut connection = match pool.get().await {
            Ok(connection) => connection,
            Err(_) => return false,
        };
        connection.set::<_, _, ()>("k", 2).await.is_ok()
    })
    .await;
    comes(async || redis.set::<_, _, ()>("j", 2).await.is_ok()).await;
    assert!(group.servers[1].command("GET k").starts_with('$'));
    let unknown = Pool::builder()
        .url(group.url().replace("/orders", "/nobody"))
        .acquire_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let error = unknown.get().await.unwrap_err();
    assert!(
        error.is_connect() && error.to_string().contains("it knows no such service"),
        "{error}"
    );
}
