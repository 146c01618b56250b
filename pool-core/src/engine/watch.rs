//! Who waits for the pool as a whole: until it is warm, or until it is drained.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use super::{
    kernel::{Kernel, Refusal, Work},
    post::Kept,
};
use crate::{moment::Moment, sync::Arc};

/// Those who want to know when something was opened or could not be, and when the last seat of a closed pool is free.
#[derive(Debug)]
pub(crate) struct Watchers {
    all: Vec<(u64, Waker)>,
    last: u64,
}

/// What has watchers, behind its lock.
pub(crate) trait Watched: Kept + Sized {
    fn with_watchers<R>(&self, look: impl FnOnce(&mut Watchers) -> R) -> R;

    /// Ready when the pool is closed and everything it opened is gone.
    fn poll_drained(&self, watch: &Watch<'_, Self>, context: &Context<'_>) -> Poll<()> {
        let waker = context.waker().clone();
        // Before it looks: whoever is the last to go after that finds it here.
        let before = self.with_watchers(|watchers| watchers.tell(watch, waker));
        drop(before);
        if self.is_over() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

/// One of them. Whoever drops it is not told any more.
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

    /// All of them. Who is not content with what it sees then watches on.
    pub(crate) fn take(&mut self) -> Vec<Waker> {
        let all = mem::take(&mut self.all);
        all.into_iter().map(|(_, waker)| waker).collect()
    }

    const fn enter(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Tells this one by `waker` from now on. The one before is to be dropped with nothing locked.
    #[must_use]
    pub(crate) fn tell(&mut self, watch: &Watch<'_, impl Watched>, waker: Waker) -> Option<Waker> {
        let before = self.leave(watch.number);
        self.all.push((watch.number, waker));
        before
    }

    /// Tells this one no longer. Its waker is to be dropped with nothing locked.
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
    /// Opens the minimum idle; ready when so many are open or handed out, or when it is known that none can be.
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
