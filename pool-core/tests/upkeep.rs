//! What time does to a pool, seen from outside: checks, leaks, what nobody fetches, and until when it is kept.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
};

use common::{Act, Backend, MS, SEC, Things, get_all, poll_once, settle};
use pool_core::{
    Builder, Pool,
    observe::{LeaseInfo, Observer},
};
use tokio::time::{Instant, sleep};

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend))).name("things")
}

/// A pool with forty idle ones, each to be checked once a minute.
async fn forty_idle(backend: &Arc<Backend>) -> Pool<Things> {
    let pool = pool(backend)
        .max_size(40)
        .keepalive(Some(60 * SEC))
        .idle_timeout(None)
        .max_lifetime(None)
        .build()
        .unwrap();
    drop(get_all(&pool).await);
    pool
}

#[tokio::test(start_paused = true)]
async fn more_idle_ones_than_may_be_checked_at_once_are_all_kept_alive() {
    let backend = Backend::new();
    backend.on_check(Act::Take(10 * MS));
    let _pool = forty_idle(&backend).await;
    for round in 1..=3 {
        sleep(62 * SEC).await;
        assert_eq!(backend.checks.load(SeqCst), 40 * round);
    }
}

#[tokio::test(start_paused = true)]
async fn those_that_fail_their_check_hold_up_no_other() {
    let backend = Backend::new();
    backend.on_check(Act::Fail("gone"));
    let _pool = forty_idle(&backend).await;
    sleep(62 * SEC).await;
    assert_eq!((backend.checks.load(SeqCst), backend.alive()), (40, 0));
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_fetches_does_not_hold_up_a_drain() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut unpolled = pin!(pool.get());
    assert!(poll_once(unpolled.as_mut()).await.is_pending());
    drop(held);
    let started = Instant::now();
    let drained = pool.drain(10 * SEC).await;
    assert!(drained.is_complete(), "{drained:?}");
    assert!(started.elapsed() < 200 * MS, "{:?}", started.elapsed());
    assert!(unpolled.await.unwrap_err().is_closed());
}

#[derive(Clone, Debug, Default)]
struct Leaks(Arc<AtomicU32>);

impl Observer for Leaks {
    fn leaked(&self, _: &str, _: &LeaseInfo) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Somebody who was never told.
struct Untold;

impl Wake for Untold {
    fn wake(self: Arc<Self>) {
        panic!("it was told");
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_or_a_warm_up_that_was_dropped_leaves_nothing_behind() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend).max_size(2).min_idle(1).build().unwrap();
    let untold = Arc::new(Untold);
    let waker = Waker::from(Arc::clone(&untold));
    let mut context = Context::from_waker(&waker);
    for _ in 0..3 {
        assert!(pin!(pool.warm_up()).poll(&mut context).is_pending());
    }
    for _ in 0..3 {
        assert!(pin!(pool.drain(SEC)).poll(&mut context).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&untold), 1);
}

#[tokio::test(start_paused = true)]
async fn a_leak_is_told_though_the_pool_was_closed() {
    let leaks = Leaks::default();
    let pool = pool(&Backend::new())
        .max_size(1)
        .leak_after(Some(5 * SEC))
        .observer(leaks.clone())
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    let drain = pool.drain(10 * SEC).await;
    assert_eq!((drain.left, leaks.0.load(SeqCst)), (1, 1));
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn the_keeper_of_a_closed_pool_ends_when_the_last_one_has_come_back() {
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    let pool = pool(&Backend::new()).max_size(2).build().unwrap();
    let held = pool.get().await.unwrap();
    pool.close();
    sleep(60 * SEC).await;
    assert_eq!(tasks(), 1, "the keeper is there, and nothing else");
    drop(held);
    settle().await;
    assert_eq!(tasks(), 0);
    assert!(pool.drain(SEC).await.is_complete());
}
