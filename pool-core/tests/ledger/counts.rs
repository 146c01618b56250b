//! Every counter, against what happened to those who came and went.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use pool_core::{
    Config, Flight, Limiter, Status,
    observe::{CloseReason, Phase},
};
use tokio::time::{sleep, timeout};

use crate::{
    common::{MS, SEC, hush},
    face::{Books, Face, Got},
};

/// How the gets ended, as their callers saw it.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    had: AtomicU64,
    had_waiting: AtomicU64,
    timeouts: [AtomicU64; 4],
    overloaded: AtomicU64,
    connect: AtomicU64,
    /// Dropped while they waited.
    dropped: AtomicU64,
    returned: AtomicU64,
    taints: AtomicU64,
    breaks: AtomicU64,
    not_retained: AtomicU64,
}

fn one_more(of: &AtomicU64) {
    of.fetch_add(1, SeqCst);
}

pub(crate) const PHASES: [Phase; 4] = [Phase::Wait, Phase::Create, Phase::Check, Phase::Reset];

/// A get, and whether it had to wait; `None` when it was dropped.
async fn watched<L>(mut get: Got<L>, patience: Duration, ends: &Ends) -> Option<L> {
    let mut waited = false;
    let watched = poll_fn(|context| {
        let poll = get.as_mut().poll(context);
        waited |= poll.is_pending();
        poll
    });
    let outcome = timeout(patience, watched).await;
    drop(get);
    match outcome {
        Ok(Ok(lease)) => {
            one_more(&ends.had);
            ends.had_waiting.fetch_add(waited.into(), SeqCst);
            return Some(lease);
        }
        Ok(Err(error)) => {
            let phase = error.phase();
            match PHASES.iter().position(|of| phase == Some(*of)) {
                Some(phase) => one_more(&ends.timeouts[phase]),
                None if error.is_overloaded() => one_more(&ends.overloaded),
                None if error.is_connect() => one_more(&ends.connect),
                None => panic!("{error}"),
            }
        }
        Err(_) if waited => one_more(&ends.dropped),
        Err(_) => {}
    }
    None
}

pub(crate) fn config() -> Config {
    Config::new()
        .max_size(6)
        .max_opening(3)
        .max_waiters(Some(60))
        .check_after(Duration::ZERO)
        .create_timeout(20 * MS)
        .check_timeout(20 * MS)
        .reset_timeout(20 * MS)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Two hundred who come and go, until all is at rest.
pub(crate) async fn storm<F: Face>(pool: &F, books: &Arc<Books>, seed: u64) -> Arc<Ends> {
    hush();
    let ends = Arc::new(Ends::default());
    *books.random.lock().unwrap() = Some(fastrand::Rng::with_seed(seed));
    let users: Vec<_> = (0..200)
        .map(|number| {
            let (pool, books, ends) = (pool.clone(), Arc::clone(books), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed * 1000 + number);
                for _ in 0..30 {
                    sleep(random.u32(..120) * MS).await;
                    if random.u32(..10) == 0 {
                        if let Some(lease) = pool.try_get() {
                            one_more(&ends.had);
                            one_more(&ends.returned);
                            drop(lease);
                        }
                        continue;
                    }
                    let limit = (random.u32(..3) > 0).then(|| random.u32(..40) * MS);
                    let patience = if random.u32(..4) == 0 {
                        random.u32(..20) * MS
                    } else {
                        60 * SEC
                    };
                    let Some(mut lease) = watched(pool.get(limit), patience, &ends).await else {
                        continue;
                    };
                    sleep(random.u32(..6) * MS).await;
                    one_more(&ends.returned);
                    match random.u32(..20) {
                        0 => {
                            one_more(&ends.taints);
                            F::taint(&mut lease);
                        }
                        1 => {
                            one_more(&ends.breaks);
                            F::thing(&lease).breaks();
                        }
                        2 => {
                            F::detach(lease, &books);
                            continue;
                        }
                        3..8 => F::thing(&lease).dirty.store(true, SeqCst),
                        _ => {}
                    }
                    drop(lease);
                }
            })
        })
        .collect();
    // Somebody who sees to it.
    let operator = tokio::spawn({
        let (pool, ends) = (pool.clone(), Arc::clone(&ends));
        async move {
            for size in [6, 3, 6, 2, 6, 4, 6] {
                sleep(300 * MS).await;
                pool.resize(size);
                let mut number = 0;
                let closed = pool.retain(|| {
                    number += 1;
                    number % 2 == 0
                });
                ends.not_retained.fetch_add(closed as u64, SeqCst);
                sleep(200 * MS).await;
                pool.retire_all();
            }
        }
    });
    for user in users {
        user.await.unwrap();
    }
    operator.await.unwrap();
    // What hangs has ended, and so has every grant that nobody fetched.
    sleep(10 * SEC).await;
    *books.random.lock().unwrap() = None;
    drop(
        watched(pool.get(Some(20 * SEC)), 60 * SEC, &ends)
            .await
            .unwrap(),
    );
    sleep(SEC).await;
    ends
}

