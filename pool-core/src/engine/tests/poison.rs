//! A panic of the kernel under its lock, at every step of every operation. It poisons the pool, and no thread waits for itself.
#![allow(clippy::unwrap_used)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use super::bed::{Bed, START, limits};
use crate::{
    engine::{Kept, Kernel, Refusal, Take},
    observe::CloseReason,
    sync::fuse,
};

/// Each operation, on a pool of two: one resource is leased, the other is idle or leased, and a waiter may be in the queue.
const OPERATIONS: [(&str, fn(&Bed)); 14] = [
    ("get", |bed| drop(bed.wait().poll(&mut noop()))),
    ("try_get", |bed| drop(bed.kernel.take_locked(START))),
    ("get and return", |bed| bed.put(bed.lease())),
    ("return unused", |bed| {
        drop(Kernel::put_unused(&bed.kernel, bed.lease(), START));
    }),
    ("return clean", |bed| {
        drop(bed.kernel.put_clean(bed.lease(), START, Duration::ZERO));
    }),
    ("reset", |bed| {
        assert!(bed.kernel.begin_reset(&bed.lease(), None).is_none())
    }),
    ("close one", |bed| {
        let slot = bed.lease();
        drop(Kernel::begin_close(
            &bed.kernel,
            &slot,
            CloseReason::Broken,
            START,
        ));
    }),
    ("drop", |bed| drop(bed.lease())),
    ("tick", |bed| {
        let late = START + Duration::from_secs(1);
        drop(Kernel::tick(&bed.kernel, late, Waker::noop().clone()));
    }),
    ("status", |bed| {
        assert_eq!(bed.kernel.snapshot().max_size, 2)
    }),
    ("resize", |bed| drop(Kernel::resize(&bed.kernel, 1, START))),
    ("reset all", |bed| {
        drop(Kernel::retire_all(&bed.kernel, START))
    }),
    ("close", |bed| drop(bed.kernel.close())),
    ("take idle", |bed| drop(bed.kernel.take_idle())),
];

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Runs `operation` with a panic at its `n`th step. Returns whether the operation got that far.
fn burns(name: &str, operation: fn(&Bed), n: u32, crowded: bool) -> bool {
    let bed = Bed::new(limits(2));
    let held = bed.lease();
    let idle = bed.lease();
    let mut waits = None;
    if crowded {
        waits = Some(bed.wait());
        assert!(waits.as_mut().unwrap().poll(&mut noop()).is_pending());
        if name.contains("return") || matches!(name, "reset" | "close one" | "drop") {
            // These operations need an idle resource, so no waiter may be in the queue.
            return false;
        }
    } else {
        bed.put(idle);
    }
    fuse::light(n);
    let panicked = catch_unwind(AssertUnwindSafe(|| operation(&bed))).is_err();
    assert_eq!(fuse::put_out(), panicked, "{name}, step {n}");
    if !panicked {
        return false;
    }
    assert!(bed.kernel.is_poisoned(), "{name}, step {n}");
    // From now on every call ends at once, and says that the pool is closed.
    if let Some(wait) = &mut waits {
        assert!(
            matches!(wait.poll(&mut noop()), Poll::Ready(_)),
            "{name}, step {n}"
        );
    }
    drop(waits);
    let get = Kernel::take_or_wait(&bed.kernel, START, || START, Waker::noop().clone());
    assert!(
        matches!(get, Take::Refused(Refusal::Closed, None)),
        "{name}, step {n}"
    );
    assert!(bed.kernel.take_locked(START).is_none());
    bed.put(held);
    assert_eq!(bed.kernel.snapshot().waiting, 0);
    drop(bed.kernel.holders());
    let late = START + Duration::from_secs(2);
    drop(Kernel::tick(&bed.kernel, late, Waker::noop().clone()));
    drop(Kernel::resize(&bed.kernel, 5, late));
    drop(Kernel::retire_all(&bed.kernel, late));
    drop(bed.kernel.close());
    assert!(
        bed.kernel.is_closed() && bed.kernel.is_over(),
        "{name}, step {n}"
    );
    true
}

#[test]
fn a_panic_of_the_kernel_at_any_step_poisons_the_pool_and_stops_nobody() {
    let (ended, ends) = mpsc::channel();
    let all = thread::spawn(move || {
        let mut burnt = 0;
        for (name, operation) in OPERATIONS {
            for crowded in [false, true] {
                burnt += (1..200)
                    .take_while(|n| burns(name, operation, *n, crowded))
                    .count();
            }
        }
        ended.send(burnt).unwrap();
    });
    let burnt = ends.recv_timeout(Duration::from_secs(60));
    if let Err(mpsc::RecvTimeoutError::Disconnected) = burnt {
        all.join().unwrap();
    }
    assert!(burnt.expect("it waits for itself") > 40, "{burnt:?}");
}
