//! An upstream that stalls, disconnects or sends invalid data causes a typed error in time, and its connection is never reused.

use std::{
    convert::Infallible,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::Frame;
use pool_http::{Client, Error, Payload, Stage};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, Interval, interval},
};

use crate::upstream::{Upstream, ok};

const SECOND: Duration = Duration::from_secs(1);

fn client() -> Client {
    Client::builder()
        .max_per_origin(1)
        .header_timeout(Some(3 * SECOND))
        .body_timeout(Some(2 * SECOND))
        .build()
        .unwrap()
}

/// Reserves a port without a listener, so that connects are refused.
fn silent() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// The first connection answers with `bytes`, and then closes or stalls. The other connections answer correctly.
async fn spoilt(bytes: &'static [u8], stalls: bool) -> Upstream {
    Upstream::start(move |mut peer| async move {
        while peer.request().await.is_some() {
            if peer.number > 0 {
                peer.write(ok("well")).await;
                continue;
            }
            peer.write(bytes).await;
            if stalls {
                peer.closed().await;
            }
            return;
        }
    })
    .await
}

/// Gets the whole response, and then checks that the one place is free and the next connection is new.
async fn get(upstream: &Upstream, client: &Client) -> Result<String, Error> {
    let outcome = match client.get(upstream.url("/")).send().await {
        Ok(response) => response.into_body().text().await,
        Err(error) => Err(error),
    };
    let next = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body()
        .text()
        .await
        .unwrap();
    assert_eq!((next.as_str(), upstream.sockets.accepted()), ("well", 2));
    outcome
}

#[tokio::test]
async fn what_is_no_http_is_a_protocol_error() {
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.2p1\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
    ] {
        let upstream = spoilt(garbage, true).await;
        let error = get(&upstream, &client()).await.unwrap_err();
        assert!(
            error.is_protocol() && error.stage() == Some(Stage::Header),
            "{error:?} for {garbage:?}"
        );
        assert!(error.is_safe_to_retry(), "a GET may be sent again");
    }
}

#[tokio::test]
async fn a_body_in_bad_chunks_is_a_protocol_error() {
    let upstream = spoilt(
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhelloXX",
        true,
    )
    .await;
    let error = get(&upstream, &client()).await.unwrap_err();
    assert!(
        error.is_protocol() && error.stage() == Some(Stage::Body),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_head_without_end_is_an_error_long_before_memory_is_full() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\n").await;
            let line = format!("x: {}\r\n", "y".repeat(1000));
            while tokio::io::AsyncWriteExt::write_all(&mut peer.stream, line.as_bytes())
                .await
                .is_ok()
            {}
        }
    })
    .await;
    let error = client().get(upstream.url("/")).send().await.unwrap_err();
    assert!(error.is_protocol(), "{error:?}");
}

#[tokio::test]
async fn an_upstream_that_closes_at_once_is_a_disconnect() {
    let upstream = spoilt(b"", false).await;
    let error = get(&upstream, &client()).await.unwrap_err();
    assert!(
        error.is_disconnected() && !error.is_stale() && error.stage() == Some(Stage::Header),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_body_that_breaks_off_is_a_disconnect_and_not_a_short_body() {
    for broken in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let upstream = spoilt(broken, false).await;
        let error = get(&upstream, &client()).await.unwrap_err();
        assert!(
            error.is_disconnected() && error.stage() == Some(Stage::Body),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("before the body was whole"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_is_a_timeout() {
    for beginning in [&b""[..], b"HTTP/1.1 200 OK\r\ncontent-"] {
        let upstream = spoilt(beginning, true).await;
        let began = Instant::now();
        let error = get(&upstream, &client()).await.unwrap_err();
        assert!(
            error.is_timeout() && error.stage() == Some(Stage::Header),
            "{error:?}"
        );
        let waited = began.elapsed();
        assert!(
            waited >= 3 * SECOND && waited < 3 * SECOND + SECOND / 10,
            "{waited:?}"
        );
        assert!(
            error.to_string().ends_with("no response came within 3s"),
            "{error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_does_not_buy_itself_time() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
                peer.write([*byte]).await;
                tokio::time::sleep(SECOND).await;
            }
        }
    })
    .await;
    let began = Instant::now();
    let error = client().get(upstream.url("/")).send().await.unwrap_err();
    assert!(
        error.is_timeout() && error.stage() == Some(Stage::Header),
        "{error:?}"
    );
    assert!(
        began.elapsed() < 3 * SECOND + SECOND / 10,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_upload_is_not_taken_for_a_slow_answer() {
    /// A body of ten bytes, with one byte every two seconds.
    struct Slow(Interval, u8);
    impl http_body::Body for Slow {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            ready!(self.0.poll_tick(cx));
            self.1 += 1;
            Poll::Ready((self.1 <= 10).then(|| Ok(Frame::data(Bytes::from_static(b"x")))))
        }
    }
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let began = Instant::now();
    client()
        .post(upstream.url("/"))
        .body(Payload::stream(Slow(interval(2 * SECOND), 0)))
        .send()
        .await
        .unwrap();
    assert!(began.elapsed() >= 18 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stalls_is_a_timeout_but_a_slow_one_is_not() {
    let upstream = spoilt(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf", true).await;
    let began = Instant::now();
    let error = get(&upstream, &client()).await.unwrap_err();
    assert!(
        error.is_timeout() && error.stage() == Some(Stage::Body),
        "{error:?}"
    );
    let waited = began.elapsed();
    assert!(
        waited >= 2 * SECOND && waited < 2 * SECOND + SECOND / 10,
        "{waited:?}"
    );

    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
                .await;
            for _ in 0..9 {
                tokio::time::sleep(SECOND).await;
                peer.write("x").await;
            }
        }
    })
    .await;
    let response = client().get(upstream.url("/")).send().await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "xxxxxxxxx");
}

#[tokio::test(start_paused = true)]
async fn a_requests_own_timeout_ends_its_body_though_bytes_keep_coming() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
                .await;
            for _ in 0..1000 {
                tokio::time::sleep(SECOND / 10).await;
                peer.write("x").await;
            }
        }
    })
    .await;
    let began = Instant::now();
    let response = client()
        .get(upstream.url("/"))
        .timeout(5 * SECOND)
        .send()
        .await
        .unwrap();
    let error = response.into_body().bytes().await.unwrap_err();
    assert!(
        error.is_timeout() && error.stage() == Some(Stage::Body),
        "{error:?}"
    );
    assert!(error.to_string().ends_with("within 5s"), "{error}");
    assert!(
        began.elapsed() >= 5 * SECOND && began.elapsed() < 5 * SECOND + SECOND / 5,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_request_whose_own_body_fails_says_so_and_frees_its_place() {
    struct Failing;
    impl http_body::Body for Failing {
        type Data = Bytes;
        type Error = std::io::Error;
        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            Poll::Ready(Some(Err(std::io::Error::other("the disk is on fire"))))
        }
    }
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client();
    let error = client
        .put(upstream.url("/"))
        .body(Payload::stream(Failing))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_request() && !error.is_safe_to_retry(), "{error:?}");
    assert!(
        error
            .to_string()
            .ends_with("the body of the request failed: the disk is on fire"),
        "{error}"
    );
    client.get(upstream.url("/")).send().await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_shorter_than_it_was_said_to_be_is_the_requests_own_fault() {
    /// A body of four bytes without a stated length.
    struct Four(Option<Bytes>);
    impl http_body::Body for Four {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.take().map(|bytes| Ok(Frame::data(bytes))))
        }
    }
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client();
    let put = client.put(upstream.url("/")).header("content-length", "9");
    let error = put
        .body(Payload::stream(Four(Some(Bytes::from("four")))))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_request() && !error.is_safe_to_retry(), "{error:?}");
    client.get(upstream.url("/")).send().await.unwrap();
    assert_eq!(
        upstream.sockets.accepted(),
        2,
        "the upstream still waits for five bytes on the first"
    );
}

