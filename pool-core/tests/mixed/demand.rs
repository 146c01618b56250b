//! How many connections are dialled for those who wait, and which of them serves next.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use crate::{
    NEW, OLD, Origins, Plan, Pool, built, by_key,
    common::{MS, SEC, settle},
    dials, ends, get, get_some, origins, slow,
};

#[tokio::test(start_paused = true)]
async fn sixteen_who_wait_for_an_unknown_key_are_one_dial_and_the_rest_at_once_if_that_serves_one()
{
    let builder = slow(10 * MS, |_| Plan::One);
    let pool = builder.max_size(16).max_total(16).build().unwrap();
    let began = Instant::now();
    let gets = (0..16).map(|_| get(&pool, OLD));
    let (all, ()) = tokio::join!(join_all(gets), async {
        sleep(5 * MS).await;
        assert_eq!(pool.status().connections.opening, 1);
        sleep(6 * MS).await;
        assert_eq!(pool.status().connections.opening, 15);
    });
    assert!(began.elapsed() <= 22 * MS, "{:?}", began.elapsed());
    assert_eq!((all.len(), dials(&pool)), (16, 16));
    drop(all);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_share_the_first_connection_as_far_as_it_goes() {
    for (capacity, expected) in [(16, 1), (8, 2), (5, 4)] {
        let builder = slow(10 * MS, move |_| Plan::Many(capacity));
        let pool = builder.max_size(16).max_total(16).build().unwrap();
        let all = join_all((0..16).map(|_| get(&pool, NEW))).await;
        settle().await;
        assert_eq!((all.len(), dials(&pool)), (16, expected), "{capacity}");
        drop(all);
        ends(pool, 0).await;
    }
}

fn expecting(expects: u32, plan: Plan) -> Pool {
    let origins = Origins {
        plan: Box::new(move |_| plan),
        early: Box::new(|_| ()),
        expects: Some(expects),
        takes: 10 * MS,
        count: Arc::default(),
    };
    built(origins).max_size(16).max_total(16).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_manager_expects_decides_how_many_are_dialled_at_first() {
    // 0 is taken as 1.
    for (expects, first) in [(0, 16), (1, 16), (4, 4), (5, 4), (100, 1), (u32::MAX, 1)] {
        let pool = expecting(expects, Plan::Many(100));
        let gets = (0..16).map(|_| get(&pool, NEW));
        let (all, ()) = tokio::join!(join_all(gets), async {
            settle().await;
            assert_eq!(dials(&pool), first, "{expects}");
        });
        drop(all);
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_expects_too_much_is_believed_until_the_first_is_open() {
    let pool = expecting(100, Plan::One);
    let began = Instant::now();
    let all = join_all((0..16).map(|_| get(&pool, OLD))).await;
    assert!(began.elapsed() <= 22 * MS, "{:?}", began.elapsed());
    drop(all);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_connections_change_their_kind_serves_everybody() {
    let turn = AtomicU32::new(0);
    let builder = slow(MS, move |_| match turn.fetch_add(1, SeqCst) % 3 {
        0 => Plan::One,
        1 => Plan::Many(3),
        _ => Plan::Many(1),
    });
    let pool = builder.build().unwrap();
    for _ in 0..20 {
        let gets = (0..40).map(|_| async {
            let had = get(&pool, 3).await;
            sleep(MS).await;
            drop(had);
        });
        join_all(gets).await;
        pool.retire_all();
    }
    let status = pool.status();
    assert_eq!(status.connections.gets, 800);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_connection_serves_next_by_the_part_that_is_used() {
    let pool = origins(by_key).max_size(2).build().unwrap();
    let first = get_some(&pool, NEW, 4).await;
    let second = get_some(&pool, NEW, 4).await;
    assert_eq!((first[0].id, second[0].id), (1, 2));
    // 4 of 16 are out of the one, and 4 of 8 of the other.
    first[0].gauge.set_capacity(16);
    second[0].gauge.set_capacity(8);
    let more = get_some(&pool, NEW, 4).await;
    assert!(more.iter().all(|had| had.id == 1));
    // Both are half used: the younger serves, so that the older may end.
    let next = get(&pool, NEW).await;
    assert_eq!(next.id, 2);
    ends_with(pool, (first, second, more, next)).await;
}

async fn ends_with<T>(pool: Pool, held: T) {
    drop(held);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_opens_no_more_than_its_callers_need() {
    for (key, count, opened) in [(OLD, 3, 3), (NEW, 4, 1), (2, 3, 2)] {
        let pool = origins(by_key).build().unwrap();
        pool.warm_up(&key, count).await.unwrap();
        let status = pool.status().connections;
        assert_eq!(
            (status.opened, status.idle, status.leased),
            (opened, opened as u32, 0)
        );
        let all = get_some(&pool, key, count).await;
        assert_eq!(u64::from(dials(&pool)), opened);
        drop(all);
        let error = pool.warm_up(&key, 5).await.unwrap_err();
        assert!(error.is_too_large(), "{error}");
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_get_that_may_not_wait_takes_a_free_share_or_fails_at_once() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    let error = pool
        .get(&NEW)
        .timeout(Duration::ZERO)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(dials(&pool), 0);
    let mut all = get_some(&pool, NEW, 1).await;
    for _ in 0..3 {
        let held = pool.get(&NEW).timeout(Duration::ZERO).await.unwrap();
        all.push(crate::Had(held));
    }
    assert!(pool.get(&NEW).timeout(Duration::ZERO).await.is_err());
    assert!(pool.try_get(&NEW).unwrap_err().is_busy());
    ends_with(pool, all).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_nobody_asks_for_any_more_is_not_kept_open_by_its_own_replacements() {
    for plan in [Plan::One, Plan::Many(4), Plan::Many(0)] {
        let builder = slow(MS, move |_| plan).min_idle(2);
        let builder = builder.idle_timeout(10 * SEC).max_lifetime(4 * SEC);
        let pool = builder.build().unwrap();
        drop(pool.get(&NEW).timeout(SEC).await);
        sleep(600 * SEC).await;
        let found = (dials(&pool) < 20, pool.key_count());
        assert_eq!(found, (true, 0), "{plan:?}: {}", dials(&pool));
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_wants_no_calls_on_what_it_opens_is_not_dialled_without_a_pause() {
    let pool = slow(MS, |_| Plan::Many(0)).build().unwrap();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get(&NEW).timeout(10 * SEC).await.is_ok() }
    });
    for _ in 0..5_000 {
        let gauges = std::mem::take(&mut *pool.manager().count.gauges.lock().unwrap());
        gauges.iter().for_each(pool_core::Gauge::drain);
        sleep(2 * MS).await;
    }
    assert!(!waits.await.unwrap());
    assert!(dials(&pool) < 60, "{}", dials(&pool));
}
