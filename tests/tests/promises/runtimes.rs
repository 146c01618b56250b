//! Runtimes that stand still, or end: outages, leases and the end of a pool outlive them.

use std::{
    sync::atomic::Ordering::SeqCst,
    time::{Duration, Instant as Clock},
};

use tokio::{
    runtime::Runtime,
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::{Act, Backend, Stage},
    face::{
        Face, Lends, Limit, MS, SEC, Told, WATCHDOG, all_of, checked_always, ends_well, got,
        got_in_the_end, left_alone, mend, paused, poll_once, pool, refused, runtime, settle,
        threads, until, without_a_runtime,
    },
};

pub(crate) fn an_outage_ends_where_somebody_asks<F: Face>() {
    paused(async {
        let (pool, backend) = pool::<F>(2);
        for failing in [Act::Fail, Act::Panic, Act::Hang] {
            backend.on(Stage::Open, failing);
            let broken = F::try_get(&pool);
            broken.iter().for_each(|lease| F::thing(lease).breaks());
            drop(broken);
            for _ in 0..20 {
                let told = refused(pool.get(Limit::Within(SEC))).await;
                assert!(matches!(told, Told::Connect | Told::Timeout), "{told:?}");
                sleep(SEC).await;
            }
            mend(&backend);
            let began = Instant::now();
            drop(got_in_the_end(&pool).await);
            assert!(began.elapsed() <= 10 * SEC, "{:?}", began.elapsed());
        }
    });
}

pub(crate) fn an_outage_ends_though_nobody_drives_where_it_began<F: Face>() {
    for tries in [1, 4] {
        let (pool, backend) = pool::<F>(2);
        backend.on(Stage::Open, Act::Fail);
        let alone = runtime();
        alone.block_on(async {
            for _ in 0..tries {
                let told = refused(pool.get(Limit::Within(100 * MS))).await;
                assert!(matches!(told, Told::Connect | Told::Timeout), "{told:?}");
            }
        });
        mend(&backend);
        runtime().block_on(async { drop(got_in_the_end(&pool).await) });
        drop(alone);
    }
}

pub(crate) fn an_outage_ends_though_an_open_is_left_alone<F: Face>() {
    let (pool, backend) = pool::<F>(4);
    backend.on(Stage::Open, Act::Fail);
    let alone = runtime();
    alone.block_on(async {
        while refused(pool.get(Limit::Within(100 * MS))).await != Told::Connect {}
        backend.on(Stage::Open, Act::Hang);
        while backend.opening() == 0 {
            drop(pool.get(Limit::Within(100 * MS)).await);
            sleep(MS).await;
        }
    });
    mend(&backend);
    runtime().block_on(async { drop(got_in_the_end(&pool).await) });
    drop(alone);
}

/// One that a test drives, and one that drives itself.
fn both() -> [Runtime; 2] {
    [runtime(), threads(1)]
}

pub(crate) fn a_get_goes_on_though_its_runtime_ends<L: Lends>() {
    for first in both() {
        let pool = L::of(1);
        let held = first.block_on(got(pool.get(Limit::Own)));
        let mut get = pool.get(Limit::Own);
        first.block_on(async {
            assert!(poll_once(&mut get).await.is_none());
            drop(tokio::spawn(pool.get(Limit::Own)));
            until("both wait", || pool.in_line() == 2).await;
        });
        drop(first);
        runtime().block_on(async {
            assert_eq!(
                refused(pool.get(Limit::Within(50 * MS))).await,
                Told::Timeout
            );
            drop(held);
            drop(got(get).await);
            drop(all_of(&pool, 1).await);
        });
    }
}

pub(crate) fn a_lease_outlives_its_runtime<L: Lends>() {
    for first in both() {
        let pool = L::of(2);
        let held = first.block_on(async {
            let held = got(pool.get(Limit::Own)).await;
            drop(got(pool.get(Limit::Own)).await);
            held
        });
        drop(first);
        // On a thread that has none.
        drop(held);
        runtime().block_on(async { drop(all_of(&pool, 2).await) });
    }
}

pub(crate) fn a_runtime_that_ends_mid_way_costs_nothing<F: Face>() {
    for stage in Stage::ALL {
        if matches!(stage, Stage::Check | Stage::Reset) && !F::TENDS {
            continue;
        }
        for first in both() {
            let backend = Backend::new();
            let pool = F::new(&backend, checked_always(2));
            first.block_on(async {
                let mut lease = got(pool.get(Limit::Own)).await;
                if stage == Stage::Close {
                    F::taint(&mut lease);
                }
                F::thing(&lease).dirty.store(stage == Stage::Reset, SeqCst);
                backend.on(stage, Act::Hang);
                let before = backend.calls(stage);
                let held = (stage == Stage::Open).then_some(lease);
                // What was not to be held came back just now.
                let waits = tokio::spawn(pool.get(Limit::Own));
                until("it is on its way", || backend.calls(stage) > before).await;
                drop(waits);
                drop(held);
            });
            drop(first);
            mend(&backend);
            runtime().block_on(ends_well(pool, 2));
        }
    }
}

