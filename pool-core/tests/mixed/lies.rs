//! Managers that lie about capacity, and gauges that speak when nobody expects it.

use std::{sync::atomic::Ordering::SeqCst, thread, time::Duration};

use futures_util::future::join_all;
use pool_core::{Gauge, MixedPool, observe::CloseReason};
use tokio::time::{Instant, sleep};

use crate::{
    NEW, OLD, Origins, Plan, Pool, built, by_key,
    common::{MS, SEC, settle},
    dials, ends, get, get_some, origins, slow,
};

#[tokio::test(start_paused = true)]
async fn connections_of_no_capacity_are_not_opened_without_a_pause() {
    for (of_key, total) in [(2, 8), (4, 2)] {
        // The keys do not evict each other without a pause, either.
        for keys in [1, 2] {
            let builder = slow(MS, |_| Plan::Many(0));
            let builder = builder.max_size(of_key).max_total(total);
            let pool = builder.build().unwrap();
            let gets = (0..keys).map(|key| pool.get(&KEYS[key]).timeout(10 * SEC));
            for outcome in join_all(gets).await {
                let error = outcome.unwrap_err();
                assert!(error.is_timeout(), "{error}");
            }
            let dialled = dials(&pool);
            assert!(
                dialled <= 40,
                "{dialled} dials in 10 s of {of_key}, {total}"
            );
            ends(pool, 0).await;
        }
    }
}

const KEYS: [u32; 2] = [7, 8];

