//! Panics of the kernel under its lock, at every step of every operation. A panic closes the pool, and no thread deadlocks.
#![allow(clippy::unwrap_used)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use super::bed::Bed;
use crate::{engine::Kept, engine::Refusal, keyed::kernel::Kernel, sync::fuse};

/// The operations. Both of two places are taken: one slot is leased, and one of another key is idle.
const OPERATIONS: [(&str, fn(&Bed)); 10] = [
    ("get the idle one", |bed| {
        drop(bed.wait('b').poll(&mut noop()))
    }),
    ("get another", |bed| {
        let mut wait = bed.wait('a');
        drop(wait.poll(&mut noop()));
    }),
    ("get of a new key", |bed| {
        let mut wait = bed.wait('c');
        drop(wait.poll(&mut noop()));
    }),
    ("get and return", |bed| {
        if let Poll::Ready(Ok(slot)) = bed.wait('b').poll(&mut noop()) {
            bed.put(slot);
        }
    }),
    ("tick", |bed| {
        let late = bed.now() + Duration::from_secs(1);
        bed.perform(Kernel::tick(&bed.kernel, late, Waker::noop().clone()).work);
    }),
    ("status", |bed| {
        assert_eq!(bed.kernel.snapshot().max_size, 2)
    }),
    ("resize", |bed| {
        bed.perform(Kernel::resize(&bed.kernel, 1, bed.now()))
    }),
    ("reset", |bed| {
        bed.perform(Kernel::reset(&bed.kernel, None, bed.now()))
    }),
    ("close", |bed| bed.perform(bed.kernel.close())),
    ("next idle", |bed| drop(bed.kernel.next_idle(0))),
];

fn noop() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// Whether the operation panics at its `n`th step.
fn burns(name: &str, operation: fn(&Bed), n: u32, crowded: bool) -> bool {
    let bed = Bed::new(2, 2);
    let get = |key| {
        let mut wait = bed.wait(key);
        for _ in 0..10 {
            if let Poll::Ready(answer) = wait.poll(&mut noop()) {
                return answer.unwrap();
            }
        }
        panic!("there is room");
    };
    let (held, other) = (get('a'), get('b'));
    let mut waits = None;
    if crowded {
        waits = Some((bed.wait('a'), other));
        let (wait, _) = waits.as_mut().unwrap();
        assert!(wait.poll(&mut noop()).is_pending());
    } else {
        bed.put(other);
    }
    fuse::light(n);
    let panicked = catch_unwind(AssertUnwindSafe(|| operation(&bed))).is_err();
    assert_eq!(fuse::put_out(), panicked, "{name}, step {n}");
    if !panicked {
        return false;
    }
    assert!(
        bed.kernel.is_poisoned() && bed.kernel.is_closed(),
        "{name}, step {n}"
    );
    // From now on every wait ends at once, and reports that the pool is closed.
    if let Some((mut wait, slot)) = waits {
        let told = wait.poll(&mut noop());
        assert!(
            matches!(told, Poll::Ready(Err(Refusal::Closed))),
            "{name}, step {n}"
        );
        drop(slot);
    }
    for key in ['a', 'd'] {
        let told = bed.wait(key).poll(&mut noop());
        assert!(
            matches!(told, Poll::Ready(Err(Refusal::Closed))),
            "{name}, step {n}"
        );
    }
    bed.put(held);
    assert!(bed.kernel.snapshot().closed, "{name}, step {n}");
    let late = bed.now() + Duration::from_secs(2);
    bed.perform(Kernel::tick(&bed.kernel, late, Waker::noop().clone()).work);
    bed.perform(Kernel::resize(&bed.kernel, 5, late));
    bed.perform(Kernel::reset(&bed.kernel, None, late));
    bed.perform(bed.kernel.close());
    assert!(bed.kernel.is_over(), "{name}, step {n}");
    true
}

#[test]
fn a_panic_of_the_kernel_at_any_step_closes_the_pool_and_stops_nobody() {
    let (ended, ends) = mpsc::channel();
    let all = thread::spawn(move || {
        let mut burnt = 0;
        for (name, operation) in OPERATIONS {
            for crowded in [false, true] {
                burnt += (1..300)
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
