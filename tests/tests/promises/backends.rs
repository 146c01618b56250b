//! What a backend does: it fails, falls silent, breaks, or panics.

use std::{
    sync::atomic::Ordering::SeqCst,
    thread,
    time::{Duration, Instant as Clock},
};

use pool_core::Config;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    backend::{Act, Backend, Born, Stage},
    face::{
        Face, Limit, MS, SEC, Told, WATCHDOG, all_of, checked_always, config, ends_well, got,
        got_in_the_end, left_alone, mend, paused, poll_once, pool, runtime, settle,
    },
};

/// Gets that ask again and again for ten seconds, of a pool where none can be had; how many opens were begun, and how many could be had.
async fn asked_for_ten_seconds<F: Face>(pool: &F, backend: &Backend) -> (u64, u64) {
    let end = Instant::now() + 10 * SEC;
    let mut had = 0;
    let users: Vec<_> = (0..3)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut had = 0;
                while Instant::now() < end {
                    match pool.get(Limit::Within(SEC)).await {
                        Ok(_) => had += 1,
                        Err(told) => assert!(matches!(told, Told::Connect | Told::Timeout)),
                    }
                    sleep(MS).await;
                }
                had
            })
        })
        .collect();
    for user in users {
        had += user.await.unwrap();
    }
    (backend.calls(Stage::Open), had)
}

/// A pool of one has no room for another attempt while its only one lasts.
pub(crate) fn what_lasts_ends_the_doubt_of_its_backend<F: Face>() {
    for born in [Born::Broken, Born::Dying, Born::Leaving, Born::Lost] {
        paused(async {
            let backend = Backend::new();
            let pool = F::new(&backend, config(1));
            backend.are_born(born);
            let first = pool.get(Limit::Within(10 * MS)).await;
            sleep(2 * MS).await;
            let failing = pool.last_error().is_some();
            backend.are_born(Born::Well);
            drop(first);
            let held = got_in_the_end(&pool).await;
            sleep(2 * SEC).await;
            let opens = backend.calls(Stage::Open);
            assert_eq!(pool.last_error(), None, "{born:?}, failing: {failing}");
            sleep(60 * SEC).await;
            assert_eq!(backend.calls(Stage::Open), opens, "nothing more is tried");
            drop(held);
            ends_well(pool, 1).await;
        });
    }
}

pub(crate) fn no_backend_makes_it_open_without_a_pause<F: Face>() {
    let kinds = [
        (Act::Fail, Born::Well),
        (Act::Panic, Born::Well),
        (Act::Hang, Born::Well),
        (Act::Succeed, Born::Broken),
        (Act::Succeed, Born::Dying),
        (Act::Succeed, Born::Leaving),
        (Act::Succeed, Born::Lost),
    ];
    for (act, born) in kinds {
        paused(async {
            let backend = Backend::new();
            let pool = F::new(&backend, config(4).create_timeout(200 * MS));
            let said = format!("{act:?}, {born:?}");
            backend.on(Stage::Open, act);
            backend.are_born(born);
            let (opens, had) = asked_for_ten_seconds(&pool, &backend).await;
            println!("{said}: {opens} opens in 10 s, {had} had");
            // 50 ms doubled up to 5 s, shortened at random, on four places: a hundred at most, and one that somebody had is no failed one. A
            // busy loop makes thousands, or never ends.
            let of_use = match born {
                // At most now and then, by a get that came in between.
                Born::Leaving | Born::Lost => 0,
                Born::Well | Born::Broken | Born::Dying => had,
            };
            assert!(
                (1..300 + of_use).contains(&opens),
                "{said}: {opens} opens in 10 s, {had} had"
            );
            // And it is not lost for that.
            mend(&backend);
            backend.are_born(Born::Well);
            drop(got_in_the_end(&pool).await);
            ends_well(pool, 4).await;
        });
    }
}

