//! Transactions that hold their lease.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use sqlx_core::transaction::TransactionManager as _;

use super::{Connection, Database, Sqlx, session::Session};
use crate::Error;

/// A transaction, and the lease that it runs on. Its drop rolls it back, after the return of the lease.
///
/// It is an [`Executor`](sqlx::Executor) (`&mut tx`), dereferences to sqlx's connection (`&mut *tx`), and can be
/// [acquired](sqlx::Acquire): `tx.begin()` of sqlx makes a savepoint.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<DB: Database> {
    lease: Connection<DB>,
}

impl<DB: Database> crate::Pool<Sqlx<DB>> {
    /// Begins a transaction on a connection of its own.
    ///
    /// # Errors
    /// Those of [`get`](crate::Pool::get), and of the database.
    ///
    /// # Cancel safety
    /// Dropping the future is safe: what was begun is rolled back before another caller gets the connection.
    #[track_caller]
    pub fn begin(
        &self,
    ) -> impl Future<Output = Result<Transaction<DB>, Error>> + Send + use<'_, DB> {
        let get = self.get();
        async move { Transaction::begin(get.await?).await }
    }
}

impl<DB: Database> Transaction<DB> {
    pub(super) async fn begin(mut lease: Connection<DB>) -> Result<Self, Error> {
        let session = lease.session();
        // Noted before it is sent: if this future is dropped meanwhile, the reset rolls back.
        session.track.has_begun = true;
        (session.track.has_failed, session.track.has_lost) = (false, false);
        session.track.was_lent = false;
        let begin = session.call(true, |connection| {
            Box::pin(DB::TransactionManager::begin(connection, None))
        });
        begin.await?;
        Ok(Self { lease })
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// - [`Error::is_database`] when the database refuses the commit, as for a deferred constraint, or when an earlier statement had
    ///   failed so that only a rollback is left. (sqlx alone says nothing of the second.) The transaction is rolled back.
    /// - [`Error::is_abandoned`] when the future of a statement was dropped or timed out, so that nobody knows what it did. The
    ///   transaction is rolled back.
    /// - [`Error::is_disconnected`] or [`Error::is_timeout`], after which it is unknown whether the transaction was committed.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, it is unknown whether the transaction is committed.
    pub async fn commit(mut self) -> Result<(), Error> {
        let session = self.lease.session();
        if session.track.is_abandoned {
            self.rollback().await?;
            return Err(Error::abandoned_in_transaction());
        }
        let track = &session.track;
        let may_have_failed = track.has_failed || track.was_lent;
        let mut has_failed = DB::LOSES_TRANSACTION && track.has_lost;
        if DB::COMMITS_FAILED && may_have_failed && !has_failed {
            let asked = session.call(true, |connection| Box::pin(DB::has_failed(connection)));
            has_failed = asked.await?;
        }
        if has_failed {
            self.rollback().await?;
            return Err(Error::failed_transaction());
        }
        let commit = session.call(true, |connection| {
            Box::pin(DB::TransactionManager::commit(connection))
        });
        commit.await?;
        session.track.has_begun = false;
        Ok(())
    }

    /// Rolls the transaction back, and waits until that is done. Dropping the transaction does the same without waiting.
    ///
    /// # Errors
    /// Those of the database.
    ///
    /// # Cancel safety
    /// If the future is dropped, the transaction is rolled back all the same.
    pub async fn rollback(mut self) -> Result<(), Error> {
        let session = self.lease.session();
        if session.track.is_abandoned {
            // The reset waits for what goes on, stops it, and rolls back.
            return Ok(());
        }
        let rollback = session.call(true, |connection| {
            Box::pin(DB::TransactionManager::rollback(connection))
        });
        rollback.await?;
        session.track.has_begun = false;
        Ok(())
    }

    pub(super) fn session(&mut self) -> &mut Session<DB> {
        self.lease.session()
    }
}

impl<DB: Database> Deref for Transaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.lease
    }
}

impl<DB: Database> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.lease
    }
}

impl<DB: Database> AsMut<DB::Connection> for Transaction<DB> {
    fn as_mut(&mut self) -> &mut DB::Connection {
        self
    }
}

impl<DB: Database> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("lease", &self.lease)
            .finish()
    }
}
