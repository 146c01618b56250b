//! Who waits for the pool as a whole: until it is warm, or until it is drained.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use super::kernel::{Kernel, Refusal, Work};
use crate::{moment::Moment, sync::Arc};

/// Those who want to know when something was opened or could not be, and when the last seat of a closed pool is free.
#[derive(Debug)]
pub(super) struct Watchers {
    all: Vec<(u64, Waker)>,
    last: u64,
}

/// One of them. Whoever drops it is not told any more.
#[derive(Debug)]
pub(crate) struct Watch<'a, T, E: Clone> {
    kernel: &'a Arc<Kernel<T, E>>,
    number: u64,
}

impl Watchers {
    pub(super) const fn new() -> Self {
        Self {
            all: Vec::new(),
            last: 0,
        }
    }

    /// All of them. Who is not content with what it sees then watches on.
    pub(super) fn take(&mut self) -> Vec<Waker> {
        let all = mem::take(&mut self.all);
        all.into_iter().map(|(_, waker)| waker).collect()
    }

    const fn enter(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// Tells this one by `waker` from now on. The one before is to be dropped with nothing locked.
    #[must_use]
    fn watch(&mut self, number: u64, waker: Waker) -> Option<Waker> {
        let before = self.leave(number);
        self.all.push((number, waker));
        before
    }

    /// Tells this one no longer. Its waker is to be dropped with nothing locked.
    #[must_use]
    fn leave(&mut self, number: u64) -> Option<Waker> {
        let at = self.all.iter().position(|(other, _)| *other == number)?;
        Some(self.all.swap_remove(at).1)
    }
}

impl<'a, T, E: Clone> Watch<'a, T, E> {
    pub(crate) fn new(kernel: &'a Arc<Kernel<T, E>>) -> Self {
        let number = kernel.lock().watchers.enter();
        Self { kernel, number }
    }

    /// Ready when the pool is closed and everything it opened is gone.
    pub(crate) fn poll_drained(&self, context: &Context<'_>) -> Poll<()> {
        // Declared before the guard: what is not needed is dropped after it.
        let waker = context.waker().clone();
        let _before;
        let mut state = self.kernel.lock();
        if state.is_over() {
            return Poll::Ready(());
        }
        _before = state.watchers.watch(self.number, waker);
        Poll::Pending
    }

    /// Opens the minimum idle; ready when so many are open or handed out, or when it is known that none can be.
    pub(crate) fn poll_warm(
        &self,
        now: Moment,
        context: &Context<'_>,
    ) -> (Poll<Result<(), Refusal<E>>>, Work<T, E>) {
        let mut work = Work::default();
        let waker = context.waker().clone();
        let _before;
        let mut state = self.kernel.lock();
        let poll = if state.closed {
            Poll::Ready(Err(Refusal::Closed))
        } else if state.seats.alive() >= self.kernel.limits.keeping.min_idle {
            Poll::Ready(Ok(()))
        } else if let Some(error) = state.gate.verdict(state.seats.alive()) {
            Poll::Ready(Err(Refusal::Connect(error)))
        } else {
            state.meet_demand(self.kernel, now, &mut work);
            _before = state.watchers.watch(self.number, waker);
            Poll::Pending
        };
        (poll, work)
    }
}

impl<T, E: Clone> Drop for Watch<'_, T, E> {
    fn drop(&mut self) {
        let waker = self.kernel.lock().watchers.leave(self.number);
        drop(waker);
    }
}
