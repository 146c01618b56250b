//! The kernel's lock, held.

use std::{
    ops::{Deref, DerefMut},
    task::Waker,
};

use super::{
    kernel::{Kernel, Refusal},
    mutation::{self, Mutation},
    state::State,
};
use crate::sync::{KernelGuard, wake_all};

/// Puts the value on cache lines of its own, so that threads that only read the fields beside it do not wait for those that write
/// it.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// The state, locked. Before the lock is released, `CALL` is set or cleared, and the inbox is opened if newcomers need not take the
/// lock.
#[derive(Debug)]
pub(super) struct Locked<'a, T, E: Clone> {
    state: KernelGuard<'a, State<T, E>>,
    // Declared after the guard, so that these waiters are woken with nothing locked.
    orphans: Orphans,
    kernel: &'a Kernel<T, E>,
    /// The inbox is shut, and stays shut until a waiter joins the queue.
    stays_shut: bool,
}

/// The wakers of waiters that joined by the inbox of a kernel that panicked.
#[derive(Debug)]
struct Orphans(Vec<Waker>);

impl Drop for Orphans {
    #[inline]
    fn drop(&mut self) {
        if !self.0.is_empty() {
            wake_all(std::mem::take(&mut self.0));
        }
    }
}

impl<T, E: Clone> Kernel<T, E> {
    /// Locks the state, with all waiters that have joined so far in the queue.
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_, T, E> {
        let mut state = self.lock_leaving_open();
        if !mutation::on(Mutation::InboxIsForgotten) {
            state.shut();
        }
        state
    }

    /// Locks the state and leaves the waiters in the inbox there, if it is open. This is for a return, which hands to the first
    /// waiter and then calls [`shut_behind_last`](Locked::shut_behind_last).
    #[inline]
    pub(super) fn lock_leaving_open(&self) -> Locked<'_, T, E> {
        Locked {
            state: self.state.0.lock(),
            orphans: Orphans(Vec::new()),
            kernel: self,
            stays_shut: false,
        }
    }

    /// As [`lock`](Self::lock), for a waiter that leaves the queue. Many may leave one after another, and an inbox that is shut
    /// need not be opened and shut again for each of them.
    #[inline]
    pub(super) fn lock_to_leave(&self) -> Locked<'_, T, E> {
        let mut state = self.lock_leaving_open();
        state.stays_shut = !state.is_open;
        if !mutation::on(Mutation::InboxIsForgotten) {
            state.shut();
        }
        state
    }
}

impl<T, E: Clone> Locked<'_, T, E> {
    /// Shuts the inbox and appends its waiters to the queue.
    #[inline]
    pub(super) fn shut(&mut self) {
        if self.state.is_open {
            self.take_in();
        }
    }

    /// As [`shut`](Self::shut), if the queue is empty: the next return must find the waiters of the inbox.
    #[inline]
    pub(super) fn shut_behind_last(&mut self) {
        if self.state.queue.is_empty() && !mutation::on(Mutation::LastLeavesInboxOpen) {
            self.shut();
        }
    }

    fn take_in(&mut self) {
        self.state.is_open = false;
        let mut inbox = self.kernel.inbox.0.lock();
        self.state.queue.take_in(&mut inbox);
        if self.state.closed {
            // These waiters joined while the kernel panicked.
            let told = self.state.queue.refuse_all(|| Refusal::Closed);
            self.orphans.0.extend(told);
        }
    }
}

impl<T, E: Clone> Deref for Locked<'_, T, E> {
    type Target = State<T, E>;

    #[inline]
    fn deref(&self) -> &State<T, E> {
        &self.state
    }
}

impl<T, E: Clone> DerefMut for Locked<'_, T, E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut State<T, E> {
        &mut self.state
    }
}

impl<T, E: Clone> Drop for Locked<'_, T, E> {
    #[inline]
    fn drop(&mut self) {
        if self.state.is_spoilt() {
            // The spoilt state is not read any more. Later gets and returns are called to the lock, where they find the pool
            // closed.
            self.kernel.board.call(true);
            self.orphans.0 = self.kernel.inbox.0.lock().abandon();
            return;
        }
        if self.state.is_open {
            // While the inbox is open a waiter is in the queue, and `CALL` was set when the inbox was opened.
            return;
        }
        self.state.call();
        if self.stays_shut {
            return;
        }
        if let Some((tick, room)) = self.state.opens(&self.kernel.limits) {
            self.state.is_open = true;
            let mut inbox = self.kernel.inbox.0.lock();
            self.state.queue.open(&mut inbox, room, tick);
        }
    }
}
