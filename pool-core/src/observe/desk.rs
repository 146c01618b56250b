//! Where the publisher of a pool lies.

use std::{
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{MetricNames, Publisher};
use crate::pool::caught;

/// Where the publisher of a pool lies, for one keeper after the other. Whoever publishes takes it off meanwhile: no recorder is
/// called with this locked.
#[derive(Default)]
pub(crate) struct Desk(Mutex<Publisher>);

impl Desk {
    pub(crate) fn new(names: MetricNames) -> Self {
        Self(Mutex::new(Publisher::new(names)))
    }

    /// `None` when the recorder panicked.
    pub(crate) fn with<T>(&self, publish: impl FnOnce(&mut Publisher) -> T) -> Option<T> {
        let mut publisher = mem::take(&mut *self.lock());
        let outcome = caught(|| publish(&mut publisher));
        *self.lock() = publisher;
        outcome.ok()
    }

    fn lock(&self) -> MutexGuard<'_, Publisher> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
