//! Shared pools, from outside, on paused time.
#![allow(clippy::unwrap_used)]

mod places;
mod told;
mod unlocked;
mod upkeep;

use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use pool_core::{ConnectionDied, Gauge, Share, SharedConfig, SharedManager, SharedPool};
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);

/// A capacity that is never said.
const SAYS_NOTHING: u32 = u32::MAX;

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("connection refused")
    }
}

impl std::error::Error for Refused {}

/// What the connections of one test come from.
#[derive(Default)]
struct Backend {
    capacity: AtomicU32,
    fails: AtomicU32,
    connect_ms: AtomicU32,
    opened: AtomicU32,
    alive: AtomicU32,
    closed: AtomicU32,
    close_hangs: AtomicBool,
    /// So many say that they go away while they are being opened.
    drains: AtomicU32,
    gauges: Mutex<BTreeMap<u32, Gauge>>,
}

struct Streams {
    id: u32,
    backend: Arc<Backend>,
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.backend.alive.fetch_sub(1, SeqCst);
    }
}

struct Http2(Arc<Backend>);

impl SharedManager for Http2 {
    type Resource = Streams;
    type Error = Refused;

    async fn create(&self, gauge: Gauge) -> Result<Streams, Refused> {
        let backend = &self.0;
        sleep(backend.connect_ms.load(SeqCst) * MS).await;
        if backend.fails.load(SeqCst) > 0 {
            backend.fails.fetch_sub(1, SeqCst);
            return Err(Refused);
        }
        match backend.capacity.load(SeqCst) {
            SAYS_NOTHING => {}
            capacity => gauge.set_capacity(capacity),
        }
        if backend.drains.load(SeqCst) > 0 {
            backend.drains.fetch_sub(1, SeqCst);
            gauge.drain();
        }
        let id = backend.opened.fetch_add(1, SeqCst);
        backend.alive.fetch_add(1, SeqCst);
        backend.gauges.lock().unwrap().insert(id, gauge);
        let backend = Arc::clone(backend);
        Ok(Streams { id, backend })
    }

    async fn close(&self, connection: Streams) {
        self.0.closed.fetch_add(1, SeqCst);
        if self.0.close_hangs.load(SeqCst) {
            std::future::pending::<()>().await;
        }
        drop(connection);
    }
}

impl Backend {
    fn new(capacity: u32) -> Arc<Self> {
        let backend = Self::default();
        backend.capacity.store(capacity, SeqCst);
        Arc::new(backend)
    }

    fn gauge(&self, id: u32) -> Gauge {
        self.gauges.lock().unwrap()[&id].clone()
    }
}

fn pool(backend: &Arc<Backend>, max_size: u32) -> SharedPool<Http2> {
    SharedPool::builder(Http2(Arc::clone(backend)))
        .name("h2")
        .max_size(max_size)
        .build()
        .unwrap()
}

