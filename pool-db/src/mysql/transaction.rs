//! Transactions and savepoints.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use mysql_async::IsolationLevel;

use super::{Client, call::Call};
use crate::Error;

/// A transaction, or a savepoint within a transaction. Its drop rolls it back: before the next call on the connection, or after the
/// connection was returned.
///
/// It dereferences to [`Client`], which runs the statements.
///
/// Some statements end a transaction by themselves: MySQL commits before and after each that changes a table's definition, and an
/// SQL `COMMIT` or `ROLLBACK` does what it says. A deadlock rolls the whole transaction back. After that, every further statement of
/// the transaction is refused: it would take effect at once, by itself.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<'a> {
    client: &'a mut Client,
    /// 0 for the transaction, else the number of the savepoint.
    depth: u32,
    is_open: bool,
}

/// Builds a transaction with options. [`Client::build_transaction`] returns it.
#[must_use = "nothing begins before `start`"]
pub struct TransactionBuilder<'a> {
    client: &'a mut Client,
    modes: Modes,
}

/// How a transaction is begun.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Modes {
    pub(super) isolation: Option<IsolationLevel>,
    pub(super) read_only: Option<bool>,
    pub(super) consistent_snapshot: bool,
}

/// What is known of the transaction that the pool has begun on a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Open {
    /// The last statement has failed.
    pub(super) has_failed: bool,
    /// It has lost against another transaction.
    pub(super) has_lost: bool,
}

impl Transaction<'_> {
    /// Commits the transaction. For a savepoint, releases it into the enclosing transaction.
    ///
    /// # Errors
    /// - [`Error::is_database`] when the server rejects the commit, or has rolled the transaction back before.
    /// - [`Error::is_abandoned`] when the future of a statement of the transaction was dropped, or timed out. The transaction is
    ///   rolled back.
    /// - Another error, whose [`Error::may_have_happened`] is true, when a statement has ended the transaction, such as one that
    ///   changes a table's definition: MySQL then commits what came before.
    /// - [`Error::is_disconnected`] or [`Error::is_timeout`], after which it is unknown whether the transaction was committed.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, it is unknown whether the transaction is committed.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.depth > 0 {
            let release = format!("RELEASE SAVEPOINT pool_db_{}", self.depth);
            self.client.ready().await?;
            self.is_open = false;
            self.client.call(Call::Text(&release)).await?;
            return Ok(());
        }
        self.client.commit().await?;
        self.is_open = false;
        Ok(())
    }

    /// Rolls the transaction back, and waits until that is done. Dropping the transaction does the same without waiting.
    ///
    /// # Errors
    /// As for [`Client::query`].
    ///
    /// # Cancel safety
    /// If the future is dropped, the transaction is rolled back all the same.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.is_open = false;
        let undo = self.undo();
        if self.depth == 0 {
            (self.client.state.open, self.client.state.undo) = (None, None);
        } else {
            self.client.ready().await?;
        }
        self.client.call(Call::Text(&undo)).await?;
        Ok(())
    }

    /// Begins a savepoint, which can be rolled back on its own.
    ///
    /// # Errors
    /// As for [`Client::query`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let depth = self.depth + 1;
        self.client.ready().await?;
        let savepoint = format!("SAVEPOINT pool_db_{depth}");
        self.client.call(Call::Text(&savepoint)).await?;
        Ok(Transaction {
            client: self.client,
            depth,
            is_open: true,
        })
    }

    fn undo(&self) -> String {
        match self.depth {
            0 => "ROLLBACK".to_owned(),
            depth => format!("ROLLBACK TO SAVEPOINT pool_db_{depth}"),
        }
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.is_open {
            return;
        }
        let undo = self.undo();
        let state = &mut self.client.state;
        if self.depth == 0 {
            state.open = None;
        }
        // That of a savepoint which was dropped within is part of it.
        state.undo = Some(undo);
    }
}

impl Deref for Transaction<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
        self.client
    }
}

impl DerefMut for Transaction<'_> {
    fn deref_mut(&mut self) -> &mut Client {
        self.client
    }
}

impl fmt::Debug for Transaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("depth", &self.depth)
            .finish_non_exhaustive()
    }
}

impl<'a> TransactionBuilder<'a> {
    pub(super) fn new(client: &'a mut Client) -> Self {
        Self {
            client,
            modes: Modes::default(),
        }
    }

    /// Sets the isolation level. Default: the server's.
    pub const fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.modes.isolation = Some(level);
        self
    }

    /// Sets whether the transaction is read-only. Default: the server's.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.modes.read_only = Some(read_only);
        self
    }

    /// Sets whether the transaction sees the data as they are when it begins, and not as they are at its first read. This only
    /// affects transactions of the level `REPEATABLE READ`. Default: false.
    pub const fn consistent_snapshot(mut self, consistent: bool) -> Self {
        self.modes.consistent_snapshot = consistent;
        self
    }

    /// Begins the transaction.
    ///
    /// # Errors
    /// As for [`Client::query`]. Always an error within a transaction.
    pub async fn start(self) -> Result<Transaction<'a>, Error> {
        self.client.begin_transaction(self.modes).await?;
        Ok(Transaction {
            client: self.client,
            depth: 0,
            is_open: true,
        })
    }
}

impl Client {
    pub(super) async fn begin_transaction(&mut self, modes: Modes) -> Result<(), Error> {
        // The server would commit the one that is open.
        if self.state.open.is_some() {
            return Err(Error::in_transaction());
        }
        self.call(Call::Text(&modes.begin())).await?;
        self.state.open = Some(Open::default());
        Ok(())
    }

    /// Commits the transaction that is open.
    pub(super) async fn commit(&mut self) -> Result<(), Error> {
        if self.state.is_busy {
            return Err(Error::abandoned_in_transaction());
        }
        self.ready().await?;
        self.state.open = None;
        self.call(Call::Text("COMMIT")).await?;
        Ok(())
    }

    /// Makes sure that a statement runs in the transaction that is open, if one is.
    ///
    /// # Errors
    /// The transaction is over.
    pub(super) async fn ready(&mut self) -> Result<(), Error> {
        if self.state.open.is_none() {
            return Ok(());
        }
        // An error does not say whether the transaction goes on.
        if self.state.is_unsure && !self.state.is_busy {
            let open = self.state.open;
            self.call(Call::Ping).await?;
            self.state.open = open;
        }
        match self.state.open {
            Some(_) if self.state.in_transaction || self.state.is_busy => Ok(()),
            Some(open) if open.has_failed => Err(Error::failed_transaction()),
            _ => Err(Error::no_transaction()),
        }
    }
}

impl Modes {
    /// The statements that begin the transaction.
    fn begin(self) -> String {
        let isolation = self.isolation.map(|level| {
            // The server takes the level for the next transaction only.
            format!("SET TRANSACTION ISOLATION LEVEL {level}; ")
        });
        let snapshot = self
            .consistent_snapshot
            .then_some("WITH CONSISTENT SNAPSHOT");
        let read_only = self
            .read_only
            .map(|is| if is { "READ ONLY" } else { "READ WRITE" });
        let modes: Vec<_> = [snapshot, read_only].into_iter().flatten().collect();
        format!(
            "{}START TRANSACTION {}",
            isolation.unwrap_or_default(),
            modes.join(", ")
        )
    }
}

impl fmt::Debug for TransactionBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionBuilder")
            .field("modes", &self.modes)
            .finish()
    }
}