#[tokio::test(start_paused = true)]
async fn a_connection_of_no_capacity_keeps_its_place_from_another_key_for_a_second_and_no_longer() {
    let plan = |key| if key == OLD { Plan::One } else { Plan::Many(0) };
    let pool = origins(plan).max_total(1).build().unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get(&NEW).timeout(30 * SEC).await.is_err() }
    });
    settle().await;
    let began = Instant::now();
    drop(get(&pool, OLD).await);
    assert!(began.elapsed() < 1200 * MS, "{:?}", began.elapsed());
    assert!(waits.await.unwrap());
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_capacity_serves_as_soon_as_it_has_some() {
    let pool = origins(|_| Plan::Many(0)).max_size(1).build().unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, NEW).await.id }
    });
    sleep(SEC).await;
    assert!(!waits.is_finished());
    let gauge = pool.manager().count.gauges.lock().unwrap()[0].clone();
    gauge.set_capacity(1);
    assert_eq!(waits.await.unwrap(), 1);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_capacity_without_end_is_a_capacity_like_any_other() {
    let pool = origins(|_| Plan::Many(u32::MAX)).build().unwrap();
    let shares = get_some(&pool, NEW, 10_000).await;
    let status = pool.status();
    assert_eq!((dials(&pool), status.shares), (1, 10_000));
    assert_eq!(status.available, u32::MAX - 10_000);

    // A second one of the key, and one of another: nothing overflows.
    shares[0].gauge.suspect();
    let other = get(&pool, NEW).await;
    shares[0].gauge.trust();
    let third = get(&pool, 9).await;
    let waits = join_all((0..100).map(|_| get(&pool, NEW))).await;
    assert_eq!(pool.status().available, u32::MAX);
    drop((shares, other, third, waits));
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn shares_outlive_a_capacity_that_falls_below_their_number() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    let mut shares = get_some(&pool, NEW, 4).await;
    shares[0].gauge.set_capacity(2);
    for left in [3, 2] {
        drop(shares.pop());
        assert_eq!(pool.status().shares, left);
        let error = pool.try_get(&NEW).unwrap_err();
        assert!(error.is_busy(), "{error}");
    }
    drop(shares.pop());
    shares.push(get(&pool, NEW).await);
    assert!(pool.try_get(&NEW).is_err());
    drop(shares);
    ends(pool, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_capacity_that_changes_all_the_time_leaves_nobody_waiting() {
    let builder = origins(|_| Plan::Many(2)).max_size(2);
    let pool = builder.max_waiters(100_000).build().unwrap();
    drop(get(&pool, NEW).await);
    let gauge = pool.manager().count.gauges.lock().unwrap()[0].clone();
    let changes = thread::spawn({
        let pool = pool.clone();
        move || {
            let mut last = gauge;
            for round in 0..20_000_u32 {
                let gauges = pool.manager().count.gauges.lock().unwrap().clone();
                for gauge in gauges {
                    gauge.set_capacity([0, 3, 1, u32::MAX, 2][round as usize % 5]);
                    last = gauge;
                }
            }
            last.set_capacity(2);
        }
    });
    let users = (0..8).map(|_| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for _ in 0..500 {
                drop(get(&pool, NEW).await);
                tokio::task::yield_now().await;
            }
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.unwrap();
    }
    changes.join().unwrap();
    assert_eq!(pool.status().shares, 0);
    ends(pool, 0).await;
}

/// A pool whose connections may have four shares, and are spoken of before they are open.
fn told_early(early: impl Fn(&Gauge) + Send + Sync + 'static) -> Pool {
    let plain = origins(by_key).build().unwrap();
    let origins = Origins {
        plan: Box::new(by_key),
        early: Box::new(early),
        expects: None,
        takes: MS,
        count: plain.manager().count.clone(),
    };
    built(origins).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_or_drained_while_it_was_opened_is_a_failed_open() {
    for word in [Gauge::dead, Gauge::drain] {
        for key in [OLD, NEW] {
            let pool = told_early(word);
            let error = pool.get(&key).await.map(drop).unwrap_err();
            assert!(error.is_connect(), "{error}");
            sleep(SEC).await;
            let dialled = dials(&pool);
            assert!(dialled < 20, "{dialled} dials");
            assert_eq!(pool.status().connections.opened, 0);
            assert_eq!(pool.status().connections.open, 0);
            ends(pool, 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_word_on_capacity_before_the_open_has_ended_counts() {
    let pool = told_early(|gauge| (0..9).for_each(|shares| gauge.set_capacity(shares)));
    let shares = join_all((0..8).map(|_| get(&pool, NEW))).await;
    assert_eq!((dials(&pool), pool.status().available), (1, 0));
    drop(shares);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn suspicion_of_a_shared_connection_before_it_is_open_holds_until_it_is_trusted() {
    let pool = told_early(Gauge::suspect);
    let error = pool
        .get(&NEW)
        .timeout(100 * MS)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    let gauge = pool.manager().count.gauges.lock().unwrap()[0].clone();
    gauge.trust();
    drop(pool.try_get(&NEW).unwrap());
    ends(pool, 0).await;
}

/// All that a gauge can say.
fn says_all(gauge: &Gauge) {
    gauge.set_capacity(0);
    gauge.suspect();
    gauge.trust();
    gauge.set_capacity(u32::MAX);
    gauge.drain();
    gauge.dead();
}

#[tokio::test(start_paused = true)]
async fn the_gauge_of_a_connection_that_has_gone_says_nothing_about_the_next() {
    let pool = origins(by_key).max_total(1).build().unwrap();
    let mut gone = Vec::new();
    for key in [OLD, NEW, OLD, 2, NEW] {
        // Each evicts the one before, and has its place.
        let had = get(&pool, key).await;
        for gauge in &gone {
            says_all(gauge);
        }
        thread::scope(|threads| {
            for gauge in &gone {
                threads.spawn(|| says_all(gauge));
            }
        });
        settle().await;
        let status = pool.status_of(&key).unwrap();
        assert_eq!((status.connections.open, status.connections.leased), (1, 1));
        let capacity = if key == OLD { 0 } else { key };
        assert_eq!(status.shares + status.available, capacity);
        gone.push(had.gauge.clone());
    }
    assert_eq!(pool.status().connections.closed.by(CloseReason::Evicted), 4);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_gauge_may_speak_after_its_pool_was_closed_and_after_it_has_gone() {
    let pool = origins(by_key).build().unwrap();
    let (one, many) = (get(&pool, OLD).await, get(&pool, NEW).await);
    let gauges = [one.gauge.clone(), many.gauge.clone()];
    pool.close();
    for gauge in &gauges {
        gauge.set_capacity(9);
        gauge.suspect();
        gauge.trust();
    }
    assert!(pool.get(&NEW).await.map(drop).unwrap_err().is_closed());
    gauges[1].dead();
    settle().await;
    drop((one, many));
    ends(pool, 1).await;
    gauges.iter().for_each(says_all);
    thread::spawn(move || gauges.iter().for_each(says_all))
        .join()
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_dies_as_soon_as_it_is_open_is_not_opened_without_a_pause() {
    let pool: MixedPool<u32, Origins> = told_early(|gauge| {
        let gauge = gauge.clone();
        drop(tokio::spawn(async move {
            settle().await;
            gauge.dead();
        }));
    });
    let began = Instant::now();
    let mut had = 0;
    while began.elapsed() < 10 * SEC {
        match pool.get(&NEW).timeout(100 * MS).await {
            Ok(held) => drop((held, had += 1)),
            Err(error) => assert!(error.is_connect() || error.is_timeout(), "{error}"),
        }
        sleep(Duration::from_millis(1)).await;
        settle().await;
    }
    let dialled = dials(&pool);
    assert!(dialled < 2 * had + 100, "{dialled} dials for {had}");
    pool.close();
    settle().await;
    assert_eq!(pool.manager().count.alive.load(SeqCst), 0);
}