pub(crate) fn silent_ones_are_found_out_in_one_check_timeout<F: Face>() {
    for size in [10, 50] {
        paused(async {
            let backend = Backend::new();
            let config = Config::new().max_size(size).max_opening(size);
            let pool = F::new(&backend, config);
            drop(all_of(&pool, size).await);
            sleep(2 * SEC).await;
            backend.on(Stage::Check, Act::Hang);
            let began = Instant::now();
            let lease = pool.get(Limit::Within(30 * SEC)).await;
            // A check has 5 s.
            let lasted = began.elapsed();
            assert!(lease.is_ok() && lasted <= 7 * SEC, "{size}: {lasted:?}");
        });
    }
}

pub(crate) fn silent_ones_are_passed_over_where_there_is_room<F: Face>() {
    paused(async {
        let backend = Backend::new();
        let pool = F::new(&backend, Config::new().max_size(20).max_opening(20));
        let gets = (0..10).map(|_| got(pool.get(Limit::Own)));
        drop(futures_util::future::join_all(gets).await);
        assert_eq!(backend.alive(), 10);
        sleep(2 * SEC).await;
        backend.on(Stage::Check, Act::Hang);
        let began = Instant::now();
        let lease = pool.get(Limit::Within(30 * SEC)).await;
        assert!(
            lease.is_ok() && began.elapsed() <= 6 * SEC,
            "{:?}",
            began.elapsed()
        );
    });
}

pub(crate) fn what_was_idle_while_its_thread_stood_still_is_checked<F: Face>() {
    runtime().block_on(async {
        let (pool, backend) = pool::<F>(1);
        for round in 1..=3 {
            drop(got(pool.get(Limit::Own)).await);
            // The tick runs.
            sleep(15 * MS).await;
            drop(got(pool.get(Limit::Own)).await);
            let before = backend.calls(Stage::Check);
            thread::sleep(700 * MS);
            drop(got(pool.get(Limit::Own)).await);
            assert!(backend.calls(Stage::Check) > before, "round {round}");
        }
    });
}

pub(crate) fn what_was_idle_is_checked_though_nobody_drives_the_runtime_of_those_before<F: Face>() {
    let (pool, backend) = pool::<F>(1);
    let (alone, held) = left_alone(&pool);
    drop(held);
    let here = runtime();
    for round in 1..=3 {
        thread::sleep(700 * MS);
        let before = backend.calls(Stage::Check);
        here.block_on(async {
            drop(got(pool.get(Limit::Own)).await);
            // Nothing here but what is ready at once.
            for _ in 0..100 {
                drop(got(pool.get(Limit::Own)).await);
            }
        });
        assert!(backend.calls(Stage::Check) > before, "round {round}");
    }
    drop(alone);
}

/// Every setting that is a duration, and what sets it.
fn settings() -> Vec<(&'static str, fn(Config, Duration) -> Config)> {
    vec![
        ("acquire_timeout", Config::acquire_timeout),
        ("create_timeout", Config::create_timeout),
        ("check_timeout", Config::check_timeout),
        ("reset_timeout", Config::reset_timeout),
        ("close_timeout", Config::close_timeout),
        ("idle_timeout", |of, to| of.idle_timeout(Some(to))),
        ("max_lifetime", |of, to| of.max_lifetime(Some(to))),
        ("max_lifetime without jitter", |of, to| {
            of.max_lifetime(Some(to)).lifetime_jitter(0.0)
        }),
        ("check_after", Config::check_after),
        ("keepalive", |of, to| of.keepalive(Some(to))),
        ("reclaim_after", Config::reclaim_after),
        ("shed_target", |of, to| of.shed_target(Some(to))),
        ("leak_after", |of, to| of.leak_after(Some(to))),
        ("slow_get", |of, to| of.slow_get(Some(to))),
    ]
}

