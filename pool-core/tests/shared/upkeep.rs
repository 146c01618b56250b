//! What keeps a shared pool as it should be, and what it knows of itself.

use pool_core::observe::CloseReason;

use super::*;

fn configured(backend: &Arc<Backend>, config: SharedConfig) -> SharedPool<Http2> {
    let builder = SharedPool::builder(Http2(Arc::clone(backend)));
    builder.config(config).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_warm_pool_has_its_minimum_open_before_anybody_comes() {
    let backend = Backend::new(4);
    backend.connect_ms.store(10, SeqCst);
    let pool = configured(&backend, SharedConfig::new().max_size(5).min_idle(3));
    pool.warm_up().await.unwrap();
    assert_eq!((pool.status().open, pool.status().unused), (3, 3));
    let start = Instant::now();
    pool.warm_up().await.unwrap();
    assert_eq!((start.elapsed(), pool.status().opened), (Duration::ZERO, 3));

    let lazy = configured(&backend, SharedConfig::new().max_size(5));
    lazy.warm_up().await.unwrap();
    assert_eq!((lazy.status().open, lazy.status().shares), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_be_warmed_says_why() {
    let backend = Backend::new(4);
    backend.fails.store(100, SeqCst);
    let config = SharedConfig::new().max_size(5).min_idle(3);
    let pool = configured(&backend, config.clone());
    let error = pool.warm_up().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert_eq!(
        error.connect_error().map(ToString::to_string).as_deref(),
        Some("connection refused")
    );
    pool.close();
    assert!(pool.warm_up().await.unwrap_err().is_closed());

    backend.fails.store(0, SeqCst);
    backend.connect_ms.store(5_000, SeqCst);
    let slow = configured(&backend, config.acquire_timeout(50 * MS));
    let error = slow.warm_up().await.unwrap_err();
    assert!(error.is_timeout() && error.waited() == 50 * MS, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_lets_the_least_loaded_go_and_a_larger_one_opens_more() {
    let backend = Backend::new(2);
    let pool = pool(&backend, 3);
    let mut shares = take(&pool, 5).await;
    assert_eq!(pool.status().open, 3);
    pool.resize(1).unwrap();
    let status = pool.status();
    assert_eq!((status.max_size, status.open, status.draining), (1, 1, 2));
    assert!(pool.try_get().map(drop).unwrap_err().is_busy());
    let ids: Vec<_> = shares.iter().map(|share| share.id).collect();
    let alone = ids
        .iter()
        .position(|id| ids.iter().filter(|other| *other == id).count() == 1);
    drop(shares.remove(alone.expect("one of three has one share of five")));
    sleep(MS).await;
    let status = pool.status();
    assert_eq!(
        (status.draining, status.closed.by(CloseReason::Shrunk)),
        (1, 1)
    );
    pool.resize(2).unwrap();
    let more = pool.get().timeout(MS).await.map(drop);
    assert!(
        more.unwrap_err().is_timeout(),
        "the one that goes holds its place"
    );
    shares.clear();
    sleep(MS).await;
    let _shares = take(&pool, 4).await;
    assert_eq!((pool.status().open, backend.opened.load(SeqCst)), (2, 4));
    let error = pool.resize(0).unwrap_err();
    assert_eq!(error.to_string(), "max_size is 0, but must be at least 1");
}

#[tokio::test(start_paused = true)]
async fn what_was_open_or_being_opened_at_a_reset_gives_no_share_after_it() {
    let backend = Backend::new(2);
    let pool = pool(&backend, 2);
    let before = take(&pool, 2).await;
    backend.connect_ms.store(10, SeqCst);
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.unwrap().id }
    });
    sleep(MS).await;
    assert_eq!(pool.status().opening, 1);
    pool.retire_all();
    assert_eq!((pool.status().open, pool.status().draining), (0, 1));
    assert_eq!(waiting.await.unwrap(), 2, "of neither of the two");
    drop(before);
    sleep(MS).await;
    let status = pool.status();
    assert_eq!(
        (status.open, status.closed.by(CloseReason::Retired)),
        (1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn what_ended_is_counted_by_why() {
    let backend = Backend::new(1);
    let config = SharedConfig::new().max_size(1).max_waiters(Some(2));
    let pool = configured(&backend, config);
    let held = pool.get().await.unwrap();
    assert!(
        pool.get()
            .timeout(MS)
            .await
            .map(drop)
            .unwrap_err()
            .is_timeout()
    );
    backend.gauge(0).drain();
    drop(held);
    sleep(MS).await;
    backend.connect_ms.store(60_000, SeqCst);
    let error = pool.get().timeout(40 * MS).await.map(drop).unwrap_err();
    assert_eq!(error.phase(), Some(pool_core::observe::Phase::Create));
    let status = error.status();
    assert_eq!((status.timeouts_wait, status.timeouts_create), (1, 1));
    let status = pool.status();
    assert_eq!(status.closed.by(CloseReason::GoingAway), 1);
    assert_eq!((status.timeouts(), status.timeouts_wait), (2, 1));
    let timings = pool.timings();
    assert_eq!((timings.create.count(), timings.wait.count()), (1, 1));
}

#[test]
fn a_setting_without_a_meaning_here_is_none() {
    for name in [
        "LEAK_AFTER",
        "SHED_TARGET",
        "KEEPALIVE",
        "CHECK_AFTER",
        "IDLE_ORDER",
    ] {
        let mut env = pool_core::Env::from_vars("P", [(format!("P_{name}"), "1s")]);
        let mut config = SharedConfig::new();
        config.apply_env(&mut env).unwrap();
        let says = env.finish().unwrap_err().to_string();
        let expected = format!("P_{name} must be left out: no setting has this name");
        assert!(says.starts_with(&expected), "{says}");
        assert!(says.contains("P_SPARE_SHARES"), "{says}");
    }
    let error = SharedConfig::new().max_size(2).min_idle(3).validate();
    assert_eq!(
        error.unwrap_err().to_string(),
        "min_idle is 3, but must be at most max_size, which is 2"
    );
}

/// The keeper of a pool is on a runtime that nobody drives any more, and that has not ended either.
#[test]
fn a_get_ends_at_its_deadline_though_the_keeper_stands_still() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let backend = Backend::new(1);
    let pool = configured(&backend, SharedConfig::new().max_size(1));
    let (still, driven) = (runtime(), runtime());
    let held = still.block_on(pool.get()).unwrap();
    driven.block_on(async {
        let start = Instant::now();
        let get = pool.get().timeout(200 * MS);
        let outcome = timeout(Duration::from_secs(10), get).await;
        assert!(
            outcome
                .expect("it ends by itself")
                .map(drop)
                .unwrap_err()
                .is_timeout()
        );
        assert!(start.elapsed() < Duration::from_secs(5));
    });
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_fetches_does_not_hold_up_the_end_of_a_pool() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let held = pool.get().await.unwrap();
    let mut get = std::pin::pin!(pool.get());
    poll_fn(|context| {
        assert!(get.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    drop(held);
    assert_eq!(pool.drain(Duration::from_secs(5)).await.left, 0);
    assert!(get.await.map(drop).unwrap_err().is_closed());
}

/// Says something of its connections while they are being opened.
struct Moody {
    opened: AtomicU32,
    alive: Arc<AtomicU32>,
    says: fn(&Gauge),
}

struct Alive(Arc<AtomicU32>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl SharedManager for Moody {
    type Resource = Alive;
    type Error = Refused;

    async fn create(&self, gauge: Gauge) -> Result<Alive, Refused> {
        gauge.set_capacity(1);
        if self.opened.fetch_add(1, SeqCst) < 3 {
            (self.says)(&gauge);
        }
        self.alive.fetch_add(1, SeqCst);
        Ok(Alive(Arc::clone(&self.alive)))
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_takes_its_leave_or_dies_before_it_is_open_is_never_shared_and_not_replaced_at_once()
 {
    for says in [Gauge::drain as fn(&Gauge), Gauge::dead] {
        let (opened, alive) = (AtomicU32::new(0), Arc::default());
        let moody = Moody {
            opened,
            alive: Arc::clone(&alive),
            says,
        };
        let pool = SharedPool::builder(moody).max_size(1).build().unwrap();
        let start = Instant::now();
        let error = pool.get().await.map(drop).unwrap_err();
        assert!(error.is_connect(), "{error}");
        let says = "the connection died or was drained before anybody could use it";
        assert!(error.to_string().contains(says), "{error}");
        assert!(start.elapsed() > Duration::ZERO, "with a pause between");
        let share = loop {
            match pool.get().await {
                Ok(share) => break share,
                Err(_) => sleep(100 * MS).await,
            }
        };
        assert_eq!(alive.load(SeqCst), 1, "the others are gone");
        assert!(pool.status().open_failures >= 3);
        drop(share);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_before_anybody_had_a_share_of_it_is_not_replaced_at_once() {
    let drained = "the connection died or was drained before anybody could use it";
    let died = "the resource was broken as soon as it was open";
    for (ends, says) in [(Gauge::drain as fn(&Gauge), drained), (Gauge::dead, died)] {
        // It takes nobody yet.
        let backend = Backend::new(0);
        let pool = pool(&backend, 1);
        let server = tokio::spawn({
            let backend = Arc::clone(&backend);
            async move {
                loop {
                    sleep(MS).await;
                    let opened = std::mem::take(&mut *backend.gauges.lock().unwrap());
                    opened.values().for_each(ends);
                }
            }
        });
        let (one, other) = tokio::join!(pool.get(), pool.get());
        for error in [one, other].map(|told| told.map(drop).unwrap_err()) {
            assert!(
                error.is_connect() && error.to_string().contains(says),
                "{error}"
            );
        }
        assert_eq!(
            backend.opened.load(SeqCst),
            3,
            "after three of them all are told"
        );
        sleep(Duration::from_secs(10)).await;
        let opened = backend.opened.load(SeqCst);
        assert!((4..100).contains(&opened), "{opened} opens in ten seconds");
        let status = pool.status();
        let last = status.last_error.as_deref();
        assert!(last.is_some_and(|error| error.contains(says)), "{last:?}");
        assert_eq!(status.shares, 0);
        // What is opened when the server is well again is used.
        server.abort();
        backend.capacity.store(1, SeqCst);
        let share = loop {
            match pool.get().await {
                Ok(share) => break share,
                Err(_) => sleep(100 * MS).await,
            }
        };
        drop(share);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_goes_after_a_use_or_a_while_is_replaced_at_once() {
    for ends in [Gauge::drain as fn(&Gauge), Gauge::dead] {
        for (capacity, lasts) in [(1, Duration::ZERO), (0, Duration::from_secs(1))] {
            let backend = Backend::new(capacity);
            let pool = pool(&backend, 1);
            if capacity > 0 {
                drop(take(&pool, 1).await);
            } else {
                // Nobody has a share of it, but it lasts.
                let late = pool.get().timeout(MS).await;
                assert!(late.map(drop).unwrap_err().is_timeout());
                backend.capacity.store(1, SeqCst);
            }
            sleep(lasts).await;
            let gauge = backend.gauge(0);
            let start = Instant::now();
            ends(&gauge);
            let share = pool.get().await.unwrap();
            assert_eq!((share.id, start.elapsed()), (1, Duration::ZERO));
            assert_eq!(pool.status().last_error, None);
        }
    }
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("in drop");
    }
}

struct Bombs(Mutex<Vec<Gauge>>);

impl SharedManager for Bombs {
    type Resource = Bomb;
    type Error = Refused;

    async fn create(&self, gauge: Gauge) -> Result<Bomb, Refused> {
        self.0.lock().unwrap().push(gauge);
        Ok(Bomb)
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_panics_when_it_goes_takes_no_place_with_it() {
    let bombs = Bombs(Mutex::default());
    let pool = SharedPool::builder(bombs).max_size(1).build().unwrap();
    for n in 0..3 {
        let share = pool.get().await.unwrap();
        let gauge = pool.manager().0.lock().unwrap()[n].clone();
        if n == 1 {
            gauge.drain();
            drop(share);
        } else {
            gauge.dead();
            drop(share);
        }
        sleep(MS).await;
    }
    let share = pool.get().await.unwrap();
    pool.manager().0.lock().unwrap()[3].dead();
    drop(share);
    assert_eq!(pool.drain(Duration::from_secs(1)).await.left, 0);
}

#[test]
fn a_share_that_is_there_needs_no_runtime_whoever_is_called_to_the_lock() {
    let backend = Backend::new(4);
    let builder = SharedPool::builder(Http2(Arc::clone(&backend))).max_size(1);
    let pool = builder.spare_shares(2).build().unwrap();
    let runtime = {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    drop(runtime.block_on(pool.get()).unwrap());
    let share = futures_util::FutureExt::now_or_never(pool.get());
    assert!(share.expect("at once").is_ok());
}

/// Counts only who holds it.
struct Held;

impl std::task::Wake for Held {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_for_the_end_of_a_pool_leaves_nothing_behind() {
    let pool = pool(&Backend::new(1), 1);
    let _share = pool.get().await.unwrap();
    let held = Arc::new(Held);
    let waker = std::task::Waker::from(Arc::clone(&held));
    for _ in 0..3 {
        let mut drain = std::pin::pin!(pool.drain(MS));
        let mut context = std::task::Context::from_waker(&waker);
        assert!(drain.as_mut().poll(&mut context).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&held), 1);
}