/// Returns how many connections a check and a reset have closed.
async fn two_hundred_users<F: Face>(seed: u64) -> [u64; 2] {
    let books = Arc::new(Books::default());
    let pool = F::new(&books, config());
    let ends = storm(&pool, &books, seed).await;
    holds::<F>(&pool, &books, &ends, pool.status());

    pool.close();
    sleep(2 * SEC).await;
    let status = pool.status();
    let gone = status.closed.total() + status.dropped;
    assert_eq!(gone, books.opened.load(SeqCst), "{status:?}");
    observer_agrees::<F>(&books, &status);
    [CloseReason::CheckFailed, CloseReason::ResetFailed].map(|reason| status.closed.by(reason))
}

/// The pool says what happened.
fn holds<F: Face>(pool: &F, books: &Books, ends: &Ends, of: Status) {
    let read = |of: &AtomicU64| of.load(SeqCst);
    assert!(read(&ends.had) > 500, "{ends:?}");
    assert_eq!(of.gets, read(&ends.had), "{of:?}");
    assert_eq!(of.waited, read(&ends.had_waiting), "{of:?}, {ends:?}");
    for (phase, seen) in PHASES.into_iter().zip(&ends.timeouts) {
        assert_eq!(of.timeouts_in(phase), read(seen), "{phase}: {of:?}");
    }
    assert_eq!(of.overloaded, read(&ends.overloaded), "{of:?}");
    // One that went before it heard that nothing can be opened was told so all the same.
    let (gone, told) = (
        of.cancelled + of.failed_fast,
        read(&ends.dropped) + read(&ends.connect),
    );
    assert_eq!(gone, told, "{of:?}, {ends:?}");
    assert!(of.failed_fast >= read(&ends.connect), "{of:?}");
    assert_eq!(of.opened, read(&books.opened), "{of:?}");
    assert_eq!(
        of.opened + of.open_failures,
        read(&books.attempts),
        "{of:?}"
    );
    assert_eq!(of.dropped, read(&books.detached), "{of:?}");
    assert_eq!(
        of.closed.by(CloseReason::NotRetained),
        read(&ends.not_retained)
    );
    // What was broken, or tainted, when the pool had become smaller or was reset may have gone for that.
    let broken = of.closed.by(CloseReason::Broken);
    assert!(broken <= read(&ends.breaks), "{of:?}, {ends:?}");
    assert!(of.closed.by(CloseReason::Tainted) <= read(&ends.taints));
    if F::TENDS {
        assert_eq!(broken, read(&ends.breaks), "{of:?}, {ends:?}");
    } else {
        assert_eq!(broken, pool.died());
    }
    assert_eq!(of.closed.total(), read(&books.closes) + pool.died());
    assert_eq!(
        (of.leased, of.waiting, of.opening, of.closing),
        (0, 0, 0, 0)
    );

    let timings = pool.timings();
    assert_eq!(timings.create.count(), of.opened);
    if F::TENDS {
        assert_eq!(timings.check.count(), read(&books.checked));
        assert_eq!(timings.reset.count(), read(&books.cleaned));
        // Those since the last that was timed of one that has gone are in no sample.
        let used = timings.used.count();
        let ended = read(&ends.returned) + 1;
        assert!(used.abs_diff(ended) <= 1 + ended / 20, "{used} of {ended}");
    }
    let waits = timings.wait.count();
    assert!(
        waits.abs_diff(of.waited) <= 1 + of.waited / 20,
        "{waits} of {}",
        of.waited
    );
    observer_agrees::<F>(books, &of);
}

/// The observer was told what the status says.
fn observer_agrees<F: Face>(books: &Books, of: &Status) {
    let told = books.told.lock().unwrap().clone();
    assert_eq!(told.opened, of.opened);
    assert_eq!(told.open_failed, of.open_failures);
    assert_eq!(told.waited.len() as u64, of.waited);
    assert_eq!(told.overloaded, of.overloaded + of.shed);
    for phase in PHASES {
        let seen = told.timed_out.get(phase.as_str()).copied().unwrap_or(0);
        assert_eq!(seen, of.timeouts_in(phase), "{phase}");
    }
    for reason in CloseReason::ALL {
        let seen = told.closed.get(reason.as_str()).copied().unwrap_or(0);
        assert_eq!(seen, of.closed.by(reason), "{reason}: {told:?}, {of:?}");
    }
}

