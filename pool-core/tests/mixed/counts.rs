//! Counts that add up, whatever happened.

use std::{
    pin::pin,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    task::Poll,
    thread,
};

use pool_core::{Held, MixedStatus};
use tokio::{
    runtime::Runtime,
    time::{sleep, timeout},
};

use crate::{
    NEW, OLD, Pool, by_key,
    common::{MS, SEC, poll_once, settle},
    dials, ends, get, get_some, origins,
};

/// What does not add up at this moment.
fn adds_up(of: &MixedStatus) {
    let all = &of.connections;
    let open = all.idle + all.leased + all.checking + all.resetting;
    assert_eq!(all.open, open, "{of:?}");
    assert!(
        all.open + all.opening + all.closing <= all.max_size,
        "{of:?}"
    );
    assert!(of.draining <= of.shared && of.shared <= all.open, "{of:?}");
    assert!(all.waited <= all.gets, "{of:?}");
}

#[test]
fn a_hundred_thousand_gets_of_both_kinds_from_four_threads_add_up() {
    let runtime = Runtime::new().unwrap();
    let pool = origins(by_key).max_size(2).max_total(5).build().unwrap();
    let (had, of_one) = (AtomicU64::new(0), AtomicU64::new(0));
    let each = 25_000;
    thread::scope(|threads| {
        for seed in 0..4 {
            let (pool, had, of_one) = (&pool, &had, &of_one);
            let handle = runtime.handle().clone();
            threads.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                handle.block_on(async {
                    let mut held = std::collections::VecDeque::new();
                    for _ in 0..each {
                        let key = [OLD, 2, NEW, 9][random.usize(..4)];
                        // Whoever waits holds nothing that others wait for.
                        let got = pool.try_get(&key).ok();
                        let got = match got {
                            Some(got) => got,
                            None => {
                                held.clear();
                                pool.get(&key).await.unwrap()
                            }
                        };
                        had.fetch_add(1, SeqCst);
                        of_one.fetch_add(u64::from(matches!(got, Held::One(_))), SeqCst);
                        held.push_back(got);
                        if random.u32(..3) == 0 {
                            held.clear();
                        } else if held.len() > 3 {
                            held.pop_front();
                        }
                    }
                });
            });
        }
        threads.spawn(|| {
            for _ in 0..2000 {
                adds_up(&pool.status());
                for (_, of) in pool.statuses() {
                    adds_up(&of);
                }
                thread::yield_now();
            }
        });
    });
    let status = pool.status();
    assert_eq!(
        (status.connections.gets, had.into_inner()),
        (4 * each, 4 * each)
    );
    assert!(of_one.into_inner() > each / 2);
    assert_eq!(
        (status.shares, status.connections.leased),
        (0, 0),
        "{status:?}"
    );
    assert_eq!(status.connections.waiting, 0);
    adds_up(&status);
    runtime.block_on(async {
        settle().await;
        let closed = pool.status().connections.closed.total();
        let open = u64::from(pool.status().connections.open);
        let closing = u64::from(pool.status().connections.closing);
        assert!(closed + open >= status.connections.opened, "{closing}");
        ends(pool, 0).await;
    });
}

#[test]
fn a_share_that_is_dropped_on_a_thread_without_a_runtime_serves_who_waits() {
    let runtime = Runtime::new().unwrap();
    for key in [OLD, NEW] {
        let pool = origins(by_key).max_size(1).max_total(1).build().unwrap();
        let had = runtime.block_on(get_some(&pool, key, key));
        let waits = [key, 9].map(|key| {
            let pool = pool.clone();
            runtime.spawn(async move { get(&pool, key).await.id })
        });
        while pool.status().connections.waiting < 2 {
            thread::yield_now();
        }
        drop(had);
        for waits in waits {
            let served = runtime.block_on(async { timeout(10 * SEC, waits).await });
            served.unwrap().unwrap();
        }
        runtime.block_on(ends(pool, 0));
    }
}

#[test]
fn the_last_share_of_a_connection_that_drains_may_outlive_every_runtime() {
    let runtime = Runtime::new().unwrap();
    let pool = origins(by_key).build().unwrap();
    let (share, lease) = runtime.block_on(async { (get(&pool, NEW).await, get(&pool, OLD).await) });
    share.gauge.drain();
    drop(runtime);
    drop((share, lease));
    let count = pool.manager().count.clone();
    let status = pool.status();
    assert_eq!(
        (status.shared, status.connections.leased),
        (0, 0),
        "{status:?}"
    );
    drop(pool);
    assert_eq!(count.alive.load(SeqCst), 0);
}

/// Joins the queue of `key`, is handed something, and does not fetch it until `then` was done.
async fn unfetched(pool: &Pool, key: u32, then: impl FnOnce()) -> u32 {
    let held = get_some(pool, key, key).await;
    let mut next = pin!(get(pool, key));
    assert!(poll_once(next.as_mut()).await.is_pending());
    drop(held);
    assert_eq!(pool.status().connections.leased, 1, "it was handed on");
    then();
    next.await.id
}

