//! A body holds its connection until it is read, drained or dropped.

use std::{sync::Arc, time::Duration};

use http_body::Body as _;
use http_body_util::BodyExt;
use pool_http::{Body, Client};

use crate::upstream::{Upstream, ok};

const MS: Duration = Duration::from_millis(1);

/// A long time to drain. On a busy machine the default may pass before a small body has arrived.
fn client(max: u32) -> Client {
    Client::builder()
        .max_per_origin(max)
        .acquire_timeout(Duration::from_secs(30))
        .drain_time(Duration::from_secs(10))
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_body_that_is_read_gives_its_connection_back() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    )
    .await;
    let client = client(1);
    for _ in 0..10 {
        let response = client.get(upstream.url("/")).send().await.unwrap();
        assert_eq!(response.into_body().bytes().await.unwrap(), "hello");
    }
    assert_eq!(upstream.sockets.accepted(), 1);
}

#[tokio::test]
async fn the_last_byte_gives_the_connection_back_though_nobody_asked_for_the_end() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let client = client(1);
    let mut body = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    let mut read = 0;
    while read < 5 {
        read += body
            .frame()
            .await
            .unwrap()
            .unwrap()
            .into_data()
            .unwrap()
            .len();
    }
    assert!(body.is_end_stream());
    // The first body still exists and is not read.
    client.get(upstream.url("/")).send().await.unwrap();
    assert_eq!(upstream.sockets.accepted(), 1);
    assert!(body.frame().await.is_none());
}

#[tokio::test]
async fn a_response_without_a_body_holds_no_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client(1);
    let one = client.get(upstream.url("/")).send().await.unwrap();
    let two = client.get(upstream.url("/")).send().await.unwrap();
    assert!(one.body().is_end_stream() && two.body().is_end_stream());
    assert_eq!(upstream.sockets.accepted(), 1);
}

#[tokio::test]
async fn trailers_come_through_and_the_connection_is_kept() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: sum\r\n\r\n2\r\nhi\r\n0\r\nsum: 7\r\n\r\n",
    )
    .await;
    let client = client(1);
    for _ in 0..3 {
        let body = client
            .get(upstream.url("/"))
            .header("te", "trailers")
            .send()
            .await
            .unwrap()
            .into_body();
        let collected = body.collect().await.unwrap();
        assert_eq!(collected.trailers().unwrap()["sum"], "7");
        assert_eq!(collected.to_bytes(), "hi");
    }
    assert_eq!(upstream.sockets.accepted(), 1);
}

#[tokio::test]
async fn what_is_left_of_a_dropped_body_is_read_and_its_connection_kept() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 30000\r\n\r\n")
                .await;
            tokio::time::sleep(5 * MS).await;
            peer.write([b'x'; 30_000]).await;
        }
    })
    .await;
    let client = client(1);
    for _ in 0..5 {
        let response = client.get(upstream.url("/")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        drop(response);
    }
    assert_eq!(
        (upstream.sockets.accepted(), upstream.sockets.requests()),
        (1, 5)
    );
}

/// hyper#1353, hyper#1397: a dropped body leaked its connection.
#[tokio::test]
async fn a_dropped_body_without_end_costs_its_connection_and_no_more() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await;
            let chunk = format!("{:x}\r\n{}\r\n", 8192, "x".repeat(8192));
            // Waits until the client closes the connection.
            while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, chunk.as_bytes())
                .await
                .is_ok()
            {}
        }
    })
    .await;
    let client = client(2);
    for round in 1..=6 {
        drop(client.get(upstream.url("/")).send().await.unwrap());
        assert_eq!(upstream.sockets.accepted(), round, "never handed on");
    }
    upstream.sockets.wait_open(0).await;
    assert!(
        upstream.sockets.peak() <= 3,
        "two, and one whose end the server had not seen yet"
    );
}

#[tokio::test]
async fn a_dropped_body_that_is_announced_as_large_is_not_read_at_all() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n")
                .await;
            peer.closed().await;
        }
    })
    .await;
    let client = Client::builder()
        .max_per_origin(1)
        .drain_time(Duration::from_secs(3600))
        .build()
        .unwrap();
    drop(client.get(upstream.url("/")).send().await.unwrap());
    // The socket is closed soon, and not only after an hour.
    upstream.sockets.wait_open(0).await;
}

