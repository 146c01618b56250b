//! The work that an operation leaves to do after unlocking.

use std::{sync::Arc as StdArc, task::Waker};

use super::{
    grant::Lends,
    limits::Terms,
    seats::{Seat, Slot},
    table::Cold,
};
use crate::{host::caught, observe::CloseReason};

/// The work that is left to do after the lock was released.
#[derive(Debug)]
#[must_use]
pub(super) struct Work<K, T: Lends, E: Clone> {
    pub(super) wakers: Wakers,
    pub(super) opens: Vec<(Seat<K, T, E>, StdArc<Terms>)>,
    pub(super) checks: Vec<Box<Slot<K, T, E>>>,
    pub(super) closes: Vec<(Box<Slot<K, T, E>>, CloseReason)>,
    /// Shared resources that died. The holders of their shares are to be told.
    pub(super) deaths: Vec<T::Share>,
    pub(super) gone: Gone<K, E>,
    /// An open was called off: the tasks of all opens have to look whether it is theirs.
    pub(super) called_off: bool,
}

/// Keys that were removed and errors that were replaced. They only have to be dropped, but that may run user code.
#[derive(Debug)]
pub(super) struct Gone<K, E> {
    pub(super) keys: Vec<Box<Cold<K, E>>>,
    pub(super) errors: Vec<E>,
}

/// The futures to wake. Nearly always there is only one.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl<K, T: Lends, E: Clone> Default for Work<K, T, E> {
    fn default() -> Self {
        Self {
            wakers: Wakers::default(),
            opens: Vec::new(),
            checks: Vec::new(),
            closes: Vec::new(),
            deaths: Vec::new(),
            gone: Gone {
                keys: Vec::new(),
                errors: Vec::new(),
            },
            called_off: false,
        }
    }
}

impl<K, E> Drop for Gone<K, E> {
    fn drop(&mut self) {
        for row in self.keys.drain(..) {
            drop(caught(|| drop(row)));
        }
        for error in self.errors.drain(..) {
            drop(caught(|| drop(error)));
        }
    }
}

impl Wakers {
    pub(super) fn push(&mut self, waker: Option<Waker>) {
        match self.first {
            None => self.first = waker,
            Some(_) => self.more.extend(waker),
        }
    }

    /// Returns the list, to add many wakers.
    pub(super) const fn many(&mut self) -> &mut Vec<Waker> {
        &mut self.more
    }

    pub(super) fn wake(self) {
        self.first
            .into_iter()
            .chain(self.more)
            .for_each(Waker::wake);
    }
}