/// A get, a return, a wait, a reset, a check, and the end.
async fn lives<F: Face>(config: Config) {
    let backend = Backend::new();
    let pool = F::new(&backend, config);
    let held = got(pool.get(Limit::Own)).await;
    let waits = tokio::spawn(pool.get(Limit::Own));
    sleep(30 * MS).await;
    F::thing(&held).dirty.store(true, SeqCst);
    drop(held);
    let second = timeout(10 * SEC, waits).await.expect("it is served");
    drop(second.unwrap());
    sleep(60 * SEC).await;
    drop(got(pool.get(Limit::Own)).await);
    assert_eq!(backend.calls(Stage::Open), 1);
    ends_well(pool, 1).await;
}

pub(crate) fn for_ever_is_a_duration_like_any_other<F: Face>() {
    let sheds = |name: &str| F::SHEDS || name != "shed_target";
    for (name, set) in settings() {
        if sheds(name) {
            println!("{name}");
            paused(lives::<F>(set(config(1), Duration::MAX)));
        }
    }
    let all = settings().into_iter().filter(|(name, _)| sheds(name));
    paused(lives::<F>(all.fold(config(1), |config, (_, set)| {
        set(config, Duration::MAX)
    })));
}

pub(crate) fn nothing_is_lost_where_code_of_a_user_panics<F: Face>() {
    let kinds: [(&str, fn(&Backend, bool)); 8] = [
        ("create", |backend, on| backend.on(Stage::Open, panics(on))),
        ("check", |backend, on| backend.on(Stage::Check, panics(on))),
        ("reset", |backend, on| backend.on(Stage::Reset, panics(on))),
        ("close", |backend, on| backend.on(Stage::Close, panics(on))),
        ("is_broken", |of, on| of.rude.is_broken.store(on, SeqCst)),
        ("needs_reset", |of, on| {
            of.rude.needs_reset.store(on, SeqCst)
        }),
        ("drop", |of, on| of.rude.drop.store(on, SeqCst)),
        ("observer", |of, on| of.rude.observer.store(on, SeqCst)),
    ];
    for (name, set) in kinds {
        println!("{name}");
        paused(async {
            let backend = Backend::new();
            let pool = F::new(&backend, checked_always(2));
            for on in [false, true, true] {
                let mut leases = Vec::new();
                for _ in 0..2 {
                    leases.extend(pool.get(Limit::Within(SEC)).await.ok());
                }
                set(&backend, on);
                for (number, mut lease) in leases.into_iter().enumerate() {
                    F::thing(&lease).dirty.store(number == 0, SeqCst);
                    if number == 1 && on {
                        F::taint(&mut lease);
                    }
                    let waits = tokio::spawn(pool.get(Limit::Within(500 * MS)));
                    settle().await;
                    drop(lease);
                    drop(waits.await);
                }
                sleep(100 * MS).await;
            }
            // One that goes before it was fetched.
            let held = pool.get(Limit::Within(SEC)).await;
            let mut get = pool.get(Limit::Within(SEC));
            drop(poll_once(&mut get).await);
            drop(held);
            drop(get);
            settle().await;
            set(&backend, false);
            sleep(2 * SEC).await;
            assert_eq!(pool.mistake(), None);
            ends_well(pool, 2).await;
        });
    }
}

fn panics(on: bool) -> Act {
    if on { Act::Panic } else { Act::Succeed }
}

pub(crate) fn a_close_that_hangs_is_given_up<F: Face>() {
    let (pool, backend) = pool::<F>(2);
    runtime().block_on(async {
        let mut lease = got(pool.get(Limit::Own)).await;
        backend.on(Stage::Close, Act::Hang);
        F::taint(&mut lease);
        drop(lease);
        let began = Clock::now();
        while backend.alive() > 0 {
            assert!(began.elapsed() < WATCHDOG, "it is never given up");
            sleep(10 * MS).await;
        }
        mend(&backend);
        drop(all_of(&pool, 2).await);
    });
}
