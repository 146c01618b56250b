//! Where a message ends and the next begins, and which connections must not be reused.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body::Frame;
use pool_http::{Client, Payload, Stage};

use crate::upstream::{Upstream, ok};

/// A body that sends one chunk and then never ends.
struct Stalled(Option<Bytes>);

impl http_body::Body for Stalled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.take().map_or(Poll::Pending, |bytes| {
            Poll::Ready(Some(Ok(Frame::data(bytes))))
        })
    }
}

/// A long time to drain. On a busy machine the default may pass before hyper is ready again.
fn client() -> Client {
    Client::builder()
        .max_per_origin(1)
        .acquire_timeout(Duration::from_secs(30))
        .drain_time(Duration::from_secs(10))
        .build()
        .unwrap()
}

/// Sends two requests, and returns how many connections they took.
async fn sockets_for_two(upstream: &Upstream, method: Method, body: &str) -> usize {
    let client = client();
    for _ in 0..2 {
        let response = client
            .request(method.clone(), upstream.url("/"))
            .send()
            .await
            .unwrap();
        assert_eq!(response.into_body().text().await.unwrap(), body);
    }
    upstream.sockets.accepted()
}

#[tokio::test]
async fn a_head_has_no_body_whatever_its_length_says() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(sockets_for_two(&upstream, Method::HEAD, "").await, 1);
}

/// hyper#640, hyper#1242, and Go's tests of HEAD.
#[tokio::test]
async fn a_head_that_comes_with_a_body_all_the_same_spoils_its_connection_only() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello").await;
    assert_eq!(sockets_for_two(&upstream, Method::HEAD, "").await, 2);
}

#[tokio::test]
async fn no_content_and_not_modified_have_no_body_and_keep_the_connection() {
    let upstream = Upstream::answering("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(sockets_for_two(&upstream, Method::GET, "").await, 1);
    let upstream =
        Upstream::answering("HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n").await;
    assert_eq!(sockets_for_two(&upstream, Method::GET, "").await, 1);
}

#[tokio::test]
async fn a_provisional_response_is_not_the_response() {
    let upstream =
        Upstream::answering("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    assert_eq!(sockets_for_two(&upstream, Method::GET, "hi").await, 1);
}

#[tokio::test]
async fn a_response_that_says_close_is_the_last_on_its_connection() {
    let upstream =
        Upstream::answering("HTTP/1.1 200 OK\r\nConnection: Close\r\ncontent-length: 2\r\n\r\nhi")
            .await;
    assert_eq!(sockets_for_two(&upstream, Method::GET, "hi").await, 2);
    upstream.sockets.wait_open(0).await;
}

/// hyper#4110: a server that does not repeat the header `connection`.
#[tokio::test]
async fn a_request_that_says_close_is_the_last_on_its_connection() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let client = client();
    for _ in 0..2 {
        let response = client
            .get(upstream.url("/"))
            .header("connection", "close")
            .send()
            .await
            .unwrap();
        assert_eq!(response.into_body().text().await.unwrap(), "hi");
    }
    assert_eq!(upstream.sockets.accepted(), 2);
    upstream.sockets.wait_open(0).await;
}

/// hyper#3588: after it, requests went out as HTTP/1.0.
#[tokio::test]
async fn a_response_in_http_1_0_is_the_last_on_its_connection_though_it_says_keep_alive() {
    let requests = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&requests);
    let upstream = Upstream::start(move |mut peer| {
        let seen = Arc::clone(&seen);
        async move {
            while let Some(request) = peer.request().await {
                seen.lock().unwrap().push(request);
                peer.write(
                    "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",
                )
                .await;
            }
        }
    })
    .await;
    assert_eq!(sockets_for_two(&upstream, Method::GET, "hi").await, 2);
    for request in requests.lock().unwrap().iter() {
        assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
    }
}

#[tokio::test]
async fn a_dropped_body_does_not_make_good_what_its_head_made_the_last() {
    for last in [
        "HTTP/1.0 200 OK\r\nconnection: keep-alive",
        "HTTP/1.1 200 OK\r\nconnection: close",
    ] {
        let upstream = Upstream::start(move |mut peer| async move {
            while peer.request().await.is_some() {
                peer.write(format!("{last}\r\ncontent-length: 2\r\n\r\nhi"))
                    .await;
            }
        })
        .await;
        let client = client();
        for accepted in [1, 2] {
            drop(client.get(upstream.url("/")).send().await.unwrap());
            assert_eq!(upstream.sockets.accepted(), accepted, "{last}");
        }
    }
}

#[tokio::test]
async fn a_response_with_two_ends_is_the_last_on_its_connection() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\ncontent-length: 99\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!(sockets_for_two(&upstream, Method::GET, "hi").await, 2);
}

#[tokio::test]
async fn a_body_that_ends_with_its_connection_is_whole_and_the_connection_gone() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\n\r\nto the end").await;
        }
    })
    .await;
    assert_eq!(
        sockets_for_two(&upstream, Method::GET, "to the end").await,
        2
    );
}