async fn take(pool: &SharedPool<Http2>, shares: usize) -> Vec<Share<Http2>> {
    join_all((0..shares).map(|_| pool.get()))
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn many_share_one_and_another_is_opened_when_all_are_full() {
    let backend = Backend::new(4);
    let pool = pool(&backend, 3);
    let mut shares = take(&pool, 1).await;
    shares.append(&mut take(&pool, 3).await);
    assert_eq!((pool.status().open, pool.status().shares), (1, 4));
    assert!(pool.try_get().map(drop).unwrap_err().is_busy());
    shares.push(pool.get().await.unwrap());
    assert_eq!((pool.status().open, pool.status().capacity), (2, 8));
    shares.clear();
    assert_eq!((pool.status().shares, pool.status().available), (0, 8));
    assert_eq!(backend.opened.load(SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_is_chosen_and_of_equals_the_youngest() {
    let backend = Backend::new(2);
    let pool = pool(&backend, 2);
    let mut shares = take(&pool, 4).await;
    shares.retain(|share| share.id == 0);
    assert_eq!(
        pool.get().await.unwrap().id,
        1,
        "it is empty, and the other full"
    );
    shares.clear();
    assert_eq!(pool.get().await.unwrap().id, 1, "both are empty");
    backend.gauge(1).set_capacity(0);
    assert_eq!(pool.get().await.unwrap().id, 0);
}

#[tokio::test(start_paused = true)]
async fn a_capacity_may_rise_fall_and_be_nothing_for_a_while() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    let more = tokio::spawn({
        let pool = pool.clone();
        async move { take(&pool, 3).await.len() }
    });
    sleep(MS).await;
    assert_eq!(pool.status().waiting, 3);
    backend.gauge(0).set_capacity(4);
    assert_eq!(more.await.unwrap(), 3);
    backend.gauge(0).set_capacity(0);
    assert_eq!(pool.status().shares, 1, "nobody loses a share");
    drop(held);
    let get = pool.get().timeout(20 * MS);
    let start = Instant::now();
    let error = get.await.map(drop).unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(start.elapsed(), 20 * MS);
    backend.gauge(0).set_capacity(1);
    drop(pool.get().await.unwrap());
    assert_eq!(backend.opened.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn one_that_drains_takes_no_more_and_closes_with_its_last_share() {
    let backend = Backend::new(2);
    let pool = pool(&backend, 2);
    let first = pool.get().await.unwrap();
    backend.gauge(0).drain();
    let second = pool.get().await.unwrap();
    assert_eq!((first.id, second.id), (0, 1));
    assert_eq!(
        (pool.status().draining, backend.closed.load(SeqCst)),
        (1, 0)
    );
    drop(first);
    sleep(MS).await;
    assert_eq!(
        (backend.closed.load(SeqCst), backend.alive.load(SeqCst)),
        (1, 1)
    );
    Share::taint(&second);
    drop(second);
    sleep(MS).await;
    assert_eq!((backend.closed.load(SeqCst), pool.status().open), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_get_that_waits_in_vain_for_one_that_drains_says_so() {
    let backend = Backend::new(2);
    let pool = pool(&backend, 1);
    let _held = pool.get().await.unwrap();
    backend.gauge(0).drain();
    let error = pool.get().timeout(5 * MS).await.err().unwrap().to_string();
    let says = "(1 of 1 connections open, 1 of them draining, 0 opening, ";
    assert!(error.contains(says), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_suspect_one_gets_no_new_share_until_it_answers() {
    let backend = Backend::new(4);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    backend.gauge(0).suspect();
    assert!(pool.get().timeout(5 * MS).await.is_err());
    assert!(!Share::is_dead(&held));
    assert_eq!(pool.status().suspect, 1);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.unwrap().id }
    });
    sleep(MS).await;
    backend.gauge(0).trust();
    assert_eq!(waiting.await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_one_fails_its_shares_at_once_and_only_its_own() {
    let backend = Backend::new(2);
    let pool = pool(&backend, 2);
    let shares = take(&pool, 4).await;
    let start = Instant::now();
    let uses = shares.iter().map(|share| async move {
        let used = Share::run(share, async |streams| {
            sleep(100 * MS).await;
            streams.id
        });
        (share.id, used.await, start.elapsed())
    });
    let dying = async {
        sleep(10 * MS).await;
        backend.gauge(0).dead();
    };
    let (used, ()) = tokio::join!(join_all(uses), dying);
    for (id, outcome, after) in used {
        match id {
            0 => assert_eq!((outcome, after), (Err(ConnectionDied), 10 * MS)),
            id => assert_eq!((outcome, after), (Ok(id), 100 * MS)),
        }
    }
    assert_eq!((pool.status().dead, pool.status().died), (1, 1));
    drop(shares);
    assert_eq!((pool.status().dead, backend.alive.load(SeqCst)), (0, 1));
    assert_eq!(backend.closed.load(SeqCst), 0, "no goodbye to the dead");
    backend.gauge(0).dead();
    backend.gauge(0).set_capacity(9);
    assert_eq!(
        pool.status().capacity,
        2,
        "words of one that is gone are nobody's"
    );
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_one_that_dies_gets_another() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.unwrap().id }
    });
    sleep(MS).await;
    backend.gauge(0).dead();
    assert!(Share::is_dead(&held));
    Share::died(&held).await;
    drop(held);
    assert_eq!(waiting.await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn another_is_opened_ahead_of_need_if_asked() {
    let backend = Backend::new(4);
    let builder = SharedPool::builder(Http2(Arc::clone(&backend))).max_size(2);
    let pool = builder.spare_shares(2).build().unwrap();
    let mut shares = take(&pool, 2).await;
    sleep(MS).await;
    assert_eq!(pool.status().open, 1, "two are left");
    shares.append(&mut take(&pool, 1).await);
    sleep(MS).await;
    assert_eq!(pool.status().open, 2, "one was left");
    let start = Instant::now();
    shares.append(&mut take(&pool, 5).await);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_cold_burst_opens_one_and_a_connect_that_hangs_holds_up_nobody_for_long() {
    let backend = Backend::new(100);
    let burst = pool(&backend, 4);
    drop(take(&burst, 16).await);
    assert_eq!(backend.opened.load(SeqCst), 1);

    let backend = Backend::new(100);
    backend.connect_ms.store(9_000, SeqCst);
    let pool = pool(&backend, 4);
    let getting = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.get().await.unwrap()) }
    });
    sleep(MS).await;
    backend.connect_ms.store(1, SeqCst);
    let start = Instant::now();
    getting.await.unwrap();
    assert!(
        start.elapsed() < Duration::from_millis(1_200),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn those_in_line_are_served_in_order_and_a_grant_that_nobody_fetches_goes_on() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    let mut unpolled = Box::pin(pool.get());
    assert!(futures_util::FutureExt::now_or_never(unpolled.as_mut()).is_none());
    let next = tokio::spawn({
        let pool = pool.clone();
        async move { drop(pool.get().await.unwrap()) }
    });
    sleep(MS).await;
    let start = Instant::now();
    drop(held);
    next.await.unwrap();
    assert!(
        (50 * MS..=80 * MS).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    drop(unpolled.await.unwrap());
    assert_eq!((pool.status().reclaimed, pool.status().shares), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_get_that_is_dropped_at_any_time_loses_nothing() {
    for ms in 0..40 {
        let backend = Backend::new(1);
        backend.connect_ms.store(10, SeqCst);
        let pool = pool(&backend, 1);
        let held = tokio::spawn({
            let pool = pool.clone();
            async move {
                let share = pool.get().await.unwrap();
                sleep(10 * MS).await;
                drop(share);
            }
        });
        drop(timeout(ms * MS, pool.get()).await);
        held.await.unwrap();
        drop(pool.get().await.unwrap());
        let status = pool.status();
        assert_eq!(
            (status.shares, status.waiting, status.opened),
            (0, 0, 1),
            "after {ms} ms"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_down_is_said_to_be_with_the_real_error() {
    let backend = Backend::new(1);
    backend.fails.store(u32::MAX, SeqCst);
    let pool = pool(&backend, 1);
    let error = pool.get().await.map(drop).unwrap_err();
    assert!(error.is_connect() && error.connect_error().is_some());
    assert!(error.to_string().contains("connection refused"), "{error}");
    backend.fails.store(0, SeqCst);
    sleep(Duration::from_secs(6)).await;
    drop(pool.get().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn unused_ones_go_and_old_ones_too() {
    let backend = Backend::new(1);
    let config = SharedConfig::new()
        .max_size(3)
        .idle_timeout(Some(Duration::from_secs(60)))
        .max_lifetime(Some(Duration::from_secs(600)))
        .lifetime_jitter(0.0);
    let builder = SharedPool::builder(Http2(Arc::clone(&backend))).config(config);
    let pool = builder.build().unwrap();
    let mut shares = take(&pool, 3).await;
    shares.truncate(1);
    sleep(Duration::from_secs(100)).await;
    assert_eq!(pool.status().open, 1, "the two that nobody shared");
    sleep(Duration::from_secs(540)).await;
    let status = pool.status();
    assert_eq!(
        (status.open, status.draining, status.opened),
        (1, 1, 4),
        "its replacement was opened first"
    );
    drop(shares);
    sleep(MS).await;
    assert_eq!(
        (backend.closed.load(SeqCst), backend.alive.load(SeqCst)),
        (3, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn closing_tells_those_in_line_and_draining_waits_for_the_last_share() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.map(drop).unwrap_err().is_closed() }
    });
    sleep(MS).await;
    assert_eq!(pool.drain(5 * MS).await.left, 1);
    assert!(waiting.await.unwrap());
    let releasing = async {
        sleep(5 * MS).await;
        drop(held);
    };
    let (left, ()) = tokio::join!(pool.drain(50 * MS), releasing);
    assert_eq!((left.left, backend.closed.load(SeqCst)), (0, 1));
    assert!(pool.get().await.map(drop).unwrap_err().is_closed());
}

#[test]
fn a_share_outlives_its_runtime_and_its_pool() {
    let backend = Backend::new(2);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let pool = pool(&backend, 1);
    let share = runtime.block_on(pool.get()).unwrap();
    drop(runtime);
    drop(pool);
    assert_eq!(share.id, 0);
    drop(share);
    assert_eq!(backend.alive.load(SeqCst), 0);
}

#[test]
fn without_a_runtime_a_get_that_has_to_wait_says_so() {
    let pool = pool(&Backend::new(1), 1);
    let get = futures_util::FutureExt::now_or_never(pool.get());
    assert!(get.unwrap().map(drop).unwrap_err().is_no_runtime());
    let builder = SharedPool::builder(Http2(Backend::new(1))).max_size(0);
    let error = builder.build().map(drop).unwrap_err();
    assert_eq!(error.to_string(), "max_size is 0, but must be at least 1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_on_two_connections_whose_capacity_changes_all_the_time() {
    let backend = Backend::new(4);
    let pool = pool(&backend, 2);
    let tasks = (0..32).map(|n: u32| {
        let (pool, backend) = (pool.clone(), Arc::clone(&backend));
        tokio::spawn(async move {
            for round in 0..100 {
                let share = pool.get().await.unwrap();
                tokio::task::yield_now().await;
                if (n + round) % 50 == 7 {
                    backend.gauge(share.id).set_capacity(1 + (n + round) % 4);
                }
                if (n + round) % 120 == 3 {
                    backend.gauge(share.id).dead();
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let status = pool.status();
    assert_eq!((status.shares, status.waiting, status.dead), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_get_ends_at_its_deadline_and_a_timeout_of_nothing_takes_what_is_there() {
    let pool = pool(&Backend::new(1), 1);
    let held = pool.get().await.unwrap();
    for ms in [0, 7, 700] {
        let start = Instant::now();
        let get = pool.get().deadline(start + ms * MS);
        assert!(get.await.map(drop).unwrap_err().is_timeout());
        assert!(start.elapsed() <= ms * MS + MS, "{:?}", start.elapsed());
    }
    drop(held);
    drop(pool.get().timeout(Duration::ZERO).await.unwrap());
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

#[test]
fn a_get_that_outlives_its_runtime_goes_on_on_the_next() {
    let pool = pool(&Backend::new(1), 1);
    let first = runtime();
    let held = first.block_on(pool.get()).unwrap();
    let gets = [pool.get().timeout(20 * MS), pool.get(), pool.get()];
    let mut gets = gets.map(Box::pin);
    first.block_on(async {
        for get in &mut gets {
            assert!(poll_once(get.as_mut()).await.is_pending());
        }
        // The long waits have timers of their own by then.
        sleep(5 * MS).await;
    });
    drop(first);
    let [short, nowhere, long] = gets;
    let unkept = futures_util::FutureExt::now_or_never(nowhere).unwrap();
    assert!(unkept.map(drop).unwrap_err().is_no_runtime());
    runtime().block_on(async {
        assert!(short.await.map(drop).unwrap_err().is_timeout());
        drop(held);
        drop(long.await.unwrap());
    });
    assert_eq!((pool.status().waiting, pool.status().shares), (0, 0));
}

/// Polls a future once.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

#[test]
fn a_get_ends_in_time_though_the_keeper_took_the_first_in_line_with_it() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let first = runtime();
    let held = first.block_on(pool.get()).unwrap();
    let waits = |pool: SharedPool<Http2>| async move { pool.get().await.map(drop) };
    let in_line = async |line: usize| {
        while pool.status().waiting < line {
            tokio::task::yield_now().await;
        }
    };
    let gone = first.spawn(waits(pool.clone()));
    first.block_on(in_line(1));
    let second = runtime();
    let get = second.spawn(waits(pool.clone()));
    second.block_on(in_line(2));
    drop((first, gone));
    let outcome = second.block_on(async { timeout(60_000 * MS, get).await });
    let outcome = outcome.expect("it ends at its own deadline").unwrap();
    assert!(outcome.unwrap_err().is_timeout());
    drop(held);
}
