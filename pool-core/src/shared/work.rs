//! The work that an operation leaves to do after unlocking.

use std::{sync::Arc, task::Waker};

use crate::{gauge::LinkId, observe::CloseReason};

/// The work that is left to do after the lock was released.
#[derive(Debug)]
#[must_use]
pub(super) struct Work<C> {
    pub(super) wakers: Vec<Waker>,
    pub(super) opens: Vec<LinkId>,
    /// Connections without shares, which are to be closed; then their places are to be vacated.
    pub(super) closes: Vec<(LinkId, Arc<C>, CloseReason)>,
    /// Connections that died. The holders of their shares are to be told.
    pub(super) deaths: Vec<Arc<C>>,
    /// A connection that was opened but cannot be used. It is to be closed, and then reported as a failed open.
    pub(super) unusable: Option<Arc<C>>,
    /// Connections that are only to be dropped.
    pub(super) drops: Vec<Arc<C>>,
}

impl<C> Default for Work<C> {
    fn default() -> Self {
        Self {
            wakers: Vec::new(),
            opens: Vec::new(),
            closes: Vec::new(),
            deaths: Vec::new(),
            unusable: None,
            drops: Vec::new(),
        }
    }
}
