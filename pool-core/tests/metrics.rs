//! What a pool tells the `metrics` facade: under which names, how often, and that it adds up.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use common::{Act, Backend, MS, Oops, SEC, Thing, Things, settle};
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit, set_default_local_recorder,
};
use pool_core::{
    Builder, KeyedManager, KeyedPool, Manager, MixedManager, MixedPool, Opened, Pool,
    SharedManager, SharedPool, Usage, observe::MetricNames,
};
use tokio::time::sleep;

#[tokio::test(start_paused = true)]
async fn a_pool_is_published_under_the_names_of_open_telemetry() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let pool = pool(&Backend::new())
        .max_size(4)
        .min_idle(1)
        .build()
        .unwrap();
    let held = [pool.get().await.unwrap(), pool.get().await.unwrap()];
    sleep(2 * SEC).await;

    let db = "pool.name=db";
    let state = |state: &str| format!("{db},db.client.connection.state={state}");
    for (name, labels, expected) in [
        ("count", state("idle"), 1.0),
        ("count", state("used"), 2.0),
        ("idle.max", db.to_owned(), 4.0),
        ("idle.min", db.to_owned(), 1.0),
        ("max", db.to_owned(), 4.0),
        ("pending_requests", db.to_owned(), 0.0),
    ] {
        let name = format!("db.client.connection.{name}");
        assert_eq!(told.gauge(&name, &labels), Some(expected), "{name}");
    }
    drop(held);
    sleep(2 * SEC).await;
    // Of the waits that begin in one tick, one is timed.
    for (name, count) in [("create_time", 3), ("wait_time", 1), ("use_time", 2)] {
        let values = told.values(&format!("db.client.connection.{name}"), db);
        assert_eq!(values.len(), count, "{name}: {values:?}");
    }
    let used = told.values("db.client.connection.use_time", db);
    assert!(
        used.iter().all(|it| (1.87..=2.13).contains(it)),
        "seconds: {used:?}"
    );
    assert_eq!(told.counter("pool.gets", "pool.name=db"), Some(2));
    for phase in ["wait", "create", "check", "reset"] {
        let labels = format!("{db},pool.phase={phase}");
        assert_eq!(
            told.counter("db.client.connection.timeouts", &labels),
            Some(0)
        );
    }

    let names = told.names();
    let expected = [
        "db.client.connection.count",
        "db.client.connection.create_time",
        "db.client.connection.idle.max",
        "db.client.connection.idle.min",
        "db.client.connection.max",
        "db.client.connection.pending_requests",
        "db.client.connection.timeouts",
        "db.client.connection.use_time",
        "db.client.connection.wait_time",
        "pool.failed_fast",
        "pool.gets",
        "pool.open_failures",
        "pool.overloaded",
        "pool.reclaimed",
        "pool.shed",
        "pool.waited",
    ];
    assert_eq!(names, expected.map(str::to_owned).into());
    let described = told.described();
    assert!(
        names.iter().all(|name| described.contains_key(name)),
        "{described:?}"
    );
    assert_eq!(
        described["db.client.connection.wait_time"],
        Some(Unit::Seconds)
    );
}

