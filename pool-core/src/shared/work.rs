//! What a decision leaves to do.

use std::{sync::Arc, task::Waker};

use super::link::LinkId;
use crate::observe::CloseReason;

/// What is left to do after the lock was released.
#[derive(Debug)]
#[must_use]
pub(super) struct Work<C> {
    pub(super) wakers: Vec<Waker>,
    pub(super) opens: Vec<LinkId>,
    /// Nobody shares these any more: to be closed, and then vacated.
    pub(super) closes: Vec<(LinkId, Arc<C>, CloseReason)>,
    /// These died: those who share them are to be told.
    pub(super) deaths: Vec<Arc<C>>,
    /// Opened, and no use any more: to be closed, and then said to have failed.
    pub(super) unusable: Option<Arc<C>>,
    /// To be dropped.
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
