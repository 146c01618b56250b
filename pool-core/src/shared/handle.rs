//! One handle of a shared pool.

use std::{ops::Deref, sync::Arc};

use super::{SharedManager, inner::Inner};

/// The reference count for the gets and shares of one handle. Each clone of a pool has its own, so that tasks with a handle each do
/// not contend for one count at every get.
pub(super) struct Handle<M: SharedManager> {
    inner: Arc<Inner<M>>,
}

impl<M: SharedManager> Handle<M> {
    pub(super) fn new(inner: &Arc<Inner<M>>) -> Arc<Self> {
        Arc::new(Self {
            inner: Arc::clone(inner),
        })
    }
}

impl<M: SharedManager> Deref for Handle<M> {
    type Target = Arc<Inner<M>>;

    #[inline]
    fn deref(&self) -> &Arc<Inner<M>> {
        &self.inner
    }
}
