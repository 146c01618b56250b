//! Which of the running items want to be polled.
//!
//! Each place has a bell of its own, made once and rung by the waker of the item that runs there. The first ring of a bell since
//! its place was last polled adds the place to a list and wakes the task. No ring is lost: a bell that was already rung is on the
//! list, and is cleared before its place is polled, so a ring during the poll counts again. The task looks at the list once more
//! after it registered its waker. The model is `no_ring_is_lost` (`tests/loom.rs`), its mutant `BellIsClearedAfterThePoll`.

use std::{
    mem,
    sync::Arc,
    task::{Wake, Waker},
};

use crate::{
    engine::mutation::{self, Mutation},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// The bells of one fan-out.
#[derive(Debug)]
pub(super) struct Bells {
    /// Whether the list has an entry; read without the lock.
    any: AtomicBool,
    /// While this is held, nothing else is locked and no waker runs.
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    /// Each place at most once.
    rung: Vec<u32>,
    task: Option<Waker>,
}

/// The bell of one place.
#[derive(Debug)]
pub(super) struct Bell {
    bells: Arc<Bells>,
    place: u32,
    rung: AtomicBool,
}

impl Bells {
    pub(super) fn new() -> Arc<Self> {
        let list = List {
            rung: Vec::new(),
            task: None,
        };
        Arc::new(Self {
            any: AtomicBool::new(false),
            list: Mutex::new(list),
        })
    }

    /// The bell of `place`.
    pub(super) fn bell(self: &Arc<Self>, place: u32) -> Arc<Bell> {
        Arc::new(Bell {
            bells: Arc::clone(self),
            place,
            rung: AtomicBool::new(false),
        })
    }

    /// Wakes `task` from now on when a bell rings. Earlier rings must still be collected.
    pub(super) fn listen(&self, task: &Waker) {
        let known = |list: &List| list.task.as_ref().is_some_and(|held| held.will_wake(task));
        if !known(&self.list.lock()) {
            // Cloned and dropped with nothing locked.
            let task = Some(task.clone());
            let before = mem::replace(&mut self.list.lock().task, task);
            drop(before);
        }
    }

    /// Moves the places that rang since the last call into `places`, which is empty.
    #[inline]
    pub(super) fn collect(&self, places: &mut Vec<u32>) {
        // Ordering: Relaxed. A ring that this load misses wakes the task, or is seen after `listen`.
        if self.any.load(Ordering::Relaxed) {
            let mut list = self.list.lock();
            self.any.store(false, Ordering::Relaxed);
            mem::swap(&mut list.rung, places);
        }
    }
}

impl Bell {
    /// The place is about to be polled: the next ring counts again.
    pub(super) fn clear(&self) {
        // Ordering: Acquire pairs with the Release in `ring`: the poll sees what was done before any ring so far.
        self.rung.swap(false, Ordering::Acquire);
    }

    fn ring(&self) {
        // Ordering: Release, see `clear`. A read-modify-write, so that the rings of one bell form one chain.
        if self.rung.swap(true, Ordering::Release) {
            return;
        }
        let task = {
            let mut list = self.bells.list.lock();
            list.rung.push(self.place);
            self.bells.any.store(true, Ordering::Relaxed);
            list.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

/// Clears `bell`, and polls with `poll` the item at its place.
pub(super) fn answer<T>(bell: &Bell, poll: impl FnOnce() -> T) -> T {
    if mutation::on(Mutation::BellIsClearedAfterThePoll) {
        let answer = poll();
        bell.clear();
        return answer;
    }
    bell.clear();
    poll()
}
