//! Watchers: tasks that wait for the pool as a whole, until it is warm or until it is drained.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use super::{
    kernel::{Kernel, Refusal, Work},
    post::Kept,
};
use crate::{moment::Moment, sync::Arc};

/// The wakers of the watchers. They are woken when a resource was opened or an open failed, and when the last seat of a closed pool
/// is free.
#[derive(Debug)]
pub(crate) struct Watchers {
    all: Vec<(u64, Waker)>,
    last: u64,
}

/// A kernel that keeps its watchers under its lock.
pub(crate) trait Watched: Kept + Sized {
    fn with_watchers<R>(&self, look: impl FnOnce(&mut Watchers) -> R) -> R;

    /// Ready when the pool is closed and everything it opened is gone.
    fn poll_drained(&self, watch: &Watch<'_, Self>, context: &Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        // Registers before it looks: the thread that frees the last seat after that look finds this waker.
        let before = self.with_watchers(|watchers| watchers.tell(watch, waker));
        drop(before);
        if self.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// One watcher. Its drop removes it.
#[derive(Debug)]
pub(crate) struct Watch<'a, W: Watched> {
    of: &'a W,
    number: u64,
}

impl Watchers {
    pub(crate) const fn new() -> Self {
        Self {
            all: Vec::new(),
            last: 0,
        }
    }

    /// Takes all wakers. A watcher that is not ready when it is polled registers again.
    pub(crate) fn take(&mut self) -> Vec<Waker> {
        let all = mem::take(&mut self.all);
        all.into_iter().map(|(_, waker)| waker).collect()
    }

    const fn enter(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Registers `waker` for this watcher. Returns its last waker, to be dropped with nothing locked.
    #[must_use]
    pub(crate) fn tell(&mut self, watch: &Watch<'_, impl Watched>, waker: Waker) -> Option<Waker> {
        let before = self.leave(watch.number);
        self.all.push((watch.number, waker));
        before
    }

    /// Removes this watcher. Returns its waker, to be dropped with nothing locked.
    #[must_use]
    fn leave(&mut self, number: u64) -> Option<Waker> {
        let at = self.all.iter().position(|(other, _)| *other == number)?;
        Some(self.all.swap_remove(at).1)
    }
}

impl<'a, W: Watched> Watch<'a, W> {
    pub(crate) fn new(of: &'a W) -> Self {
        let number = of.with_watchers(Watchers::enter);
        Self { of, number }
    }
}

impl<W: Watched> Drop for Watch<'_, W> {
    fn drop(&mut self) {
        let waker = self
            .of
            .with_watchers(|watchers| watchers.leave(self.number));
        drop(waker);
    }
}

impl<T, E: Clone> Watched for Kernel<T, E> {
    fn with_watchers<R>(&self, look: impl FnOnce(&mut Watchers) -> R) -> R {
        look(&mut self.lock().watchers)
    }
}

impl<T, E: Clone> Kernel<T, E> {
    /// Opens the minimum idle. Ready when that many resources are open, leased or not, or when it is known that none can be opened.
    pub(crate) fn poll_warm(
        this: &Arc<Self>,
        watch: &Watch<'_, Self>,
        now: Moment,
        context: &Context<'_>,
    ) -> (Poll<Result<(), Refusal<E>>>, Work<T, E>) {
        let mut work = Work::default();
        let waker = context.waker().clone();
        let _before;
        let mut state = this.lock();
        let poll = if state.closed {
            Poll::Ready(Err(Refusal::Closed))
        } else if state.seats.alive() >= this.limits.keeping.min_idle {
            Poll::Ready(Ok(()))
        } else if let Some(error) = state.gate.verdict(state.seats.alive()) {
            Poll::Ready(Err(Refusal::Connect(error)))
        } else {
            state.meet_demand(this, now, &mut work);
            _before = state.watchers.tell(watch, waker);
            Poll::Pending
        };
        (poll, work)
    }
}
