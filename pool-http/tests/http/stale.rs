//! A request on a kept-alive connection that is dead is sent once more, but only if that is safe.

use std::{
    io::{Read, Write},
    net::Shutdown,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use pool_http::{Client, Payload, Stage};
use tokio::sync::Barrier;

use crate::upstream::{Peer, Upstream, ok, wait_for};

const MS: Duration = Duration::from_millis(1);

/// A long time to drain. On a busy machine the default may pass before hyper is ready again.
fn client(max: u32) -> Client {
    Client::builder()
        .max_per_origin(max)
        .acquire_timeout(Duration::from_secs(30))
        .drain_time(Duration::from_secs(10))
        .build()
        .unwrap()
}

/// Answers the first request of each connection. On the first `bad` connections, runs `then` when the second request arrives.
async fn dies_on_second<F, Fut>(bad: usize, then: F) -> Upstream
where
    F: Fn(Peer) -> Fut + Send + Sync + Clone + 'static,
    Fut: Future<Output = ()> + Send,
{
    Upstream::start(move |mut peer| {
        let then = then.clone();
        async move {
            let mut served = 0;
            while peer.request().await.is_some() {
                if served > 0 && peer.number < bad {
                    return then(peer).await;
                }
                peer.write(ok("hello")).await;
                served += 1;
            }
        }
    })
    .await
}

/// hyper#2136, hyper#3553, undici#3141: IncompleteMessage or ECONNRESET for a request without a fault of its own.
#[tokio::test]
async fn a_get_on_a_connection_that_closes_under_it_is_sent_once_more_on_a_new_one() {
    let upstream = dies_on_second(1, |peer| async move { drop(peer) }).await;
    let client = client(1);
    for _ in 0..3 {
        let response = client.get(upstream.url("/")).send().await.unwrap();
        assert_eq!(response.into_body().bytes().await.unwrap(), "hello");
    }
    let totals = client.status().totals;
    assert_eq!(
        (upstream.sockets.accepted(), upstream.sockets.requests()),
        (2, 4)
    );
    assert_eq!((totals.renewed, totals.opened, totals.peak), (1, 2, 1));
}

#[tokio::test]
async fn a_get_on_a_connection_that_is_reset_under_it_is_sent_once_more() {
    let upstream = dies_on_second(1, |peer| async move { peer.reset() }).await;
    let client = client(1);
    for _ in 0..2 {
        let response = client.get(upstream.url("/")).send().await.unwrap();
        assert_eq!(response.into_body().bytes().await.unwrap(), "hello");
    }
    assert_eq!(client.status().totals.renewed, 1);
}

#[tokio::test]
async fn a_post_on_a_connection_that_closes_under_it_is_a_typed_error_and_not_sent_again() {
    let upstream = dies_on_second(1, |peer| async move { drop(peer) }).await;
    let client = client(1);
    client
        .post(upstream.url("/"))
        .body("one")
        .send()
        .await
        .unwrap()
        .into_body()
        .bytes()
        .await
        .unwrap();
    let error = client
        .post(upstream.url("/"))
        .body("two")
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_stale() && error.is_disconnected() && !error.is_safe_to_retry(),
        "{error:?}"
    );
    assert_eq!(error.stage(), Some(Stage::Header));
    assert!(
        error.to_string().contains(
            "closed a kept-alive connection after the request, or a part of it, was sent"
        ),
        "{error}"
    );
    assert_eq!(upstream.sockets.requests(), 2, "not once more");
    // Nothing of the request is left.
    client
        .post(upstream.url("/"))
        .body("three")
        .send()
        .await
        .unwrap();
    assert_eq!(upstream.sockets.accepted(), 2);
}

#[tokio::test]
async fn a_stream_is_not_sent_twice_but_the_error_says_that_it_may_be() {
    let upstream = dies_on_second(1, |peer| async move { drop(peer) }).await;
    let client = client(1);
    let send = || {
        client
            .put(upstream.url("/"))
            .body(Payload::stream(Full::new(Bytes::from("all of it"))))
            .send()
    };
    send().await.unwrap().into_body().bytes().await.unwrap();
    let error = send().await.unwrap_err();
    assert!(error.is_stale() && error.is_safe_to_retry(), "{error:?}");
    send().await.unwrap();
}

