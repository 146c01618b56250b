//! Makes a session as good as new between two callers.

use std::{sync::Arc, time::Duration};

use pool_core::FromEnv;
use tokio::time::timeout;
use tokio_postgres::SimpleQueryMessage;

use super::{Client, session::Status, setup::Setup};
use crate::{Error, clean::clean};

/// When a session is cleaned between two callers: what one caller may leave to the next.
///
/// Whatever the policy, a transaction that was left open is rolled back, and a statement that is still running has ended, before
/// another caller gets the connection. What is done is done after the connection was returned, not while its caller waits.
///
/// Cleaning restores the settings and the role, and ends cursors, session locks, notifications, temporary objects, sequence values,
/// the sequence of random numbers, and statements that SQL has prepared. The statements that the connection keeps for its callers
/// stay, unless the policy says otherwise. `on_connect` and `after_connect` run again. It takes one round trip, or two after an SQL
/// `PREPARE` or code that may contain one, and those of `after_connect`. A connection whose session cannot be cleaned, such as after
/// `LOAD`, is replaced.
///
/// PostgreSQL itself ends a few things only with the session, and does not say that there are any. No policy finds those: a library
/// that a function or a `DO` has loaded, and what it keeps (`dblink` has connections); a temporary replication slot; a backup that
/// `pg_backup_start` has begun. [`Connection::detach`](super::Connection::detach) takes such a session out of the pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// `seen`: after statements that say in their answer that they change the session, such as `SET`, `CREATE TEMP TABLE`, `LISTEN`
    /// and `PREPARE`, and after those that do not say what they do: `DO`, `CALL` and `EXPLAIN`. Otherwise cleaning costs nothing.
    ///
    /// The server does not say what the functions do that any other statement calls, be it `SELECT`, `INSERT` by way of a trigger, or
    /// `COPY`: `set_config(..)`, `pg_advisory_lock(..)`, `setseed(..)`, the last value of a sequence, all that a function of your own
    /// does. (It does say when a setting that it reports has changed, such as `TimeZone` or `application_name`.) Follow those by
    /// [`Client::clean_on_return`], or choose `Always`.
    #[default]
    Seen,
    /// `always`: after each lease.
    Always,
    /// `discard-all`: after each lease, and the connection's prepared statements are dropped as well, as by `DISCARD ALL`.
    DiscardAll,
    /// `nothing`: never. Settings, locks and temporary tables stay for the next caller.
    Nothing,
}

impl FromEnv for Reset {
    const EXPECTED: &'static str = "seen, always, discard-all or nothing";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "seen" => Some(Self::Seen),
            "always" => Some(Self::Always),
            "discard-all" => Some(Self::DiscardAll),
            "nothing" => Some(Self::Nothing),
            _ => None,
        }
    }
}

impl Client {
    /// Whether the session is as good as new.
    pub(super) fn is_clean(&self, policy: Reset) -> bool {
        let session = &self.session;
        !session.may_be_busy()
            && session.status() == Status::Idle
            && match policy {
                Reset::Seen => !session.has_left_something(),
                Reset::Always | Reset::DiscardAll => false,
                Reset::Nothing => true,
            }
    }

    /// Makes the session as good as new. Afterwards the server has answered all requests.
    ///
    /// # Errors
    /// The connection must be closed.
    pub(super) async fn settle(&mut self, policy: Reset, setup: &Setup) -> Result<(), Error> {
        drop(self.cancelling.lock().await);
        // A task that still prepares for a caller who has left would do so within the next caller's transaction.
        drop(self.preparing.write().await);
        if self.session.may_be_busy() {
            match timeout(GRACE, self.quiet()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) if error.is_disconnected() => return Err(error),
                // On a busy runtime both times may be over at once.
                Ok(Err(_)) | Err(_) => {
                    self.line.cancel().await;
                    self.quiet().await?;
                }
            }
        }
        self.session.let_copy_in(false);
        if self.session.is_spoilt() {
            return Err(Error::spoilt());
        }
        let undo = match self.session.status() {
            Status::Idle => "",
            Status::InTransaction | Status::Failed => "ROLLBACK; ",
        };
        if policy == Reset::Nothing || (policy == Reset::Seen && !self.session.has_left_something())
        {
            if !undo.is_empty() {
                self.batch_execute(undo).await?;
            }
            return Ok(());
        }
        let session = Arc::clone(&self.session);
        let cleaning = session.clean();
        if policy == Reset::DiscardAll {
            self.statements.clear();
        }
        let sql = &setup.sql;
        if policy != Reset::Seen || self.session.has_statements() {
            // The statements go before the setup, which may prepare them anew.
            let deallocate = self.clean_to_the_statements(undo).await?;
            let rest = format!("{deallocate}{sql}");
            if !rest.is_empty() {
                self.batch_execute(&rest).await?;
            }
        } else {
            self.batch_execute(&format!("{undo}{} {sql}", clean()))
                .await?;
        }
        self.run_hook(setup).await.map_err(Error::set_up)?;
        cleaning.done();
        Ok(())
    }

    /// Waits until the server has answered all requests.
    pub(super) async fn quiet(&self) -> Result<(), Error> {
        // The last request is answered last.
        match timeout(PATIENCE, self.driver.check_connection()).await {
            Ok(Ok(())) => {
                self.session.settled();
                Ok(())
            }
            Ok(Err(error)) => Err(self.explain(error)),
            Err(_) => Err(Error::still_busy(PATIENCE)),
        }
    }

    /// Cleans all but the statements that SQL has prepared, and returns what drops those. The driver's own stay.
    async fn clean_to_the_statements(&self, undo: &str) -> Result<String, Error> {
        let mut deallocate = String::new();
        for message in self
            .simple_query(&format!("{undo}{} {STATEMENTS}", clean()))
            .await?
        {
            if let SimpleQueryMessage::Row(row) = message {
                // What the cleaning itself returns is empty.
                deallocate.push_str(row.get(0).unwrap_or_default());
            }
        }
        Ok(deallocate)
    }
}

const STATEMENTS: &str = "SELECT 'DEALLOCATE ' || pg_catalog.quote_ident(name) || '; ' \
                          FROM pg_catalog.pg_prepared_statements WHERE from_sql";
/// How long an abandoned statement may go on before it is cancelled.
const GRACE: Duration = Duration::from_millis(100);
/// How long the server may take to end a statement that it was asked to cancel. Also how long answers may stay unread.
const PATIENCE: Duration = Duration::from_millis(500);
