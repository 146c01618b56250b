//! A get that is dropped at any await of any manager costs no capacity, exceeds no bound and leaks nothing.
//!
//! After deadpool's `managed_cancellation::test_cancellations`, which runs every combination of gates and looks at the bound.
//! This asks for more: afterwards as many leases as `max_size` must be there at once, and in the end everything that was ever
//! opened was closed, once.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use common::{Act, Backend, MS, SEC, Things, end, get, get_all, hush, poll_once, settle};
use pool_core::{Builder, Pool};
use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

const SIZE: u32 = 2;

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend)))
        .max_size(SIZE)
        .acquire_timeout(20 * SEC)
        .create_timeout(20 * MS)
        .check_timeout(20 * MS)
        .reset_timeout(20 * MS)
        .close_timeout(20 * MS)
        .check_after(Duration::ZERO)
}

/// How one call of the manager goes.
const ENDS: [fn() -> Act; 5] = [
    || Act::Succeed,
    || Act::Fail("told to fail"),
    || Act::Take(2 * MS),
    || Act::Hang,
    || Act::Panic,
];

fn let_all_succeed(backend: &Backend) {
    for gate in [
        &backend.create,
        &backend.check,
        &backend.reset,
        &backend.close,
    ] {
        *gate.lock().unwrap() = Act::Succeed;
    }
}

/// All is well again: is everything there, and does everything go?
async fn all_capacity_is_there(pool: Pool<Things>, backend: &Backend, case: &str) {
    println!("{case}");
    let_all_succeed(backend);
    drop(get_all(&pool).await);
    settle().await;
    assert!(
        backend.most_alive.load(SeqCst) <= SIZE,
        "{case}: the bound was exceeded"
    );
    end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn getters_that_come_and_go_cost_no_capacity_whatever_the_manager_does() {
    hush();
    let (mut cancelled, mut checks, mut resets) = (0, 0, 0);
    for combination in 0..ENDS.len().pow(4) {
        let act = |place: u32| ENDS[combination / ENDS.len().pow(place) % ENDS.len()]();
        let case = format!(
            "create {:?}, check {:?}, reset {:?}, close {:?}",
            act(0),
            act(1),
            act(2),
            act(3)
        );
        let backend = Backend::new();
        let pool = pool(&backend).build().unwrap();
        // Something to check, reset and close must be there, also when nothing can be opened later.
        drop(pool.get().await.unwrap());
        backend.on_create(act(0));
        backend.on_check(act(1));
        backend.on_reset(act(2));
        backend.on_close(act(3));
        let getters: Vec<_> = (0..8)
            .map(|n| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    loop {
                        let patience = Duration::from_micros(n * 700);
                        if let Ok(Ok(mut lease)) = timeout(patience, pool.get()).await {
                            lease.dirty = n % 3 == 0;
                            lease.broken = n == 7;
                        }
                        sleep((9 * patience).max(MS)).await;
                    }
                })
            })
            .collect();
        for _ in 0..50 {
            sleep(2 * MS).await;
            let status = pool.status();
            assert!(
                status.open + status.opening + status.closing <= SIZE,
                "{case}: {status:?}"
            );
        }
        for getter in getters {
            getter.abort();
            assert!(getter.await.unwrap_err().is_cancelled());
        }
        cancelled += pool.status().cancelled;
        checks += backend.checks.load(SeqCst);
        resets += backend.resets.load(SeqCst);
        all_capacity_is_there(pool, &backend, &case).await;
    }
    println!("{cancelled} gets were dropped among {checks} checks and {resets} resets");
    assert!(cancelled > 10_000 && checks > 1000 && resets > 1000);
}

/// What a get waits for when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Await {
    Create,
    Check,
    Reset,
    Close,
}

/// When the get is dropped.
#[derive(Clone, Copy, Debug)]
enum Dropped {
    BeforeItsFirstPoll,
    /// While the manager is at it.
    During,
    /// The manager has ended, whatever came of it; the get was not polled since.
    After,
}

#[tokio::test(start_paused = true)]
async fn a_get_dropped_before_during_or_after_any_await_loses_nothing() {
    hush();
    for what in [Await::Create, Await::Check, Await::Reset, Await::Close] {
        for dropped in [Dropped::BeforeItsFirstPoll, Dropped::During, Dropped::After] {
            for end in ENDS {
                // With somebody behind it in line who stays, and without.
                for followed in [false, true] {
                    drop_one(what, dropped, end(), followed).await;
                }
            }
        }
    }
}

async fn drop_one(what: Await, dropped: Dropped, end: Act, followed: bool) {
    let case = format!("{what:?} ends by {end:?}, dropped {dropped:?}, followed: {followed}");
    let backend = Backend::new();
    let pool = pool(&backend).build().unwrap();
    // One place is taken for good, so all who wait do so for the one that the manager is at.
    let taken = pool.get().await.unwrap();
    let other = match what {
        Await::Create => None,
        _ => Some(pool.get().await.unwrap()),
    };
    let gate = Arc::new(Semaphore::new(0));
    let held = Act::Then(Arc::clone(&gate), Box::new(end));
    match what {
        Await::Create => backend.on_create(held),
        Await::Check => backend.on_check(held),
        Await::Reset => backend.on_reset(held),
        Await::Close => backend.on_close(held),
    }
    if let Some(mut other) = other {
        other.dirty = what == Await::Reset;
        other.broken = what == Await::Close;
        drop(other);
        // Long enough to be in need of a check, for which the clock of the hot path is within 10 ms.
        sleep(15 * MS).await;
    }
    let mut doomed = Box::pin(pool.get());
    if !matches!(dropped, Dropped::BeforeItsFirstPoll) {
        assert!(poll_once(doomed.as_mut()).await.is_pending(), "{case}");
    }
    let behind = followed.then(|| {
        let pool = pool.clone();
        tokio::spawn(async move { get(&pool).await.id })
    });
    settle().await;
    if matches!(dropped, Dropped::After) {
        gate.add_permits(1000);
        // Past the end of a slow one, but not of a hung one.
        sleep(4 * MS).await;
    }
    drop(doomed);
    gate.add_permits(1000);
    let_all_succeed(&backend);
    if let Some(behind) = behind {
        let served = timeout(20 * SEC, behind).await;
        assert!(
            served.is_ok_and(|end| end.is_ok()),
            "{case}: whoever is behind it is served"
        );
    }
    drop(taken);
    all_capacity_is_there(pool, &backend, &case).await;
}
