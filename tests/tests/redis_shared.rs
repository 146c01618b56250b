//! The pool of shared connections to Redis, against real servers that are killed, frozen and full.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pool_db::{
    Error,
    redis::{
        Protocol, Shared,
        redis::{self, AsyncCommands as _, RedisResult, Value, aio::ConnectionLike, cmd, pipe},
    },
};
use tests::{Certificate, Port, redis::Server};
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

/// What the server says of its commands: names, and whether they may wait.
async fn commands(shared: &Shared) -> Vec<(String, bool)> {
    let all: Vec<Vec<Value>> = cmd("COMMAND").query_async(&mut &*shared).await.unwrap();
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let one = |parts: &Vec<Value>| {
        let Value::Array(flags) = &parts[2] else {
            panic!("{:?}", parts[2]);
        };
        (
            text(&parts[0]),
            flags.iter().any(|flag| text(flag) == "blocking"),
        )
    };
    all.iter().map(one).collect()
}

#[tokio::test]
async fn every_command_that_waits_is_refused_by_whatever_name_the_server_has_for_it() {
    let server = Server::start();
    let shared = shared(&server);
    let all = commands(&shared).await;
    let waiting: Vec<_> = all.iter().filter(|(_, waits)| *waits).collect();
    assert!(waiting.len() >= 10, "{waiting:?}");
    for (name, _) in waiting {
        let mut command = cmd(name);
        if name.starts_with("xread") {
            command.arg("BLOCK").arg(0);
        }
        let refused = command.exec_async(&mut &shared).await;
        let error = Error::from(refused.expect_err(name));
        assert!(
            error.to_string().contains("cannot share"),
            "{name}: {error}"
        );
    }
}

#[tokio::test]
async fn what_a_script_does_to_its_session_ends_with_it() {
    let server = Server::start();
    let shared = shared(&server);
    let script = "redis.call('SELECT', 5) redis.setresp(3) return redis.call('GET', 'none')";
    let answer: Option<String> = cmd("EVAL")
        .arg(script)
        .arg(0)
        .query_async(&mut &shared)
        .await
        .unwrap();
    assert_eq!(answer, None);
    let info: String = cmd("CLIENT")
        .arg("INFO")
        .query_async(&mut &shared)
        .await
        .unwrap();
    assert!(info.contains("db=0"), "{info}");
    echo(&shared, 1).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_gets_the_answer_of_a_call_that_was_dropped() {
    let server = Server::start();
    let shared = shared(&server);
    let callers = (0..50_usize).map(|caller| {
        let shared = shared.clone();
        tokio::spawn(async move {
            for n in 0..400_usize {
                let mine = caller * 1000 + n;
                let call = echo(&shared, mine);
                if n % 2 == 0 {
                    // Dropped at whichever await it has come to.
                    let polls = fastrand::u32(0..6);
                    drop(timeout(Duration::from_micros(u64::from(polls) * 50), call).await);
                } else {
                    call.await.unwrap();
                }
            }
        })
    });
    for caller in join_all(callers).await {
        caller.unwrap();
    }
    let status = shared.status();
    assert_eq!((status.shares, status.waiting, status.died), (0, 0, 0));
}

#[tokio::test]
async fn a_server_that_stands_still_for_a_moment_costs_no_call() {
    let server = Server::start_with(&["--enable-debug-command", "yes"]);
    let shared = shared(&server);
    shared.warm_up().await.unwrap();
    let sleeping = tokio::task::spawn_blocking({
        let port = server.port();
        move || {
            use std::io::{Read as _, Write as _};
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"DEBUG SLEEP 0.5\r\n").unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).unwrap();
        }
    });
    sleep(Duration::from_millis(100)).await;
    let (echoed, suspect) = tokio::join!(
        join_all((0..20).map(|n| echo(&shared, n))),
        comes(async || shared.status().suspect > 0)
    );
    let () = suspect;
    assert!(echoed.iter().all(Result::is_ok));
    sleeping.await.unwrap();
    comes(async || shared.status().suspect == 0).await;
    assert_eq!(shared.status().died, 0);
}

#[tokio::test]
async fn a_connection_that_the_server_closes_is_replaced() {
    let server = Server::start();
    let shared = shared(&server);
    echo(&shared, 1).await.unwrap();
    assert_eq!(server.command("CLIENT KILL TYPE normal"), ":1");
    comes(async || shared.status().died == 1).await;
    echo(&shared, 2).await.unwrap();
    shared.close();
    let error = echo(&shared, 3).await.unwrap_err();
    assert!(error.is_closed() && !error.may_have_happened(), "{error}");
}

#[tokio::test]
async fn sockets_of_unix_and_tls_with_a_client_certificate_lead_to_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let certificate = Certificate::generate();
    let client = certificate.client("me");
    let authority = at("ca.pem", &certificate.authority_pem());
    let (port, socket) = (Port::reserve(), folder.path().join("redis.sock"));
    let socket = socket.to_str().unwrap();
    let server = Server::start_with(&[
        "--unixsocket",
        socket,
        "--tls-port",
        &port.number().to_string(),
        "--tls-cert-file",
        &at("server.pem", certificate.certificate_pem()),
        "--tls-key-file",
        &at("server.key", certificate.key_pem()),
        "--tls-ca-cert-file",
        &authority,
        "--tls-auth-clients",
        "yes",
    ]);
    let unix = Shared::builder()
        .url(format!("redis+unix://{socket}?db=2"))
        .build()
        .unwrap();
    echo(&unix, 1).await.unwrap();
    let info: String = cmd("CLIENT")
        .arg("INFO")
        .query_async(&mut &unix)
        .await
        .unwrap();
    assert!(info.contains("db=2"), "{info}");
    let tls = Shared::builder()
        .url(format!("rediss://127.0.0.1:{}", port.number()))
        .acquire_timeout(SOON)
        .root_certificate(&authority);
    let known = tls
        .clone()
        .client_certificate(at("client.pem", client.certificate_pem()))
        .client_key(at("client.key", client.key_pem()))
        .build()
        .unwrap();
    for n in 0..20 {
        echo(&known, n).await.unwrap();
    }
    // Without a certificate, or with roots that did not sign the server's.
    for stranger in [
        tls.clone(),
        tls.root_certificate(at("other.pem", &Certificate::generate().authority_pem())),
    ] {
        let error = echo(&stranger.build().unwrap(), 1).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
    }
    drop(server);
}
