//! One connection to a server.

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

/// One connection to a server: statements, prepared once and kept, and transactions.
///
/// [`Connection`](super::Connection) and [`Transaction`] dereference to it, so that a function which takes `&Client` works with
/// either. Requests can overlap: futures of several calls that are polled together are sent in the order of their first poll,
/// without waiting for each other's answers.
///
/// # Cancel safety
/// Of every method: a request that was sent is not taken back by dropping its future. It may or may not take effect; within a
/// transaction it goes with the transaction. The connection is given to nobody else before the server is done with it or was
/// told to stop.
pub struct Client {
    driver: tokio_postgres::Client,
    pub(super) state: State,
    pub(super) query_timeout: Option<Duration>,
    task: Task,
}

/// SQL to run: text, which is prepared once for each connection, or a prepared statement.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Query<'a> {
    /// One statement, with parameters as `$1`, `$2`.
    Sql(&'a str),
    /// From [`Client::prepare_cached`], of the same connection.
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
                // Cannot be set yet: this is the only place.
                drop(lost.set(error));
            }
            // Only now is everybody told who still waits for an answer.
            drop(connection);
        });
        Ok(Self {
            driver,
            state,
            query_timeout,
            task: Task(task),
        })
    }

    /// Runs a statement, returns its rows.
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
    /// [`Error::is_database`] with its [`Error::as_sqlstate`]; [`Error::is_timeout`] after `query_timeout`;
    /// [`Error::is_disconnected`]; a parameter that does not fit.
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
    /// As [`query`](Self::query); another number of rows.
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
    /// As [`query`](Self::query); more than one row.
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

    /// Runs a statement, returns how many rows it changed.
    ///
    /// # Errors
    /// As [`query`](Self::query).
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

    /// Prepares a statement, or finds it among those that this connection keeps prepared (`statement_cache`).
    ///
    /// The other methods do it by themselves; this is for its columns and parameter types.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn prepare_cached(&self, sql: &str) -> Result<Statement, Error> {
        self.run(Query::Sql(sql), async |statement| Ok(statement))
            .await
    }

    /// Runs several statements, separated by `;` and without parameters, and drops what they return.
    ///
    /// What they leave behind (settings, locks, an open transaction) is cleaned up when the connection is given back.
    ///
    /// # Errors
    /// As [`query`](Self::query); those before the one that failed have taken effect, unless they are in a transaction.
    pub async fn batch_execute(&self, sql: &str) -> Result<(), Error> {
        self.state.leave_behind();
        self.batch(sql).await
    }

    /// As [`batch_execute`](Self::batch_execute), and returns what they return, as text.
    ///
    /// # Errors
    /// As [`batch_execute`](Self::batch_execute).
    pub async fn simple_query(&self, sql: &str) -> Result<Vec<SimpleQueryMessage>, Error> {
        self.state.leave_behind();
        self.request(self.driver.simple_query(sql)).await
    }

    /// Begins a transaction. It is rolled back when it is dropped.
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
    /// As [`query`](Self::query).
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.build_transaction().start().await
    }

    /// Begins a transaction of another kind, such as a serializable one.
    pub const fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }

    /// Sees to it that the session is cleaned (settings, locks, temporary tables) when the connection is given back.
    ///
    /// Only needed where it cannot be seen from the statement's first word: `SELECT set_config(..)`,
    /// `SELECT pg_advisory_lock(..)`.
    pub fn clean_on_return(&self) {
        self.state.leave_behind();
    }

    /// Sets the bound of every further call on this connection; `None`: no bound. The next user has the pool's `query_timeout`
    /// again.
    pub const fn set_query_timeout(&mut self, limit: Option<Duration>) {
        self.query_timeout = limit;
    }

    /// The driver's own client, for what is not here: `COPY`, streams of rows, cancellation. Nothing bounds its calls. The session
    /// is cleaned when the connection is given back.
    pub fn driver(&self) -> &tokio_postgres::Client {
        self.state.leave_behind();
        &self.driver
    }

    /// Has the connection ended?
    pub fn is_closed(&self) -> bool {
        self.driver.is_closed()
    }

    /// Runs statements that leave nothing behind that is not known.
    pub(super) async fn batch(&self, sql: &str) -> Result<(), Error> {
        self.request(self.driver.batch_execute(sql)).await
    }

    /// Sends statements and waits for nothing. What follows is sent after them.
    pub(super) fn send(&self, sql: &str) {
        self.state.begin();
        // The driver sends at the first poll.
        let mut context = Context::from_waker(Waker::noop());
        let _ = pin!(self.driver.batch_execute(sql))
            .poll(&mut context)
            .is_ready();
    }

    /// One round trip, and no more.
    pub(super) async fn check(&self) -> Result<(), Error> {
        self.request(self.driver.check_connection()).await
    }

    /// Makes the session as it was when it was new. Afterwards the server has answered everything that was ever asked.
    pub(super) async fn settle(&mut self, setup: &str) -> Result<(), Error> {
        if self.state.is_unclean() {
            // A lone `ROLLBACK` outside a transaction would be a warning in the server's log.
            let done = self
                .batch(&format!("BEGIN; ROLLBACK; {CLEAN} {setup}"))
                .await;
            match done {
                // The transaction that was left behind had failed, and takes nothing else.
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

    /// Says goodbye. If the server is busy with what nobody waits for, tells it to stop.
    pub(super) async fn close(self, tls: MakeRustlsConnect) {
        let Self {
            driver,
            state,
            mut task,
            ..
        } = self;
        if state.is_running() && !driver.is_closed() {
            // What it says changes nothing: the connection ends.
            drop(driver.cancel_token().cancel_query(tls).await);
            return;
        }
        drop(driver);
        task.ended().await;
    }

    /// Prepares if need be, and runs.
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
                    // It did not run. Within a transaction the second try only says that the transaction has failed, so then
                    // the first error is the better one.
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

    /// Every request to the server goes through here, or [`send`](Self::send).
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

/// The task that reads and writes the socket. Ends with its owner.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Task {
    async fn ended(&mut self) {
        // A panic in the driver ends the connection as well.
        drop((&mut self.0).await);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Was the statement prepared for tables that look different by now, or forgotten by the server?
fn is_stale(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) if *code == SqlState::INVALID_SQL_STATEMENT_NAME => true,
        // "cached plan must not change result type": the only way to tell it from others of its code.
        Some(code) if *code == SqlState::FEATURE_NOT_SUPPORTED => {
            error.as_db_error().and_then(|error| error.routine()) == Some("RevalidateCachedQuery")
        }
        _ => false,
    }
}

/// `DISCARD ALL` without what would take the prepared statements.
const CLEAN: &str = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ALL; UNLISTEN *; \
                     SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;";

#[cfg(test)]
mod tests {
    use super::*;

    fn spawnable(_: impl Send) {}

    /// Compiles, which is all there is to show.
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