#[tokio::test(start_paused = true)]
async fn gets_and_returns_tell_the_facade_nothing_the_keeper_does_once_a_second() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let pool = pool(&Backend::new()).build().unwrap();
    drop(pool.get().await.unwrap());
    settle().await;
    let before = told.calls();
    for _ in 0..10_000 {
        drop(pool.get().await.unwrap());
        drop(pool.try_get().unwrap());
    }
    assert_eq!(told.calls(), before, "on the hot path");

    let before = told.times("pool.gets");
    for _ in 0..1000 {
        drop(pool.get().await.unwrap());
        sleep(10 * MS).await;
    }
    let published = told.times("pool.gets") - before;
    assert!(
        (9..=11).contains(&published),
        "{published} times in 10 s of use"
    );

    sleep(SEC).await;
    assert_eq!(
        told.counter("pool.gets", "pool.name=db"),
        Some(pool.status().gets)
    );
    let before = told.times("pool.gets");
    sleep(3600 * SEC).await;
    let published = told.times("pool.gets") - before;
    assert!(
        published <= 130,
        "{published} times in an hour of rest, at most one each 30 s"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_or_holds_is_seen_within_a_second_and_so_is_the_rest_that_follows() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let db = "pool.name=db";
    let pending = || told.gauge("db.client.connection.pending_requests", db);
    let used = || {
        let labels = format!("{db},db.client.connection.state=used");
        told.gauge("db.client.connection.count", &labels)
    };
    let held = pool.get().await.unwrap();
    sleep(10 * SEC).await;
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().timeout(5 * SEC).await.map(drop) }
    });
    sleep(1100 * MS).await;
    assert_eq!((pending(), used()), (Some(1.0), Some(1.0)));
    waiter.await.unwrap().unwrap_err();
    sleep(1100 * MS).await;
    assert_eq!(pending(), Some(0.0));
    let labels = format!("{db},pool.phase=wait");
    assert_eq!(
        told.counter("db.client.connection.timeouts", &labels),
        Some(1)
    );
    drop(held);
    sleep(1100 * MS).await;
    assert_eq!(used(), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn every_reason_is_counted_and_at_the_end_nothing_is_left() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(2)
        .max_waiters(Some(0))
        .build()
        .unwrap();
    assert!(pool.get().await.unwrap_err().is_overloaded());
    drop(pool);
    assert_eq!(
        told.counter("pool.overloaded", "pool.name=db"),
        None,
        "it was never published"
    );

    let pool = self::pool(&backend)
        .max_size(2)
        .max_waiters(Some(1))
        .build()
        .unwrap();
    let mut broken = pool.get().await.unwrap();
    broken.broken = true;
    drop(broken);
    let (one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().timeout(MS).await.map(drop) }
    });
    settle().await;
    assert!(pool.get().await.unwrap_err().is_overloaded());
    waiter.await.unwrap().unwrap_err();
    drop(one);
    drop(pool);
    settle().await;
    // What is still out is still seen, and counted when it comes back.
    let db = "pool.name=db";
    let state = |state| {
        let labels = format!("{db},db.client.connection.state={state}");
        told.gauge("db.client.connection.count", &labels)
    };
    assert_eq!((state("idle"), state("used")), (Some(0.0), Some(1.0)));
    drop(other);
    settle().await;
    assert_eq!((state("idle"), state("used")), (Some(0.0), Some(0.0)));
    assert_eq!(told.gauge("db.client.connection.max", db), Some(0.0));
    let closed = |reason| told.counter("pool.closed", &format!("pool.name=db,reason={reason}"));
    assert_eq!(
        (closed("broken"), closed("pool_closed")),
        (Some(1), Some(2))
    );
    assert_eq!(closed("lifetime"), None, "a series only for what happens");
    assert_eq!(told.counter("pool.overloaded", "pool.name=db"), Some(1));
    assert_eq!(
        told.values("db.client.connection.use_time", db).len(),
        3,
        "a lease counts however it ends"
    );
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_to_a_closed_pool_is_seen() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let pool = pool(&Backend::new()).max_size(2).build().unwrap();
    let labels = "pool.name=db,db.client.connection.state=used";
    let used = || told.gauge("db.client.connection.count", labels);
    let (one, other) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    sleep(2 * SEC).await;
    pool.close();
    settle().await;
    assert_eq!(used(), Some(2.0));
    drop(one);
    sleep(2 * SEC).await;
    assert_eq!(used(), Some(1.0));
    drop(other);
    settle().await;
    assert_eq!(used(), Some(0.0), "with a handle that is kept");
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_counted() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let backend = Backend::new();
    backend.on_create(Act::Fail("down"));
    let pool = pool(&backend).build().unwrap();
    for _ in 0..5 {
        assert!(pool.get().await.unwrap_err().is_connect());
    }
    sleep(2 * SEC).await;
    let status = pool.status();
    assert!(
        status.open_failures >= 3 && status.failed_fast >= 5,
        "{status:?}"
    );
    assert_eq!(
        told.counter("pool.failed_fast", "pool.name=db"),
        Some(status.failed_fast)
    );
    let failures = told.counter("pool.open_failures", "pool.name=db").unwrap();
    assert!((3..=status.open_failures).contains(&failures), "{failures}");
}

