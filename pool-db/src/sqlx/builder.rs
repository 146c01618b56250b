//! The settings of a builder that only the connections of sqlx have.

use std::pin::Pin;

use super::{Database, Reset, Sqlx, database::Options};
use crate::setup::Hook;

impl<DB: Database> crate::Builder<Sqlx<DB>> {
    /// Takes the options of sqlx (`PgConnectOptions`, `MySqlConnectOptions` or `SqliteConnectOptions`) in place of an address.
    pub fn options(mut self, options: Options<DB>) -> Self {
        (self.url, self.settings.options) = (None, Some(options));
        self
    }

    /// How many prepared statements each connection keeps. 0 disables the cache: then the server keeps none either, of those that
    /// are run by the pool, a lease or a [`Transaction`](super::Transaction). Default: that of sqlx, 100.
    pub const fn statement_cache(mut self, capacity: usize) -> Self {
        self.settings.statement_cache = Some(capacity);
        self
    }

    /// Sets SQL that runs on each new connection, and again after a session was cleaned: `SET TIME ZONE 'UTC'`.
    pub fn on_connect(mut self, sql: impl Into<String>) -> Self {
        self.settings.on_connect = sql.into();
        self
    }

    /// Sets a function that runs on each new connection before a caller gets it, after [`on_connect`](Self::on_connect), and again
    /// after a session was cleaned. What it leaves on the session is how every caller finds the session.
    ///
    /// ```no_run
    /// # #[cfg(feature = "sqlx-postgres")] {
    /// use pool_db::sqlx::Pool;
    ///
    /// # fn main() -> Result<(), pool_db::Error> {
    /// let pool = Pool::<sqlx::Postgres>::builder()
    ///     .url("postgres://me@db.example/orders")
    ///     .after_connect(|connection| Box::pin(async move {
    ///         sqlx::query("SET TIME ZONE 'UTC'").execute(connection).await?;
    ///         Ok(())
    ///     }))
    ///     .build()?;
    /// # Ok(())
    /// # } }
    /// ```
    ///
    /// It runs within `create_timeout` when a connection is opened, and within `reset_timeout` when a session is cleaned. If it fails
    /// or panics, the open has failed and its error says so, or the connection is closed instead of cleaned.
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(
                &'a mut DB::Connection,
            )
                -> Pin<Box<dyn Future<Output = Result<(), sqlx::Error>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        self.settings.hook = Some(Hook::new(hook));
        self
    }

    /// Sets when a session is cleaned between two callers: `{PREFIX}_RESET` is `seen`, `always` or `nothing`. Default:
    /// [`Reset::Seen`].
    pub const fn reset(mut self, policy: Reset) -> Self {
        self.settings.reset = policy;
        self
    }

    /// Sets whether a call whose future was dropped is cancelled on the server, if it goes on for more than 100 ms after its lease was
    /// returned: `{PREFIX}_CANCEL` is `true` or `false`. Default: true.
    ///
    /// PostgreSQL (`pg_cancel_backend`) and MySQL (`KILL QUERY`) are told on a connection of an instant, outside `max_size`; SQLite
    /// needs none. Without it, the connection is waited for, and closed after `reset_timeout`. Turn it off behind a proxy that lends a
    /// server's connection for one transaction at a time: there the session that would be cancelled is another's.
    pub const fn cancel(mut self, cancels: bool) -> Self {
        self.settings.cancels = cancels;
        self
    }
}
