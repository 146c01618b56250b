//! Work on our threads holds tokio's paused clock, as work of `spawn_blocking` does.
//!
//! A test's paused clock leaps to the next timer as soon as its runtime has nothing to do, and work on threads of ours is nothing to it: a
//! `timeout` around a job would be over at once. Tokio holds the clock back while a task of its own blocking threads is on its way, and
//! there is no other way to ask for that. So while jobs of such a runtime are on theirs, one blocking task of it waits for their end: one
//! for all of them, so that they do not take all of its threads.
//!
//! Whether the clock is paused nobody says either, but a clock that is shows the same time twice. Only a runtime of one thread has one that
//! can be, so a thread that is its runtime's second worker, or a later one, does not even look.

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

/// Holds the clock as long as it lives.
#[derive(Clone)]
pub(crate) struct Hold(#[allow(dead_code, reason = "dropped, not read")] Arc<Holder>);

/// The blocking task ends when this is dropped.
struct Holder(#[allow(dead_code, reason = "dropped, not read")] mpsc::Sender<()>);

/// What there is to hold.
#[derive(Debug)]
pub(crate) enum Clock {
    Held(Hold),
    /// It goes on by itself.
    Runs,
    /// This is no thread that works for a runtime. Whoever waits for the job may be on one.
    None,
}

thread_local! {
    /// Who holds the clock of the runtime that this thread drives.
    static HOLDER: RefCell<Option<(runtime::Id, Weak<Holder>)>> = const { RefCell::new(None) };
}

/// Holds the clock of this thread's runtime, if it is paused.
#[inline]
pub(crate) fn hold() -> Clock {
    // A model has no clock.
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

/// Has `job`, which was just submitted, hold the clock of this thread's runtime, if that is paused. Is it known now whether it is?
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

/// Does the clock show the same time twice?
#[inline]
fn is_paused() -> bool {
    let first = Instant::now();
    Instant::now() == first && stands_still_at(first)
}

/// Does it once the system's clock, which may be coarse, has moved on?
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