#[tokio::test(start_paused = true)]
async fn a_dropped_body_that_does_not_come_is_given_up_after_the_drain_time() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
                .await;
            peer.closed().await;
        }
    })
    .await;
    let client = Client::builder().build().unwrap();
    drop(client.get(upstream.url("/")).send().await.unwrap());
    tokio::time::sleep(50 * MS).await;
    assert_eq!(
        (
            upstream.sockets.open(),
            client.status().origins[0].pool.resetting
        ),
        (1, 1),
        "still within 100 ms"
    );
    tokio::time::sleep(100 * MS).await;
    assert_eq!(
        (
            upstream.sockets.open(),
            client.status().origins[0].pool.open
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn with_drain_bytes_of_zero_a_dropped_body_closes_its_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let client = Client::builder()
        .max_per_origin(1)
        .drain_bytes(0)
        .build()
        .unwrap();
    drop(client.get(upstream.url("/")).send().await.unwrap());
    upstream.sockets.wait_open(0).await;
}

/// podup#1765, hyper 1.12's `unwant`: the body had ended before hyper was ready, and the error was "connection was not ready".
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_end_of_a_body_is_no_race_with_the_next_request() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n")
                .await;
            tokio::time::sleep(Duration::from_micros(500)).await;
            peer.write("0\r\n\r\n").await;
        }
    })
    .await;
    let client = client(1);
    let url: Arc<str> = upstream.url("/").into();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (client, url) = (client.clone(), Arc::clone(&url));
            tokio::spawn(async move {
                for _ in 0..250 {
                    let response = client.post(&url).body("x").send().await.unwrap();
                    assert_eq!(response.into_body().bytes().await.unwrap(), "hi");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(
        (upstream.sockets.accepted(), upstream.sockets.requests()),
        (1, 2000)
    );
}

#[tokio::test]
async fn a_body_above_its_limit_is_an_error_before_it_is_read() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    let client = client(1);
    let body = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    let error = body.limit(4).bytes().await.unwrap_err();
    assert!(
        error.is_too_large() && !error.is_safe_to_retry(),
        "{error:?}"
    );
    assert!(error.to_string().contains("larger than 4 bytes"), "{error}");
    let body = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    assert_eq!(body.limit(5).text().await.unwrap(), "hello");
}

#[tokio::test]
async fn a_body_of_unknown_length_is_cut_off_at_its_limit() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n",
    )
    .await;
    let client = client(1);
    let body = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    assert!(body.limit(5).bytes().await.unwrap_err().is_too_large());
    let body = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    assert_eq!(body.limit(6).bytes().await.unwrap(), "abcdef");
}

#[tokio::test]
async fn bytes_collects_no_more_than_its_own_limit_unless_told() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            let length = Body::COLLECT_LIMIT + 1;
            peer.write(format!(
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n"
            ))
            .await;
            peer.closed().await;
        }
    })
    .await;
    let body = client(1)
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    assert!(body.bytes().await.unwrap_err().is_too_large());
}

#[tokio::test]
async fn text_that_is_no_utf8_is_an_error_and_the_connection_is_kept() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n\xc3\x28")
                .await;
        }
    })
    .await;
    let client = client(1);
    for _ in 0..2 {
        let error = client
            .get(upstream.url("/"))
            .send()
            .await
            .unwrap()
            .into_body()
            .text()
            .await
            .unwrap_err();
        assert!(error.is_not_text(), "{error:?}");
    }
    assert_eq!(upstream.sockets.accepted(), 1);
}

#[tokio::test]
async fn a_body_can_be_read_as_a_stream_while_others_use_other_connections() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.starts_with("GET /slow") {
                peer.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                    .await;
                for n in 0..3 {
                    tokio::time::sleep(10 * MS).await;
                    peer.write(format!("1\r\n{n}\r\n")).await;
                }
                peer.write("0\r\n\r\n").await;
            } else {
                peer.write(ok("quick")).await;
            }
        }
    })
    .await;
    let client = client(2);
    let mut slow = client
        .get(upstream.url("/slow"))
        .send()
        .await
        .unwrap()
        .into_body();
    let mut frames = Vec::new();
    while let Some(frame) = slow.frame().await {
        frames.push(frame.unwrap().into_data().unwrap());
        let quick = client
            .get(upstream.url("/"))
            .send()
            .await
            .unwrap()
            .into_body()
            .bytes()
            .await
            .unwrap();
        assert_eq!(quick, "quick");
    }
    assert_eq!(frames, ["0", "1", "2"]);
    assert_eq!(upstream.sockets.accepted(), 2);
}
