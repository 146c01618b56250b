//! A leased connection.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use pool_core::Lease;

use super::{Client, Manager};

/// A connection of a [`Pool`](super::Pool). Its drop returns it to the pool. [`Client`] has its methods.
///
/// Before another caller gets the connection, a transaction that was left open is rolled back, and what was left on the session is
/// cleaned: see [`Reset`](super::Reset). A connection on which a call was not answered is closed.
pub struct Connection {
    lease: Lease<Manager>,
}

impl Connection {
    /// Takes the connection out of the pool. The pool may open another connection in its place. Its drop closes the socket at once.
    pub fn detach(self) -> Client {
        Lease::detach(self.lease)
    }
}

impl From<Lease<Manager>> for Connection {
    fn from(mut lease: Lease<Manager>) -> Self {
        // The last caller may have set another timeout.
        lease.query_timeout = Lease::manager(&lease).query_timeout;
        Self { lease }
    }
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.lease
    }
}

impl DerefMut for Connection {
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