#[tokio::test(start_paused = true)]
async fn other_kinds_of_pools_have_other_names() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let http = MetricNames::Http {
        address: "api.example".to_owned(),
        port: 443,
    };
    for names in [http, MetricNames::Own] {
        let pool = pool(&Backend::new()).metric_names(names).build().unwrap();
        let _held = pool.get().await.unwrap();
        sleep(2 * SEC).await;
    }
    let labels = |state| {
        format!(
            "pool.name=db,server.address=api.example,server.port=443,http.connection.state={state}"
        )
    };
    settle().await;
    // Both pools are gone by now.
    for state in ["active", "idle"] {
        assert_eq!(
            told.gauge("http.client.open_connections", &labels(state)),
            Some(0.0)
        );
    }
    assert_eq!(
        told.gauge("pool.count", "pool.name=db,pool.state=used"),
        Some(0.0)
    );
    let at_server = "pool.name=db,server.address=api.example,server.port=443";
    for labels in ["pool.name=db", at_server] {
        assert_eq!(told.values("pool.use_time", labels).len(), 1);
        assert_eq!(told.counter("pool.gets", labels), Some(1));
    }
    assert!(!told.names().iter().any(|name| name.starts_with("db.")));
}

#[test]
fn what_one_runtime_told_the_next_does_not_tell_again() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    for round in 1..=2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let held = pool.get().await.unwrap();
            // A get that waits brings the keeper, on a runtime of its own each time.
            let (waited, ()) = tokio::join!(pool.get(), async {
                sleep(2 * SEC).await;
                drop(held);
            });
            drop(waited.unwrap());
            // The paused clock of the next runtime begins anew, and has to come past this one's.
            sleep(20 * SEC).await;
        });
        drop(runtime);
        assert_eq!(told.counter("pool.gets", "pool.name=db"), Some(2 * round));
    }
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_panics_does_the_pool_no_harm() {
    struct Bomb;

    impl Recorder for Bomb {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            panic!("told to panic")
        }
        fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
            panic!("told to panic")
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            panic!("told to panic")
        }
    }

    common::hush();
    let _on = set_default_local_recorder(&Bomb);
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    for _ in 0..5 {
        let held = pool.get().await.unwrap();
        let (waited, ()) = tokio::join!(pool.get(), async {
            sleep(SEC).await;
            drop(held);
        });
        drop(waited.unwrap());
        sleep(SEC).await;
    }
    common::end(pool).await;
}

/// The same things for every key.
struct Shards(Things);

