//! What a waiter is granted: a resource of its own, or a share of one that many use.

use std::fmt;

use super::seats::Slot;
use crate::gauge::LinkId;

/// A resource, which the kernel either lends to one at a time, or in shares.
pub(super) trait Lends {
    /// What each holder of a share gets. A clone runs under the lock: it must be cheap, and no user code.
    type Share: fmt::Debug;

    /// Returns what a holder of a share gets; `None` if the resource is lent to one at a time.
    fn share(&self) -> Option<Self::Share>;

    /// Whether the resource is lent in shares.
    fn is_shared(&self) -> bool {
        self.share().is_some()
    }
}

/// A grant, or what a get takes at once.
#[derive(Debug)]
pub(super) enum Grant<K, T: Lends, E: Clone> {
    One(Box<Slot<K, T, E>>),
    Many(Token<T::Share>),
}

/// The right to use a shared resource. It is given back by its number: see [`LinkId`].
#[derive(Debug)]
#[must_use = "a token that is dropped is not given back"]
pub(super) struct Token<S> {
    pub(super) link: LinkId,
    pub(super) share: S,
}
