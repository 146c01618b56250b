//! What becomes of what is leased when its runtime is gone: nothing panics, nothing leaks, and the pool works on
//! from the next runtime.

#![allow(clippy::unwrap_used)]

use std::future::IntoFuture;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use tokio::runtime::{Builder, Runtime};

#[test]
fn a_postgres_connection_outlives_its_runtime() {
    let server = tests::postgres::Server::start();
    // One connection at most: if the first one leaked, no other could be had.
    let pool = pool_db::postgres::Pool::builder()
        .url(server.url())
        .max_size(1)
        .build()
        .unwrap();
    let runtime = runtime();
    let connection = runtime.block_on(pool.get().into_future()).unwrap();
    let waiting = runtime.spawn({
        let pool = pool.clone();
        async move { pool.get().await }
    });
    wait_until(|| pool.status().waiting == 1);
    drop(runtime);
    assert!(waiting.now_or_never().unwrap().unwrap_err().is_cancelled());
    drop(connection);

    let answer = self::runtime().block_on(async {
        let connection = pool.get().await.unwrap();
        connection
            .query_one("SELECT 6 * 7", &[])
            .await
            .unwrap()
            .get::<_, i32>(0)
    });
    assert_eq!(answer, 42);
    let status = pool.status();
    assert_eq!((status.leased, status.waiting), (0, 0), "{status:?}");
    assert!(status.open <= 1, "{status:?}");
    drop(pool);
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
    wait_until(|| server.sql(ours) == "0");
}

#[test]
fn an_sqlite_connection_outlives_its_runtime() {
    let pool = pool_db::sqlite::Pool::builder()
        .memory()
        .max_size(1)
        .build()
        .unwrap();
    let runtime = runtime();
    let mut connection = runtime.block_on(pool.get().into_future()).unwrap();
    runtime
        .block_on(
            connection.run(|sqlite| {
                sqlite.execute_batch("CREATE TABLE t (n); INSERT INTO t VALUES (42)")
            }),
        )
        .unwrap();
    drop(runtime);
    drop(connection);

    let kept: i64 = self::runtime()
        .block_on(pool.run(|sqlite| sqlite.query_row("SELECT n FROM t", [], |row| row.get(0))))
        .unwrap();
    assert_eq!(kept, 42);
    assert_eq!(pool.status().leased, 0);
}

#[test]
fn a_response_body_outlives_its_runtime() {
    let url = upstream();
    let client = pool_http::Client::builder()
        .max_per_origin(1)
        .build()
        .unwrap();
    let runtime = runtime();
    let body = runtime
        .block_on(client.get(&url).send())
        .unwrap()
        .into_body();
    drop(runtime);
    drop(body);

    let text = self::runtime()
        .block_on(async { client.get(&url).send().await?.into_body().text().await })
        .unwrap();
    assert_eq!(text.len(), BODY);
}

#[test]
fn a_job_outlives_its_runtime() {
    let pool = pool_cpu::CpuPool::builder().threads(1).build().unwrap();
    let runtime = runtime();
    let (ended, end) = std::sync::mpsc::channel();
    let (started, start) = std::sync::mpsc::channel();
    let job = runtime.spawn({
        let pool = pool.clone();
        async move {
            pool.run(move || {
                started.send(()).unwrap();
                thread::sleep(Duration::from_millis(50));
                ended.send(()).unwrap();
            })
            .await
        }
    });
    start.recv_timeout(PATIENCE).unwrap();
    drop(runtime);
    assert!(job.now_or_never().unwrap().unwrap_err().is_cancelled());
    // A job that runs is never cut short, and its worker is free for the next one.
    end.recv_timeout(PATIENCE).unwrap();
    assert_eq!(self::runtime().block_on(pool.run(|| 42)).unwrap(), 42);
}

#[test]
fn a_get_without_a_runtime_is_an_error_that_says_so() {
    let postgres = pool_db::postgres::Pool::builder()
        .url("postgres://me@localhost/shop")
        .build()
        .unwrap();
    let error = postgres
        .get()
        .into_future()
        .now_or_never()
        .expect("it does not wait")
        .unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");

    let sqlite = pool_db::sqlite::Pool::builder().memory().build().unwrap();
    let error = sqlite
        .get()
        .into_future()
        .now_or_never()
        .expect("it does not wait")
        .unwrap_err();
    assert!(error.to_string().contains("runtime"), "{error}");
}

fn runtime() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// An upstream that answers each request with a body too long to be read on by the way, until the test ends.
fn upstream() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                while stream.read(&mut [0; 4096]).is_ok_and(|count| count > 0) {
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {BODY}\r\n\r\n");
                    // A client that has gone is what this test is about.
                    if stream
                        .write_all(head.as_bytes())
                        .and_then(|()| stream.write_all(&[b'x'; BODY]))
                        .is_err()
                    {
                        return;
                    }
                }
            });
        }
    });
    url
}

#[track_caller]
fn wait_until(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(
            Instant::now() < deadline,
            "did not come true within {PATIENCE:?}"
        );
        thread::sleep(Duration::from_millis(5));
    }
}

const BODY: usize = 4 << 20;

const PATIENCE: Duration = Duration::from_secs(20);