impl KeyedManager<String> for Shards {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self, _: &String) -> Result<Thing, Oops> {
        self.0.create().await
    }

    async fn check(&self, thing: &mut Thing, usage: &Usage) -> Result<(), Oops> {
        self.0.check(thing, usage).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_keyed_pool_is_published_as_one_pool_and_at_the_end_nothing_is_left() {
    for names in [MetricNames::Database, MetricNames::Own] {
        let told = Told::default();
        let _on = set_default_local_recorder(&told);
        let own = names == MetricNames::Own;
        let pool = KeyedPool::builder(Shards(Things(Backend::new())))
            .name("db")
            .max_size(2)
            .max_total(3)
            .metric_names(names)
            .build()
            .unwrap();
        let held = [pool.get("a").await.unwrap(), pool.get("b").await.unwrap()];
        drop(pool.get("c").await.unwrap());
        sleep(2 * SEC).await;

        let prefix = if own { "pool" } else { "db.client.connection" };
        let name = "pool.name=db".to_owned();
        let gauge = |what: &str, labels: &str| told.gauge(&format!("{prefix}.{what}"), labels);
        let count = |state: &str| gauge("count", &format!("{name},{prefix}.state={state}"));
        assert_eq!((count("idle"), count("used")), (Some(1.0), Some(2.0)));
        assert_eq!(
            ["max", "idle.max", "idle.min", "pending_requests"].map(|what| gauge(what, &name)),
            [Some(3.0), Some(3.0), Some(0.0), Some(0.0)]
        );
        assert_eq!(told.counter("pool.gets", "pool.name=db"), Some(3));
        let create = told.values(&format!("{prefix}.create_time"), &name);
        assert_eq!(create.len(), 3);

        // Another key needs the place; a pool that is used tells of it once a second, one at rest hardly ever.
        drop(pool.get("d").await.unwrap());
        drop(pool.get("d").await.unwrap());
        sleep(2 * SEC).await;
        let closed = |reason| told.counter("pool.closed", &format!("pool.name=db,reason={reason}"));
        assert_eq!(closed("evicted"), Some(1));
        drop(held);
        sleep(60 * SEC).await;
        let before = told.times("pool.gets");
        sleep(300 * SEC).await;
        assert!(told.times("pool.gets") - before <= 11);

        let last = pool.get("a").await.unwrap();
        drop(pool);
        settle().await;
        assert_eq!((count("idle"), count("used")), (Some(0.0), Some(1.0)));
        drop(last);
        settle().await;
        assert_eq!((count("idle"), count("used")), (Some(0.0), Some(0.0)));
        assert_eq!(gauge("max", &name), Some(0.0));
        assert_eq!(told.counter("pool.gets", "pool.name=db"), Some(6));
        assert_eq!(closed("pool_closed"), Some(3));
    }
}

/// Connections that four at a time may have.
struct Streams;

impl SharedManager for Streams {
    type Resource = ();
    type Error = std::io::Error;

    async fn create(&self, gauge: pool_core::Gauge) -> Result<(), std::io::Error> {
        gauge.set_capacity(4);
        Ok(())
    }
}

impl MixedManager<u8> for Streams {
    type One = ();
    type Many = ();
    type Error = std::io::Error;

    /// Key 0 has connections for one at a time.
    async fn create(&self, key: &u8, gauge: pool_core::Gauge) -> std::io::Result<Opened<(), ()>> {
        gauge.set_capacity(4);
        Ok(match key {
            0 => Opened::One(()),
            _ => Opened::Many(()),
        })
    }

    async fn check(&self, _: &mut (), _: &Usage) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_mixed_pool_is_published_with_its_shares() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let builder = MixedPool::builder(Streams).name("http").max_total(3);
    let pool = builder.metric_names(MetricNames::Own).build().unwrap();
    let mut held = Vec::new();
    for key in [0, 1, 1, 1, 2] {
        held.push(pool.get(&key).await.unwrap());
    }
    sleep(2 * SEC).await;
    let shares =
        |state: &str| told.gauge("pool.shares", &format!("pool.name=http,pool.state={state}"));
    let count =
        |state: &str| told.gauge("pool.count", &format!("pool.name=http,pool.state={state}"));
    assert_eq!((shares("used"), shares("free")), (Some(4.0), Some(4.0)));
    assert_eq!((count("used"), count("idle")), (Some(3.0), Some(0.0)));
    held.truncate(2);
    sleep(2 * SEC).await;
    assert_eq!((shares("used"), shares("free")), (Some(1.0), Some(7.0)));
    assert_eq!((count("used"), count("idle")), (Some(2.0), Some(1.0)));
    assert_eq!(told.counter("pool.gets", "pool.name=http"), Some(5));
    pool.close();
    sleep(2 * SEC).await;
    assert_eq!((shares("used"), shares("free")), (Some(1.0), Some(0.0)));
}

#[tokio::test(start_paused = true)]
async fn a_shared_pool_is_published_with_its_shares() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let builder = SharedPool::builder(Streams).name("h2").max_size(3);
    let pool = builder.metric_names(MetricNames::Own).build().unwrap();
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(pool.get().await.unwrap());
    }
    sleep(2 * SEC).await;
    let shares =
        |state: &str| told.gauge("pool.shares", &format!("pool.name=h2,pool.state={state}"));
    let count = |state: &str| told.gauge("pool.count", &format!("pool.name=h2,pool.state={state}"));
    assert_eq!((shares("used"), shares("free")), (Some(5.0), Some(3.0)));
    assert_eq!((count("used"), count("idle")), (Some(2.0), Some(0.0)));
    assert_eq!(told.gauge("pool.max", "pool.name=h2"), Some(3.0));
    held.truncate(1);
    sleep(2 * SEC).await;
    assert_eq!((shares("used"), shares("free")), (Some(1.0), Some(7.0)));
    assert_eq!((count("used"), count("idle")), (Some(1.0), Some(1.0)));
    held.push(pool.get().await.unwrap());
    assert_eq!(shares("used"), Some(1.0), "a get tells nobody");
    sleep(2 * SEC).await;
    assert_eq!(shares("used"), Some(2.0), "the keeper does");
    assert_eq!(told.counter("pool.gets", "pool.name=h2"), Some(6));
    assert!(told.described().contains_key("pool.shares"));
    drop(pool);
    drop(held);
    sleep(2 * SEC).await;
    assert_eq!((shares("used"), shares("free")), (Some(0.0), Some(0.0)));
    assert_eq!(told.gauge("pool.max", "pool.name=h2"), Some(0.0));
    let closed = told.counter("pool.closed", "pool.name=h2,reason=pool_closed");
    assert_eq!(closed, Some(2));
}

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend))).name("db")
}

