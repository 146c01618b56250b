//! The names under which a client's pools are published.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use pool_http::Client;

use crate::upstream::Upstream;

/// Records the published names with their labels.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeSet<String>>>);

impl Told {
    fn keep(&self, key: &Key) {
        let labels = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()));
        let labels: Vec<_> = labels.collect();
        let told = format!("{} {}", key.name(), labels.join(","));
        self.0.lock().unwrap().insert(told);
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.keep(key);
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.keep(key);
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.keep(key);
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn all_origins_of_a_client_have_its_name_and_are_told_apart_by_their_servers() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
    let upstreams = [
        Upstream::answering(answer).await,
        Upstream::answering(answer).await,
    ];
    let client = Client::builder().name("partners").build().unwrap();
    let mut held = Vec::new();
    for upstream in &upstreams {
        held.push(client.get(upstream.url("/")).send().await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let told = told.0.lock().unwrap().clone();
    for upstream in &upstreams {
        let port = upstream.addr.port();
        let server = format!("pool.name=partners,server.address=127.0.0.1,server.port={port}");
        for expected in [
            format!("http.client.open_connections {server},http.connection.state=active"),
            format!("pool.max {server}"),
            format!("pool.gets {server}"),
        ] {
            assert!(told.contains(&expected), "no {expected} in {told:?}");
        }
    }
    assert!(!told.iter().any(|name| name.starts_with("db.")), "{told:?}");
}
