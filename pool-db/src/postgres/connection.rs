//! A connection, for as long as somebody has it.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use pool_core::Lease;

use super::{Client, Manager};

/// A connection from a [`Pool`](super::Pool), given back when dropped. What it can do is in [`Client`].
///
/// Before anybody else gets it, a transaction that was left open is rolled back, settings and locks that were left behind are
/// cleaned up, and a statement whose future was dropped has ended.
pub struct Connection {
    lease: Lease<Manager>,
}

impl Connection {
    /// Takes it out of the pool, which may open another in its place.
    pub fn detach(self) -> Client {
        Lease::detach(self.lease)
    }
}

impl From<Lease<Manager>> for Connection {
    #[inline]
    fn from(mut lease: Lease<Manager>) -> Self {
        // The last user may have set another.
        lease.query_timeout = Lease::manager(&lease).query_timeout;
        Self { lease }
    }
}

impl Deref for Connection {
    type Target = Client;

    #[inline]
    fn deref(&self) -> &Client {
        &self.lease
    }
}

impl DerefMut for Connection {
    #[inline]
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.lease
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("client", &**self)
            .finish()
    }
}
