//! Transactions as closures, which are run again when they lost against another one.

use std::{any::Any, pin::Pin, time::Duration};

use super::{Database, Pool, Sqlx, Transaction, error::is_retryable};
use crate::{Error, retry::Retry};

/// How a transaction is run. [`Pool::build_transaction`] returns it.
#[derive(Debug)]
#[must_use = "nothing begins before `run`"]
pub struct TransactionPlan<DB: Database> {
    pool: Pool<DB>,
    retry: Retry,
}

impl<DB: Database> crate::Pool<Sqlx<DB>> {
    /// Runs `f` in a transaction, and commits it if `f` returns `Ok`. With an error, a panic or a dropped future the transaction is
    /// rolled back.
    ///
    /// When the transaction loses against another one ([`Error::is_retryable`]), it is rolled back and the whole of `f` runs again
    /// in a new one, up to 5 times in all, after a random wait of up to 10 ms, 20 ms and so on. So `f` must have no effects but
    /// those of its statements. It never runs again after a commit whose outcome is unknown.
    /// [`build_transaction`](Self::build_transaction) changes these numbers.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlx-postgres")]
    /// # async fn example(pool: &pool_db::sqlx::Pool<sqlx::Postgres>, from: i64, to: i64) -> Result<(), sqlx::Error> {
    /// pool.transaction(|tx| Box::pin(async move {
    ///     sqlx::query("UPDATE accounts SET balance = balance - 10 WHERE id = $1").bind(from).execute(&mut *tx).await?;
    ///     sqlx::query("UPDATE accounts SET balance = balance + 10 WHERE id = $1").bind(to).execute(&mut *tx).await?;
    ///     Ok(())
    /// }))
    /// .await
    /// # }
    /// ```
    ///
    /// # Errors
    /// - The error that `f` returned. If the transaction lost too often, that of the last attempt.
    /// - Those of [`get`](crate::Pool::get), and of [`Transaction::commit`].
    ///
    /// # Cancel safety
    /// Dropping the future rolls the transaction back, unless the commit was already sent: then it is unknown whether it is
    /// committed.
    ///
    /// # Panics
    /// When `f` panics. The transaction is rolled back.
    pub async fn transaction<T, E, F>(&self, f: F) -> Result<T, E>
    where
        F: for<'t> FnMut(
            &'t mut Transaction<DB>,
        ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>,
        E: From<Error> + 'static,
    {
        self.build_transaction().run(f).await
    }

    /// Begins a [`transaction`](Self::transaction) with options.
    pub fn build_transaction(&self) -> TransactionPlan<DB> {
        TransactionPlan {
            pool: self.clone(),
            retry: Retry::default(),
        }
    }
}

impl<DB: Database> TransactionPlan<DB> {
    /// How often the transaction is run at most, when it loses against others. 0 is as 1: it is not run again. Default: 5.
    pub const fn tries(mut self, tries: u32) -> Self {
        self.retry.tries = tries;
        self
    }

    /// Sets the upper bound of the random wait before the second run, and that of all waits: it doubles with each run. Default: 10
    /// ms and 1 s.
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        (self.retry.first, self.retry.longest) = (first, longest);
        self
    }

    /// Runs `f` in the transaction: see [`Pool::transaction`].
    ///
    /// # Errors
    /// As for [`Pool::transaction`].
    ///
    /// # Cancel safety
    /// As for [`Pool::transaction`].
    ///
    /// # Panics
    /// As for [`Pool::transaction`].
    pub async fn run<T, E, F>(self, mut f: F) -> Result<T, E>
    where
        F: for<'t> FnMut(
            &'t mut Transaction<DB>,
        ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 't>>,
        E: From<Error> + 'static,
    {
        let mut tries = 1;
        loop {
            let mut tx = self.pool.begin().await?;
            let (result, lost) = match f(&mut tx).await {
                Ok(value) => {
                    let had_lost = tx.session().track.has_lost;
                    match tx.commit().await {
                        Ok(()) => return Ok(value),
                        // The database has answered: it was rolled back.
                        Err(error) => {
                            let lost = error.is_database() && (had_lost || error.is_retryable());
                            (Err(error.into()), lost)
                        }
                    }
                }
                Err(error) => {
                    // An error of the application may hide that of the database, which the transaction has seen if it ran the
                    // statement.
                    let lost = tx.session().track.has_lost || tells_of_a_loss(&error);
                    // An error of the rollback says nothing new: the lease cleans, or closes.
                    drop(tx.rollback().await);
                    (Err(error), lost)
                }
            };
            if !(lost && self.retry.again(&mut tries).await) {
                return result;
            }
        }
    }
}

/// Whether the error is one of sqlx or of this crate that says so.
fn tells_of_a_loss(error: &dyn Any) -> bool {
    if let Some(error) = error.downcast_ref::<sqlx::Error>() {
        return is_retryable(error);
    }
    error
        .downcast_ref::<Error>()
        .is_some_and(Error::is_retryable)
}

impl<DB: Database> Clone for TransactionPlan<DB> {
    fn clone(&self) -> Self {
        Self {
            pool: self.pool.clone(),
            retry: self.retry,
        }
    }
}