pub(crate) fn a_drain_without_a_runtime_reports<F: Face>() {
    let (unused, _) = pool::<F>(2);
    let drained = without_a_runtime(unused.drain(SEC));
    assert!(drained.is_complete(), "{drained:?}");

    let (pool, backend) = pool::<F>(2);
    let first = runtime();
    let held = first.block_on(got(pool.get(Limit::Own)));
    drop(first);
    let drained = without_a_runtime(pool.drain(SEC));
    assert_eq!(drained.left, 1);
    assert_eq!(
        without_a_runtime(refused(pool.get(Limit::Own))),
        Told::Closed
    );
    drop(held);
    assert_eq!(backend.alive(), 0);
    assert!(without_a_runtime(pool.drain(SEC)).is_complete());
}

pub(crate) fn a_drain_waits_for_what_is_out_and_no_longer_than_it_may<F: Face>() {
    paused(async {
        let (unused, _) = pool::<F>(2);
        assert!(unused.drain(SEC).await.is_complete());

        let (pool, backend) = pool::<F>(3);
        let mut held = all_of(&pool, 3).await;
        held.pop();
        let began = Instant::now();
        let drained = pool.drain(100 * MS).await;
        assert_eq!(drained.left, 2);
        let lasted = began.elapsed();
        assert!((100 * MS..150 * MS).contains(&lasted), "{lasted:?}");
        assert_eq!(refused(pool.get(Limit::Own)).await, Told::Closed);
        let user = tokio::spawn(async move {
            sleep(SEC).await;
            drop(held);
        });
        let began = Instant::now();
        assert!(pool.drain(60 * SEC).await.is_complete());
        assert!(began.elapsed() <= SEC + 50 * MS, "{:?}", began.elapsed());
        assert_eq!(backend.alive(), 0);
        user.await.unwrap();
    });
}

pub(crate) fn a_drain_takes_back_what_nobody_fetches<F: Face>() {
    paused(async {
        let (pool, backend) = pool::<F>(1);
        let held = got(pool.get(Limit::Own)).await;
        let mut unpolled = pool.get(Limit::Own);
        assert!(poll_once(&mut unpolled).await.is_none());
        drop(held);
        let began = Instant::now();
        assert!(pool.drain(60 * SEC).await.is_complete());
        assert!(began.elapsed() < 2 * SEC, "{:?}", began.elapsed());
        assert_eq!(refused(unpolled).await, Told::Closed);
        assert_eq!(backend.alive(), 0);
    });
}

pub(crate) fn a_drain_ends_though_nobody_drives_the_runtime_of_those_before<F: Face>() {
    for unpolled in [false, true] {
        let (pool, backend) = pool::<F>(1);
        let (alone, held) = left_alone(&pool);
        runtime().block_on(async {
            let mut get = pool.get(Limit::Own);
            if unpolled {
                assert!(poll_once(&mut get).await.is_none());
            }
            drop(held);
            settle().await;
            let drained = timeout(WATCHDOG, pool.drain(20 * SEC)).await;
            assert!(drained.expect("it has an end").is_complete());
            assert_eq!(backend.alive(), 0);
            assert_eq!(refused(get).await, Told::Closed);
        });
        drop(alone);
    }
}

pub(crate) fn a_drain_reports_in_time_though_nobody_drives_the_runtime_of_those_before<F: Face>() {
    let (pool, _) = pool::<F>(1);
    let (alone, held) = left_alone(&pool);
    runtime().block_on(async {
        let began = Clock::now();
        let drained = timeout(WATCHDOG, pool.drain(300 * MS)).await;
        assert_eq!(drained.expect("it has an end").left, 1);
        assert!(began.elapsed() >= 300 * MS, "{:?}", began.elapsed());
    });
    drop((held, alone));
}

pub(crate) fn the_last_handle_closes_it<F: Face>() {
    paused(async {
        let (pool, backend) = pool::<F>(2);
        let held = got(pool.get(Limit::Own)).await;
        drop(got(pool.get(Limit::Own)).await);
        drop(pool);
        settle().await;
        assert_eq!(backend.alive(), 1, "what is out stays good");
        drop(held);
        settle().await;
        assert_eq!(backend.alive(), 0);
        sleep(Duration::from_secs(60)).await;
        let tasks = tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks();
        assert_eq!(tasks, 0, "its keeper is gone");
    });
}
