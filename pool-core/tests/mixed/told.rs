//! What a gauge says about a connection of either kind.

use std::sync::atomic::Ordering::SeqCst;

use pool_core::{ConnectionDied, Held, MixedLease, MixedShare, observe::CloseReason};
use tokio::time::sleep;

use crate::{
    NEW, OLD, by_key,
    common::{MS, SEC, settle},
    dials, ends, get, get_some, origins,
};

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_dies_frees_its_place_at_once_and_without_a_get() {
    for key in [OLD, NEW] {
        let pool = origins(by_key).build().unwrap();
        let gauge = get(&pool, key).await.gauge.clone();
        assert_eq!(pool.status().connections.idle, 1);
        gauge.dead();
        assert_eq!(pool.status().connections.open, 0);
        settle().await;
        let status = pool.status();
        assert_eq!((status.connections.closing, pool.key_count()), (0, 0));
        assert_eq!(status.connections.closed.by(CloseReason::Broken), 1);
        assert_eq!(pool.manager().count.alive.load(SeqCst), 0);
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_place_of_an_idle_connection_that_dies_on_another_thread_serves_a_waiter_of_another_key()
 {
    let pool = origins(by_key).max_total(2).build().unwrap();
    let (one, many) = (get(&pool, OLD).await, get(&pool, NEW).await);
    let gauge = one.gauge.clone();
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, 9).await.id }
    });
    settle().await;
    assert_eq!(pool.status().connections.waiting, 1);
    // Its user gives it back when it has died already.
    std::thread::spawn(move || gauge.dead()).join().unwrap();
    settle().await;
    assert!(!waits.is_finished(), "its user has it");
    drop(one);
    assert_eq!(waits.await.unwrap(), 3);
    assert_eq!(pool.status().connections.closed.by(CloseReason::Broken), 1);
    drop(many);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_a_connection_that_died_or_drains_is_not_handed_on() {
    for drains in [false, true] {
        let pool = origins(by_key).max_size(1).build().unwrap();
        let had = get(&pool, OLD).await;
        if drains {
            had.gauge.drain();
        } else {
            had.gauge.dead();
        }
        drop(had);
        assert_eq!(get(&pool, OLD).await.id, 2);
        let reason = if drains {
            CloseReason::GoingAway
        } else {
            CloseReason::Broken
        };
        assert_eq!(pool.status().connections.closed.by(reason), 1);
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_shared_connection_that_dies_tells_its_holders_and_frees_its_place_while_they_hold_it() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    let held = get(&pool, NEW).await;
    let Held::Many(share) = &held.0 else {
        unreachable!()
    };
    let gauge = held.gauge.clone();
    let call = MixedShare::run(share, async |_| sleep(SEC).await);
    let (outcome, ()) = tokio::join!(call, async {
        sleep(MS).await;
        gauge.dead();
    });
    assert_eq!(outcome, Err(ConnectionDied));
    assert!(MixedShare::is_dead(share));
    MixedShare::died(share).await;
    let next = get(&pool, NEW).await;
    assert_eq!((next.id, pool.status().shares), (2, 1));
    drop(held);
    assert_eq!(pool.status().shares, 1, "it is not given back to the next");
    drop(next);
    ends(pool, 1).await;
}

#[tokio::test(start_paused = true)]
async fn goaway_leaves_the_shares_that_are_out_and_closes_with_the_last() {
    let pool = origins(by_key).build().unwrap();
    let mut shares = get_some(&pool, NEW, 3).await;
    shares[0].gauge.drain();
    shares[0].gauge.drain();
    let status = pool.status();
    assert_eq!(
        (status.draining, status.shares, status.available),
        (1, 3, 0)
    );
    let next = get(&pool, NEW).await;
    assert_eq!(next.id, 2);
    while shares.len() > 1 {
        drop(shares.pop());
        settle().await;
        assert_eq!(pool.status().draining, 1);
    }
    shares.clear();
    settle().await;
    let status = pool.status();
    assert_eq!((status.draining, status.shared, status.shares), (0, 1, 1));
    assert_eq!(status.connections.closed.by(CloseReason::GoingAway), 1);
    drop(next);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn goaway_of_what_is_idle_closes_it_at_once() {
    for key in [OLD, NEW] {
        let pool = origins(by_key).build().unwrap();
        let gauge = get(&pool, key).await.gauge.clone();
        gauge.drain();
        settle().await;
        let status = pool.status().connections;
        assert_eq!(
            (status.open, status.closed.by(CloseReason::GoingAway)),
            (0, 1)
        );
        ends(pool, 0).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_suspect_exclusive_connection_is_checked_before_its_next_lease_and_a_trusted_one_is_not()
{
    let pool = origins(by_key).max_size(1).build().unwrap();
    let checks = || pool.manager().count.checks.load(SeqCst);
    for trusted in [false, true] {
        for leased in [false, true] {
            let (had, before) = (get(&pool, OLD).await, checks());
            let gauge = had.gauge.clone();
            let mut had = Some(had);
            if !leased {
                had = None;
            }
            gauge.suspect();
            if trusted {
                gauge.trust();
            }
            drop(had);
            if !trusted {
                assert!(pool.try_get(&OLD).is_err(), "it is not known to be good");
            }
            drop(get(&pool, OLD).await);
            assert_eq!(checks() - before, u32::from(!trusted), "{trusted} {leased}");
            drop(pool.try_get(&OLD).unwrap());
        }
    }
    assert_eq!(dials(&pool), 1);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_suspect_shared_connection_gives_no_share_and_serves_who_waits_when_it_is_trusted() {
    let pool = origins(by_key).max_size(1).build().unwrap();
    let had = get(&pool, NEW).await;
    had.gauge.suspect();
    let status = pool.status();
    assert_eq!((status.suspect, status.available, status.shares), (1, 0, 1));
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { get(&pool, NEW).await.id }
    });
    sleep(SEC).await;
    assert!(!waits.is_finished());
    had.gauge.trust();
    assert_eq!(waits.await.unwrap(), 1);
    assert_eq!(pool.status().suspect, 0);
    drop(had);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_room_another_is_opened_beside_a_suspect_one() {
    let pool = origins(by_key).build().unwrap();
    let had = get(&pool, NEW).await;
    had.gauge.suspect();
    assert_eq!(get(&pool, NEW).await.id, 2);
    drop(had);
    ends(pool, 0).await;
}

#[tokio::test(start_paused = true)]
async fn a_tainted_share_drains_its_connection_and_a_tainted_lease_closes_it() {
    let pool = origins(by_key).build().unwrap();
    let (share, other) = (get(&pool, NEW).await, get(&pool, NEW).await);
    let Held::Many(tainted) = &share.0 else {
        unreachable!()
    };
    MixedShare::taint(tainted);
    drop(share);
    assert_eq!(get(&pool, NEW).await.id, 2);
    assert_eq!(pool.status().draining, 1);
    drop(other);
    let mut lease = get(&pool, OLD).await;
    let Held::One(tainted) = &mut lease.0 else {
        unreachable!()
    };
    MixedLease::taint(tainted);
    drop(lease);
    settle().await;
    let closed = pool.status().connections.closed;
    assert_eq!(closed.by(CloseReason::Tainted), 2);
    ends(pool, 0).await;
}
