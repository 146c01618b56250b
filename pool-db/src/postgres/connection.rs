//! A leased PostgreSQL connection.

use std::{fmt, ops::Deref, time::Duration};

use pool_core::Lease;

use super::{Client, Manager, Transaction, TransactionBuilder};
use crate::Error;

/// A connection of a [`Pool`](super::Pool). Its drop returns it to the pool. [`Client`] has its methods.
///
/// Before another caller gets the connection, a transaction that was left open is rolled back, settings and locks that were left
/// behind are cleaned up, and a statement whose future was dropped has ended.
pub struct Connection {
    lease: Lease<Manager>,
}

impl Connection {
    /// Begins a transaction. Its drop rolls it back. See [`Client::transaction`].
    ///
    /// # Errors
    /// As for [`Client::query`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.lease.transaction().await
    }

    /// Begins a transaction with options, such as a serializable transaction.
    pub fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        self.lease.build_transaction()
    }

    /// Sets the timeout of every further call of this lease. `None` means no timeout. For the next caller, the pool's
    /// `query_timeout` applies again.
    pub fn set_query_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.lease.query_timeout = limit.into();
    }

    /// Takes the connection out of the pool. The pool may open another connection in its place.
    pub fn detach(self) -> Client {
        Lease::detach(self.lease)
    }
}

impl From<Lease<Manager>> for Connection {
    #[inline]
    fn from(mut lease: Lease<Manager>) -> Self {
        // The last caller may have set another timeout.
        lease.query_timeout = Lease::manager(&lease).query_timeout;
        lease.operations.report(true);
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

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("client", &**self)
            .finish()
    }
}
