//! Whose turn it is, where connections are always in use.

use futures_util::future::join_all;
use pool_core::observe::CloseReason;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

use crate::{
    NEW, OLD, Pool, by_key,
    common::{MS, SEC, settle},
    dials, ends, get, get_some, origins,
};

/// Uses `key` so that at every moment a share of each of its connections is out, until the pool is closed.
fn always_in_use(pool: &Pool, key: u32, users: u32) -> Vec<JoinHandle<()>> {
    let users = (0..users).map(|user| {
        let pool = pool.clone();
        tokio::spawn(async move {
            sleep(user * MS).await;
            while let Ok(held) = pool.get(&key).await {
                sleep(10 * MS).await;
                drop(held);
            }
        })
    });
    users.collect()
}

#[tokio::test(start_paused = true)]
async fn a_key_that_starves_has_its_turn_in_a_tenth_of_a_second() {
    for key in [OLD, 9] {
        let pool = origins(by_key).max_total(1).build().unwrap();
        let users = always_in_use(&pool, NEW, 3);
        sleep(SEC).await;
        let began = Instant::now();
        let had = get(&pool, key).await;
        let waited = began.elapsed();
        assert!((90 * MS..150 * MS).contains(&waited), "{waited:?}");
        drop(had);
        pool.close();
        join_all(users).await;
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_key_with_most_connections_gives_one_up_and_the_only_one_of_a_key_stays() {
    let pool = origins(by_key).max_total(4).build().unwrap();
    let only = always_in_use(&pool, 9, 2);
    settle().await;
    let many = always_in_use(&pool, 2, 6);
    sleep(SEC).await;
    assert_eq!(pool.status_of(&2).unwrap().shared, 3);
    let began = Instant::now();
    let had = get(&pool, OLD).await;
    assert!(began.elapsed() < 150 * MS, "{:?}", began.elapsed());
    assert_eq!(pool.status_of(&9).unwrap().connections.opened, 1);
    assert_eq!(pool.status_of(&2).unwrap().shared, 2);
    assert_eq!(pool.status().connections.closed.by(CloseReason::Evicted), 1);
    drop(had);
    pool.close();
    join_all(only.into_iter().chain(many)).await;
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn ten_keys_that_are_always_in_use_share_two_places_and_none_starves() {
    let builder = origins(by_key).max_total(2);
    let pool = builder.acquire_timeout(60 * SEC).build().unwrap();
    let began = Instant::now();
    let users = (11..21).map(|key| {
        let pool = pool.clone();
        async move {
            let mut served = 0;
            while began.elapsed() < 60 * SEC {
                let held = get(&pool, key).await;
                sleep(10 * MS).await;
                drop(held);
                served += 1;
            }
            served
        }
    });
    let served = join_all(users).await;
    assert!(served.iter().all(|served| *served > 10), "{served:?}");
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_long_stream_that_is_drained_for_another_key_goes_on_and_costs_one_connection() {
    let pool = origins(by_key).max_total(2).build().unwrap();
    let streams = get_some(&pool, 2, 4).await;
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, OLD).await.id }
    });
    sleep(SEC).await;
    let status = pool.status();
    assert_eq!((status.draining, status.shares), (1, 4));
    assert!(!waits.is_finished());
    drop(streams);
    assert_eq!(waits.await.unwrap(), 3);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_of_either_kind_goes_before_one_in_use_does() {
    let pool = origins(by_key).max_total(3).build().unwrap();
    let share = get(&pool, NEW).await;
    drop((get(&pool, OLD).await, get(&pool, 2).await));
    for key in [8, 9] {
        let began = Instant::now();
        drop(get(&pool, key).await);
        assert!(began.elapsed() < MS);
    }
    assert_eq!(pool.status().draining, 0);
    assert_eq!(pool.status_of(&NEW).unwrap().shares, 1);
    assert_eq!(dials(&pool), 5);
    drop(share);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn gets_of_one_key_are_served_in_order_whatever_they_get() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    let held = get_some(&pool, 2, 2).await;
    let order = std::sync::Mutex::new(Vec::new());
    let gets = (0..20).map(|number| {
        let (pool, order) = (&pool, &order);
        async move {
            let had = get(pool, 2).await;
            order.lock().unwrap().push(number);
            sleep(MS).await;
            drop(had);
        }
    });
    tokio::join!(join_all(gets), async {
        sleep(MS).await;
        drop(held);
    });
    let order = order.into_inner().unwrap();
    assert!(order.is_sorted(), "{order:?}");
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_waits_behind_long_streams_does_not_cost_all_others_what_they_have() {
    let pool = origins(by_key).max_total(8).build().unwrap();
    let mut streams = Vec::new();
    for key in 11..19 {
        streams.push(get(&pool, key).await);
    }
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get(&OLD).timeout(30 * SEC).await.is_ok() }
    });
    sleep(12 * SEC).await;
    assert_eq!(pool.status().draining, 1, "{:?}", pool.status());
    assert!(!waits.await.unwrap(), "no stream ends");
    // It has gone: what was drained for it serves its own again.
    sleep(2 * SEC).await;
    assert_eq!(pool.status().draining, 0);
    for key in 11..19 {
        streams.push(get(&pool, key).await);
    }
    assert_eq!(dials(&pool), 8);
    drop(streams);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_unused_for_longest_is_evicted_first_of_either_kind() {
    let pool = origins(by_key).max_total(3).build().unwrap();
    for key in [NEW, 5, OLD, NEW] {
        drop(get(&pool, key).await);
        sleep(SEC).await;
    }
    let six = get(&pool, 6).await;
    assert!(pool.status_of(&5).is_none(), "it was the longest unused");
    let seven = get(&pool, 7).await;
    assert!(pool.status_of(&OLD).is_none());
    assert_eq!(pool.status_of(&NEW).unwrap().connections.idle, 1);
    drop((six, seven));
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_all_want_more_behind_long_streams_lose_no_more_than_an_eighth() {
    let pool = origins(by_key).max_size(1).max_total(8).build().unwrap();
    let mut streams = Vec::new();
    for key in 11..19 {
        streams.push(get(&pool, key).await);
    }
    // Each of them has waiters as well, so one that is drained has nothing and wants a place.
    let mut waiters = Vec::new();
    for key in (11..19).chain([1_000]) {
        for _ in 0..key + 1 {
            let pool = pool.clone();
            waiters.push(tokio::spawn(async move {
                let held = pool.get(&key).timeout(20 * SEC).await;
                sleep(60 * SEC).await;
                drop(held);
            }));
        }
    }
    sleep(12 * SEC).await;
    assert_eq!(pool.status().draining, 1, "{:?}", pool.status());
    for waiter in waiters {
        waiter.await.unwrap();
    }
    drop(streams);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_drained_for_a_turn_and_is_going_away_is_not_taken_up_again() {
    let pool = origins(by_key).max_total(1).build().unwrap();
    let stream = get(&pool, NEW).await;
    assert!(
        pool.get(&OLD).timeout(SEC).await.is_err(),
        "it is drained for it"
    );
    assert_eq!(pool.status().draining, 1);
    stream.gauge.drain();
    sleep(5 * SEC).await;
    assert_eq!((pool.status().draining, pool.status().available), (1, 0));
    drop(stream);
    settle().await;
    let closed = pool.status().connections.closed;
    assert_eq!(closed.by(CloseReason::GoingAway), 1);
    ends(pool, 0).await;
}
