//! One connection to a MySQL or MariaDB server.

use std::{
    fmt,
    future::Future,
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use mysql_async::{Conn, Params, Row, consts::StatusFlags};

use super::{
    Rows, Transaction, TransactionBuilder,
    call::{Answer, Call},
};
use crate::{
    Error,
    home::Home,
    one_row::{at_most_one, only},
};

/// One connection to a server. It runs statements and transactions, one after the other.
///
/// [`Connection`](super::Connection) and [`Transaction`] dereference to `Client`, so a function that takes `&mut Client` works with
/// either.
///
/// Parameters are written as `?`, and are given as a tuple, a vector of [`Value`](mysql_async::Value) or `()`; or as `:name`, and are
/// given by [`params!`](macro@mysql_async::params). A row gives a value by [`Row::get`] with the number or the name of its column.
///
/// # Cancel safety
/// For every method: dropping its future does not take back a request that was sent. The request may or may not take effect, and
/// nothing more can be sent on the connection. When the connection is returned it is closed, and the server is told to end the
/// statement (`KILL`). What it did within a transaction is rolled back.
pub struct Client {
    /// `None` once it was taken to be closed.
    pub(super) conn: Option<Conn>,
    pub(super) identity: Identity,
    pub(super) state: State,
    pub(super) home: Home,
    pub(super) query_timeout: Option<Duration>,
    pub(super) statement_cache: usize,
    /// The statement of a stream, where there is no cache that closes it.
    pub(super) streamed: Option<mysql_async::Statement>,
}

/// What identifies the session on its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) id: u64,
    /// The address of this end, as the server sees it. So the session is not taken for one that a restarted server gave the same
    /// number.
    pub(super) host: Option<String>,
    /// The database and the role of a new session.
    pub(super) home: (Option<String>, Option<String>),
    /// What restores the role. `None`: the server has no roles.
    pub(super) set_role: Option<String>,
    /// How long a statement may be, in bytes (`max_allowed_packet`).
    pub(super) longest: usize,
}

/// What is known of the session.
#[derive(Debug, Default)]
pub(super) struct State {
    /// A call was begun, and its answer was not read.
    pub(super) is_busy: bool,
    /// The server ends the session.
    pub(super) is_ended: bool,
    /// As of the last answer that said so.
    pub(super) in_transaction: bool,
    /// The last answer was an error, which does not say whether a transaction is open.
    pub(super) is_unsure: bool,
    /// Anything was run.
    pub(super) was_used: bool,
    /// Something may be left on the session.
    pub(super) has_left: bool,
    /// Runs before the next call: the undoing of a transaction or savepoint that was dropped.
    pub(super) undo: Option<String>,
    /// The transaction that the pool has begun.
    pub(super) open: Option<super::transaction::Open>,
}

impl Client {
    /// Takes a new connection. The drop of the client closes it at once.
    pub(super) fn new(conn: Conn, statement_cache: usize) -> Self {
        Self {
            conn: Some(conn),
            identity: Identity::default(),
            state: State::default(),
            home: Home::here(),
            query_timeout: None,
            statement_cache,
            streamed: None,
        }
    }