/// hyper-util#74: a connection that was switched to another protocol was returned to the pool.
#[tokio::test]
async fn a_connection_that_switched_protocols_is_never_used_again() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.contains("upgrade: echo") {
                peer.write("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n").await;
                peer.closed().await;
            } else {
                peer.write(ok("hi")).await;
            }
        }
    })
    .await;
    let client = client();
    let switch = client
        .get(upstream.url("/"))
        .header("connection", "upgrade")
        .header("upgrade", "echo");
    let error = switch.send().await.unwrap_err();
    assert!(
        error.is_protocol() && error.stage() == Some(Stage::Header),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("switched to another protocol"),
        "{error}"
    );
    upstream.sockets.wait_open(0).await;
    assert_eq!(client.status().origins[0].pool.idle, 0);
    let response = client.get(upstream.url("/")).send().await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "hi");
    assert_eq!(upstream.sockets.accepted(), 2);
}

/// hyper#4176 (open): the response is complete and the request is not, so the socket was neither pooled nor closed. hyper#2643,
/// hyper#2646: the next request was written into the unfinished body.
#[tokio::test]
async fn an_early_answer_to_an_unfinished_request_frees_the_place_and_closes_the_socket() {
    let upstream = Upstream::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        if head.starts_with("POST") {
            peer.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
                .await;
            peer.closed().await;
        } else {
            assert!(head.starts_with("GET /next HTTP/1.1\r\n"), "{head}");
            peer.write(ok("clean")).await;
            peer.closed().await;
        }
    })
    .await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let body = Payload::stream(Stalled(Some(Bytes::from("the beginning"))));
    let response = client
        .post(upstream.url("/"))
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    // The one place is free again, and the next request is not mixed into the body.
    let next = client.get(upstream.url("/next")).send().await.unwrap();
    assert_eq!(next.into_body().text().await.unwrap(), "clean");
    assert_eq!(upstream.sockets.accepted(), 2);
    upstream.sockets.wait_open(1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_is_heard_though_the_upstream_closed_without_reading_the_request() {
    for _ in 0..30 {
        let upstream = Upstream::start(|mut peer| async move {
            if peer.head().await.is_some() {
                // Closed with unread bytes, which resets the connection while the client writes.
                peer.write("HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno")
                    .await;
            }
        })
        .await;
        let client = client();
        let response = client
            .post(upstream.url("/"))
            .body(vec![0; 16 << 20])
            .send()
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.into_body().text().await.unwrap(), "no");
        upstream.sockets.wait_open(0).await;
    }
}

#[tokio::test]
async fn a_request_goes_out_in_the_form_that_http_1_1_wants() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.write(ok(&request)).await;
        }
    })
    .await;
    let client = client();
    let host = upstream.addr;
    let sent = |request: pool_http::RequestBuilder| async {
        request
            .send()
            .await
            .unwrap()
            .into_body()
            .text()
            .await
            .unwrap()
    };
    let url = upstream.url("/a/b?c=d#e");
    assert_eq!(
        sent(client.get(&url)).await,
        format!("GET /a/b?c=d HTTP/1.1\r\nhost: {host}\r\n\r\n")
    );
    assert_eq!(
        sent(client.get(upstream.url(""))).await,
        format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n")
    );
    let request = sent(client.get(upstream.url("?c=d"))).await;
    assert!(request.starts_with("GET /?c=d HTTP/1.1\r\n"), "{request}");
    let request = sent(client.post(upstream.url("/"))).await;
    assert!(request.ends_with("content-length: 0\r\n\r\n"), "{request}");
    let request = sent(client.put(upstream.url("/")).body("four")).await;
    assert!(
        request.ends_with("content-length: 4\r\n\r\nfour"),
        "{request}"
    );
    let stream = Payload::stream(http_body_util::Full::new(Bytes::from("four")));
    let request = sent(client.put(upstream.url("/")).body(stream)).await;
    assert!(
        request.contains("content-length: 4\r\n") && request.ends_with("four"),
        "{request}"
    );
    let request = sent(
        client
            .get(upstream.url("/"))
            .header("host", "elsewhere")
            .header("x", "1")
            .header("x", "2"),
    )
    .await;
    assert!(
        request.contains("host: elsewhere\r\n") && request.contains("x: 1\r\nx: 2\r\n"),
        "{request}"
    );
    assert_eq!(upstream.sockets.accepted(), 1);
}

#[tokio::test]
async fn a_stream_of_unknown_length_is_sent_in_chunks_with_any_method() {
    /// A body of three chunks without a stated length.
    struct Chunks(u8);
    impl http_body::Body for Chunks {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0 += 1;
            Poll::Ready((self.0 <= 3).then(|| Ok(Frame::data(Bytes::from(self.0.to_string())))))
        }
    }
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            peer.write(ok(&request)).await;
        }
    })
    .await;
    for method in [Method::POST, Method::GET] {
        let request = Request::builder()
            .method(method)
            .uri(upstream.url("/"))
            .body(Payload::stream(Chunks(0)))
            .unwrap();
        let echo = client()
            .send(request)
            .await
            .unwrap()
            .into_body()
            .text()
            .await
            .unwrap();
        assert!(echo.contains("transfer-encoding: chunked\r\n"), "{echo}");
        assert!(
            echo.ends_with("1\r\n1\r\n1\r\n2\r\n1\r\n3\r\n0\r\n\r\n"),
            "{echo}"
        );
    }
}
