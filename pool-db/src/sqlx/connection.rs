//! A leased connection of sqlx.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    time::Duration,
};

use pool_core::Lease;

use super::{Database, Manager, session::Session};

/// A connection of a [`Pool`](super::Pool). Its drop returns it to the pool.
///
/// It dereferences to sqlx's own connection, is an [`Executor`](sqlx::Executor) (`&mut lease`) and can be
/// [acquired](sqlx::Acquire). What is run by `&mut lease` the pool sees: a lease of plain statements costs nothing after its return.
/// By `&mut *lease` the pool sees nothing, and asks the database after the return, which costs one round trip that nobody waits for.
/// `query_timeout` bounds the calls that the pool sees. See [`Reset`](super::Reset).
///
/// # Cancel safety
/// Dropping the future of a call is safe. The call has ended, or is stopped, before another caller gets the connection.
pub struct Connection<DB: Database> {
    lease: Lease<Manager<DB>>,
}

impl<DB: Database> Connection<DB> {
    /// Has the session cleaned when this lease is returned: for what the text of a statement does not tell, as a function of your own
    /// that sets a variable.
    pub fn clean_on_return(&mut self) {
        self.lease.track.is_asked = true;
    }

    /// Sets the timeout of the further calls of this lease. `None` means no timeout. For the next caller, the pool's `query_timeout`
    /// applies again.
    pub fn set_query_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.lease.query_timeout = limit.into();
    }

    /// Takes the connection out of the pool. The pool may open another connection in its place.
    pub fn detach(self) -> DB::Connection {
        Lease::detach(self.lease).connection
    }

    pub(super) fn session(&mut self) -> &mut Session<DB> {
        &mut self.lease
    }
}

impl<DB: Database> From<Lease<Manager<DB>>> for Connection<DB> {
    #[inline]
    fn from(mut lease: Lease<Manager<DB>>) -> Self {
        // The last caller may have set another timeout.
        lease.query_timeout = Lease::manager(&lease).query_timeout;
        Self { lease }
    }
}

impl<DB: Database> Deref for Connection<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.lease.connection
    }
}

impl<DB: Database> DerefMut for Connection<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        self.lease.lend()
    }
}

impl<DB: Database> AsMut<DB::Connection> for Connection<DB> {
    fn as_mut(&mut self) -> &mut DB::Connection {
        self
    }
}

impl<DB: Database> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("session", &*self.lease)
            .finish()
    }
}
