//! Transactions and savepoints.

use std::{fmt, ops::Deref};

use tokio_postgres::IsolationLevel;

use super::Client;
use crate::{Error, operation::Verb};

/// A transaction, or a savepoint within a transaction. Its drop rolls it back.
///
/// It dereferences to [`Client`], which runs the statements.
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
    pub(super) deferrable: Option<bool>,
}

impl Transaction<'_> {
    /// Commits the transaction. For a savepoint, releases it into the enclosing transaction.
    ///
    /// # Errors
    /// - [`Error::is_database`] when the server rejects the commit, for example because of a deferred constraint, or when an
    ///   earlier statement of the transaction had failed. (In the second case the server answers the commit without an error, and
    ///   rolls back.) In both cases the transaction is rolled back.
    /// - [`Error::is_abandoned`] when the future of a statement of the transaction was dropped, or timed out, so that nothing says
    ///   what the statement did. The transaction is rolled back.
    /// - [`Error::is_disconnected`] or [`Error::is_timeout`], after which it is unknown whether the transaction was committed.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, it is unknown whether the transaction is committed.
    pub async fn commit(mut self) -> Result<(), Error> {
        if self.client.session.was_abandoned() {
            self.rollback().await?;
            return Err(Error::abandoned_in_transaction());
        }
        self.is_open = false;
        if self.depth > 0 {
            return self
                .client
                .batch(Verb::Release, &format!("RELEASE pool_db_{}", self.depth))
                .await;
        }
        self.client.commit().await
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
        self.client.batch(Verb::Rollback, &self.undo()).await
    }

    /// Begins a savepoint, which can be rolled back on its own.
    ///
    /// # Errors
    /// As for [`Client::query`].
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
        // Created before the request is sent: if this future is dropped meanwhile, the drop of `transaction` rolls back.
        let transaction = Self {
            client,
            depth,
            is_open: true,
        };
        let verb = if depth == 0 {
            Verb::Begin
        } else {
            Verb::Savepoint
        };
        transaction.client.batch(verb, sql).await?;
        Ok(transaction)
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if self.is_open {
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
            modes: Modes {
                isolation: None,
                read_only: None,
                deferrable: None,
            },
        }
    }

    /// Sets the isolation level. Default: the server's `default_transaction_isolation`.
    pub const fn isolation_level(mut self, level: IsolationLevel) -> Self {
        self.modes.isolation = Some(level);
        self
    }

    /// Sets whether the transaction is read-only. Default: the server's `default_transaction_read_only`.
    pub const fn read_only(mut self, read_only: bool) -> Self {
        self.modes.read_only = Some(read_only);
        self
    }

    /// Sets whether the transaction may wait for a snapshot with which it cannot fail to serialize. This only affects transactions
    /// that are serializable and read-only.
    pub const fn deferrable(mut self, deferrable: bool) -> Self {
        self.modes.deferrable = Some(deferrable);
        self
    }

    /// Begins the transaction.
    ///
    /// # Errors
    /// As for [`Client::query`].
    pub async fn start(self) -> Result<Transaction<'a>, Error> {
        let sql = self.modes.begin();
        Transaction::begin(self.client, 0, &sql).await
    }
}

impl Modes {
    /// The statement that begins the transaction.
    pub(super) fn begin(self) -> String {
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
            .field("modes", &self.modes)
            .finish()
    }
}
