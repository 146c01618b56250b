//! What runs on each new connection, before a caller gets it.

use std::pin::Pin;

use super::{Builder, Client};
use crate::{
    Error,
    setup::{Hook, SetupError},
};

/// What runs on each new connection, and again after a session was cleaned.
#[derive(Clone, Debug, Default)]
pub(super) struct Setup {
    pub(super) sql: String,
    pub(super) hook: Option<Hook<Client>>,
}

impl Builder {
    /// Sets the SQL that runs on each new connection before a caller gets it, and again after a session was cleaned. Several
    /// statements are separated by `;`. Default: none.
    pub fn on_connect(mut self, sql: impl Into<String>) -> Self {
        self.settings.setup.sql = sql.into();
        self
    }

    /// Sets a function that runs on each new connection before a caller gets it, after [`on_connect`](Self::on_connect), and again
    /// after a session was cleaned. What it leaves on the session is how every caller finds the session.
    ///
    /// ```
    /// use pool_db::mysql::Pool;
    ///
    /// let pool = Pool::builder()
    ///     .url("mysql://me@db.example/orders")
    ///     .after_connect(|client| Box::pin(async move {
    ///         let row = client.query_one("SELECT zone FROM shards WHERE is_mine", ()).await?;
    ///         let zone: String = row.get(0).unwrap_or_default();
    ///         client.execute("SET @zone = ?", (zone,)).await?;
    ///         Ok(())
    ///     }))
    ///     .build()?;
    /// # Ok::<(), pool_db::ConfigError>(())
    /// ```
    ///
    /// It runs within `create_timeout` when a connection is opened, and within `reset_timeout` when a session is cleaned. If it fails
    /// or panics, or leaves a transaction open, the open has failed and its error says so, or the connection is closed instead of
    /// cleaned. It runs on a task of the pool: a `get` within it may wait for a place that this connection has.
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'a> Fn(
                &'a mut Client,
            ) -> Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>
            + Send
            + Sync
            + 'static,
    {
        self.settings.setup.hook = Some(Hook::new(hook));
        self
    }
}

impl Client {
    /// Runs what runs on each new connection. What is on the session afterwards counts as clean.
    pub(super) async fn set_up(&mut self, setup: &Setup) -> Result<(), SetupError> {
        if !setup.sql.is_empty() {
            let done = self.batch_execute(&setup.sql).await;
            done.map_err(SetupError::Sql)?;
        }
        if let Some(hook) = &setup.hook {
            match hook.run(self).await {
                Ok(done) => done.map_err(SetupError::Hook)?,
                Err(panic) => return Err(SetupError::Panicked(panic)),
            }
        }
        if self.is_closed() {
            return Err(SetupError::Hook(Error::unanswered()));
        }
        if self.state.is_unsure {
            self.ping().await.map_err(SetupError::Hook)?;
        }
        if self.state.in_transaction || self.state.undo.is_some() {
            return Err(SetupError::Transaction("on_connect or after_connect"));
        }
        (self.state.was_used, self.state.has_left) = (false, false);
        Ok(())
    }
}
