//! What can be asked of a lease and of a pool.

use std::{sync::Arc, time::Duration};

use pool_core::{Error, Lease, Status};
use tokio::time::{Instant, sleep};

use crate::{
    common::{Act, Backend, MS, SEC, end, settle},
    pool,
    told::Diary,
};

/// As long as that, but for the tick by which most things are timed.
fn about(exact: Duration, told: Duration) {
    let range = exact.saturating_sub(10 * MS)..exact + 11 * MS;
    assert!(range.contains(&told), "{told:?}, not {exact:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_whose_taint_was_taken_away_is_handed_on_as_it_is() {
    let backend = Backend::new();
    backend.on_reset(Act::Succeed);
    let pool = pool(&backend).max_size(1).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    Lease::taint(&mut lease);
    assert!(Lease::is_tainted(&lease) && Lease::usage(&lease).tainted);
    Lease::untaint(&mut lease);
    assert!(!Lease::is_tainted(&lease) && !Lease::usage(&lease).tainted);
    drop(lease);
    assert_eq!(pool.try_get().unwrap().id, 0, "nothing is done to it");
    let status = pool.status();
    let resets = backend.resets.load(std::sync::atomic::Ordering::SeqCst);
    assert_eq!((resets, status.closed.total()), (0, 0));
    end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn usage_says_what_a_resource_has_been_through() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(1).build().unwrap();
    let lease = pool.get().await.unwrap();
    let usage = Lease::usage(&lease);
    assert_eq!(
        (usage.leases, usage.check_due, usage.tainted),
        (1, false, false)
    );
    about(Duration::ZERO, usage.age());
    sleep(3 * SEC).await;
    assert!(Lease::usage(&lease).check_due, "half a second ago");
    drop(lease);
    sleep(2 * SEC).await;
    let lease = pool.get().await.unwrap();
    let usage = Lease::usage(&lease);
    about(5 * SEC, usage.age());
    about(2 * SEC, usage.idle());
    assert_eq!((usage.leases, usage.check_due), (2, false), "just checked");
    // What `retain` is shown is the same.
    drop(lease);
    sleep(7 * SEC).await;
    let mut seen = Vec::new();
    let closed = pool.retain(|thing, usage| {
        seen.push((thing.id, usage.leases));
        about(12 * SEC, usage.age());
        about(7 * SEC, usage.idle());
        true
    });
    assert_eq!((closed, seen), (0, vec![(0, 2)]));
    end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_knows_its_manager() {
    let backend = Backend::new();
    let pool = pool(&backend).build().unwrap();
    let lease = pool.get().await.unwrap();
    drop(pool);
    assert!(Arc::ptr_eq(&Lease::manager(&lease).0, &backend));
}

#[tokio::test(start_paused = true)]
async fn those_who_hold_one_are_listed_with_label_place_and_how_long() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).build().unwrap();
    let line = line!() + 1;
    let mut report = pool.get().label("report").await.unwrap();
    drop(pool.get().await.unwrap());
    sleep(2 * SEC).await;
    let nameless = pool.get().await.unwrap();
    let leases = pool.leases();
    let labels: Vec<_> = leases.iter().map(|lease| lease.label).collect();
    assert_eq!(labels, ["report", ""]);
    let place = leases[0].place;
    assert!(place.file().ends_with("known.rs"), "{place}");
    assert_eq!((place.line(), leases[1].place.line()), (line, line + 3));
    about(2 * SEC, leases[0].held_for);
    about(Duration::ZERO, leases[1].held_for);
    assert!(leases[0].to_string().starts_with("report, got at "));
    // Another name from now on; the rest stays.
    Lease::label(&mut report, "report: writing");
    sleep(SEC).await;
    let leases = pool.leases();
    assert_eq!(
        (leases[0].label, leases[0].place),
        ("report: writing", place)
    );
    about(3 * SEC, leases[0].held_for);
    drop((report, nameless));
    assert!(pool.leases().is_empty());
    end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn timings_say_how_long_everything_took() {
    let backend = Backend::new();
    backend.on_create(Act::Take(50 * MS));
    let pool = pool(&backend).max_size(1).build().unwrap();
    let mut lease = pool.get().await.unwrap();
    sleep(200 * MS).await;
    backend.on_reset(Act::Take(20 * MS));
    lease.dirty = true;
    drop(lease);
    // Waits for the reset.
    drop(pool.get().await.unwrap());
    backend.on_check(Act::Take(30 * MS));
    sleep(SEC).await;
    // Waits for the check.
    drop(pool.get().await.unwrap());
    let timings = pool.timings();
    let one_of = |name, histogram: &pool_core::observe::Histogram, took: Duration| {
        assert_eq!((histogram.count(), histogram.max()), (1, took), "{name}");
    };
    one_of("create", &timings.create, 50 * MS);
    one_of("reset", &timings.reset, 20 * MS);
    one_of("check", &timings.check, 30 * MS);
    assert_eq!((timings.wait.count(), timings.wait.max()), (3, 50 * MS));
    assert_eq!(timings.wait.sum(), 100 * MS);
    assert_eq!((timings.used.count(), timings.used.max()), (3, 200 * MS));
    // One that fails is none that was good after so long.
    backend.on_check(Act::Fail("gone"));
    sleep(SEC).await;
    drop(pool.get().await.unwrap());
    assert_eq!(
        (pool.timings().check.count(), pool.timings().create.count()),
        (1, 2)
    );
    end(pool).await;
}

#[test]
fn what_goes_without_a_close_is_counted_as_dropped() {
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).build().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
    };
    let first = runtime();
    let (taken, mut dirty) = first.block_on(async {
        let leases = (pool.get().await.unwrap(), pool.get().await.unwrap());
        drop(pool.get().await.unwrap());
        leases
    });
    assert_eq!(pool.status().dropped, 0);
    let taken = Lease::detach(taken);
    assert_eq!((pool.status().dropped, backend.alive()), (1, 3));
    // It is being reset when its runtime goes.
    backend.on_reset(Act::Hang);
    dirty.dirty = true;
    first.block_on(async {
        drop(dirty);
        settle().await;
    });
    assert_eq!((pool.status().resetting, pool.status().dropped), (1, 1));
    drop(first);
    let status = pool.status();
    assert_eq!(
        (status.dropped, status.closed.total()),
        (2, 0),
        "{status:?}"
    );
    assert_eq!((status.open, status.idle), (1, 1));
    drop(taken);
    backend
        .detached
        .store(2, std::sync::atomic::Ordering::SeqCst);
    runtime().block_on(end(pool));
}

