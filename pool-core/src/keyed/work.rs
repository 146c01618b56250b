//! What is left to do after the lock was released.

use std::{sync::Arc as StdArc, task::Waker};

use super::{
    limits::Terms,
    seats::{Seat, Slot},
    table::Cold,
};
use crate::{host::caught, observe::CloseReason};

/// What is left to do after the lock was released.
#[derive(Debug)]
#[must_use]
pub(super) struct Work<K, T, E: Clone> {
    pub(super) wakers: Wakers,
    pub(super) opens: Vec<(Seat<K, T, E>, StdArc<Terms>)>,
    pub(super) checks: Vec<Box<Slot<K, T, E>>>,
    pub(super) closes: Vec<(Box<Slot<K, T, E>>, CloseReason)>,
    pub(super) gone: Gone<K, E>,
    /// An open that is under way is not wanted any more: all of them are to look whether it is they.
    pub(super) called_off: bool,
}

/// What is only to be dropped: keys that went away, and errors that were replaced. Both may run user code.
#[derive(Debug)]
pub(super) struct Gone<K, E> {
    pub(super) keys: Vec<Box<Cold<K, E>>>,
    pub(super) errors: Vec<E>,
}

/// Who to wake. It is nearly always one.
#[derive(Debug, Default)]
pub(super) struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl<K, T, E: Clone> Default for Work<K, T, E> {
    fn default() -> Self {
        Self {
            wakers: Wakers::default(),
            opens: Vec::new(),
            checks: Vec::new(),
            closes: Vec::new(),
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

    /// Where many are to be put.
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
