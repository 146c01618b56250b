//! Dropping a request at any point leaks nothing.

use std::{sync::Arc, time::Duration};

use pool_http::Client;
use tokio::{sync::Barrier, time::timeout};

use crate::upstream::{Upstream, ok, wait_for};

const MS: Duration = Duration::from_millis(1);
const MAX: usize = 4;

fn client() -> Client {
    Client::builder()
        .max_per_origin(4)
        .max_waiters(Some(1000))
        .acquire_timeout(Duration::from_secs(10))
        .build()
        .unwrap()
}

/// Checks that the whole bound is available: as many requests run at once.
async fn assert_full_capacity(client: &Client, upstream: &Upstream) {
    let all = Arc::new(Barrier::new(MAX));
    let gets: Vec<_> = (0..MAX)
        .map(|_| {
            let (client, url, all) = (client.clone(), upstream.url("/full"), Arc::clone(&all));
            tokio::spawn(async move {
                let response = client.get(url).send().await.unwrap();
                // No request goes on before each has a connection of its own.
                all.wait().await;
                assert_eq!(response.into_body().text().await.unwrap(), "GET /full");
            })
        })
        .collect();
    for get in gets {
        timeout(Duration::from_secs(10), get)
            .await
            .expect("a place is lost")
            .unwrap();
    }
}

/// Answers slowly and in pieces, and repeats what was asked, so that a response to another request would be noticed.
async fn echo() -> Upstream {
    Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..1500))).await;
            let echo = ok(request.split(" HTTP").next().unwrap());
            let (one, two) = echo.split_at(echo.len() - 2);
            peer.write(one).await;
            tokio::time::sleep(Duration::from_micros(fastrand::u64(..500))).await;
            peer.write(two).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_dropped_at_any_moment_leave_the_full_capacity_behind() {
    let (upstream, client) = (echo().await, client());
    for round in 0..15 {
        let requests: Vec<_> = (0..40)
            .map(|n| {
                let (client, path) = (client.clone(), format!("/{round}/{n}"));
                let url = upstream.url(&path);
                tokio::spawn(async move {
                    let patience = Duration::from_micros(fastrand::u64(..8000));
                    let request = async {
                        let response = client.get(url).send().await.unwrap();
                        assert_eq!(
                            response.into_body().text().await.unwrap(),
                            format!("GET {path}")
                        );
                    };
                    drop(timeout(patience, request).await);
                })
            })
            .collect();
        for request in requests {
            request.await.unwrap();
        }
        assert_full_capacity(&client, &upstream).await;
        assert!(
            client.status().totals.peak <= MAX,
            "{} sockets at once",
            client.status().totals.peak
        );
    }
    let pool = client.status().origins.remove(0).pool;
    assert_eq!((pool.leased, pool.waiting, pool.opening), (0, 0, 0));
}

/// httpcore#1093: a request that was dropped while it connected leaked its place for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_dropped_while_they_connect_leave_the_full_capacity_behind() {
    let (upstream, client) = (echo().await, client());
    for _ in 0..20 {
        let requests: Vec<_> = (0..20)
            .map(|_| tokio::spawn(client.get(upstream.url("/x")).send()))
            .collect();
        for (n, request) in requests.iter().enumerate() {
            if n % 3 == 0 {
                tokio::task::yield_now().await;
            }
            request.abort();
        }
    }
    assert_full_capacity(&client, &upstream).await;
}

#[tokio::test]
async fn a_request_dropped_before_its_answer_closes_its_connection() {
    let upstream = Upstream::start(|mut peer| async move {
        while let Some(request) = peer.request().await {
            if request.starts_with("GET /never") {
                peer.closed().await;
                return;
            }
            peer.write(ok("hello")).await;
        }
    })
    .await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let url = upstream.url("/never");
    drop(timeout(20 * MS, client.get(url).send()).await);
    let response = client.get(upstream.url("/")).send().await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "hello");
    assert_eq!(upstream.sockets.accepted(), 2);
    upstream.sockets.wait_open(1).await;
}

#[tokio::test]
async fn a_waiter_that_is_dropped_passes_its_turn_on() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let held = client.get(upstream.url("/")).send().await.unwrap();
    let mut waiting: Vec<_> = (0..10)
        .map(|_| tokio::spawn(client.get(upstream.url("/")).send()))
        .collect();
    wait_for(&client, |pool| pool.waiting >= 10).await;
    let last = waiting.pop().unwrap();
    for waiter in waiting {
        waiter.abort();
    }
    drop(held);
    timeout(Duration::from_secs(5), last)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
