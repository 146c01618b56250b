//! Age, idleness, sizes and the end of connections of either kind, while shares of them are out.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::SeqCst},
};

use pool_core::{KeyLimits, Opened, observe::CloseReason};
use tokio::time::sleep;

use crate::{
    NEW, OLD, by_key,
    common::{MS, SEC, hush, settle},
    dials, ends, get, get_some, origins,
};

#[tokio::test(start_paused = true)]
async fn a_shared_connection_in_use_that_is_too_old_goes_when_another_can_be_had() {
    let builder = origins(by_key).lifetime_jitter(0.0);
    let pool = builder.max_lifetime(10 * SEC).build().unwrap();
    let old = get(&pool, NEW).await;
    sleep(11 * SEC).await;
    assert_eq!(pool.status().draining, 1);
    let young = get(&pool, NEW).await;
    assert_eq!((old.id, young.id), (1, 2));
    drop(old);
    settle().await;
    let closed = pool.status().connections.closed;
    assert_eq!(closed.by(CloseReason::Lifetime), 1);
    drop(young);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_in_use_that_is_too_old_goes_on_where_there_is_no_other() {
    let builder = origins(by_key).max_size(1).lifetime_jitter(0.0);
    let pool = builder.max_lifetime(10 * SEC).build().unwrap();
    let old = get(&pool, NEW).await;
    sleep(15 * SEC).await;
    let other = pool.get(&NEW).timeout(MS).await.unwrap();
    assert_eq!((dials(&pool), pool.status().shares), (1, 2));
    drop((old, other));
    sleep(2 * SEC).await;
    assert_eq!(pool.status().connections.open, 0, "unused, and too old");
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_is_idle_only_while_no_share_of_it_is_out() {
    let pool = origins(by_key).idle_timeout(10 * SEC).build().unwrap();
    let share = get(&pool, NEW).await;
    for _ in 0..30 {
        drop(get(&pool, NEW).await);
        sleep(SEC).await;
    }
    assert_eq!((dials(&pool), pool.status().connections.open), (1, 1));
    drop(share);
    sleep(9 * SEC).await;
    assert_eq!(pool.status().connections.idle, 1);
    sleep(2 * SEC).await;
    let status = pool.status().connections;
    assert_eq!(
        (status.open, status.closed.by(CloseReason::IdleTimeout)),
        (0, 1)
    );
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_that_went_early_is_not_looked_at_when_its_time_would_be_over() {
    for idle in [false, true] {
        let builder = origins(by_key).idle_timeout(idle.then_some(10 * SEC));
        let pool = builder.max_lifetime(10 * SEC).build().unwrap();
        let other = get(&pool, OLD).await;
        get(&pool, NEW).await.gauge.dead();
        settle().await;
        assert_eq!(
            pool.key_count(),
            1,
            "its place is free, and its key has gone"
        );
        sleep(20 * SEC).await;
        assert!(!pool.is_closed());
        drop(other);
        drop(get(&pool, NEW).await);
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_smaller_pool_drains_what_is_surplus_the_least_used_first() {
    let pool = origins(by_key).max_total(3).build().unwrap();
    let most = get_some(&pool, 3, 3).await;
    let least = get(&pool, 2).await;
    let lease = get(&pool, OLD).await;
    pool.resize(2).unwrap();
    assert_eq!(pool.status_of(&2).unwrap().draining, 1);
    assert_eq!(pool.status_of(&3).unwrap().draining, 0);
    pool.resize(1).unwrap();
    assert_eq!(pool.status_of(&3).unwrap().draining, 1);
    drop(least);
    settle().await;
    assert_eq!(pool.status().connections.open, 2);
    drop(most);
    settle().await;
    assert_eq!(pool.status().connections.open, 1);
    drop(lease);
    settle().await;
    let status = pool.status().connections;
    assert_eq!(
        (status.open, status.idle),
        (1, 1),
        "it is as large as it may be"
    );
    assert_eq!(status.closed.by(CloseReason::Shrunk), 2);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_grows_again_while_it_drains_has_all_its_places() {
    let pool = origins(by_key).max_total(2).max_size(2).build().unwrap();
    let shares = get_some(&pool, 2, 4).await;
    pool.resize(1).unwrap();
    pool.resize(2).unwrap();
    drop(shares);
    settle().await;
    let shares = get_some(&pool, 2, 4).await;
    assert_eq!(pool.status().shares, 4);
    assert!(pool.try_get(&2).is_err());
    drop(shares);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_fall_drain_what_is_surplus_of_their_key_and_no_more() {
    let most = Arc::new(AtomicU32::new(3));
    let limit = Arc::clone(&most);
    let builder = origins(by_key).limits_of(move |_| KeyLimits::new().max_size(limit.load(SeqCst)));
    let pool = builder.build().unwrap();
    let shares = get_some(&pool, 2, 6).await;
    let lease = get(&pool, OLD).await;
    most.store(1, SeqCst);
    pool.reload_limits().unwrap();
    let status = pool.status_of(&2).unwrap();
    assert_eq!((status.shared, status.draining, status.shares), (3, 2, 6));
    assert!(pool.get(&2).timeout(SEC).await.is_err());
    drop(shares);
    settle().await;
    assert_eq!(pool.status_of(&2).unwrap().shared, 1);

    most.store(0, SeqCst);
    pool.reload_limits().unwrap();
    let error = pool.get(&2).await.map(drop).unwrap_err();
    assert!(error.is_overloaded(), "{error}");
    drop(lease);
    settle().await;
    assert_eq!((pool.status().connections.open, pool.key_count()), (0, 0));
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_retired_serves_nobody_else_and_closes_with_its_last_user() {
    for all in [false, true] {
        for key in [OLD, NEW] {
            let pool = origins(by_key).build().unwrap();
            let (had, other) = (get(&pool, key).await, get(&pool, 9).await);
            let idle = get(&pool, 7).await;
            drop(idle);
            if all {
                pool.retire_all();
            } else {
                pool.retire(&key);
            }
            let next = get(&pool, key).await;
            assert_ne!(next.id, had.id);
            assert_eq!(get(&pool, 9).await.id == other.id, !all);
            drop((had, other, next));
            settle().await;
            let closed = pool.status().connections.closed;
            assert_eq!(closed.by(CloseReason::Retired), if all { 3 } else { 1 });
            ends(pool, 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retain_looks_at_what_is_idle_of_either_kind_and_at_nothing_in_use() {
    let pool = origins(by_key).build().unwrap();
    let used = [get(&pool, 9).await, get(&pool, OLD).await];
    drop((
        get(&pool, OLD).await,
        get(&pool, NEW).await,
        get(&pool, 2).await,
    ));
    let mut seen = Vec::new();
    let closed = pool.retain(|key, connection, _| {
        let shared = matches!(connection, Opened::Many(_));
        seen.push((*key, shared));
        // Who calls back into the pool is not locked out of it.
        assert!(pool.status().connections.open > 0);
        *key == 2
    });
    seen.sort_unstable();
    assert_eq!(
        (closed, &seen[..]),
        (2, &[(OLD, false), (2, true), (NEW, true)][..])
    );
    settle().await;
    let status = pool.status();
    assert_eq!((status.connections.idle, status.connections.leased), (1, 2));
    assert_eq!(status.connections.closed.by(CloseReason::NotRetained), 2);
    assert_eq!(status.available, 2 + 8);
    drop(used);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_gauge_may_speak_and_a_get_may_come_while_retain_looks() {
    for key in [OLD, NEW] {
        for word in 0..4 {
            let pool = origins(by_key).max_size(1).build().unwrap();
            let gauge = get(&pool, key).await.gauge.clone();
            pool.retain(|_, _, _| {
                assert!(pool.try_get(&key).is_err());
                match word {
                    0 => gauge.dead(),
                    1 => gauge.drain(),
                    2 => gauge.suspect(),
                    _ => gauge.set_capacity(2),
                }
                true
            });
            settle().await;
            let ends_it = word < 2;
            assert_eq!(
                pool.status().connections.open,
                u32::from(!ends_it),
                "{word}"
            );
            gauge.trust();
            drop(get(&pool, key).await);
            ends(pool, 0).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_retain_panics_over_goes_and_its_place_is_there() {
    hush();
    for key in [OLD, NEW] {
        let pool = origins(by_key).max_size(1).build().unwrap();
        drop(get(&pool, key).await);
        let looks = || pool.retain(|_, _, _| panic!("told to panic"));
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(looks)).is_err());
        assert_eq!(get(&pool, key).await.id, 2);
        let status = pool.status();
        assert_eq!(
            (status.connections.dropped, status.connections.open),
            (1, 1)
        );
        assert_eq!(pool.manager().count.alive.load(SeqCst), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_panics_gives_its_place_back() {
    hush();
    for key in [OLD, NEW] {
        let pool = origins(by_key).max_size(1).max_total(1).build().unwrap();
        pool.manager().count.rude.store(true, SeqCst);
        for dial in 1..5 {
            let had = get(&pool, key).await;
            assert_eq!(had.id, dial);
            had.gauge.drain();
        }
        settle().await;
        assert_eq!(pool.status().connections.open, 0);
        assert_eq!(pool.manager().count.alive.load(SeqCst), 0);
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_shares_and_no_longer_than_it_may() {
    let pool = origins(by_key).build().unwrap();
    let (share, lease) = (get(&pool, NEW).await, get(&pool, OLD).await);
    let drained = pool.drain(SEC).await;
    assert!(!drained.is_complete());
    drop(lease);
    let waits = pool.drain(10 * SEC);
    let (drained, ()) = tokio::join!(waits, async {
        sleep(SEC).await;
        drop(share);
    });
    assert!(drained.is_complete(), "{drained:?}");
    ends(pool, 0).await;
}