/// A recorder that keeps everything.
#[derive(Debug, Default)]
struct Told(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    counters: BTreeMap<Name, u64>,
    gauges: BTreeMap<Name, f64>,
    histograms: BTreeMap<Name, Vec<f64>>,
    described: BTreeMap<String, Option<Unit>>,
    /// How often each was asked for.
    calls: BTreeMap<String, usize>,
}

/// Name and labels, as `key=value,key=value`.
type Name = (String, String);

impl Told {
    fn counter(&self, name: &str, labels: &str) -> Option<u64> {
        self.0
            .lock()
            .unwrap()
            .counters
            .get(&(name.to_owned(), labels.to_owned()))
            .copied()
    }

    fn gauge(&self, name: &str, labels: &str) -> Option<f64> {
        self.0
            .lock()
            .unwrap()
            .gauges
            .get(&(name.to_owned(), labels.to_owned()))
            .copied()
    }

    fn values(&self, name: &str, labels: &str) -> Vec<f64> {
        let name = (name.to_owned(), labels.to_owned());
        self.0
            .lock()
            .unwrap()
            .histograms
            .get(&name)
            .cloned()
            .unwrap_or_default()
    }

    fn names(&self) -> BTreeSet<String> {
        self.0.lock().unwrap().calls.keys().cloned().collect()
    }

    fn described(&self) -> BTreeMap<String, Option<Unit>> {
        self.0.lock().unwrap().described.clone()
    }

    fn calls(&self) -> usize {
        self.0.lock().unwrap().calls.values().sum()
    }

    fn times(&self, name: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .calls
            .get(name)
            .copied()
            .unwrap_or_default()
    }

    fn describe(&self, name: &KeyName, unit: Option<Unit>) {
        self.0
            .lock()
            .unwrap()
            .described
            .insert(name.as_str().to_owned(), unit);
    }

    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        *self
            .0
            .lock()
            .unwrap()
            .calls
            .entry(key.name().to_owned())
            .or_default() += 1;
        Arc::new(One {
            name: (key.name().to_owned(), labels.join(",")),
            book: Arc::clone(&self.0),
        })
    }
}

impl Recorder for Told {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.describe(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.one(key))
    }
}

struct One {
    name: Name,
    book: Arc<Mutex<Book>>,
}

impl CounterFn for One {
    fn increment(&self, by: u64) {
        *self
            .book
            .lock()
            .unwrap()
            .counters
            .entry(self.name.clone())
            .or_default() += by;
    }

    fn absolute(&self, _: u64) {
        panic!("two pools of one name would hide each other");
    }
}

impl GaugeFn for One {
    fn increment(&self, by: f64) {
        *self
            .book
            .lock()
            .unwrap()
            .gauges
            .entry(self.name.clone())
            .or_default() += by;
    }

    fn decrement(&self, by: f64) {
        GaugeFn::increment(self, -by);
    }

    fn set(&self, to: f64) {
        self.book
            .lock()
            .unwrap()
            .gauges
            .insert(self.name.clone(), to);
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        let mut book = self.book.lock().unwrap();
        book.histograms
            .entry(self.name.clone())
            .or_default()
            .push(value);
    }
}
