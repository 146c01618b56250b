//! How many there are, and may be.

use std::{
    pin::pin,
    sync::{Arc, atomic::Ordering::SeqCst},
};

use pool_core::observe::CloseReason;
use tokio::{sync::Barrier, time::sleep};

use crate::{
    common::{Act, Backend, MS, SEC, adds_up, end, get_all, poll_once, settle},
    pool, two_threads,
};

// sqlx#3645, risingwave#24991: a permit was released before the idle count rose. A get between the two made it wrap around, and the reaper, which
// counted down from it, went on for 2^64 rounds.
#[test]
fn counts_read_during_gets_and_returns_always_add_up() {
    const ROUNDS: u64 = 20;
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(3)
        .idle_timeout(Some(MS))
        .build()
        .unwrap();
    // All meet after each round, and stay until they have been counted.
    let meet = Arc::new(Barrier::new(9));
    two_threads().block_on(async {
        let held = pool.get().await.unwrap();
        let users: Vec<_> = (0..8)
            .map(|user| {
                let (pool, meet) = (pool.clone(), Arc::clone(&meet));
                tokio::spawn(async move {
                    for _ in 0..ROUNDS {
                        for _ in 0..100 {
                            drop(pool.get().await.unwrap());
                        }
                        let last = match user {
                            0 => Some(pool.get().await.unwrap()),
                            _ => None,
                        };
                        meet.wait().await;
                        meet.wait().await;
                        drop(last);
                    }
                })
            })
            .collect();
        for round in 1..=ROUNDS {
            let mut met = pin!(meet.wait());
            while poll_once(met.as_mut()).await.is_pending() {
                let (status, alive) = (pool.status(), backend.alive());
                assert!((1..=3).contains(&status.leased), "{status:?}");
                assert!(status.idle <= 2 && (1..=3).contains(&alive), "{status:?}");
                assert!(status.open + status.opening + status.closing <= 3);
                tokio::task::yield_now().await;
            }
            let status = pool.status();
            assert_eq!((status.leased, status.waiting), (2, 0), "{status:?}");
            assert_eq!(status.gets, 1 + round * (8 * 100 + 1));
            meet.wait().await;
        }
        for user in users {
            user.await.unwrap();
        }
        drop(held);
        assert_eq!(pool.status().leased, 0);
        end(pool).await;
    });
}

// deadpool#380: shrinking below what was in use subtracted too much, panicked under the lock, and poisoned it for everybody.
#[tokio::test(start_paused = true)]
async fn resizing_to_anything_at_any_use_never_fails_and_the_last_size_counts() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(10).build().unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    let mut held = Vec::new();
    for _ in 0..2000 {
        match random.u32(0..5) {
            0 => pool.resize(random.u32(1..20)).unwrap(),
            1 => pool.resize(1).unwrap(),
            2 if !held.is_empty() => drop(held.swap_remove(random.usize(..held.len()))),
            _ => held.extend(pool.get().timeout(MS).await),
        }
        settle().await;
    }
    held.clear();
    settle().await;
    pool.resize(4).unwrap();
    assert_eq!(get_all(&pool).await.len(), 4);
    end(pool).await;
}

// deadpool: resize took permits away only where objects were open, so an unused pool kept its old bound.
#[tokio::test(start_paused = true)]
async fn shrinking_a_pool_that_was_never_used_shrinks_it() {
    let pool = pool(&Backend::new()).max_size(10).build().unwrap();
    pool.resize(1).unwrap();
    let first = pool.get().await.unwrap();
    assert!(pool.get().timeout(SEC).await.unwrap_err().is_timeout());
    drop(first);
    end(pool).await;
}

// deadpool: down and up again added permits each time.
#[tokio::test(start_paused = true)]
async fn going_down_and_up_does_not_raise_the_bound() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).build().unwrap();
    for used in [false, true] {
        for _ in 0..10 {
            pool.resize(1).unwrap();
            pool.resize(3).unwrap();
        }
        let leases = get_all(&pool).await;
        assert_eq!(leases.len(), 3, "used before: {used}");
    }
    assert_eq!(backend.most_alive.load(SeqCst), 3);
    end(pool).await;
}

// deadpool: resize and close dropped idle objects and never told the manager.
#[tokio::test(start_paused = true)]
async fn what_goes_with_a_resize_or_a_close_is_closed_by_the_manager() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(5).build().unwrap();
    drop(get_all(&pool).await);
    pool.resize(2).unwrap();
    settle().await;
    assert_eq!(
        (backend.closes.load(SeqCst), pool.status().closed.total()),
        (3, 3)
    );
    pool.close();
    settle().await;
    assert_eq!(backend.closes.load(SeqCst), 5);
    end(pool).await;
}

