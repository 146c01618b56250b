//! What one worker does, and what it keeps about it.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use crate::{
    core::Core,
    sync::{Arc, Mutex},
};

/// One worker's book. On lines of its own, so that workers do not slow each other down.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Worker {
    /// No other lock is taken under it. Contended only while somebody reads it.
    pub(crate) book: Mutex<Book>,
}

/// What a worker has done.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pub(crate) running: Option<Running>,
    pub(crate) busy: Duration,
    pub(crate) completed: u64,
    pub(crate) panicked: u64,
}

/// What a worker does now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) label: &'static str,
    pub(crate) since: Instant,
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            book: Mutex::new(Book::default()),
        }
    }
}

thread_local! {
    /// The pool that this thread works for; 0 for none.
    static POOL: Cell<usize> = const { Cell::new(0) };
}

/// Does this thread work for that pool?
pub(crate) fn is_worker_of(core: &Core) -> bool {
    POOL.get() == core.id()
}

/// Works for `core` as its worker number `me` until the pool is over.
pub(crate) fn work(core: &Arc<Core>, me: usize) {
    POOL.set(core.id());
    let mut rounds = 0;
    loop {
        if core.work_one(me) {
            rounds = 0;
        } else if core.is_over() {
            break;
        } else if help() {
            rounds = 0;
        } else if rounds < core.idle_yields() {
            rounds += 1;
            thread::yield_now();
        } else {
            rounds = 0;
            core.sleep(me, None);
        }
    }
    POOL.set(0);
    core.left(me);
}

/// Runs a piece of somebody's parallel work, if there is one to steal.
fn help() -> bool {
    matches!(rayon_core::yield_now(), Some(rayon_core::Yield::Executed))
}
