//! One connection to a PostgreSQL server.

use std::{
    fmt,
    future::Future,
    pin::pin,
    sync::{Arc, OnceLock},
    task::{Context, Waker},
    time::Duration,
};

use tokio::task::JoinHandle;
use tokio_postgres::{Config, Row, SimpleQueryMessage, Statement, error::SqlState, types::ToSql};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    state::{State, is_harmless},
    transaction::{Transaction, TransactionBuilder},
};
use crate::{Error, bounded::bounded};

/// One connection to a server. It runs statements and transactions, and keeps prepared statements.
///
/// [`Connection`](super::Connection) and [`Transaction`] dereference to `Client`, so a function that takes `&Client` works with
/// either. Requests can be pipelined: the futures of several calls that are polled together are sent in the order of their first
/// poll, without waiting for the answers in between.
///
/// # Cancel safety
/// For every method: dropping its future does not take back a request that was sent. The request may or may not take effect. Within
/// a transaction it is committed or rolled back with the transaction. No other caller gets the connection before the server has
/// ended the request or was told to cancel it.
pub struct Client {
    driver: tokio_postgres::Client,
    pub(super) state: State,
    pub(super) query_timeout: Option<Duration>,
    task: Task,
}

/// The SQL to run: text, which is prepared once for each connection, or a prepared statement.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Query<'a> {
    /// One statement, with parameters as `$1`, `$2`.
    Sql(&'a str),
    /// A statement from [`Client::prepare_cached`] of the same connection.
    Prepared(&'a Statement),
}

impl Client {
    pub(super) async fn connect(
        config: &Config,
        tls: MakeRustlsConnect,
        statement_cache: usize,
        query_timeout: Option<Duration>,
    ) -> Result<Self, tokio_postgres::Error> {
        let (driver, mut connection) = config.connect(tls).await?;
        let lost = Arc::new(OnceLock::new());
        let state = State::new(statement_cache, Arc::clone(&lost));
        let task = tokio::spawn(async move {
            if let Err(error) = (&mut connection).await {
                // This cannot fail: only this line sets the error.
                drop(lost.set(error));
            }
            // Only this drop tells the waiting requests, which then read the error.
            drop(connection);
        });
        Ok(Self {
            driver,
            state,
            query_timeout,
            task: Task(task),
        })
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
    /// - Another error when a parameter has the wrong type.
    pub async fn query<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, Error> {
        self.run(query.into(), async move |statement: Statement| {
            self.driver.query(&statement, params).await
        })
        .await
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`query`](Self::query). Another number of rows is an error too.
    pub async fn query_one<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, Error> {
        self.run(query.into(), async move |statement: Statement| {
            self.driver.query_one(&statement, params).await
        })
        .await
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`query`](Self::query). More than one row is an error too.
    pub async fn query_opt<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        self.run(query.into(), async move |statement: Statement| {
            self.driver.query_opt(&statement, params).await
        })
        .await
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn execute<'a>(
        &self,
        query: impl Into<Query<'a>>,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<u64, Error> {
        self.run(query.into(), async move |statement: Statement| {
            self.driver.execute(&statement, params).await
        })
        .await
    }

    /// Prepares a statement, or returns it from the prepared statements that this connection keeps (`statement_cache`).
    ///
    /// The other methods prepare their statements themselves. Call this to read the columns and parameter types of a statement.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        self.run(Query::Sql(sql), async |statement| Ok(statement))
            .await
    }

    /// Runs several statements, separated by `;` and without parameters, and drops their results.
    ///
    /// Settings, locks or an open transaction that the statements leave behind are cleaned up when the connection is returned.
    ///
    /// # Errors
    /// As for [`query`](Self::query). The statements before the failed one have taken effect, unless they are in a transaction.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.state.leave_behind();
        self.batch(sql).await
    }

    /// Like [`batch_execute`](Self::batch_execute), but returns the results, as text.
    ///
    /// # Errors
    /// As for [`batch_execute`](Self::batch_execute).
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.state.leave_behind();
        self.request(self.driver.simple_query(sql)).await
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
    /// This is only needed if the first word of a statement does not show that the statement changes the session, as in `SELECT
    /// set_config(..)` and `SELECT pg_advisory_lock(..)`.
    pub fn clean_on_return(&self) {
        self.state.leave_behind();
    }

    /// Sets the timeout of every further call on this connection. `None` means no timeout. For the next caller, the pool's
    /// `query_timeout` applies again.
    pub const fn set_query_timeout(&mut self, limit: Option<Duration>) {
        self.query_timeout = limit;
    }

    /// Returns the driver's own client, for `COPY`, streams of rows and cancellation. Its calls have no timeout. The session is
    /// cleaned when the connection is returned.
    pub fn driver(&self) -> &tokio_postgres::Client {
        self.state.leave_behind();
        &self.driver
    }

    /// Whether the connection has ended.
    pub fn is_closed(&self) -> bool {
        self.driver.is_closed()
    }

    /// Runs statements whose effects on the session the pool already tracks.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.request(self.driver.batch_execute(sql)).await
    }

    /// Sends statements without waiting for the answer. Later requests are sent after them.
    pub(super) fn send(&self, sql: &str) {
        self.state.begin();
        // The driver sends the request at the first poll.
        let mut context = Context::from_waker(Waker::noop());
        let _ = pin!(self.driver.batch_execute(sql))
            .poll(&mut context)
            .is_ready();
    }

    /// Makes exactly one round trip.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.request(self.driver.check_connection()).await
    }

    /// Restores the session to the state of a new session. Afterwards the server has answered all requests.
    pub(super) async fn settle(&mut self, setup: &str) -> Result<(), Error> {
        if self.state.is_unclean() {
            // `ROLLBACK` outside a transaction would write a warning to the server's log.
            let done = self
                .batch(&format!("BEGIN; ROLLBACK; {CLEAN} {setup}"))
                .await;
            match done {
                // The transaction that was left open had failed, and rejects all other statements.
                Err(error)
                    if error.as_sqlstate() == Some(SqlState::IN_FAILED_SQL_TRANSACTION.code()) =>
                {
                    self.batch(&format!("ROLLBACK; {CLEAN} {setup}")).await?;
                }
                done => done?,
            }
        } else {
            self.check().await?;
        }
        self.state.settled();
        Ok(())
    }

    /// Closes the connection in an orderly way. If the server is busy with an abandoned statement, cancels the statement.
    pub(super) async fn close(self, tls: MakeRustlsConnect) {
        let Self {
            driver,
            state,
            mut task,
            ..
        } = self;
        if state.is_running() && !driver.is_closed() {
            // The result does not matter, because the connection ends in any case.
            drop(driver.cancel_token().cancel_query(tls).await);
            return;
        }
        drop(driver);
        task.ended().await;
    }

    /// Prepares the statement if necessary, and runs it.
    async fn run<T, F>(&self, query: Query<'_>, run: impl Fn(Statement) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, tokio_postgres::Error>>,
    {
        let sql = match query {
            Query::Prepared(statement) => return self.request(run(statement.clone())).await,
            Query::Sql(sql) => sql,
        };
        if !is_harmless(sql) {
            self.state.leave_behind();
        }
        let work = async {
            let statement = self.prepared(sql).await?;
            match run(statement).await {
                Err(error) if is_stale(&error) => {
                    // The statement did not run. Within a transaction the second attempt only says that the transaction has failed,
                    // so the first error is returned then.
                    self.state.statements.forget(sql);
                    let Ok(statement) = self.prepared(sql).await else {
                        return Err(error);
                    };
                    run(statement).await
                }
                result => result,
            }
        };
        self.request(work).await
    }

    async fn prepared(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = self.state.statements.find(sql) {
            return Ok(statement);
        }
        let statement = self.driver.prepare(sql).await?;
        self.state.statements.keep(sql, statement.clone());
        Ok(statement)
    }

    /// Sends a request and waits for its answer. Every request goes through this function or through [`send`](Self::send).
    async fn request<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        self.state.begin();
        let result = bounded(self.query_timeout, work).await?;
        self.state.end(result)
    }
}

impl<'a> From<&'a str> for Query<'a> {
    fn from(sql: &'a str) -> Self {
        Self::Sql(sql)
    }
}

impl<'a> From<&'a String> for Query<'a> {
    fn from(sql: &'a String) -> Self {
        Self::Sql(sql)
    }
}

impl<'a> From<&'a Statement> for Query<'a> {
    fn from(statement: &'a Statement) -> Self {
        Self::Prepared(statement)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// The task that reads and writes the socket. Its drop ends the task.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    async fn ended(&mut self) {
        // A panic of the driver ends the connection as well.
        drop((&mut self.0).await);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Whether the statement was prepared before its tables were changed, or the server no longer knows it.
fn is_stale(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) if *code == SqlState::INVALID_SQL_STATEMENT_NAME => true,
        // Only the text "cached plan must not change result type" distinguishes this error from others with the same code.
        Some(code) if *code == SqlState::FEATURE_NOT_SUPPORTED => {
            error.as_db_error().and_then(|error| error.routine()) == Some("RevalidateCachedQuery")
        }
        _ => false,
    }
}

/// `DISCARD ALL` without the parts that drop the prepared statements.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;";

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
