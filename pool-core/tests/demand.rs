//! When something is opened and for whom, and what those are told for whom it was not: seen from outside.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use common::{Act, Backend, MS, SEC, Things, get_all, poll_once, settle};
use pool_core::{
    Builder, Lease, Pool,
    observe::{CloseReason, Phase},
};
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend))).name("things")
}

#[tokio::test(start_paused = true)]
async fn one_open_that_hangs_and_one_that_failed_stop_nobody() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend).max_size(4).build().unwrap();
    let started = Instant::now();
    let (mut first, mut second) = (pin!(pool.get()), pin!(pool.get()));
    assert!(poll_once(first.as_mut()).await.is_pending());
    settle().await;
    backend.on_create(Act::Fail("no"));
    assert!(poll_once(second.as_mut()).await.is_pending());
    settle().await;
    assert_eq!((pool.status().opening, pool.status().open_failures), (1, 1));
    backend.on_create(Act::Succeed);
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_ok() && second.is_ok());
    assert!(started.elapsed() < 2 * SEC, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn opens_that_hang_one_after_the_other_are_each_counted_on_for_no_longer_than_the_first() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend).max_size(4).build().unwrap();
    let started = Instant::now();
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).await.is_pending());
    sleep(1900 * MS).await;
    assert_eq!(pool.status().opening, 2);
    sleep(500 * MS).await;
    assert_eq!(pool.status().opening, 3);
    backend.on_create(Act::Succeed);
    drop(get.await.unwrap());
    assert!(started.elapsed() < 3200 * MS, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_which_connects_hang_has_one_prober() {
    let backend = Backend::new();
    backend.on_create(Act::Fail("no"));
    let pool = pool(&backend).max_size(8).build().unwrap();
    assert!(pool.get().await.unwrap_err().is_connect());
    backend.on_create(Act::Hang);
    sleep(8 * SEC).await;
    assert_eq!(pool.status().opening, 1);
}

#[tokio::test(start_paused = true)]
async fn what_began_to_open_before_a_reset_is_handed_to_nobody_after_it() {
    let backend = Backend::new();
    let gate = Arc::new(Semaphore::new(0));
    backend.on_create(Act::Gate(Arc::clone(&gate)));
    let pool = pool(&backend).max_size(1).build().unwrap();
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).await.is_pending());
    settle().await;
    pool.retire_all();
    gate.add_permits(2);
    let lease = get.await.unwrap();
    assert_eq!(
        (lease.id, pool.status().closed.by(CloseReason::Retired)),
        (1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn after_a_reset_nobody_waits_for_what_began_to_open_before_it_while_there_is_room() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend).max_size(2).build().unwrap();
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).await.is_pending());
    settle().await;
    backend.on_create(Act::Succeed);
    pool.retire_all();
    let started = Instant::now();
    drop(get.await.unwrap());
    assert!(started.elapsed() < 50 * MS, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_open_that_has_not_begun_when_the_demand_goes_never_begins() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(4).build().unwrap();
    {
        let (mut first, mut second) = (pin!(pool.get()), pin!(pool.get()));
        assert!(poll_once(first.as_mut()).await.is_pending());
        assert!(poll_once(second.as_mut()).await.is_pending());
        assert_eq!(pool.status().opening, 2);
    }
    settle().await;
    assert_eq!(
        (backend.attempts.load(SeqCst), pool.status().opening),
        (0, 0)
    );
    // And of two the one that is wanted still.
    let mut stays = Box::pin(pool.get());
    assert!(poll_once(stays.as_mut()).await.is_pending());
    let mut goes = Box::pin(pool.get());
    assert!(poll_once(goes.as_mut()).await.is_pending());
    drop(goes);
    drop(stays.await.unwrap());
    settle().await;
    assert_eq!(backend.attempts.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_has_just_begun_is_not_what_a_timeout_waited_for() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    let mut held = get_all(&pool).await;
    backend.on_create(Act::Hang);
    let get = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().timeout(SEC).await.map(drop) }
    });
    sleep(900 * MS).await;
    drop(held.pop().map(Lease::detach));
    sleep(50 * MS).await;
    assert_eq!(pool.status().opening, 1);
    let error = get.await.unwrap().unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Wait));
    assert_eq!(pool.status().timeouts_wait, 1);
}

#[tokio::test(start_paused = true)]
async fn who_stands_behind_those_for_whom_one_is_opened_times_out_waiting_for_a_return() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).max_opening(1).build().unwrap();
    let _held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    backend.on_create(Act::Hang);
    let (first, second) = tokio::join!(pool.get().timeout(400 * MS), pool.get().timeout(200 * MS));
    assert_eq!(first.unwrap_err().phase(), Some(Phase::Create));
    assert_eq!(second.unwrap_err().phase(), Some(Phase::Wait));
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_bounded_by_the_size_follows_it() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(4).build().unwrap();
    let _held = get_all(&pool).await;
    backend.on_create(Act::Hang);
    pool.resize(100).unwrap();
    let mut line: Vec<_> = (0..1600).map(|_| Box::pin(pool.get())).collect();
    for get in &mut line {
        // A get gives its thread back now and then.
        let polled = tokio::task::unconstrained(poll_once(get.as_mut()));
        assert!(polled.await.is_pending());
    }
    assert!(pool.get().await.unwrap_err().is_overloaded());
    pool.resize(4).unwrap();
    assert_eq!(pool.status().waiting, 1600, "who is in line stays there");
    line.truncate(1024);
    assert!(pool.get().await.unwrap_err().is_overloaded());
    line.pop();
    assert!(poll_once(pin!(pool.get()).as_mut()).await.is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_timed_however_it_ends() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let used = || pool.timings().used.count();
    pool.get().await.unwrap().broken = true;
    assert_eq!(used(), 1);
    Lease::taint(&mut pool.get().await.unwrap());
    assert_eq!(used(), 2);
    drop(Lease::detach(pool.get().await.unwrap()));
    assert_eq!(used(), 3);
    backend.on_reset(Act::Fail("no"));
    pool.get().await.unwrap().dirty = true;
    settle().await;
    assert_eq!(used(), 4);
    drop(pool.get().await.unwrap());
    assert_eq!(used(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_that_takes_too_long_is_counted() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend)
        .max_size(2)
        .min_idle(1)
        .acquire_timeout(SEC)
        .build()
        .unwrap();
    assert!(pool.warm_up().await.unwrap_err().is_timeout());
    assert_eq!(pool.status().timeouts_create, 1);
}