pub(crate) fn what_two_hundred_users_saw<F: Face>() {
    let mut failed = [0; 2];
    for seed in 0..3 {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        let more = runtime.block_on(two_hundred_users::<F>(seed));
        failed = [failed[0] + more[0], failed[1] + more[1]];
    }
    // One storm by itself may have met none that failed its check.
    assert!(
        !F::TENDS || failed.iter().all(|failed| *failed > 0),
        "{failed:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_limiter_says_what_happened() {
    let limiter = Limiter::builder(4).max_waiters(30).build().unwrap();
    let ends = Arc::new(Ends::default());
    let users: Vec<_> = (0..200)
        .map(|number| {
            let (limiter, ends) = (limiter.clone(), Arc::clone(&ends));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                for _ in 0..30 {
                    sleep(random.u32(..100) * MS).await;
                    let mut acquire = Box::pin(limiter.acquire_many(random.u32(1..3)));
                    if random.bool() {
                        acquire = Box::pin(limiter.acquire().timeout(random.u32(1..30) * MS));
                    }
                    let mut waited = false;
                    let watched = poll_fn(|context| {
                        let poll = acquire.as_mut().poll(context);
                        waited |= poll.is_pending();
                        poll
                    });
                    let patience = random.u32(1..60) * MS;
                    let outcome = timeout(patience, watched).await;
                    drop(acquire);
                    match outcome {
                        Ok(Ok(permit)) => {
                            ends.had_waiting.fetch_add(waited.into(), SeqCst);
                            sleep(random.u32(..4) * MS).await;
                            drop(permit);
                        }
                        Ok(Err(error)) if error.is_timeout() => one_more(&ends.timeouts[0]),
                        Ok(Err(error)) if error.is_overloaded() => one_more(&ends.overloaded),
                        Ok(Err(error)) => panic!("{error}"),
                        Err(_) => one_more(&ends.dropped),
                    }
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    let (of, read) = (limiter.status(), |of: &AtomicU64| of.load(SeqCst));
    assert_eq!((of.available, of.in_use, of.waiting), (4, 0, 0));
    assert_eq!(of.waited, read(&ends.had_waiting), "{of:?}, {ends:?}");
    assert_eq!(of.timeouts, read(&ends.timeouts[0]), "{of:?}");
    assert_eq!(of.overloaded, read(&ends.overloaded), "{of:?}");
    assert_eq!(of.cancelled, read(&ends.dropped), "{of:?}");
    assert!(
        of.waited > 100 && of.timeouts > 10 && of.cancelled > 10,
        "{of:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flight_says_what_happened() {
    hush();
    let flight = Flight::<u32, u32, u32>::builder()
        .max_waiters(60)
        .timeout(20 * MS)
        .build()
        .unwrap();
    let [calls, started, refused, ok, failed] =
        std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
    let users: Vec<_> = (0..200)
        .map(|number| {
            let flight = flight.clone();
            let [calls, started, refused, ok, failed] =
                [&calls, &started, &refused, &ok, &failed].map(Arc::clone);
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(number);
                for _ in 0..30 {
                    sleep(random.u32(..60) * MS).await;
                    let (choice, ms) = (random.u32(..10), random.u32(..8));
                    let (ok, failed) = (Arc::clone(&ok), Arc::clone(&failed));
                    let begins = Arc::clone(&started);
                    let call = flight.run(random.u32(..4), move || {
                        one_more(&begins);
                        async move {
                            sleep(ms * MS).await;
                            if choice == 0 {
                                one_more(&failed);
                                return Err(ms);
                            }
                            one_more(&ok);
                            Ok(ms)
                        }
                    });
                    one_more(&calls);
                    if let Ok(Err(error)) = timeout(random.u32(1..20) * MS, call).await
                        && error.is_overloaded()
                    {
                        one_more(&refused);
                    }
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    sleep(SEC).await;
    let (of, read) = (flight.status(), |of: &AtomicU64| of.load(SeqCst));
    assert_eq!((of.keys, of.waiting), (0, 0), "{of:?}");
    assert_eq!(of.started, read(&started), "{of:?}");
    assert_eq!(
        (of.succeeded, of.failed),
        (read(&ok), read(&failed)),
        "{of:?}"
    );
    assert_eq!(of.started, of.succeeded + of.failed + of.stopped, "{of:?}");
    assert_eq!(of.overloaded, read(&refused), "{of:?}");
    assert_eq!(
        read(&calls),
        of.started + of.joined + of.overloaded,
        "{of:?}"
    );
}
