//! Holds tokio's paused clock while jobs run, as `spawn_blocking` does.
//!
//! When the runtime of a test with a paused clock has nothing to do, the clock advances to the next timer. Jobs on the pool's
//! threads do not count as work of the runtime, so a `timeout` around a job would be over at once. tokio does not advance the clock
//! while one of its own blocking tasks runs, and has no other way to hold it. So while jobs of such a runtime are pending, one
//! blocking task of that runtime waits for their end. All these jobs share the task, so that they do not take all blocking threads
//! of the runtime.
//!
//! tokio does not say whether a clock is paused, but a paused clock shows the same time twice. Only the clock of a current-thread
//! runtime can be paused. So a thread that is its runtime's second worker, or a later one, skips the check.

use std::{
    cell::RefCell,
    fmt,
    sync::{Arc, Weak, mpsc},
};

use tokio::{
    runtime::{self, Handle, RuntimeFlavor},
    time::Instant,
};

use crate::job::Outcome;

/// Holds the clock until it is dropped.
#[derive(Clone)]
pub(crate) struct Hold(#[allow(dead_code, reason = "dropped, not read")] Arc<Holder>);

/// The drop of this sender ends the blocking task.
struct Holder(#[allow(dead_code, reason = "dropped, not read")] mpsc::Sender<()>);

/// The result of the check.
#[derive(Debug)]
pub(crate) enum Clock {
    Held(Hold),
    /// The clock is not paused.
    Runs,
    /// This thread does not work for a runtime. The task that awaits the job may still be on a runtime.
    None,
}

thread_local! {
    /// The holder of the clock of the runtime that this thread drives.
    static HOLDER: RefCell<Option<(runtime::Id, Weak<Holder>)>> = const { RefCell::new(None) };
}

/// Holds the clock of this thread's runtime, if it is paused.
#[inline]
pub(crate) fn hold() -> Clock {
    // Models have no clock.
    let worker = if cfg!(any(pool_loom, pool_shuttle)) {
        Some(1)
    } else {
        runtime::worker_index()
    };
    match worker {
        Some(0) | None if is_paused() => hold_paused().map_or(Clock::None, Clock::Held),
        Some(_) => Clock::Runs,
        None => Clock::None,
    }
}

/// Makes `job`, which was just submitted, hold the clock of this thread's runtime if that clock is paused. Returns whether the
/// check is done, so that no later poll has to repeat it.
#[inline]
pub(crate) fn hold_for<T>(job: &dyn Outcome<T>) -> bool {
    match hold() {
        Clock::Held(hold) => {
            job.hold(hold);
            true
        }
        Clock::Runs => true,
        Clock::None => false,
    }
}

/// Whether the clock shows the same time twice.
#[inline]
fn is_paused() -> bool {
    let first = Instant::now();
    Instant::now() == first && stands_still_at(first)
}

/// Whether the clock still shows the same time after the system's clock, which may be coarse, has advanced.
#[cold]
fn stands_still_at(first: Instant) -> bool {
    let start = std::time::Instant::now();
    while std::time::Instant::now() == start {}
    Instant::now() == first
}

#[cold]
fn hold_paused() -> Option<Hold> {
    let runtime = Handle::try_current().ok()?;
    if runtime.runtime_flavor() != RuntimeFlavor::CurrentThread {
        return None;
    }
    HOLDER.with_borrow_mut(|holder| {
        let held = holder.as_ref().filter(|(id, _)| *id == runtime.id());
        if let Some(holder) = held.and_then(|(_, holder)| holder.upgrade()) {
            return Some(Hold(holder));
        }
        let (end, ended) = mpsc::channel::<()>();
        drop(runtime.spawn_blocking(move || ended.recv()));
        let fresh = Arc::new(Holder(end));
        *holder = Some((runtime.id(), Arc::downgrade(&fresh)));
        Some(Hold(fresh))
    })
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}
