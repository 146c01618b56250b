//! Building, inspecting and closing a client, and what happens after its drop.

use std::time::Duration;

use http::Request;
use pool_http::{Client, Payload};
use tokio::time::Instant;
use tower_service::Service;

use crate::upstream::{Upstream, ok, wait_for};

const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_closed_client_refuses_requests_and_closes_its_connections() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = Client::builder().build().unwrap();
    client.get(upstream.url("/")).send().await.unwrap();
    client.close();
    upstream.sockets.wait_open(0).await;
    let error = client
        .clone()
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap_err();
    assert!(error.is_closed() && !error.is_safe_to_retry(), "{error:?}");
    assert!(client.drain(Duration::ZERO).await.is_complete());
}

#[tokio::test]
async fn close_tells_those_who_wait() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let held = client.get(upstream.url("/")).send().await.unwrap();
    let waiting = tokio::spawn(client.get(upstream.url("/")).send());
    wait_for(&client, |pool| pool.waiting > 0).await;
    client.close();
    assert!(waiting.await.unwrap().unwrap_err().is_closed());
    drop(held);
}

#[tokio::test]
async fn drain_waits_for_the_bodies_that_are_being_read() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                .await;
            tokio::time::sleep(50 * MS).await;
            peer.write("hello").await;
        }
    })
    .await;
    let client = Client::builder().build().unwrap();
    let response = client.get(upstream.url("/")).send().await.unwrap();
    let reading = tokio::spawn(response.into_body().text());
    assert!(client.drain(Duration::from_secs(5)).await.is_complete());
    assert_eq!(reading.await.unwrap().unwrap(), "hello");
    upstream.sockets.wait_open(0).await;
}

#[tokio::test(start_paused = true)]
async fn drain_says_how_many_it_left_when_its_time_is_over() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder().build().unwrap();
    let held = [
        client.get(upstream.url("/")).send().await.unwrap(),
        client.get(upstream.url("/")).send().await.unwrap(),
    ];
    let began = Instant::now();
    assert_eq!(client.drain(Duration::from_secs(3)).await.left, 2);
    assert!(
        began.elapsed() >= Duration::from_secs(3) && began.elapsed() < Duration::from_millis(3100)
    );
    drop(held);
    assert!(client.drain(Duration::from_secs(3)).await.is_complete());
}

#[tokio::test]
async fn the_last_client_closes_its_connections_when_it_goes() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = Client::builder().build().unwrap();
    let clone = client.clone();
    client.get(upstream.url("/")).send().await.unwrap();
    drop(client);
    clone.get(upstream.url("/")).send().await.unwrap();
    assert_eq!(
        (upstream.sockets.accepted(), upstream.sockets.open()),
        (1, 1)
    );
    drop(clone);
    upstream.sockets.wait_open(0).await;
}

#[tokio::test]
async fn a_body_outlives_its_client() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                .await;
            tokio::time::sleep(20 * MS).await;
            peer.write("hello").await;
        }
    })
    .await;
    let client = Client::builder().build().unwrap();
    let body = client
        .get(upstream.url("/"))
        .send()
        .await
        .unwrap()
        .into_body();
    drop(client);
    assert_eq!(body.text().await.unwrap(), "hello");
    upstream.sockets.wait_open(0).await;
}

#[test]
fn a_body_dropped_after_its_runtime_is_gone_is_no_panic() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = Client::builder().build().unwrap();
    let response = runtime.block_on(async {
        let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
        client.get(upstream.url("/")).send().await.unwrap()
    });
    drop(runtime);
    drop(response);
    assert_eq!(client.status().origins[0].pool.leased, 0);
    assert_eq!(client.status().totals.open, 0);
}

#[test]
fn a_client_goes_on_in_another_runtime() {
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    listener.set_nonblocking(true).unwrap();
    for _ in 0..3 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener =
                tokio::net::TcpListener::from_std(listener.try_clone().unwrap()).unwrap();
            let _upstream = Upstream::on(listener, |mut peer| async move {
                while peer.request().await.is_some() {
                    peer.write(ok("hello")).await;
                }
            });
            for _ in 0..2 {
                let response = client.get(&url).send().await.unwrap();
                assert_eq!(response.into_body().text().await.unwrap(), "hello");
            }
        });
    }
    assert_eq!(client.status().totals.opened, 3, "one for each runtime");
}

#[tokio::test]
async fn a_client_is_a_tower_service() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await;
    let mut client = Client::builder().build().unwrap();
    std::future::poll_fn(|cx| Service::<Request<Payload>>::poll_ready(&mut client, cx))
        .await
        .unwrap();
    let response = Service::call(
        &mut client,
        Request::get(upstream.url("/")).body(()).unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "hi");
}

#[tokio::test]
async fn futures_and_bodies_can_go_to_another_thread() {
    fn sendable<T: Send + 'static>(_: &T) {}
    let client = Client::builder().build().unwrap();
    sendable(&client.get("http://127.0.0.1:1/").send());
    fn type_is_send<T: Send + Sync + Unpin + 'static>() {}
    type_is_send::<pool_http::Body>();
    type_is_send::<Client>();
}

#[tokio::test]
async fn the_status_tells_of_origins_and_totals() {
    let one = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let two = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder().max_per_origin(7).build().unwrap();
    client.get(one.url("/")).send().await.unwrap();
    let held = client.get(two.url("/")).send().await.unwrap();
    let status = client.status();
    let names: Vec<_> = status
        .origins
        .iter()
        .map(|origin| origin.origin.as_str())
        .collect();
    let mut expected = [one.url(""), two.url("")];
    expected.sort();
    assert_eq!(names, expected);
    for origin in &status.origins {
        let used = usize::from(origin.origin == two.url(""));
        assert_eq!(
            (
                origin.pool.max_size,
                origin.pool.leased as usize,
                origin.pool.idle as usize
            ),
            (7, used, 1 - used)
        );
    }
    assert_eq!(
        (status.totals.opened, status.totals.open, status.totals.peak),
        (2, 2, 2)
    );
    drop(held);
}

#[tokio::test]
async fn times_that_no_clock_shows_are_no_trouble() {
    let upstream = Upstream::start(|mut peer| async move {
        while peer.request().await.is_some() {
            peer.write("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n")
                .await;
            tokio::time::sleep(MS).await;
            peer.write("hello").await;
        }
    })
    .await;
    let client = Client::builder()
        .acquire_timeout(Duration::MAX)
        .connect_timeout(Duration::MAX)
        .tls_timeout(Duration::MAX)
        .header_timeout(Some(Duration::MAX))
        .body_timeout(Some(Duration::MAX))
        .timeout(Some(Duration::MAX))
        .idle_timeout(Some(Duration::MAX))
        .max_lifetime(Some(Duration::MAX))
        .drain_time(Duration::MAX)
        .build()
        .unwrap();
    for _ in 0..2 {
        let request = client.get(upstream.url("/")).timeout(Duration::MAX);
        assert_eq!(
            request
                .send()
                .await
                .unwrap()
                .into_body()
                .text()
                .await
                .unwrap(),
            "hello"
        );
        drop(client.get(upstream.url("/")).send().await.unwrap());
    }
    assert!(client.drain(Duration::MAX).await.is_complete());
}