#[tokio::test(start_paused = true)]
async fn a_get_counts_once_though_what_it_was_handed_died_before_it_looked() {
    for key in [OLD, NEW] {
        let pool = origins(by_key).max_size(1).build().unwrap();
        drop(get(&pool, key).await);
        let gauge = pool.manager().count.gauges.lock().unwrap()[0].clone();
        assert_eq!(unfetched(&pool, key, || gauge.dead()).await, 2);
        let gets = u64::from(1 + key + 1);
        let of = pool.status();
        adds_up(&of);
        assert_eq!(
            (of.connections.gets, of.connections.waited),
            (gets, 2),
            "{key}"
        );
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_handed_to_a_get_before_its_connection_drained_is_its_own() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    drop(get(&pool, NEW).await);
    let gauge = pool.manager().count.gauges.lock().unwrap()[0].clone();
    assert_eq!(unfetched(&pool, NEW, || gauge.drain()).await, 1);
    settle().await;
    assert_eq!(pool.status().connections.open, 0);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_share_that_nobody_fetches_goes_to_the_next_who_waits() {
    let builder = origins(by_key).max_size(1);
    let pool = builder.reclaim_after(50 * MS).build().unwrap();
    let held = get_some(&pool, 2, 2).await;
    let mut sleeps = Box::pin(get(&pool, 2));
    assert!(poll_once(sleeps.as_mut()).await.is_pending());
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, 2).await.id }
    });
    settle().await;
    let mut held = held;
    drop(held.pop());
    assert_eq!(timeout(SEC, waits).await.unwrap().unwrap(), 1);
    assert_eq!(pool.status().connections.reclaimed, 1);
    sleep(MS).await;
    match poll_once(sleeps.as_mut()).await {
        Poll::Ready(had) => drop(had),
        Poll::Pending => drop(timeout(SEC, sleeps.as_mut()).await.unwrap()),
    }
    drop(sleeps);
    drop(held);
    assert_eq!(dials(&pool), 1);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_get_that_is_dropped_after_it_was_handed_a_share_costs_nothing() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    for _ in 0..100 {
        let held = get_some(&pool, NEW, NEW).await;
        {
            let mut next = pin!(get(&pool, NEW));
            assert!(poll_once(next.as_mut()).await.is_pending());
            drop(held);
        }
        let status = pool.status();
        assert_eq!((status.shares, status.available), (0, NEW), "{status:?}");
    }
    assert_eq!(pool.status().connections.cancelled, 100);
    ends(pool, 0).await;
}

#[test]
fn gauges_that_say_anything_at_any_time_lose_no_place_and_no_waiter() {
    let runtime = Runtime::new().unwrap();
    let pool = origins(by_key).max_size(2).max_total(5).build().unwrap();
    let over = AtomicBool::new(false);
    thread::scope(|threads| {
        threads.spawn(|| {
            let mut random = fastrand::Rng::with_seed(7);
            while !over.load(SeqCst) {
                let gauges = pool.manager().count.gauges.lock().unwrap().clone();
                for _ in 0..8 {
                    // Of those that were opened lately, most are still there.
                    let late = gauges.len().saturating_sub(random.usize(1..8));
                    let Some(gauge) = gauges.get(late) else { break };
                    match random.u32(..20) {
                        0 => gauge.dead(),
                        1 => gauge.drain(),
                        2..5 => gauge.suspect(),
                        5..10 => gauge.trust(),
                        _ => gauge.set_capacity(random.u32(..6)),
                    }
                }
                thread::yield_now();
            }
        });
        let users = (0..4).map(|seed| {
            let (pool, handle) = (&pool, runtime.handle().clone());
            threads.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut had = 0;
                for _ in 0..5000 {
                    let key = [OLD, 2, NEW, 9][random.usize(..4)];
                    // One that is suspect, or has no capacity, may be all there is.
                    let got = handle.block_on(async { pool.get(&key).timeout(50 * MS).await });
                    had += u32::from(got.is_ok());
                }
                had
            })
        });
        let had: u32 = users
            .collect::<Vec<_>>()
            .into_iter()
            .map(|user| user.join().unwrap())
            .sum();
        over.store(true, SeqCst);
        assert!(had > 1000, "{had}");
    });
    pool.retire_all();
    runtime.block_on(async {
        // A key of which three in a row died at once fails fast for a moment.
        for key in [OLD, NEW, 9] {
            while pool.get(&key).await.is_err() {
                tokio::time::sleep(50 * MS).await;
            }
        }
        let all = get_some(&pool, OLD, 2).await;
        let more = get_some(&pool, NEW, 8).await;
        let last = get_some(&pool, 9, 9).await;
        let status = pool.status();
        assert_eq!(
            (status.shares, status.connections.leased),
            (17, 5),
            "{status:?}"
        );
        adds_up(&status);
        drop((all, more, last));
        let count = pool.manager().count.clone();
        assert!(
            pool.drain(10 * SEC).await.is_complete(),
            "{:?}",
            pool.status()
        );
        assert_eq!(count.alive.load(SeqCst), 0);
    });
}
