//! One connection to a PostgreSQL server.

use std::{
    fmt,
    pin::pin,
    sync::Arc,
    task::{Context, Waker},
    time::Duration,
};

use tokio::sync::{Mutex, RwLock};
use tokio_postgres::{Row, SimpleQueryMessage, Statement};

use super::{
    CopyIn, CopyOut, Query, Rows,
    dial::{Dial, Dialled},
    fleet::Seat,
    length::fits_in,
    line::Line,
    query::Params,
    session::{Left, Session},
    statements::Statements,
    transaction::{Transaction, TransactionBuilder},
};
use crate::{
    Error,
    one_row::{at_most_one, only},
    operation::{Operations, Verb},
};

/// One connection to a server. It runs statements and transactions, and keeps prepared statements.
///
/// [`Connection`](super::Connection) and [`Transaction`] dereference to `Client`, so a function that takes `&Client` works with
/// either. Requests can be pipelined: the futures of several calls that are polled together are sent in the order of their first
/// poll, without waiting for the answers in between.
///
/// # Cancel safety
/// For every method: dropping its future does not take back a request that was sent. The request may or may not take effect. Within
/// a transaction it is rolled back with the transaction, which can then no longer be committed. No other caller gets the connection
/// before the server has ended the request.
pub struct Client {
    pub(super) driver: Arc<tokio_postgres::Client>,
    pub(super) session: Arc<Session>,
    pub(super) statements: Statements<Statement>,
    /// Read by each task that prepares a statement, until it is done.
    pub(super) preparing: Arc<RwLock<()>>,
    pub(super) query_timeout: Option<Duration>,
    /// Silent unless a caller has the connection.
    pub(super) operations: Operations,
    pub(super) line: Line,
    /// Whether the server is told at once when the future of a request is dropped.
    pub(super) cancels_on_drop: bool,
    /// Held while the server is told. A request that is sent meanwhile could be hit.
    pub(super) cancelling: Arc<Mutex<()>>,
    /// The seat of the connection among those of all processes. It is free when the connection has ended.
    pub(super) seat: Option<Seat>,
}

impl Client {
    /// Begins to drive a connection.
    pub(super) fn new(
        dial: &Arc<Dial>,
        dialled: Dialled,
        statement_cache: usize,
        query_timeout: Option<Duration>,
        cancels_on_drop: bool,
        operations: Operations,
    ) -> Self {
        let (driver, session, line) = Line::new(dial, dialled);
        Self {
            driver: Arc::new(driver),
            session,
            statements: Statements::new(statement_cache),
            preparing: Arc::default(),
            query_timeout,
            operations,
            line,
            cancels_on_drop,
            cancelling: Arc::default(),
            seat: None,
        }
    }