// deadpool#205: an error while recycling let the pool grow above its bound. deadpool#18: one while creating left a wrong count.
#[tokio::test(start_paused = true)]
async fn failed_opens_checks_and_resets_leave_the_counts_right() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).build().unwrap();
    for round in 0..30 {
        let fails = |of: u32| {
            if round % 3 == of {
                Act::Fail("no")
            } else {
                Act::Succeed
            }
        };
        backend.on_check(fails(0));
        backend.on_reset(fails(1));
        backend.on_create(fails(2));
        let mut leases = Vec::new();
        for _ in 0..3 {
            leases.extend(pool.get().timeout(SEC).await);
            settle().await;
            adds_up(&pool.status(), &backend, leases.len() as u32);
        }
        while let Some(mut lease) = leases.pop() {
            lease.dirty = true;
            drop(lease);
            settle().await;
            adds_up(&pool.status(), &backend, leases.len() as u32);
        }
        sleep(SEC).await;
    }
    backend.on_create(Act::Succeed);
    backend.on_check(Act::Succeed);
    backend.on_reset(Act::Succeed);
    drop(get_all(&pool).await);
    assert!(backend.most_alive.load(SeqCst) <= 3);
    end(pool).await;
}

// bb8#123: the reaper went below the minimum.
#[tokio::test(start_paused = true)]
async fn ageing_out_stops_at_the_minimum_also_when_lifetimes_end() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(6)
        .min_idle(3)
        .idle_timeout(Some(20 * SEC))
        .max_lifetime(Some(50 * SEC))
        .build()
        .unwrap();
    drop(get_all(&pool).await);
    for _ in 0..200 {
        sleep(SEC).await;
        assert!(pool.status().idle >= 3, "{:?}", pool.status());
    }
    // Three went because they were too many, and the other three places changed hands every 45 to 50 s.
    let closed = pool.status().closed;
    println!("{closed:?}");
    assert!(closed.by(CloseReason::IdleTimeout) >= 3 && closed.total() >= 3 + 3 * 3);
    end(pool).await;
}

// mobc#98: a lifetime was set and nothing ever reached it. bb8#224: what was busy never reached it.
#[tokio::test(start_paused = true)]
async fn a_lifetime_ends_whether_idle_or_busy() {
    for busy in [false, true] {
        let backend = Backend::new();
        let pool = pool(&backend)
            .max_size(2)
            .min_idle(1)
            .max_lifetime(Some(10 * SEC))
            .build()
            .unwrap();
        pool.warm_up().await.unwrap();
        for _ in 0..60 {
            let lease = if busy {
                Some(pool.get().await.unwrap())
            } else {
                None
            };
            sleep(SEC).await;
            drop(lease);
        }
        // Every 9 to 10 s, of one that is idle, and when busy of one more.
        let retired = pool.status().closed.by(CloseReason::Lifetime);
        let expected = if busy { 9..=13 } else { 5..=7 };
        assert!(expected.contains(&retired), "busy: {busy}, {retired}");
        end(pool).await;
    }
}

// mobc: the time of the last use was never written, so the idle timeout ran from the connect.
#[tokio::test(start_paused = true)]
async fn the_idle_timeout_runs_from_the_last_use() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .idle_timeout(Some(10 * SEC))
        .build()
        .unwrap();
    for _ in 0..20 {
        drop(pool.get().await.unwrap());
        sleep(7 * SEC).await;
    }
    assert_eq!(backend.created(), 1);
    sleep(4 * SEC).await;
    assert_eq!(pool.status().open, 0);
    end(pool).await;
}

// mobc: raising the limit left the semaphore as it was, and whoever waited went on waiting.
#[tokio::test(start_paused = true)]
async fn growing_serves_those_who_wait() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    let waiters: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let lease = pool.get().timeout(SEC).await;
                sleep(SEC).await;
                lease.is_ok()
            })
        })
        .collect();
    settle().await;
    pool.resize(4).unwrap();
    for waiter in waiters {
        assert!(waiter.await.unwrap());
    }
}

// mssql-driver#151: each round of the reaper gave permits back that nobody had taken, and the cap rose.
#[tokio::test(start_paused = true)]
async fn what_ages_out_frees_its_own_place_and_no_other() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(3)
        .idle_timeout(Some(10 * SEC))
        .build()
        .unwrap();
    for _ in 0..10 {
        assert_eq!(get_all(&pool).await.len(), 3);
        sleep(15 * SEC).await;
        assert_eq!(pool.status().open, 0);
    }
    assert_eq!(
        (backend.most_alive.load(SeqCst), backend.created()),
        (3, 30)
    );
    end(pool).await;
}
