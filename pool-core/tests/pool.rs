//! What a pool does, seen from outside.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use common::{Act, Backend, Oops, Things};
use pool_core::{
    Builder, Get, Lease, Manager, Pool, Usage,
    observe::{CloseReason, Phase},
};
use tokio::{sync::Semaphore, task::yield_now, time::Instant};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend))).name("things")
}

/// Polls a future once.
async fn poll_once<F: Future + Unpin>(mut future: F) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(std::pin::Pin::new(&mut future).poll(context))).await
}

/// Lets every task that can run, run.
async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_given_back_is_handed_out_again() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    for _ in 0..10 {
        let _lease = pool.get().await.unwrap();
    }
    assert_eq!(
        (backend.created(), pool.status().gets, pool.status().idle),
        (1, 10, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn never_more_than_max_size_are_open_and_nobody_is_lost() {
    let backend = Backend::new();
    backend.on_create(Act::Take(5 * MS));
    let pool = pool(&backend).max_size(3).build().unwrap();
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let _lease = pool.get().await.unwrap();
                tokio::time::sleep(MS).await;
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(backend.most_alive.load(std::sync::atomic::Ordering::SeqCst) <= 3);
    assert_eq!((pool.status().leased, pool.status().waiting), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_of_arrival() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..20 {
        let (pool, order) = (pool.clone(), Arc::clone(&order));
        tasks.push(tokio::spawn(async move {
            let _lease = pool.get().await.unwrap();
            order.lock().unwrap().push(n);
            yield_now().await;
        }));
        settle().await;
    }
    drop(held);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), (0..20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_timeout_says_phase_waited_and_state() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .acquire_timeout(2 * SEC)
        .build()
        .unwrap();
    let _held = pool.get().await.unwrap();
    let started = Instant::now();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(
        (error.phase(), error.status().leased),
        (Some(Phase::Wait), 1)
    );
    assert!(
        (2 * SEC..2 * SEC + 35 * MS).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert!(
        error
            .to_string()
            .contains("no resource became free within 2"),
        "{error}"
    );
    assert!(error.to_string().contains("1 of 1 in use"), "{error}");
    assert_eq!(pool.status().timeouts_wait, 1);
}

#[tokio::test(start_paused = true)]
async fn a_get_may_have_a_timeout_or_a_deadline_of_its_own() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    for limit in [Duration::ZERO, 3 * MS, 15 * MS, 200 * MS] {
        let started = Instant::now();
        assert!(pool.get().timeout(limit).await.unwrap_err().is_timeout());
        assert!(
            (limit..limit + 2 * MS).contains(&started.elapsed()),
            "{limit:?}: {:?}",
            started.elapsed()
        );
        let started = Instant::now();
        assert!(
            pool.get()
                .deadline(started + limit)
                .await
                .unwrap_err()
                .is_timeout()
        );
        assert!(
            (limit..limit + 2 * MS).contains(&started.elapsed()),
            "{limit:?}: {:?}",
            started.elapsed()
        );
    }
}

/// The tick by which long waits are timed stands still while the keeper does not run.
#[tokio::test(start_paused = true)]
async fn a_timeout_is_not_early_though_the_keeper_was_kept_from_running() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    settle().await;
    // Three seconds in which no other task runs.
    let mut stall = std::pin::pin!(tokio::time::advance(3 * SEC));
    assert!(poll_once(&mut stall).await.is_pending());
    // The first wait in a tick is timed exactly, the second by the tick.
    let mut first = pool.get().timeout(5 * SEC);
    let mut second = pool.get().timeout(5 * SEC);
    assert!(poll_once(&mut first).await.is_pending());
    assert!(poll_once(&mut second).await.is_pending());
    let began = Instant::now();
    assert!(second.await.unwrap_err().is_timeout());
    let lasted = began.elapsed();
    assert!((5 * SEC..5 * SEC + 50 * MS).contains(&lasted), "{lasted:?}");
}

/// A short wait keeps a timer from the beginning. How long it is has nothing to do with where the tick stands.
#[tokio::test(start_paused = true)]
async fn a_short_timeout_is_not_late_though_the_keeper_was_kept_from_running() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    // Used in between, so that the tick runs, and is at another point than when somebody waited last.
    tokio::time::sleep(5 * MS).await;
    let _held = pool.get().await.unwrap();
    tokio::time::sleep(7 * MS).await;
    let mut stall = std::pin::pin!(tokio::time::advance(3 * SEC));
    assert!(poll_once(&mut stall).await.is_pending());
    // The first wait in a tick is timed exactly, and so seems to have joined the line after the others.
    let mut first = pool.get().timeout(5 * SEC);
    let mut second = pool.get().timeout(20 * MS);
    let mut third = pool.get().deadline(Instant::now() + 20 * MS);
    assert!(poll_once(&mut first).await.is_pending());
    assert!(poll_once(&mut second).await.is_pending());
    assert!(poll_once(&mut third).await.is_pending());
    let began = Instant::now();
    assert!(second.await.unwrap_err().is_timeout());
    assert!(third.await.unwrap_err().is_timeout());
    let lasted = began.elapsed();
    assert!((19 * MS..40 * MS).contains(&lasted), "{lasted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_line_fails_at_once() {
    let pool = pool(&Backend::new())
        .max_size(1)
        .max_waiters(Some(1))
        .build()
        .unwrap();
    let _held = pool.get().await.unwrap();
    let mut first = std::pin::pin!(pool.get());
    assert!(poll_once(&mut first).await.is_pending());
    let error = pool.get().await.unwrap_err();
    assert!(error.is_overloaded(), "{error}");
    assert_eq!(
        (error.waited(), pool.status().overloaded),
        (Duration::ZERO, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_waste_the_open() {
    let backend = Backend::new();
    let gate = Arc::new(Semaphore::new(0));
    backend.on_create(Act::Gate(Arc::clone(&gate)));
    let pool = pool(&backend).max_size(1).build().unwrap();
    assert!(pool.get().timeout(50 * MS).await.unwrap_err().is_timeout());
    gate.add_permits(1);
    settle().await;
    assert_eq!((pool.status().idle, backend.created()), (1, 1));
    drop(pool.try_get().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_takes_what_comes_first_a_return_or_an_open() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    let held = pool.get().await.unwrap();
    backend.on_create(Act::Hang);
    let mut waiter = std::pin::pin!(pool.get());
    assert!(poll_once(&mut waiter).await.is_pending());
    settle().await;
    assert_eq!(pool.status().opening, 1);
    drop(held);
    let lease = waiter.await.unwrap();
    assert_eq!(lease.id, 0);
}

#[tokio::test(start_paused = true)]
async fn no_more_are_opened_at_once_than_are_waited_for_or_allowed() {
    let backend = Backend::new();
    backend.on_create(Act::Take(100 * MS));
    let pool = pool(&backend).max_size(20).max_opening(3).build().unwrap();
    let gets: Vec<_> = (0..2).map(|_| pool.get()).collect();
    drop(futures_util::future::join_all(gets).await);
    assert_eq!(
        backend
            .most_opening
            .load(std::sync::atomic::Ordering::SeqCst),
        2
    );
    let gets: Vec<_> = (0..20).map(|_| pool.get()).collect();
    drop(futures_util::future::join_all(gets).await);
    assert_eq!(
        backend
            .most_opening
            .load(std::sync::atomic::Ordering::SeqCst),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn after_three_failures_everybody_is_told_at_once_and_the_error_is_typed() {
    let backend = Backend::new();
    backend.on_create(Act::Fail("no route"));
    let pool = pool(&backend).max_size(4).build().unwrap();
    let started = Instant::now();
    let error = pool.get().await.unwrap_err();
    assert!(error.is_connect(), "{error}");
    assert_eq!(error.connect_error(), Some(&Oops("no route")));
    assert!(
        std::error::Error::source(&error).is_none(),
        "the cause is in the text, and has none"
    );
    assert!(started.elapsed() < SEC, "{:?}", started.elapsed());
    assert!(error.to_string().ends_with("failed: no route"), "{error}");

    let started = Instant::now();
    assert!(pool.get().await.unwrap_err().is_connect());
    assert_eq!(
        started.elapsed(),
        Duration::ZERO,
        "known to be down: no waiting"
    );

    backend.on_create(Act::Succeed);
    tokio::time::sleep(6 * SEC).await;
    assert!(
        pool.get().await.is_ok(),
        "the prober noticed that it is back"
    );
}

#[tokio::test(start_paused = true)]
async fn while_something_is_alive_a_failing_open_is_only_told_with_the_timeout() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(2)
        .acquire_timeout(3 * SEC)
        .build()
        .unwrap();
    let _held = pool.get().await.unwrap();
    backend.on_create(Act::Fail("too many clients"));
    let error = pool.get().await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(
        (error.phase(), error.connect_error()),
        (Some(Phase::Create), Some(&Oops("too many clients")))
    );
}

#[tokio::test(start_paused = true)]
async fn a_manager_that_panics_or_hangs_while_opening_is_an_error_and_costs_no_capacity() {
    for act in [Act::Panic, Act::Hang] {
        let backend = Backend::new();
        backend.on_create(act);
        let pool = pool(&backend)
            .max_size(2)
            .create_timeout(SEC)
            .build()
            .unwrap();
        let error = pool.get().await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.open_error().is_some() && error.connect_error().is_none());
        backend.on_create(Act::Succeed);
        tokio::time::sleep(6 * SEC).await;
        let (a, b) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert_ne!(a.id, b.id);
    }
}

#[tokio::test(start_paused = true)]
async fn one_hung_open_stops_nobody() {
    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = pool(&backend).max_size(3).build().unwrap();
    let mut hung = std::pin::pin!(pool.get());
    assert!(poll_once(&mut hung).await.is_pending());
    settle().await;
    backend.on_create(Act::Succeed);
    let (first, second) = tokio::join!(hung, pool.get());
    assert_eq!((first.unwrap().id, second.is_ok()), (0, true));
}

#[tokio::test(start_paused = true)]
async fn what_was_idle_for_long_is_checked_first_and_a_bad_one_is_replaced() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    drop(pool.get().await.unwrap());
    drop(pool.get().await.unwrap());
    assert_eq!(
        backend.checks.load(std::sync::atomic::Ordering::SeqCst),
        0,
        "used just now"
    );
    tokio::time::sleep(SEC).await;
    assert_eq!(pool.get().await.unwrap().id, 0);
    assert_eq!(backend.checks.load(std::sync::atomic::Ordering::SeqCst), 1);
    for act in [Act::Fail("gone"), Act::Panic, Act::Hang] {
        backend.on_check(act);
        tokio::time::sleep(SEC).await;
        let before = backend.created();
        assert_eq!(pool.get().await.unwrap().id, before, "a new one");
    }
    assert_eq!(pool.status().closed.by(CloseReason::CheckFailed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_gets_an_unchecked_one_when_what_was_coming_to_it_fails() {
    let backend = Backend::new();
    backend.on_reset(Act::Hang);
    let pool = pool(&backend).max_size(2).reset_timeout(5 * SEC);
    let pool = pool.build().unwrap();
    let (idle, mut dirty) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let id = idle.id;
    drop(idle);
    tokio::time::sleep(SEC).await;
    dirty.dirty = true;
    drop(dirty);
    // One is being reset and will do, so nothing else is done for it.
    let began = Instant::now();
    let lease = pool.get().await.unwrap();
    assert_eq!(
        (lease.id, pool.status().closed.by(CloseReason::ResetFailed)),
        (id, 1)
    );
    assert!(began.elapsed() < 5 * SEC + 50 * MS, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_waiter_does_not_wait_for_a_failed_one_to_say_goodbye_while_there_is_room() {
    let backend = Backend::new();
    backend.on_check(Act::Fail("gone"));
    backend.on_close(Act::Hang);
    let pool = pool(&backend).max_size(2).build().unwrap();
    drop(pool.get().await.unwrap());
    tokio::time::sleep(SEC).await;
    let began = Instant::now();
    let mut lease = pool.get().await.unwrap();
    assert_eq!((lease.id, pool.status().closing), (1, 1));
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    // The same for one that cannot be reset.
    tokio::time::sleep(10 * SEC).await;
    let gate = Arc::new(Semaphore::new(0));
    backend.on_reset(Act::Then(Arc::clone(&gate), Box::new(Act::Fail("cannot"))));
    lease.dirty = true;
    drop(lease);
    let mut get = pin!(pool.get());
    assert!(poll_once(get.as_mut()).await.is_pending());
    let began = Instant::now();
    gate.add_permits(1);
    assert_eq!((get.await.unwrap().id, pool.status().closing), (2, 1));
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn a_dirty_one_is_reset_before_the_next_and_a_failed_reset_closes_it() {
    let backend = Backend::new();
    backend.on_reset(Act::Take(20 * MS));
    let pool = pool(&backend).max_size(1).build().unwrap();
    pool.get().await.unwrap().dirty = true;
    let lease = pool.get().await.unwrap();
    assert!((lease.id, lease.dirty) == (0, false));
    drop(lease);
    for act in [Act::Fail("cannot"), Act::Panic, Act::Hang] {
        backend.on_reset(act);
        let mut lease = pool.get().await.unwrap();
        let id = lease.id;
        lease.dirty = true;
        drop(lease);
        assert_eq!(pool.get().await.unwrap().id, id + 1);
    }
    assert_eq!(pool.status().closed.by(CloseReason::ResetFailed), 3);
}

#[tokio::test(start_paused = true)]
async fn an_operation_dropped_half_way_taints_its_lease() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    assert_eq!(Lease::run(&mut lease, async |thing| thing.id).await, 0);
    assert!(!Lease::is_tainted(&lease));
    let cut = tokio::time::timeout(
        MS,
        Lease::run(&mut lease, async |_| std::future::pending::<()>().await),
    )
    .await;
    assert!(cut.is_err() && Lease::is_tainted(&lease));
    drop(lease);
    assert_eq!(
        pool.get().await.unwrap().id,
        1,
        "there is no reset, so it was closed"
    );
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
}

#[tokio::test(start_paused = true)]
async fn a_tainted_one_is_reset_where_the_manager_can() {
    let backend = Backend::new();
    backend.on_reset(Act::Succeed);
    let pool = pool(&backend).max_size(1).build().unwrap();
    Lease::taint(&mut pool.get().await.unwrap());
    assert_eq!(pool.get().await.unwrap().id, 0);
    assert_eq!(backend.resets.load(std::sync::atomic::Ordering::SeqCst), 1);
    drop(pool.get().await.unwrap());
    assert_eq!(
        backend.resets.load(std::sync::atomic::Ordering::SeqCst),
        1,
        "clean again"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_one_is_closed_on_return_and_on_get() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    pool.get().await.unwrap().broken = true;
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_polls_goes_to_the_next_and_the_unpolled_one_keeps_its_place() {
    // Futurelock: a future that was handed something and is not polled must not stop those behind it.
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut unpolled = std::pin::pin!(pool.get());
    assert!(poll_once(&mut unpolled).await.is_pending());
    let next = tokio::spawn({
        let pool = pool.clone();
        async move {
            let lease = pool.get().await.unwrap();
            tokio::time::sleep(10 * MS).await;
            drop(lease);
        }
    });
    settle().await;
    drop(held);
    tokio::time::timeout(SEC, next).await.unwrap().unwrap();
    assert_eq!(pool.status().reclaimed, 1);
    drop(unpolled.await.unwrap());
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn idle_ones_age_out_down_to_the_minimum() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(5)
        .min_idle(2)
        .max_opening(5)
        .idle_timeout(Some(60 * SEC))
        .build()
        .unwrap();
    let gets: Vec<_> = (0..5).map(|_| pool.get()).collect();
    drop(futures_util::future::join_all(gets).await);
    assert_eq!(pool.status().idle, 5);
    tokio::time::sleep(62 * SEC).await;
    assert_eq!(
        (
            pool.status().idle,
            pool.status().closed.by(CloseReason::IdleTimeout)
        ),
        (2, 3)
    );
    assert_eq!(backend.alive(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_minimum_is_opened_ahead_of_need_and_kept() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(5).min_idle(3).build().unwrap();
    pool.warm_up().await.unwrap();
    tokio::time::sleep(MS).await;
    assert_eq!(pool.status().idle, 3);
    pool.get().await.unwrap().broken = true;
    tokio::time::sleep(MS).await;
    assert_eq!(pool.status().idle, 3);
}

#[tokio::test(start_paused = true)]
async fn lifetimes_end_with_jitter_and_a_needed_one_is_replaced_first() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(5)
        .min_idle(2)
        .idle_timeout(None)
        .max_lifetime(Some(100 * SEC))
        .build()
        .unwrap();
    pool.warm_up().await.unwrap();
    let mut least = 5;
    for _ in 0..500 {
        tokio::time::sleep(SEC).await;
        least = least.min(pool.status().idle);
    }
    assert!(least >= 2, "never below the minimum: {least}");
    assert!(backend.created() >= 10, "{}", backend.created());
    assert!(pool.status().closed.by(CloseReason::Lifetime) >= 8);
    assert!(backend.most_alive.load(std::sync::atomic::Ordering::SeqCst) <= 5);
}

#[tokio::test(start_paused = true)]
async fn a_busy_one_reaches_its_lifetime_too() {
    // bb8 pull request 224: one that is never idle was never retired.
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .max_lifetime(Some(SEC))
        .lifetime_jitter(0.0)
        .build()
        .unwrap();
    for _ in 0..30 {
        let lease = pool.get().await.unwrap();
        tokio::time::sleep(100 * MS).await;
        drop(lease);
    }
    assert!(
        (2..=4).contains(&backend.created()),
        "{}",
        backend.created()
    );
}

#[tokio::test(start_paused = true)]
async fn idle_ones_are_kept_alive_by_checks() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(1)
        .keepalive(Some(10 * SEC))
        .idle_timeout(Some(65 * SEC))
        .build()
        .unwrap();
    drop(pool.get().await.unwrap());
    tokio::time::sleep(64 * SEC).await;
    assert_eq!(backend.checks.load(std::sync::atomic::Ordering::SeqCst), 6);
    tokio::time::sleep(2 * SEC).await;
    assert_eq!(pool.status().open, 0, "keeping it alive is not using it");
}

#[tokio::test(start_paused = true)]
async fn retire_all_closes_what_was_open_idle_or_leased() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    let (a, b) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop(a);
    pool.retire_all();
    drop(b);
    settle().await;
    assert_eq!(
        (
            backend.alive(),
            pool.status().closed.by(CloseReason::Retired)
        ),
        (0, 2)
    );
    assert_eq!(pool.get().await.unwrap().id, 2);
}

#[tokio::test(start_paused = true)]
async fn shrinking_is_a_debt_that_returns_repay() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(10).build().unwrap();
    let mut leases = Vec::new();
    for _ in 0..6 {
        leases.push(pool.get().await.unwrap());
    }
    pool.resize(2).unwrap();
    for left in [5, 4, 3, 2, 2, 2] {
        leases.pop();
        settle().await;
        assert_eq!(pool.status().open, left);
    }
    assert!(
        pool.resize(0)
            .unwrap_err()
            .to_string()
            .contains("max_size is 0")
    );
    pool.resize(3).unwrap();
    let leases = [
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
        pool.get().await.unwrap(),
    ];
    assert!(pool.try_get().unwrap_err().is_busy());
    drop(leases);
}

#[tokio::test(start_paused = true)]
async fn closing_tells_all_who_wait_and_drain_reports_what_is_out() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    let (a, b) = (
        pool.get().label("report").await.unwrap(),
        pool.get().await.unwrap(),
    );
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().await.unwrap_err().is_closed() }
    });
    settle().await;
    let drain = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(SEC).await }
    });
    settle().await;
    drop(b);
    assert!(waiter.await.unwrap());
    let drained = drain.await.unwrap();
    assert_eq!(
        (drained.left, drained.leased.len(), drained.leased[0].label),
        (1, 1, "report")
    );
    assert!(drained.leased[0].place.file().ends_with("pool.rs"));
    assert!(pool.get().await.unwrap_err().is_closed());
    drop(a);
    assert!(pool.drain(SEC).await.is_complete());
    assert_eq!(backend.alive(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_closes_everything_and_ends_the_keeper() {
    // sqlx issues 844 and 2375: upkeep kept the pool alive.
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    drop(pool.get().await.unwrap());
    let lease = pool.get().await.unwrap();
    drop(pool);
    settle().await;
    assert_eq!(lease.id, 0, "a lease outlives its pool");
    drop(lease);
    settle().await;
    assert_eq!((backend.alive(), Arc::strong_count(&backend)), (0, 1));
}

#[test]
fn a_lease_dropped_after_its_runtime_is_gone_is_no_panic_and_no_leak() {
    // sqlx issue 1396.
    let backend = Backend::new();
    backend.on_reset(Act::Succeed);
    let pool = pool(&backend).max_size(2).build().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (clean, mut dirty) =
        runtime.block_on(async { (pool.get().await.unwrap(), pool.get().await.unwrap()) });
    dirty.dirty = true;
    drop(runtime);
    drop(clean);
    drop(dirty);
    assert_eq!((pool.status().idle, backend.alive()), (1, 1));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
        drop(leases);
    });
}

#[test]
fn a_get_that_must_wait_without_a_runtime_says_so() {
    let pool = pool(&Backend::new()).build().unwrap();
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let mut get = std::pin::pin!(pool.get());
    let std::task::Poll::Ready(Err(error)) = get.as_mut().poll(&mut context) else {
        panic!("it must end")
    };
    assert!(error.is_no_runtime(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn detach_and_retain_make_room() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(2).build().unwrap();
    let thing = Lease::detach(pool.get().await.unwrap());
    let (a, b) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    drop((a, b));
    assert_eq!(pool.retain(|thing, _| thing.id == 2), 1);
    settle().await;
    let status = pool.status();
    assert_eq!((status.open, status.idle, status.checking), (1, 1, 0));
    assert_eq!((thing.id, backend.alive()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_close_keeps_its_place_until_it_is_over_and_no_longer_than_its_timeout() {
    let backend = Backend::new();
    backend.on_close(Act::Hang);
    let pool = pool(&backend)
        .max_size(1)
        .close_timeout(SEC)
        .build()
        .unwrap();
    pool.get().await.unwrap().broken = true;
    let started = Instant::now();
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert!(
        (SEC..SEC + 20 * MS).contains(&started.elapsed()),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        backend.most_alive.load(std::sync::atomic::Ordering::SeqCst),
        1
    );
}

#[tokio::test(start_paused = true)]
async fn an_open_that_hangs_is_not_counted_on_for_long() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(4).build().unwrap();
    *backend.create.lock().unwrap() = Act::Hang;
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { (pool.get().await.map(drop), Instant::now()) }
    });
    let started = Instant::now();
    settle().await;
    *backend.create.lock().unwrap() = Act::Succeed;
    assert_eq!(pool.status().opening, 1, "one waiter, one open");
    let (outcome, at) = waiter.await.unwrap();
    outcome.unwrap();
    let waited = at - started;
    assert!((SEC..SEC + 50 * MS).contains(&waited), "{waited:?}");
    // Now it is known how long they take: the next that hangs is late after a quarter of that time.
    let held = pool.get().await.unwrap();
    *backend.create.lock().unwrap() = Act::Hang;
    let started = Instant::now();
    let mut second = std::pin::pin!(pool.get());
    assert!(poll_once(second.as_mut()).await.is_pending());
    settle().await;
    *backend.create.lock().unwrap() = Act::Succeed;
    second.await.unwrap();
    let waited = started.elapsed();
    assert!((250 * MS..300 * MS).contains(&waited), "{waited:?}");
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn many_that_died_while_idle_are_found_out_in_a_few_rounds() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(16)
        .check_timeout(SEC)
        .build()
        .unwrap();
    drop(common::get_all(&pool).await);
    tokio::time::sleep(SEC).await;
    *backend.check.lock().unwrap() = Act::Hang;
    let started = Instant::now();
    pool.get().await.unwrap();
    // One, two, four, eight, and the last with what is opened in the place of the first.
    let waited = started.elapsed();
    assert!(
        waited <= 5 * SEC + 100 * MS,
        "{waited:?}, one by one it would be 16 s"
    );
    assert!(backend.checks.load(std::sync::atomic::Ordering::SeqCst) <= 16);
}

#[tokio::test(start_paused = true)]
async fn what_is_of_no_use_any_more_is_not_made_clean_first() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    backend
        .needs_reset
        .store(true, std::sync::atomic::Ordering::SeqCst);
    *backend.reset.lock().unwrap() = Act::Hang;
    let lease = pool.get().await.unwrap();
    pool.retire_all();
    let started = Instant::now();
    drop(lease);
    let lease = pool.get().await.unwrap();
    pool.close();
    drop(lease);
    assert!(pool.drain(SEC).await.is_complete());
    assert!(started.elapsed() < 100 * MS, "{:?}", started.elapsed());
    assert_eq!(backend.resets.load(std::sync::atomic::Ordering::SeqCst), 0);
}

/// An error that looks at its pool when it is dropped: it would hang if that happened under the lock.
#[derive(Debug)]
struct Loud(Arc<Hall>);

impl std::fmt::Display for Loud {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        assert!(!self.0.speechless.load(SeqCst), "no words for it");
        f.write_str("the door is shut")
    }
}

impl std::error::Error for Loud {}

impl Drop for Loud {
    fn drop(&mut self) {
        let pool = self.0.pool.lock().unwrap().clone();
        if let Some(pool) = pool {
            assert!(pool.status().open <= 2);
        }
    }
}

/// What the doors and their errors have in common.
#[derive(Debug, Default)]
struct Hall {
    opens: AtomicU32,
    pool: Mutex<Option<Pool<Doors>>>,
    speechless: AtomicBool,
    /// Every one fails to open, and not every second.
    shut: AtomicBool,
}

impl Hall {
    /// A pool that its errors look at.
    fn pool(self) -> (Arc<Self>, Pool<Doors>) {
        let hall = Arc::new(self);
        let doors = Doors(Arc::clone(&hall));
        let pool = Pool::builder(doors).max_size(2).build().unwrap();
        *hall.pool.lock().unwrap() = Some(pool.clone());
        (hall, pool)
    }

    /// A get that was told no, and does not know it yet.
    async fn get_that_is_told_no<'a>(&self, pool: &'a Pool<Doors>) -> Pin<Box<Get<'a, Doors>>> {
        self.shut.store(true, SeqCst);
        let mut get = Box::pin(pool.get());
        assert!(poll_once(&mut get).await.is_pending());
        while pool.status().failed_fast == 0 {
            tokio::time::sleep(MS).await;
        }
        get
    }

    /// They look at it no longer: it would live for ever.
    fn leave(&self) {
        let pool = self.pool.lock().unwrap().take();
        drop(pool);
    }
}

#[derive(Debug)]
struct Doors(Arc<Hall>);

impl pool_core::Manager for Doors {
    type Resource = ();
    type Error = Loud;

    async fn create(&self) -> Result<(), Loud> {
        let fails = self.0.opens.fetch_add(1, SeqCst).is_multiple_of(2);
        if fails || self.0.shut.load(SeqCst) {
            return Err(Loud(Arc::clone(&self.0)));
        }
        Ok(())
    }

    async fn check(&self, (): &mut (), _: &pool_core::Usage) -> Result<(), Loud> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_is_dropped_with_nothing_locked() {
    let (hall, pool) = Hall::default().pool();
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(
        pool.status().open_failures,
        2,
        "the second took the first one's place"
    );
    drop(held);
    hall.leave();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_nobody_fetched_is_dropped_with_nothing_locked() {
    let (hall, pool) = Hall::default().pool();
    let get = hall.get_that_is_told_no(&pool).await;
    // The prober fails once more: nobody but the refusal has that error any longer.
    let failures = pool.status().open_failures;
    while pool.status().open_failures == failures {
        tokio::time::sleep(MS).await;
    }
    drop(get);
    hall.leave();
}

#[tokio::test(start_paused = true)]
async fn an_error_that_has_no_words_costs_nobody_else_his_place() {
    let (hall, pool) = Hall::default().pool();
    let mut get = hall.get_that_is_told_no(&pool).await;
    hall.speechless.store(true, SeqCst);
    let told = std::panic::AssertUnwindSafe(|| {
        get.as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    });
    assert!(std::panic::catch_unwind(told).is_err());
    hall.speechless.store(false, SeqCst);
    drop(get);
    // It had its answer: what was its mail may be another's by now.
    assert_eq!(pool.status().cancelled, 0);
    hall.leave();
}

/// A backend that answers, but has no room for a resource.
#[derive(Clone, Default)]
struct Full(Arc<FullState>);

#[derive(Default)]
struct FullState {
    has_room: AtomicBool,
    tries: AtomicU32,
}

impl Manager for Full {
    type Resource = ();
    type Error = &'static str;

    async fn create(&self) -> Result<(), &'static str> {
        self.0.tries.fetch_add(1, SeqCst);
        if self.0.has_room.load(SeqCst) {
            Ok(())
        } else {
            Err("no room")
        }
    }

    async fn check(&self, (): &mut (), _: &Usage) -> Result<(), &'static str> {
        Ok(())
    }

    fn __is_full(&self, error: &&'static str) -> bool {
        *error == "no room"
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_room_is_asked_again_while_somebody_waits_and_refuses_nobody() {
    let full = Full::default();
    let pool = Pool::builder(full.clone()).max_size(4).build().unwrap();
    let tries = || full.0.tries.load(SeqCst);
    let start = Instant::now();
    let error = pool.get().timeout(5 * SEC).await.map(drop).unwrap_err();
    assert!(
        error.is_timeout() && error.connect_error() == Some(&"no room"),
        "{error}"
    );
    assert_eq!(start.elapsed().as_secs(), 5);
    assert!((5..200).contains(&tries()), "{}", tries());
    // Nobody needs a resource: an attempt would only take the room of others.
    tokio::time::sleep(2 * SEC).await;
    let asked = tries();
    tokio::time::sleep(60 * SEC).await;
    assert_eq!(tries(), asked);
    // There is room again while somebody waits.
    let waits = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get().timeout(20 * SEC).await.map(drop) }
    });
    tokio::time::sleep(9 * SEC).await;
    assert!(!waits.is_finished());
    full.0.has_room.store(true, SeqCst);
    let start = Instant::now();
    waits.await.unwrap().unwrap();
    assert!(start.elapsed() < 2 * SEC, "{:?}", start.elapsed());
    // And all may open again.
    let all = [pool.get().await, pool.get().await, pool.get().await];
    assert!(all.iter().all(Result::is_ok));
}
