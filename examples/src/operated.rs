//! A pool of any kind, as the one who runs the service sees it.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use pool_core::{Drained, Manager, Pool, Status};

/// What all pools of connections have in common, whatever they connect to.
pub(crate) trait Operated: Send + Sync {
    /// What it is doing now.
    fn status(&self) -> Status;

    /// Closes it and waits for what is still leased, but no longer than `within`.
    fn drain(&self, within: Duration) -> BoxFuture<'_, Drained>;
}

impl<M: Manager> Operated for Pool<M> {
    fn status(&self) -> Status {
        Self::status(self)
    }

    fn drain(&self, within: Duration) -> BoxFuture<'_, Drained> {
        Self::drain(self, within).boxed()
    }
}