#[tokio::test]
async fn once_more_is_once_a_new_connection_that_dies_too_is_an_error() {
    let upstream = Upstream::start(|mut peer| async move {
        let first = peer.number == 0;
        if peer.request().await.is_some() && first {
            peer.write(ok("hello")).await;
            peer.request().await;
        }
    })
    .await;
    let client = client(1);
    client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body()
        .bytes()
        .await
        .unwrap();
    let error = client.get(upstream.url("/")).send().await.unwrap_err();
    assert!(
        error.is_disconnected() && !error.is_stale() && error.is_safe_to_retry(),
        "{error:?}"
    );
    assert_eq!(
        upstream.sockets.requests(),
        3,
        "one that was answered, one and once more that were not"
    );
}

#[tokio::test]
async fn a_connection_that_closed_while_idle_is_not_used_again_even_for_a_post() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write(ok("hello")).await;
        }
    })
    .await;
    let client = client(1);
    for round in 1..=5 {
        let response = client
            .post(upstream.url("/"))
            .body("x")
            .send()
            .await
            .unwrap();
        assert_eq!(response.into_body().bytes().await.unwrap(), "hello");
        upstream.sockets.wait_open(0).await;
        tokio::time::sleep(5 * MS).await;
        assert_eq!(upstream.sockets.accepted(), round);
    }
}

#[tokio::test]
async fn half_a_response_head_is_not_asked_for_again() {
    let upstream =
        dies_on_second(1, |mut peer| async move { peer.write("HTTP/1.1 20").await }).await;
    let client = client(1);
    client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body()
        .bytes()
        .await
        .unwrap();
    let error = client.get(upstream.url("/")).send().await.unwrap_err();
    assert!(
        (error.is_disconnected() || error.is_protocol()) && !error.is_stale(),
        "{error:?}"
    );
    assert_eq!(upstream.sockets.requests(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_all_connections_died_at_once_every_get_succeeds_and_the_bound_holds() {
    let upstream = dies_on_second(8, |peer| async move { peer.reset() }).await;
    let client = client(8);
    for round in 0..3 {
        let start = Arc::new(Barrier::new(8));
        let gets: Vec<_> = (0..8)
            .map(|_| {
                let (client, url, start) = (client.clone(), upstream.url("/"), Arc::clone(&start));
                tokio::spawn(async move {
                    start.wait().await;
                    let response = client.get(url).send().await.unwrap();
                    // No request returns its connection before all have one.
                    start.wait().await;
                    assert_eq!(response.into_body().bytes().await.unwrap(), "hello");
                })
            })
            .collect();
        for get in gets {
            get.await
                .unwrap_or_else(|error| panic!("round {round}: {error}"));
        }
    }
    assert_eq!(client.status().totals.renewed, 8);
    assert!(client.status().totals.peak <= 8);
}

/// A server on its own thread, which acts while the client's runtime does not run. On a signal from the test, it sends `rest` on
/// its first connection, closes the connection, and reports that. It answers later requests with `right`.
fn on_a_thread(rest: String) -> (String, Sender<()>, Receiver<()>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let ((say, said), (done, ended)) = (channel(), channel());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
        stream.write_all(ok("hello").as_bytes()).unwrap();
        said.recv().unwrap();
        stream.write_all(rest.as_bytes()).unwrap();
        // The server's end of stream is sent, and the client's later bytes are read, so that the connection is not reset.
        stream.shutdown(Shutdown::Write).unwrap();
        done.send(()).unwrap();
        let (mut next, _) = listener.accept().unwrap();
        while next.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {
            next.write_all(ok("right").as_bytes()).unwrap();
        }
    });
    (url, say, ended)
}

/// When the request is sent, the driver of the connection has not yet seen the connection's end, so the client cannot know that it
/// is dead. No byte of the request has been sent then, so even a POST and even a stream are sent once more.
#[tokio::test]
async fn a_request_that_did_not_leave_is_sent_on_a_new_connection_whatever_its_method() {
    for poison in [String::new(), ok("poison")] {
        let (url, say, ended) = on_a_thread(poison);
        let client = client(1);
        client
            .get(&url)
            .send()
            .await
            .unwrap()
            .into_body()
            .bytes()
            .await
            .unwrap();
        wait_for(&client, |pool| pool.idle > 0).await;
        // No other task runs on this runtime meanwhile.
        say.send(()).unwrap();
        ended.recv().unwrap();
        let stream = Payload::stream(Full::new(Bytes::from("x")));
        let response = client.post(&url).body(stream).send().await.unwrap();
        assert_eq!(response.into_body().bytes().await.unwrap(), "right");
        assert_eq!(client.status().totals.renewed, 1);
    }
}

#[test]
fn a_request_whose_connection_goes_with_another_runtime_is_sent_once_more() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (servers, opens, sends) = (runtime(), runtime(), runtime());
    let upstream = servers.block_on(Upstream::start(|mut peer| async move {
        let mut served = 0;
        while peer.request().await.is_some() {
            if peer.number == 0 && served == 1 {
                return peer.closed().await;
            }
            peer.write(ok("hello")).await;
            served += 1;
        }
    }));
    let client = client(1);
    let url = upstream.url("/");
    opens.block_on(async {
        client
            .get(&url)
            .send()
            .await
            .unwrap()
            .into_body()
            .bytes()
            .await
            .unwrap()
    });
    let sent = sends.spawn(client.get(&url).send());
    while upstream.sockets.requests() < 2 {
        std::thread::sleep(MS);
    }
    drop(opens);
    let response = sends.block_on(sent).unwrap().unwrap();
    assert_eq!(
        sends.block_on(response.into_body().bytes()).unwrap(),
        "hello"
    );
    assert_eq!(upstream.sockets.accepted(), 2);
}