    /// Runs a statement and returns its rows.
    ///
    /// ```no_run
    /// # async fn example(client: &mut pool_db::mysql::Client) -> Result<(), pool_db::Error> {
    /// for row in client.query("SELECT name FROM users WHERE age > ?", (17,)).await? {
    ///     println!("{:?}", row.get::<String, _>("name"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::is_database`] when the server rejects the statement, with its [`Error::as_mysql_code`].
    /// - [`Error::is_timeout`] after `query_timeout`. The connection takes no further calls.
    /// - [`Error::is_disconnected`] when the connection was lost, or the future of an earlier call was dropped.
    /// - Another error when the number of parameters is not that of the statement. Nothing was run then.
    pub async fn query(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.statement(sql, params.into()).await?.rows)
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`query`](Self::query), and [`Error::is_no_rows`] or [`Error::is_many_rows`] for another number of rows.
    pub async fn query_one(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Row, Error> {
        only(self.statement(sql, params.into()).await?.rows)
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`query`](Self::query), and [`Error::is_many_rows`] for more than one row.
    pub async fn query_opt(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.statement(sql, params.into()).await?.rows)
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn execute(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<u64, Error> {
        Ok(self.statement(sql, params.into()).await?.affected)
    }

    /// Runs an `INSERT` and returns the number that the server gave the row (`AUTO_INCREMENT`), or that of the first of several rows.
    /// 0 if it gave none.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn insert(
        &mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<u64, Error> {
        Ok(self.statement(sql, params.into()).await?.last_id)
    }

    /// Runs several statements, separated by `;` and without parameters, and drops their results. They are sent as text, in one
    /// round trip. The first that fails ends them; what those before it did stays done.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn batch_execute(&mut self, sql: &str) -> Result<(), Error> {
        self.ready().await?;
        self.state.has_left |= !super::reset::is_plain(sql);
        self.call(Call::Text(sql)).await?;
        Ok(())
    }

    /// Runs a statement and returns its rows one after the other, in constant memory.
    ///
    /// # Errors
    /// As for [`query`](Self::query), for the beginning of the statement. The rows have their own.
    pub async fn stream<'a>(
        &'a mut self,
        sql: &str,
        params: impl Into<Params> + Send,
    ) -> Result<Rows<'a>, Error> {
        Rows::start(self.into(), sql, params.into()).await
    }

    /// Begins a transaction. Its drop rolls it back.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        self.build_transaction().start().await
    }

    /// Begins a transaction with options, such as its isolation level.
    pub fn build_transaction(&mut self) -> TransactionBuilder<'_> {
        TransactionBuilder::new(self)
    }

    /// Makes one round trip.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn ping(&mut self) -> Result<(), Error> {
        self.call(Call::Ping).await?;
        Ok(())
    }

    /// Has the session cleaned when the connection is returned, whatever [`Reset`](super::Reset) says (but for `nothing`).
    pub fn clean_on_return(&mut self) {
        self.state.has_left = true;
    }

    /// Sets the timeout of every further call on this connection. `None` means no timeout. For the next caller, the pool's
    /// `query_timeout` applies again.
    pub fn set_query_timeout(&mut self, limit: impl Into<Option<Duration>>) {
        self.query_timeout = limit.into();
    }

    /// Returns the driver's own connection, for what this type lacks. Its calls have no timeout, and a future of it that is dropped
    /// spoils the connection. The session is cleaned when the connection is returned. `None` if the connection was lost.
    pub fn driver(&mut self) -> Option<&mut Conn> {
        (self.state.has_left, self.state.was_used) = (true, true);
        self.state.is_unsure = true;
        self.conn.as_mut()
    }

    /// The number of the session on the server, as in `SHOW PROCESSLIST`.
    pub const fn id(&self) -> u64 {
        self.identity.id
    }

    /// Whether the connection takes no further calls: it was lost, or the future of a call on it was dropped.
    pub fn is_closed(&self) -> bool {
        self.state.is_busy
            || self.state.is_ended
            || self.home.has_ended()
            || self.conn.as_ref().is_none_or(Conn::is_disconnected)
    }

    /// Whether a transaction is open, as of the last answer of the server.
    pub const fn in_transaction(&self) -> bool {
        self.state.in_transaction
    }

    async fn statement(&mut self, sql: &str, params: Params) -> Result<Answer, Error> {
        self.ready().await?;
        self.state.has_left |= !super::reset::is_plain(sql);
        self.call(Call::Statement(sql, params)).await
    }

    /// Reads what the last answer says of the session.
    pub(super) fn heed_answer(&mut self) {
        let answer = self.conn.as_ref().and_then(Conn::last_ok_packet);
        let Some(flags) = answer.map(mysql_async::OkPacket::status_flags) else {
            self.state.is_unsure = true;
            return;
        };
        self.state.is_unsure = false;
        if let Some(open) = &mut self.state.open {
            *open = super::transaction::Open::default();
        }
        self.state.in_transaction = flags.contains(StatusFlags::SERVER_STATUS_IN_TRANS);
    }

    /// Closes the socket at once.
    pub(super) fn hang_up(&mut self) {
        if let Some(conn) = self.conn.take() {
            hang_up(conn);
        }
    }
}

/// Closes the socket at once. The drop of the driver's connection would leave it to a task that first reads all answers.
pub(super) fn hang_up(conn: Conn) {
    let mut context = Context::from_waker(Waker::noop());
    // The first poll marks the connection as closed, so that its drop closes the socket.
    let _ = pin!(conn.disconnect()).poll(&mut context).is_ready();
}

impl Drop for Client {
    fn drop(&mut self) {
        self.hang_up();
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.identity.id)
            .field("is_closed", &self.is_closed())
            .field("in_transaction", &self.state.in_transaction)
            .finish_non_exhaustive()
    }
}
