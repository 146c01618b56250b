//! The deadline of a get holds, and is never early, whoever drives what.

use std::{
    thread,
    time::{Duration, Instant as Clock},
};

use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use crate::face::{
    Face, Lends, Limit, MS, SEC, Told, WATCHDOG, checked_always, got, left_alone, on_its_clock,
    paused, poll_once, pool, refused, runtime, settle, until,
};

pub(crate) fn a_get_ends_at_its_deadline_and_no_earlier<L: Lends>() {
    on_its_clock::<L, _>(async {
        let pool = L::of(1);
        let held = got(pool.get(Limit::Own)).await;
        for limit in [MS, 20 * MS, 300 * MS, 700 * MS, 1500 * MS] {
            for by_deadline in [false, true] {
                let began = Instant::now();
                let limited = if by_deadline {
                    Limit::Until(began + limit)
                } else {
                    Limit::Within(limit)
                };
                assert_eq!(refused(pool.get(limited)).await, Told::Timeout);
                let lasted = began.elapsed();
                assert!(lasted >= limit, "{lasted:?} for {limit:?}");
                // A clock that stands while anything runs says exactly how late it was.
                let late = L::PAUSES && lasted > limit + 50 * MS;
                assert!(!late, "{lasted:?} for {limit:?}");
            }
        }
        drop(held);
    });
}

/// Gets that have so long, one beside the other, none of which ends earlier.
async fn end_no_earlier<L: Lends>(pool: &L, limits: &[Duration]) {
    let gets = limits.iter().map(|&limit| async move {
        let began = Clock::now();
        let told = timeout(WATCHDOG, refused(pool.get(Limit::Within(limit))));
        assert_eq!(told.await.expect("it has an end"), Told::Timeout);
        let lasted = began.elapsed();
        assert!(lasted >= limit, "{lasted:?} for {limit:?}");
    });
    join_all(gets).await;
}

pub(crate) fn a_get_ends_though_nobody_drives_the_runtime_of_those_before<L: Lends>() {
    let pool = L::of(1);
    let (alone, held) = left_alone(&pool);
    runtime().block_on(async {
        end_no_earlier(&pool, &[20 * MS, 300 * MS, 300 * MS, 700 * MS]).await;
        // And now that there is somebody here.
        end_no_earlier(&pool, &[20 * MS, 300 * MS]).await;
    });
    drop((held, alone));
}

pub(crate) fn a_get_ends_no_earlier_after_its_thread_stood_still<L: Lends>() {
    for elsewhere in [false, true] {
        let pool = L::of(1);
        let (alone, held) = left_alone(&pool);
        let here = if elsewhere { runtime() } else { alone };
        here.block_on(async {
            // Somebody waits, so that time is kept for it.
            let waits = tokio::spawn(pool.get(Limit::Own));
            until("it waits", || pool.in_line() == 1).await;
            tokio::time::sleep(30 * MS).await;
            for _ in 0..2 {
                thread::sleep(600 * MS);
                end_no_earlier(&pool, &[300 * MS; 4]).await;
            }
            waits.abort();
        });
        drop(held);
    }
}

pub(crate) fn no_time_takes_what_is_there_or_fails_at_once<L: Lends>() {
    paused(async {
        let pool = L::of(1);
        let past = Instant::now() - MS;
        let none = || {
            let now = Instant::now();
            [Duration::ZERO, MS]
                .map(|_| Limit::Within(Duration::ZERO))
                .into_iter()
                .chain([Limit::Until(now), Limit::Until(past)])
        };
        let held = got(pool.get(Limit::Own)).await;
        for limit in none() {
            let began = Instant::now();
            assert_eq!(refused(pool.get(limit)).await, Told::Timeout);
            // A timer is good to the millisecond.
            assert!(
                began.elapsed() <= MS,
                "{limit:?} took {:?}",
                began.elapsed()
            );
            assert_eq!(pool.in_line(), 0);
        }
        drop(held);
        for limit in none() {
            drop(got(pool.get(limit)).await);
        }
        // Nobody is passed by.
        let held = got(pool.get(Limit::Own)).await;
        let mut first = pool.get(Limit::Own);
        assert!(poll_once(&mut first).await.is_none());
        drop(held);
        assert_eq!(
            refused(pool.get(Limit::Within(Duration::ZERO))).await,
            Told::Timeout
        );
        drop(got(first).await);
    });
}

pub(crate) fn no_time_opens_nothing<F: Face>() {
    paused(async {
        let (pool, backend) = pool::<F>(2);
        let limits = [
            Limit::Within(Duration::ZERO),
            Limit::Until(Instant::now()),
            Limit::Until(Instant::now() - MS),
        ];
        for limit in limits {
            let mut get = pool.get(limit);
            let told = poll_once(&mut get).await.expect("it waits for nothing");
            assert_eq!(told.err(), Some(Told::Timeout));
        }
        settle().await;
        assert_eq!(backend.calls(crate::backend::Stage::Open), 0);
        drop(got(pool.get(Limit::Own)).await);
        for limit in limits {
            let mut get = pool.get(limit);
            assert!(poll_once(&mut get).await.is_some_and(|told| told.is_ok()));
        }
    });
}

pub(crate) fn no_time_takes_nothing_that_is_to_be_checked<F: Face>() {
    paused(async {
        let backend = crate::backend::Backend::new();
        let pool = F::new(&backend, checked_always(1));
        drop(got(pool.get(Limit::Own)).await);
        tokio::time::sleep(SEC).await;
        let mut get = pool.get(Limit::Within(Duration::ZERO));
        let told = poll_once(&mut get).await.expect("it waits for nothing");
        assert_eq!(told.err(), Some(Told::Timeout));
        assert_eq!(backend.calls(crate::backend::Stage::Check), 0);
    });
}

pub(crate) fn all_the_time_there_is_ends_with_what_comes_back<L: Lends>() {
    on_its_clock::<L, _>(async {
        let pool = L::of(1);
        let held = got(pool.get(Limit::Within(Duration::MAX))).await;
        let waits = tokio::spawn(pool.get(Limit::Within(Duration::MAX)));
        until("it waits", || pool.in_line() == 1).await;
        tokio::time::sleep(50 * MS).await;
        drop(held);
        let lease = timeout(WATCHDOG, waits).await.unwrap().unwrap();
        assert!(lease.is_ok());
    });
}