#[tokio::test]
async fn nobody_who_listens_is_a_connect_error_with_its_reason() {
    let (_silent, addr) = silent();
    let began = std::time::Instant::now();
    let error = client()
        .post(format!("http://{addr}/"))
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_connect() && !error.is_timeout() && error.is_safe_to_retry(),
        "{error:?}"
    );
    assert_eq!(error.stage(), Some(Stage::Connect));
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert!(began.elapsed() < 5 * SECOND);
}

/// undici#3895: failed connects kept counting as connections of the pool.
#[tokio::test]
async fn connects_that_failed_leave_nothing_behind() {
    let (silent, addr) = silent();
    let client = Client::builder()
        .max_per_origin(4)
        .max_waiters(Some(1000))
        .build()
        .unwrap();
    let refused: Vec<_> = (0..1000)
        .map(|_| tokio::spawn(client.get(format!("http://{addr}/")).send()))
        .collect();
    for request in refused {
        assert!(request.await.unwrap().unwrap_err().is_connect());
    }
    let pool = client.status().origins.remove(0).pool;
    assert_eq!((pool.open, pool.waiting), (0, 0));
    assert!(
        pool.opening <= 1,
        "one may still be trying, for whoever comes next"
    );
    // A server listens now, and the bound is unchanged.
    let upstream = Upstream::on(silent.listen(64).unwrap(), |mut peer| async move {
        while peer.request().await.is_some() {
            tokio::time::sleep(SECOND / 100).await;
            peer.write(ok("well")).await;
        }
    });
    let recovered = async {
        while client.get(upstream.url("/")).send().await.is_err() {
            tokio::time::sleep(SECOND / 100).await;
        }
    };
    tokio::time::timeout(20 * SECOND, recovered).await.unwrap();
    let gets: Vec<_> = (0..100)
        .map(|_| tokio::spawn(client.get(upstream.url("/")).send()))
        .collect();
    for get in gets {
        get.await.unwrap().unwrap();
    }
    assert!(upstream.sockets.peak() <= 4, "{}", upstream.sockets.peak());
}

#[tokio::test]
async fn a_connect_that_does_not_come_about_is_a_timeout() {
    // The listener's backlog is full, so further connects get no answer.
    let (silent, addr) = silent();
    let _listener = silent.listen(0).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SECOND / 5, TcpStream::connect(addr)).await {
        queue.push(stream.unwrap());
    }
    let client = Client::builder()
        .connect_timeout(SECOND / 5)
        .acquire_timeout(5 * SECOND)
        .build()
        .unwrap();
    let began = std::time::Instant::now();
    let error = client
        .get(format!("http://{addr}/"))
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_timeout() && error.is_connect() && error.stage() == Some(Stage::Connect),
        "{error:?}"
    );
    assert!(
        error.is_safe_to_retry() && began.elapsed() < 5 * SECOND,
        "{:?}",
        began.elapsed()
    );
}
