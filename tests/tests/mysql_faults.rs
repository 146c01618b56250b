//! The MySQL driver of pool-db when things go wrong: a server that dies, hangs, is restarted or refuses, and callers that leave.

#![allow(clippy::unwrap_used)]

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    pin::pin,
    time::{Duration, Instant},
};

use pool_db::{
    Error,
    mysql::{Builder, Pool, SslMode},
};
use tests::{Certificate, mariadb::Server, proxy::Proxy};

const SEC: Duration = Duration::from_secs(1);

fn pool(server: &Server) -> Builder {
    Pool::builder().url(server.url()).max_size(2)
}

/// The statements that the server works on for others than this question, and the sessions.
fn at_work(server: &Server) -> String {
    server.sql("SELECT count(*) FROM information_schema.processlist WHERE info LIKE '%SLEEP%' AND id <> CONNECTION_ID()")
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + 30 * SEC;
    while !until() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

async fn works(pool: &Pool) -> Result<i64, Error> {
    Ok(pool
        .query_one("SELECT 1", ())
        .await?
        .get(0)
        .unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_dropped_at_any_poll_leaves_nothing_running_and_the_pool_working() {
    let server = Server::start();
    server.sql("CREATE TABLE t (n INT) ENGINE=InnoDB");
    let pool = pool(&server).max_size(1).build().unwrap();
    for polls in 0..12_u32 {
        for sql in ["SELECT SLEEP(100)", "INSERT INTO t SELECT SLEEP(100)"] {
            let mut connection = pool.get().await.unwrap();
            let id = connection.id();
            {
                let mut call = pin!(connection.query(sql, ()));
                let mut left = polls;
                std::future::poll_fn(|context| {
                    if left == 0 {
                        return std::task::Poll::Ready(());
                    }
                    left -= 1;
                    assert!(call.as_mut().poll(context).is_pending());
                    if left > 4 {
                        // The answer to the first packets comes from another thread.
                        std::thread::sleep(Duration::from_millis(1));
                        context.waker().wake_by_ref();
                    }
                    std::task::Poll::Pending
                })
                .timeout_soon()
                .await;
            }
            if polls > 0 {
                let error = connection.query("SELECT 1", ()).await.unwrap_err();
                assert!(
                    error.is_disconnected() && !error.may_have_happened(),
                    "{error}"
                );
            }
            drop(connection);
            // The place is free only when the server has ended the session.
            let mut next = pool.get().await.unwrap();
            if polls > 0 {
                let left =
                    format!("SELECT count(*) FROM information_schema.processlist WHERE id = {id}");
                let row = next.query_one(&left, ()).await.unwrap();
                assert_eq!(row.get::<i64, _>(0), Some(0), "{sql} after {polls} polls");
            }
            assert_eq!(at_work(&server), "0", "{sql} after {polls} polls");
        }
    }
    let late = pool.query_one("SELECT SLEEP(100)", ());
    tokio::time::timeout(Duration::from_millis(100), late)
        .await
        .unwrap_err();
    works(&pool).await.unwrap();
    assert_eq!(at_work(&server), "0");
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
}

/// Gives up after an instant: a call that waits for the server is not polled again.
trait TimeoutSoon: Future<Output = ()> + Sized {
    async fn timeout_soon(self) {
        drop(tokio::time::timeout(Duration::from_millis(30), self).await);
    }
}

impl<F: Future<Output = ()>> TimeoutSoon for F {}

#[tokio::test]
async fn a_call_that_takes_too_long_is_an_error_in_time_and_ends_on_the_server() {
    let server = Server::start();
    let pool = pool(&server)
        .max_size(1)
        .query_timeout(SEC / 5)
        .build()
        .unwrap();
    let error = pool.query("SELECT SLEEP(100)", ()).await.unwrap_err();
    assert!(error.is_timeout() && error.may_have_happened(), "{error}");
    works(&pool).await.unwrap();
    assert_eq!(at_work(&server), "0");
    // In a transaction.
    let late: Result<(), Error> = pool
        .transaction(|tx| async move {
            tx.execute("DO SLEEP(100)", ()).await.unwrap_err();
            tx.execute("DO 1", ()).await.unwrap_err();
            Ok(())
        })
        .await;
    assert!(late.unwrap_err().is_abandoned());
    // By the server itself, and by somebody else.
    let mut connection = pool.get().await.unwrap();
    connection.set_query_timeout(None);
    let limited = "SET STATEMENT max_statement_time = 0.05 FOR SELECT SLEEP(100)";
    let error = connection.query(limited, ()).await.unwrap_err();
    assert!(error.is_canceled() && !error.may_have_happened(), "{error}");
    let id = connection.id();
    let call = connection.execute("DO SLEEP(100)", ());
    let killer = async {
        tokio::time::sleep(SEC / 10).await;
        server.sql(&format!("KILL {id}"));
    };
    let (done, ()) = tokio::join!(call, killer);
    let error = done.unwrap_err();
    assert!(error.is_disconnected() || error.is_canceled(), "{error}");
    drop(connection);
    works(&pool).await.unwrap();
}

#[tokio::test]
async fn a_server_that_was_killed_or_restarted_costs_what_runs_and_nothing_later() {
    let mut server = Server::start();
    let pool = pool(&server)
        .max_size(3)
        .acquire_timeout(5 * SEC)
        .build()
        .unwrap();
    let held = [
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
    ];
    drop(held);
    // Idle connections that the restart has ended cost nobody an error.
    server.restart();
    for _ in 0..6 {
        works(&pool).await.unwrap();
    }
    let mut connection = pool.get().await.unwrap();
    let mut server = {
        let call = connection.query("SELECT SLEEP(100)", ());
        let killer = tokio::task::spawn_blocking(move || {
            wait("the statement runs", || at_work(&server) == "1");
            server.kill();
            server
        });
        let (done, server) = tokio::join!(call, killer);
        let error = done.unwrap_err();
        assert!(
            error.is_disconnected() && error.may_have_happened(),
            "{error}"
        );
        server.unwrap()
    };
    drop(connection);
    let started = Instant::now();
    let error = pool.get().timeout(SEC).await.map(drop).unwrap_err();
    assert!(error.is_unavailable() && error.is_connect(), "{error}");
    assert!(started.elapsed() < 20 * SEC);
    server.restart();
    // An open that fails is not tried again at once.
    wait_for(&pool).await;
}

#[tokio::test]
async fn a_frozen_server_costs_an_error_in_time_and_a_thawed_one_works() {
    let mut server = Server::start();
    let pool = pool(&server)
        .query_timeout(SEC / 2)
        .acquire_timeout(2 * SEC)
        .create_timeout(SEC)
        .close_timeout(SEC)
        .build()
        .unwrap();
    works(&pool).await.unwrap();
    let mut connection = pool.get().await.unwrap();
    server.freeze();
    // All its threads stop within an instant.
    let error = loop {
        if let Err(error) = connection.query("SELECT 1", ()).await {
            break error;
        }
    };
    assert!(error.is_timeout(), "{error}");
    drop(connection);
    let error = works(&pool).await.unwrap_err();
    assert!(error.is_unavailable() || error.is_timeout(), "{error}");
    server.thaw();
    wait_for(&pool).await;
    let drained = pool.drain(10 * SEC).await;
    assert!(drained.is_complete());
}

/// As [`wait`], and lets the pool work meanwhile.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + 30 * SEC;
    while !is() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        tokio::time::sleep(SEC / 50).await;
    }
}

/// Waits until the pool works again.
async fn wait_for(pool: &Pool) {
    let deadline = Instant::now() + 30 * SEC;
    while let Err(error) = works(pool).await {
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(SEC / 20).await;
    }
}

#[tokio::test]
async fn a_network_that_breaks_is_told_and_got_over() {
    let server = Server::start();
    let proxy = Proxy::start(("127.0.0.1", server.port()));
    let pool = Pool::builder()
        .url(server.url_at(proxy.port()))
        .max_size(1)
        .query_timeout(SEC)
        .acquire_timeout(3 * SEC)
        .create_timeout(SEC)
        .close_timeout(SEC)
        .build()
        .unwrap();
    for fault in [Proxy::cut, Proxy::reset] {
        let mut connection = pool.get().await.unwrap();
        let call = connection.query("SELECT SLEEP(100)", ());
        let breaks = async {
            tokio::time::sleep(SEC / 5).await;
            fault(&proxy);
        };
        let (done, ()) = tokio::join!(call, breaks);
        let error = done.unwrap_err();
        assert!(
            error.is_disconnected() && error.may_have_happened(),
            "{error}"
        );
        drop(connection);
        wait_for(&pool).await;
        assert_eq!(
            at_work(&server),
            "0",
            "the server no longer works for the lost connection"
        );
    }
    // A connection that was lost while it was idle costs nobody an error.
    works(&pool).await.unwrap();
    proxy.reset();
    works(&pool).await.unwrap();
    proxy.stall();
    let error = works(&pool).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    proxy.resume();
    wait_for(&pool).await;
    proxy.refuse();
    proxy.reset();
    assert!(works(&pool).await.is_err());
    proxy.accept();
    wait_for(&pool).await;
}

#[tokio::test]
async fn a_server_that_is_full_or_refuses_the_user_says_so() {
    let server = Server::builder()
        .password("sesame")
        .setting("max_connections", 10)
        .start();
    server.sql(
        "CREATE USER limited@'127.0.0.1' IDENTIFIED BY 'topsecret' WITH MAX_USER_CONNECTIONS 1;
         GRANT SELECT ON test.* TO limited@'127.0.0.1'",
    );
    let at = |credentials: &str, database: &str| {
        let url = format!(
            "mysql://{credentials}@127.0.0.1:{}/{database}",
            server.port()
        );
        Pool::builder()
            .url(url)
            .max_size(2)
            .acquire_timeout(2 * SEC)
            .build()
            .unwrap()
    };
    let limited = at("limited:topsecret", "test");
    let held = limited.get().await.unwrap();
    let error = limited.get().await.map(drop).unwrap_err();
    assert!(error.is_too_many() && error.is_unavailable(), "{error}");
    drop(held);
    assert!(limited.drain(10 * SEC).await.is_complete());
    until("the session has ended", || {
        server.sql("SELECT count(*) FROM information_schema.processlist WHERE user = 'limited'")
            == "0"
    })
    .await;
    for (credentials, database, code) in [
        ("root:wrongsecret", "test", 1045),
        ("nobody:wrongsecret", "test", 1045),
        ("limited:topsecret", "mysql", 1044),
    ] {
        let pool = at(credentials, database);
        let error = pool.get().await.map(drop).unwrap_err();
        assert_eq!(error.as_mysql_code(), Some(code), "{error}");
        assert!(error.is_auth() && error.is_connect(), "{error}");
        assert!(
            !format!("{error:?} {error} {pool:?}").contains("secret"),
            "{error:?}"
        );
    }
    // A user who may do little kills what it has left.
    server.sql("CREATE USER small@'127.0.0.1' IDENTIFIED BY 'topsecret'; GRANT SELECT ON test.* TO small@'127.0.0.1'");
    let small = at("small:topsecret", "test");
    let late = small.query("SELECT SLEEP(100)", ());
    tokio::time::timeout(SEC / 5, late).await.unwrap_err();
    until("the statement has ended", || at_work(&server) == "0").await;
    works(&small).await.unwrap();
}

#[tokio::test]
async fn tls_is_used_as_the_mode_says_and_proves_what_it_says() {
    let server = Server::builder().tls().start();
    let encrypted = |pool: Pool| async move {
        let row = pool.query_one("SHOW STATUS LIKE 'Ssl_cipher'", ()).await?;
        Ok::<_, Error>(!row.get::<String, _>(1).unwrap().is_empty())
    };
    let built = |server: &Server, mode, trusts: bool| {
        let pool = pool(server).acquire_timeout(3 * SEC).ssl_mode(mode);
        let pool = if trusts {
            pool.root_certificate(server.authority())
        } else {
            pool
        };
        pool.build().unwrap()
    };
    for (mode, trusts, expected) in [
        (SslMode::Disable, false, false),
        (SslMode::Prefer, false, true),
        (SslMode::Require, false, true),
        (SslMode::Require, true, true),
        (SslMode::VerifyCa, true, true),
        (SslMode::VerifyFull, true, true),
    ] {
        let is = encrypted(built(&server, mode, trusts)).await;
        assert_eq!(is.unwrap(), expected, "{mode:?}");
    }
    for mode in [SslMode::VerifyCa, SslMode::VerifyFull] {
        let error = encrypted(built(&server, mode, false)).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
    }
    let other = Server::builder()
        .certificate(Certificate::named("db.example"))
        .start();
    assert!(
        encrypted(built(&other, SslMode::VerifyCa, true))
            .await
            .unwrap()
    );
    let error = encrypted(built(&other, SslMode::VerifyFull, true))
        .await
        .unwrap_err();
    assert!(
        error.is_connect() && error.to_string().contains("not valid for name"),
        "{error}"
    );
    let wrong = pool(&other)
        .acquire_timeout(3 * SEC)
        .ssl_mode(SslMode::VerifyCa)
        .root_certificate(server.authority());
    assert!(
        encrypted(wrong.build().unwrap())
            .await
            .unwrap_err()
            .is_connect()
    );
    let plain = Server::start();
    assert!(
        !encrypted(built(&plain, SslMode::Prefer, false))
            .await
            .unwrap()
    );
    let error = encrypted(built(&plain, SslMode::Require, false))
        .await
        .unwrap_err();
    assert!(error.is_connect(), "{error}");
    // The server asks for a certificate.
    server.sql(
        "CREATE USER shown@'127.0.0.1' REQUIRE X509; GRANT SELECT ON test.* TO shown@'127.0.0.1'",
    );
    let (certificate, key) = server.client_certificate("shown");
    let shown = pool(&server)
        .user("shown")
        .ssl_mode(SslMode::Require)
        .acquire_timeout(3 * SEC);
    assert!(
        encrypted(
            shown
                .clone()
                .client_certificate(certificate, key)
                .build()
                .unwrap()
        )
        .await
        .unwrap()
    );
    assert!(
        encrypted(shown.build().unwrap())
            .await
            .unwrap_err()
            .is_auth()
    );
    // A socket needs none.
    let local = Pool::builder()
        .socket(plain.socket())
        .user("root")
        .ssl_mode(SslMode::Require)
        .build()
        .unwrap();
    works(&local).await.unwrap();
}

#[tokio::test]
async fn no_server_reads_a_file() {
    let server = Server::builder().setting("local_infile", 1).start();
    server.sql("CREATE TABLE t (line TEXT)");
    let pool = pool(&server).max_size(1).build().unwrap();
    let error = pool
        .batch_execute("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t")
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("LOCAL INFILE") || error.to_string().contains("local infile"),
        "{error}"
    );
    works(&pool).await.unwrap();
    assert_eq!(server.sql("SELECT count(*) FROM t"), "0");
}

#[tokio::test]
async fn nonsense_instead_of_a_server_is_an_error_and_no_panic() {
    for greeting in [
        &b""[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\x01\x00\x00\x00\xff",
        b"\xff\xff\xff\x00",
        b"\x05\x00\x00\x00\x0a8.0\x00",
        &[0; 64],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let greeting = greeting.to_vec();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            drop(stream.write_all(&greeting));
            stream.set_read_timeout(Some(SEC)).unwrap();
            drop(stream.shutdown(std::net::Shutdown::Write));
            drop(stream.read(&mut [0; 64]));
        });
        let url = format!("mysql://me:topsecret@127.0.0.1:{port}/db");
        let pool = Pool::builder()
            .url(url)
            .acquire_timeout(3 * SEC)
            .create_timeout(2 * SEC)
            .build()
            .unwrap();
        let error = pool.get().timeout(SEC / 2).await.map(drop).unwrap_err();
        assert!(error.is_connect() || error.is_timeout(), "{error}");
        assert!(
            !error.to_string().contains("secret") && !error.is_panic(),
            "{error}"
        );
        pool.close();
        server.join().unwrap();
    }
}
