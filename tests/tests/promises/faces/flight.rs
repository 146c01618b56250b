//! `Flight`: it lends nothing, but its calls wait, end and go as all others do.

use std::{
    future::{pending, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant as Clock},
};

use pool_core::Flight;
use tokio::{
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::{
    backend::panics,
    face::{MS, SEC, WATCHDOG, paused, poll_once, runtime, settle, threads, until},
};

type Numbers = Flight<u32, u32>;

fn hangs() -> impl Future<Output = Result<u32, std::convert::Infallible>> + Send {
    pending()
}

pub(crate) fn a_get_ends_at_its_deadline_and_no_earlier() {
    paused(async {
        for limit in [MS, 20 * MS, 300 * MS, 1500 * MS] {
            let flight = Numbers::builder().timeout(limit).build().unwrap();
            let began = Instant::now();
            let error = flight.run(1, hangs).await.unwrap_err();
            assert!(error.is_timeout(), "{error}");
            let lasted = began.elapsed();
            assert!((limit..limit + 50 * MS).contains(&lasted), "{lasted:?}");
        }
    });
}

pub(crate) fn a_get_ends_no_earlier_after_its_thread_stood_still() {
    runtime().block_on(async {
        let flight = Numbers::builder().timeout(300 * MS).build().unwrap();
        let other = Box::pin(flight.run(1, hangs));
        drop(timeout(20 * MS, other).await);
        thread::sleep(600 * MS);
        for _ in 0..2 {
            let began = Clock::now();
            let error = flight.run(1, hangs).await.unwrap_err();
            assert!(error.is_timeout() && began.elapsed() >= 300 * MS);
        }
    });
}

pub(crate) fn a_get_ends_though_nobody_drives_the_runtime_of_those_before() {
    let flight = Numbers::builder().timeout(300 * MS).build().unwrap();
    let alone = runtime();
    let mut first = Box::pin(flight.run(1, hangs));
    alone.block_on(async { assert!(poll_once(&mut first).await.is_none()) });
    runtime().block_on(async {
        let began = Clock::now();
        let error = timeout(WATCHDOG, flight.run(1, hangs)).await.unwrap();
        assert!(error.unwrap_err().is_timeout() && began.elapsed() >= 300 * MS);
    });
}

pub(crate) fn a_get_goes_on_though_its_runtime_ends() {
    for first in [runtime(), threads(1)] {
        let flight = Numbers::new();
        let computes = first.spawn(flight.run(1, hangs));
        first.block_on(until("it is under way", || flight.status().keys == 1));
        drop((first, computes));
        runtime().block_on(async {
            let again = timeout(WATCHDOG, flight.run(1, || ready(Ok(2))));
            assert_eq!(again.await.unwrap().unwrap(), 2);
        });
        assert_eq!((flight.status().keys, flight.status().waiting), (0, 0));
    }
}

pub(crate) fn all_the_time_there_is_ends_with_what_comes_back() {
    paused(async {
        let flight = Numbers::builder().timeout(Duration::MAX).build().unwrap();
        let computes = || async {
            sleep(60 * SEC).await;
            Ok(3)
        };
        assert_eq!(flight.run(1, computes).await.unwrap(), 3);
    });
}

pub(crate) fn a_get_that_is_dropped_after_any_poll_costs_nothing() {
    paused(async {
        let flight = Numbers::new();
        for polls in 0..4 {
            for others in 0..2 {
                let mut call = Box::pin(flight.run(1, hangs));
                let others: Vec<_> = (0..others)
                    .map(|_| tokio::spawn(flight.run(1, hangs)))
                    .collect();
                for _ in 0..polls {
                    assert!(poll_once(&mut call).await.is_none());
                    settle().await;
                }
                drop(call);
                others.iter().for_each(|other| other.abort());
                settle().await;
                let status = flight.status();
                assert_eq!((status.keys, status.waiting), (0, 0), "{status:?}");
            }
        }
        assert_eq!(flight.run(1, || ready(Ok(4))).await.unwrap(), 4);
        let of = flight.status();
        assert_eq!(of.started, of.succeeded + of.failed + of.stopped, "{of:?}");
    });
}

pub(crate) fn a_loop_of_gets_that_are_ready_lets_a_timer_fire() {
    runtime().block_on(async {
        let (flight, fired) = (Numbers::new(), Arc::new(AtomicBool::new(false)));
        let timer = tokio::spawn({
            let fired = Arc::clone(&fired);
            async move {
                sleep(20 * MS).await;
                fired.store(true, SeqCst);
            }
        });
        yield_now().await;
        for _ in 0..10_000_000 {
            if fired.load(SeqCst) {
                break;
            }
            assert_eq!(flight.run(1, || ready(Ok(5))).await.unwrap(), 5);
        }
        assert!(fired.load(SeqCst), "the loop starves the executor");
        timer.await.unwrap();
    });
}

pub(crate) fn nothing_is_lost_where_code_of_a_user_panics() {
    paused(async {
        let flight = Numbers::new();
        for _ in 0..10 {
            let error = flight
                .run(1, || async {
                    panics();
                    Ok(6)
                })
                .await
                .unwrap_err();
            assert!(error.is_panic(), "{error}");
        }
        assert_eq!(flight.run(1, || ready(Ok(6))).await.unwrap(), 6);
        let of = flight.status();
        assert_eq!((of.started, of.failed, of.keys), (11, 10, 0), "{of:?}");
    });
}

pub(crate) fn its_counts_add_up_at_every_moment() {
    threads(3).block_on(async {
        let flight = Numbers::builder().timeout(20 * MS).build().unwrap();
        let users: Vec<_> = (0..24)
            .map(|number| {
                let flight = flight.clone();
                tokio::spawn(async move {
                    let mut random = fastrand::Rng::with_seed(number);
                    for _ in 0..40 {
                        let ms = random.u32(..4);
                        let call = flight.run(random.u32(..3), move || async move {
                            sleep(ms * MS).await;
                            Ok(ms)
                        });
                        drop(timeout(random.u32(..6) * MS, call).await);
                        let of = flight.status();
                        let ended = of.succeeded + of.failed + of.stopped;
                        assert!(of.keys <= 3 && ended <= of.started, "{of:?}");
                        assert!(of.started - ended <= of.keys as u64, "{of:?}");
                    }
                })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
        until("all ended", || flight.status().keys == 0).await;
        let of = flight.status();
        assert_eq!(of.waiting, 0);
        assert_eq!(of.started, of.succeeded + of.failed + of.stopped, "{of:?}");
    });
}