/// undici GHSA-35p6-xmwp-9g52, aiohttp#13656: an unrequested response answered the next request.
#[tokio::test]
async fn a_second_response_that_came_with_the_first_answers_nobody() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            peer.write(ok(&path) + &ok("poison")).await;
        }
    })
    .await;
    let client = client(1);
    for n in 0..5 {
        let response = client
            .get(upstream.url(&format!("/{n}")))
            .send()
            .await
            .unwrap();
        assert_eq!(response.into_body().text().await.unwrap(), format!("/{n}"));
    }
    assert_eq!(upstream.sockets.accepted(), 5);
}

#[tokio::test]
async fn bytes_that_nobody_asked_for_close_an_idle_connection() {
    let upstream = Upstream::start(|mut peer| async move {
        if peer.request().await.is_some() {
            peer.write(ok("hello")).await;
            tokio::time::sleep(10 * MS).await;
            peer.write(ok("poison")).await;
            peer.closed().await;
        }
    })
    .await;
    let client = client(1);
    client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body()
        .bytes()
        .await
        .unwrap();
    assert_eq!(upstream.sockets.open(), 1);
    upstream.sockets.wait_open(0).await;
    let response = client.post(upstream.url("/")).send().await.unwrap();
    assert_eq!(response.into_body().bytes().await.unwrap(), "hello");
}

#[tokio::test(start_paused = true)]
async fn the_upstreams_own_idle_timeout_is_heeded() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nkeep-alive: timeout=10, max=100\r\ncontent-length: 0\r\n\r\n",
    )
    .await;
    let client = client(1);
    let get = || async { client.get(upstream.url("/")).send().await.unwrap() };
    get().await;
    tokio::time::sleep(Duration::from_secs(8)).await;
    get().await;
    assert_eq!(upstream.sockets.accepted(), 1, "8 of 10 s are over");
    tokio::time::sleep(Duration::from_millis(9500)).await;
    get().await;
    assert_eq!(
        upstream.sockets.accepted(),
        2,
        "a request could reach it too late"
    );
}

#[tokio::test]
async fn an_idle_timeout_of_a_second_or_of_aeons_is_no_trouble() {
    let upstream = Upstream::start(|mut peer| async move {
        let seconds = if peer.number == 0 {
            "1"
        } else {
            "18446744073709551615"
        };
        while peer.request().await.is_some() {
            peer.write(format!(
                "HTTP/1.1 200 OK\r\nkeep-alive: timeout={seconds}\r\ncontent-length: 0\r\n\r\n"
            ))
            .await;
        }
    })
    .await;
    let client = client(1);
    for accepted in [1, 2, 2] {
        client.get(upstream.url("/")).send().await.unwrap();
        assert_eq!(upstream.sockets.accepted(), accepted);
    }
}