/// So many users of one resource, each of whom holds it for so long, again and again; and the longest wait.
async fn crowd(users: u32, held: Duration, diary: &Diary) -> (Status, Duration) {
    let pool = pool(&Backend::new())
        .max_size(1)
        .shed_target(Some(20 * MS))
        .observer(diary.clone())
        .build()
        .unwrap();
    let until = Instant::now() + 10 * SEC;
    let users: Vec<_> = (0..users)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                while Instant::now() < until {
                    let lease = pool.get().await;
                    assert!(lease.as_ref().err().is_none_or(Error::is_overloaded));
                    sleep(held).await;
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    (pool.status(), pool.timings().wait.max())
}

/// A wait of 300 ms is three leases of some, and thirty of others.
#[tokio::test(start_paused = true)]
async fn what_wait_is_too_long_follows_how_long_leases_last() {
    let diary = Diary::default();
    let (long, waited) = crowd(4, 100 * MS, &diary).await;
    assert_eq!((long.shed, long.overloaded), (0, 0), "{long:?}");
    assert!(waited >= 300 * MS, "{waited:?}");
    assert!(!diary.read().iter().any(|line| line == "things: overloaded"));

    let (short, waited) = crowd(31, 10 * MS, &diary).await;
    assert!(
        short.shed > 0 && waited >= 300 * MS,
        "{waited:?}, {short:?}"
    );
    let told = diary.read();
    let told = told.iter().filter(|line| *line == "things: overloaded");
    assert_eq!(told.count() as u64, short.shed, "each of them");
}
