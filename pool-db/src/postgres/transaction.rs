//! Transactions that cannot be forgotten.

use std::{fmt, ops::Deref};

use tokio_postgres::IsolationLevel;

use super::Client;
use crate::Error;

/// A transaction, or a part of one (a savepoint). Rolled back when it is dropped.
///
/// Statements are run through the [`Client`] that it dereferences to.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<'a> {
    client: &'a mut Client,
    /// 0: the transaction; otherwise the number of its savepoint.
    depth: u32,
    is_open: bool,
}

/// Begins a transaction of a certain kind. From [`Client::build_transaction`].
#[must_use = "nothing begins before `start`"]
pub struct TransactionBuilder<'a> {
    client: &'a mut Client,
    isolation: Option<IsolationLevel>,
    read_only: Option<bool>,
    deferrable: Option<bool>,
}

impl Transaction<'_> {
    /// Makes it last; for a savepoint, as far as the transaction around it does.
    ///
    /// # Errors
    /// [`Error::is_database`] when the server refuses, as with a constraint that is only looked at now, and when a statement in
    /// the transaction had failed: the server would say yes to the commit, and roll back all the same. Either way it is rolled
    /// back. After [`Error::is_disconnected`] or [`Error::is_timeout`] nobody knows.
    ///
    /// # Cancel safety
    /// Dropping the future once it was polled leaves open whether it is committed.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.client.state.has_failed() {
            self.rollback().await?;
            return Err(Error::failed_transaction());
        }
        self.is_open = false;
        match self.depth {
            0 => self.client.batch("COMMIT").await,
            depth => self.client.batch(&format!("RELEASE pool_db_{depth}")).await,
        }
    }

    /// Undoes it, and waits until that is done. Dropping the transaction does the same without waiting.
    ///
    /// # Errors
    /// As [`Client::query`].
    ///
    /// # Cancel safety
    /// Dropping the future takes nothing back.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.is_open = false;
        self.client.state.restart();
        self.client.batch(&self.undo()).await
    }

    /// Begins a part that can be rolled back by itself: a savepoint.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let depth = self.depth + 1;
        Transaction::begin(self.client, depth, &format!("SAVEPOINT pool_db_{depth}")).await
    }

    fn undo(&self) -> String {
        match self.depth {
            0 => "ROLLBACK".to_owned(),
            depth => format!("ROLLBACK TO pool_db_{depth}"),
        }
    }
}

impl<'a> Transaction<'a> {
    async fn begin(client: &'a mut Client, depth: u32, sql: &str) -> Result<Self, Error> {
        if depth == 0 {
            client.state.restart();
        }
        // Made before the server is asked: if the future is dropped meanwhile, this is, and rolls back.
        let transaction = Self {
            client,
            depth,
            is_open: true,
        };
        transaction.client.batch(sql).await?;
        Ok(transaction)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.client.state.restart();
            self.client.send(&self.undo());
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Client;

    fn deref(&self) -> &Client {
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
    pub(super) const fn new(client: &'a mut Client) -> Self {
        Self {
            client,
            isolation: None,
            read_only: None,
            deferrable: None,
        }
    }

    /// How far it is kept from what others do meanwhile. Default: the server's `default_transaction_isolation`.
    pub const fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// May it change anything? Default: the server's `default_transaction_read_only`.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.read_only = Some(read_only);
        self
    }

    /// May it wait for a moment at which it cannot fail? Of use only for one that is serializable and read-only.
    pub const fn deferrable(mut self, deferrable: bool) -> Self {
        self.deferrable = Some(deferrable);
        self
    }

    /// Begins it.
    ///
    /// # Errors
    /// As [`Client::query`].
    pub async fn start(self) -> Result<Transaction<'a>, Error> {
        let sql = self.sql();
        Transaction::begin(self.client, 0, &sql).await
    }

    fn sql(&self) -> String {
        let isolation = self.isolation.and_then(|level| match level {
            IsolationLevel::ReadUncommitted => Some("ISOLATION LEVEL READ UNCOMMITTED"),
            IsolationLevel::ReadCommitted => Some("ISOLATION LEVEL READ COMMITTED"),
            IsolationLevel::RepeatableRead => Some("ISOLATION LEVEL REPEATABLE READ"),
            IsolationLevel::Serializable => Some("ISOLATION LEVEL SERIALIZABLE"),
            _ => None,
        });
        let read_only = self
            .read_only
            .map(|is| if is { "READ ONLY" } else { "READ WRITE" });
        let deferrable = self
            .deferrable
            .map(|is| if is { "DEFERRABLE" } else { "NOT DEFERRABLE" });
        let modes: Vec<_> = [isolation, read_only, deferrable]
            .into_iter()
            .flatten()
            .collect();
        format!("BEGIN {}", modes.join(", "))
    }
}

impl fmt::Debug for TransactionBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransactionBuilder")
            .field("sql", &self.sql())
            .finish()
    }
}
