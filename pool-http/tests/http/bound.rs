//! The bound on connections, the order of arrival, and the timeouts of waits.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pool_http::{Client, Stage};
use tokio::{sync::Barrier, time::Instant};

use crate::{
    server::Server,
    upstream::{Upstream, ok, wait_for},
};

const MS: Duration = Duration::from_millis(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_tasks_over_four_connections_never_open_a_fifth() {
    let server = Server::start(MS).await;
    let client = Client::builder()
        .max_per_origin(4)
        .max_waiters(Some(100))
        .build()
        .unwrap();
    let start = Arc::new(Barrier::new(100));
    let tasks: Vec<_> = (0..100)
        .map(|n| {
            let (client, url, start) = (
                client.clone(),
                server.url(&format!("/{n}")),
                Arc::clone(&start),
            );
            tokio::spawn(async move {
                start.wait().await;
                for round in 0..5 {
                    let response = client
                        .post(&url)
                        .body(format!("round {round}"))
                        .send()
                        .await
                        .unwrap();
                    assert_eq!(
                        response.into_body().text().await.unwrap(),
                        format!("POST /{n} round {round}")
                    );
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(
        server.seen.peak() <= 4,
        "the server saw {} sockets at once",
        server.seen.peak()
    );
    assert!(
        server.seen.accepted() <= 4,
        "kept alive, but {} were opened",
        server.seen.accepted()
    );
    let totals = client.status().totals;
    assert_eq!(
        (totals.opened, totals.peak),
        (server.seen.accepted() as u64, server.seen.peak())
    );
}

#[tokio::test]
async fn requests_that_wait_are_served_in_the_order_in_which_they_came() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let served = Arc::clone(&order);
    let upstream = Upstream::start(move |mut peer| {
        let served = Arc::clone(&served);
        async move {
            while let Some(request) = peer.request().await {
                served
                    .lock()
                    .unwrap()
                    .push(request.split(' ').nth(1).unwrap().to_owned());
                tokio::time::sleep(2 * MS).await;
                peer.write(ok("")).await;
            }
        }
    })
    .await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let requests: Vec<_> = (0..20)
        .map(|n| tokio::spawn(client.get(upstream.url(&format!("/{n}"))).send()))
        .collect();
    for request in requests {
        request.await.unwrap().unwrap();
    }
    let expected: Vec<_> = (0..20).map(|n| format!("/{n}")).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_acquire_timeout_and_says_what_the_pool_looked_like() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder()
        .max_per_origin(1)
        .acquire_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    // This body is neither read nor dropped, so it keeps its connection.
    let held = client.get(upstream.url("/")).send().await.unwrap();
    let began = Instant::now();
    let error = client.post(upstream.url("/")).send().await.unwrap_err();
    assert!(
        error.is_timeout() && error.stage() == Some(Stage::Acquire) && error.is_safe_to_retry(),
        "{error:?}"
    );
    let waited = began.elapsed();
    assert!(
        waited >= Duration::from_secs(2) && waited < Duration::from_millis(2100),
        "{waited:?}"
    );
    let message = error.to_string();
    assert!(
        message.contains("1 of 1 in use") && message.contains("no connection was free within 2"),
        "{message}"
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_request_of_its_own_deadline_does_not_wait_longer_than_that() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let held = client.get(upstream.url("/")).send().await.unwrap();
    let began = Instant::now();
    let error = client
        .get(upstream.url("/"))
        .timeout(300 * MS)
        .send()
        .await
        .unwrap_err();
    assert!(
        error.is_timeout() && error.stage() == Some(Stage::Acquire),
        "{error:?}"
    );
    assert!(began.elapsed() < 350 * MS, "{:?}", began.elapsed());
    drop(held);
}

#[tokio::test]
async fn one_more_than_may_wait_is_told_so_at_once() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let client = Client::builder()
        .max_per_origin(1)
        .max_waiters(Some(2))
        .build()
        .unwrap();
    let held = client.get(upstream.url("/")).send().await.unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| tokio::spawn(client.get(upstream.url("/")).send()))
        .collect();
    wait_for(&client, |pool| pool.waiting >= 2).await;
    let error = client.get(upstream.url("/")).send().await.unwrap_err();
    assert!(
        error.is_overloaded() && error.is_safe_to_retry(),
        "{error:?}"
    );
    assert!(error.to_string().contains("2 waiting"), "{error}");
    drop(held);
    for request in waiting {
        request.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn origins_do_not_share_their_bounds() {
    let (one, two) = (
        Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n").await,
        Server::start(Duration::ZERO).await,
    );
    let client = Client::builder().max_per_origin(1).build().unwrap();
    let held = client.get(one.url("/")).send().await.unwrap();
    let response = client.get(two.url("/a")).send().await.unwrap();
    assert_eq!(response.into_body().text().await.unwrap(), "GET /a ");
    assert_eq!(client.status().origins.len(), 2);
    drop(held);
}

#[tokio::test]
async fn for_an_origin_too_many_the_one_that_was_idle_longest_goes() {
    let mut upstreams = Vec::new();
    for _ in 0..4 {
        upstreams.push(Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await);
    }
    let client = Client::builder().max_origins(3).build().unwrap();
    for upstream in &upstreams[..3] {
        client.get(upstream.url("/")).send().await.unwrap();
    }
    // The first origin is used again, so now the second has been idle longest.
    client.get(upstreams[0].url("/")).send().await.unwrap();
    client.get(upstreams[3].url("/")).send().await.unwrap();
    let origins: Vec<_> = client
        .status()
        .origins
        .into_iter()
        .map(|origin| origin.origin)
        .collect();
    assert_eq!(origins.len(), 3);
    assert!(
        !origins.contains(&format!("http://{}", upstreams[1].addr)),
        "{origins:?}"
    );
    upstreams[1].sockets.wait_open(0).await;
    assert_eq!(upstreams[0].sockets.open(), 1);
}

#[tokio::test]
async fn an_origin_too_many_fails_at_once_while_all_others_are_in_use() {
    let one = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
    let two = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = Client::builder().max_origins(1).build().unwrap();
    let held = client.get(one.url("/")).send().await.unwrap();
    let error = client.get(two.url("/")).send().await.unwrap_err();
    assert!(
        error.is_overloaded() && error.is_safe_to_retry(),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("all of the 1 origins"),
        "{error}"
    );
    drop(held);
    wait_for(&client, |pool| pool.leased == 0).await;
    client.get(two.url("/")).send().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_and_then_its_origin_is_forgotten() {
    let one = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let two = Upstream::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = Client::builder()
        .idle_timeout(Some(Duration::from_secs(30)))
        .build()
        .unwrap();
    client.get(one.url("/")).send().await.unwrap();
    tokio::time::sleep(Duration::from_secs(29)).await;
    assert_eq!(one.sockets.open(), 1);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(one.sockets.open(), 0, "nobody used it for 49 s");
    client.get(two.url("/")).send().await.unwrap();
    tokio::time::sleep(Duration::from_secs(31)).await;
    client.get(two.url("/")).send().await.unwrap();
    let origins: Vec<_> = client
        .status()
        .origins
        .into_iter()
        .map(|origin| origin.origin)
        .collect();
    assert_eq!(origins, [format!("http://{}", two.addr)]);
    assert_eq!(
        client.status().totals.opened,
        3,
        "the totals still know of the origin that is gone"
    );
}
