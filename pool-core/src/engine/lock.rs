//! The state of a pool, locked.

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

/// On lines of the cache of its own: what only reads what is beside it does not wait for those who write this.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Apart<T>(pub(crate) T);

/// The state, locked. Before it is unlocked gets and returns are told whether they have to come to the lock, and the inbox is opened
/// if newcomers need not.
#[derive(Debug)]
pub(super) struct Locked<'a, T, E: Clone> {
    state: KernelGuard<'a, State<T, E>>,
    // After the guard: they are woken with nothing locked.
    orphans: Orphans,
    kernel: &'a Kernel<T, E>,
    /// The inbox is shut, and stays so until somebody joins the line.
    stays_shut: bool,
}

/// Who joined by the inbox of a kernel that panicked.
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
    /// With everybody in line who has joined so far.
    #[inline]
    pub(super) fn lock(&self) -> Locked<'_, T, E> {
        let mut state = self.lock_leaving_open();
        if !mutation::on(Mutation::InboxIsForgotten) {
            state.shut();
        }
        state
    }

    /// Without those in the inbox, if it is open: for who hands to the first in line, and then calls
    /// [`shut_behind_last`](Locked::shut_behind_last).
    #[inline]
    pub(super) fn lock_leaving_open(&self) -> Locked<'_, T, E> {
        Locked {
            state: self.state.0.lock(),
            orphans: Orphans(Vec::new()),
            kernel: self,
            stays_shut: false,
        }
    }

    /// As [`lock`](Self::lock), for who leaves the line: many may do so one after another, and an inbox that is shut need not be opened
    /// and shut again for each.
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
    /// Lets in who joined by the inbox.
    #[inline]
    pub(super) fn shut(&mut self) {
        if self.state.is_open {
            self.take_in();
        }
    }

    /// The same, if nobody is left in line: who comes back next must find those who wait.
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
            // They joined while the kernel panicked.
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
            // Nothing of the state is looked at any more. Who comes next is called to the lock, where the pool is closed.
            self.kernel.board.call(true);
            self.orphans.0 = self.kernel.inbox.0.lock().abandon();
            return;
        }
        if self.state.is_open {
            // Somebody is in line, and everybody was called to the lock when it was opened.
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