    /// Runs a statement and returns its rows.
    ///
    /// ```no_run
    /// # async fn example(client: &pool_db::postgres::Client) -> Result<(), pool_db::Error> {
    /// let rows = client.query("SELECT name FROM users WHERE age > $1", &[&17]).await?;
    /// let names: Vec<String> = rows.iter().map(|row| row.get("name")).collect();
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::is_database`] when the server rejects the statement, with its [`Error::as_sqlstate`].
    /// - [`Error::is_timeout`] after `query_timeout`.
    /// - [`Error::is_disconnected`] when the connection was lost.
    /// - Another error when a parameter has the wrong type, or when the parameters together are longer than the 1 GiB that the server
    ///   takes. Nothing was sent then.
    pub async fn query<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.rows(query.into(), params).await?.0)
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`query`](Self::query), and [`Error::is_no_rows`] or [`Error::is_many_rows`] for another number of rows.
    pub async fn query_one<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Row, Error> {
        only(self.rows(query.into(), params).await?.0)
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`query`](Self::query), and [`Error::is_many_rows`] for more than one row.
    pub async fn query_opt<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.rows(query.into(), params).await?.0)
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn execute<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        Ok(self.rows(query.into(), params).await?.1)
    }

    /// Runs a statement and returns its rows one after the other, in constant memory.
    ///
    /// # Errors
    /// As for [`query`](Self::query), for the beginning of the statement. The stream has those of its rows.
    pub async fn stream<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: Params<'_>,
    ) -> Result<Rows<&Self>, Error> {
        Rows::start(self, query.into(), params).await
    }

    /// Begins a `COPY .. FROM STDIN`. The result takes the data.
    ///
    /// # Errors
    /// As for [`query`](Self::query). The errors of the data come later.
    pub async fn copy_in(&self, sql: &str) -> Result<CopyIn<&Self>, Error> {
        CopyIn::start(self, sql).await
    }

    /// Begins a `COPY .. TO STDOUT`. The stream returns the data.
    ///
    /// # Errors
    /// As for [`query`](Self::query), for the beginning of the statement. The stream has those of its data.
    pub async fn copy_out(&self, sql: &str) -> Result<CopyOut<&Self>, Error> {
        CopyOut::start(self, sql).await
    }

    /// Prepares a statement, or returns it from the prepared statements that this connection keeps (`statement_cache`).
    ///
    /// The other methods prepare their statements themselves. Call this to read the columns and parameter types of a statement.
    ///
    /// # Errors
    /// As for [`query`](Self::query). Always an error where statements are [unnamed](super::Prepare::Unnamed): the statement could
    /// not be run later as what it was described as now.
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        fits_in(sql.len())?;
        if self.session.is_unnamed() {
            return Err(Error::unnamed());
        }
        self.request(Verb::Prepare, self.statement(sql)).await
    }

    /// Runs several statements, separated by `;` and without parameters, and drops their results.
    ///
    /// Settings, locks or an open transaction that the statements leave behind are cleaned up when the connection is returned.
    ///
    /// # Errors
    /// As for [`query`](Self::query). The statements before the failed one have taken effect, unless they are in a transaction.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.batch(Verb::Unnamed, sql).await
    }

    /// Like [`batch_execute`](Self::batch_execute), but returns the results, as text.
    ///
    /// # Errors
    /// As for [`batch_execute`](Self::batch_execute).
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        fits_in(sql.len())?;
        self.request(Verb::Unnamed, self.driver.simple_query(sql))
            .await
    }

    /// Begins a transaction. Its drop rolls it back.
    ///
    /// ```no_run
    /// # async fn example(client: &mut pool_db::postgres::Client) -> Result<(), pool_db::Error> {
    /// let transaction = client.transaction().await?;
    /// transaction.execute("UPDATE accounts SET balance = balance - 10 WHERE id = $1", &[&1_i64]).await?;
    /// transaction.execute("UPDATE accounts SET balance = balance + 10 WHERE id = $1", &[&2_i64]).await?;
    /// transaction.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.build_transaction().start().await
    }

    /// Begins a transaction with options, such as a serializable transaction.
    pub const fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }

    /// Makes the pool clean the session (settings, locks, temporary tables) when the connection is returned.
    ///
    /// This is only needed for what a function that a statement calls does to the session, as in `SELECT set_config(..)` and `SELECT
    /// pg_advisory_lock(..)`: see [`Reset::Seen`](super::Reset::Seen). [`Reset::Always`](super::Reset::Always) does it for every
    /// lease.
    pub fn clean_on_return(&self) {
        self.session.leaves(Left::ANYTHING);
    }

    /// Sets the timeout of every further call on this connection. `None` means no timeout. For the next caller, the pool's
    /// `query_timeout` applies again.
    pub const fn set_query_timeout(&mut self, limit: Option<Duration>) {
        self.query_timeout = limit;
    }

    /// Cancels what the server still works on for earlier calls on this connection whose futures were dropped or timed out, and
    /// waits until it has ended. The next call waits for that otherwise.
    ///
    /// In a transaction, the transaction has failed afterwards, unless the statement had ended before.
    ///
    /// # Errors
    /// - [`Error::is_abandoned`] when the statement has not ended within half a second.
    /// - [`Error::is_disconnected`] when the connection was lost.
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only.
    pub async fn cancel_abandoned(&self) -> Result<(), Error> {
        if self.session.may_be_busy() {
            self.line.cancel().await;
            self.quiet().await?;
        }
        Ok(())
    }

    /// Returns the driver's own client, for what this type lacks. Its calls have no timeout. The session is cleaned when the
    /// connection is returned.
    pub fn driver(&self) -> &tokio_postgres::Client {
        self.session.unseen();
        self.session.let_copy_in(true);
        self.session.leaves(Left::ANYTHING);
        &self.driver
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.driver.is_closed()
    }

    /// Sends statements without waiting for the answer. Later requests are sent after them.
    pub(super) fn send(&self, sql: &str) {
        self.session.unseen();
        // The driver sends the request at the first poll.
        let mut context = Context::from_waker(Waker::noop());
        let _ = pin!(self.driver.batch_execute(sql))
            .poll(&mut context)
            .is_ready();
    }

    /// Runs several statements, and drops their results.
    pub(super) async fn batch(&self, verb: Verb, sql: &str) -> Result<(), Error> {
        fits_in(sql.len())?;
        self.request(verb, self.driver.batch_execute(sql)).await
    }

    /// Takes the connection apart, for those who use it in another way.
    pub(super) fn into_parts(self) -> (Arc<tokio_postgres::Client>, Arc<Session>, Line) {
        (self.driver, self.session, self.line)
    }

    /// Ends the connection, and waits until the server has ended it.
    pub(super) async fn close(self) {
        let Self {
            driver,
            session,
            line,
            statements,
            // Free when this function ends.
            seat: _seat,
            ..
        } = self;
        session.parts();
        // The connection ends when the last handle of the driver's client is gone.
        drop((statements, driver));
        line.close().await;
    }

    /// Commits the transaction that is open.
    pub(super) async fn commit(&self) -> Result<(), Error> {
        let committed = async {
            self.asked(self.driver.batch_execute("COMMIT")).await?;
            // The server answers the commit of a transaction that has failed without an error, and rolls back.
            if self.session.was_rolled_back() {
                return Err(Error::failed_transaction());
            }
            Ok(())
        };
        self.operations.around(Verb::Commit, committed).await
    }

    /// Makes exactly one round trip.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.asked(self.driver.check_connection()).await
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("is_closed", &self.is_closed())
            .field("process_id", &self.session.process_id())
            .field("is_standby", &self.session.is_in_recovery())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawnable(_: impl Send) {}

    /// Only has to compile.
    fn every_future_can_be_spawned(client: &mut Client) {
        spawnable(client.query("", &[&1_i64]));
        spawnable(client.query_one(&String::new(), &[]));
        spawnable(client.query_opt("", &[]));
        spawnable(client.execute("", &[]));
        spawnable(client.prepare_cached(""));
        spawnable(client.batch_execute(""));
        spawnable(client.simple_query(""));
        spawnable(client.transaction());
        spawnable(async {
            let mut transaction = client.transaction().await?;
            transaction.query("", &[&"", &1_i64]).await?;
            transaction.transaction().await?.rollback().await?;
            transaction.commit().await
        });
    }

    #[test]
    fn futures_can_be_spawned() {
        let _: fn(&mut Client) = every_future_can_be_spawned;
    }
}
