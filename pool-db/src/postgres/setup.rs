//! What runs on each new connection, before a caller gets it.

use std::{pin::Pin, sync::Arc};

use super::{Builder, Client, session::Status};
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
    /// Sets a function that runs on each new connection before a caller gets it, after [`on_connect`](Self::on_connect), and again
    /// after a session was cleaned. What it leaves on the session (settings, a role, temporary tables, statements) is how every
    /// caller finds the session.
    ///
    /// ```no_run
    /// use pool_db::postgres::Pool;
    ///
    /// # fn main() -> Result<(), pool_db::Error> {
    /// let pool = Pool::builder()
    ///     .url("postgres://me@db.example/orders")
    ///     .after_connect(|client| Box::pin(async move {
    ///         let row = client.query_one("SELECT shard FROM shards WHERE is_mine", &[]).await?;
    ///         client.batch_execute(&format!("SET search_path = shard_{}", row.get::<_, i32>(0))).await
    ///     }))
    ///     .build()?;
    /// # Ok(())
    /// # }
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
        let session = Arc::clone(&self.session);
        let cleaning = session.clean();
        if !setup.sql.is_empty() {
            let done = self.batch_execute(&setup.sql).await;
            done.map_err(SetupError::Sql)?;
        }
        self.run_hook(setup).await?;
        cleaning.done();
        Ok(())
    }

    /// Runs the hook alone, while the session is being cleaned.
    pub(super) async fn run_hook(&mut self, setup: &Setup) -> Result<(), SetupError> {
        if let Some(hook) = &setup.hook {
            match hook.run(self).await {
                Ok(done) => done.map_err(SetupError::Hook)?,
                Err(panic) => return Err(SetupError::Panicked(panic)),
            }
            drop(self.cancelling.lock().await);
            if self.session.may_be_busy() {
                self.quiet().await.map_err(SetupError::Hook)?;
            }
            self.session.let_copy_in(false);
            if self.session.status() != Status::Idle {
                return Err(SetupError::Transaction("after_connect"));
            }
        }
        if self.session.is_spoilt() {
            return Err(SetupError::Hook(Error::spoilt()));
        }
        Ok(())
    }
}
