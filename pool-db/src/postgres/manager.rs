//! Opens, checks, resets and closes connections to a PostgreSQL server.

use std::{fmt, time::Duration};

use pool_core::Usage;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Client;
use crate::Error;

/// Manages the connections of one [`Pool`](super::Pool).
pub struct Manager {
    pub(super) driver: Config,
    pub(super) tls: MakeRustlsConnect,
    /// The name of the server in error messages.
    pub(super) target: String,
    pub(super) statement_cache: usize,
    pub(super) query_timeout: Option<Duration>,
    pub(super) setup: String,
}

impl pool_core::Manager for Manager {
    type Resource = Client;
    type Error = Error;

    async fn create(&self) -> Result<Client, Error> {
        let connected = Client::connect(
            &self.driver,
            self.tls.clone(),
            self.statement_cache,
            self.query_timeout,
        )
        .await;
        let client = connected.map_err(|error| Error::connect(&self.target, error))?;
        if !self.setup.is_empty() {
            client
                .batch(&self.setup)
                .await
                .map_err(|error| Error::connect(&self.target, error))?;
        }
        Ok(client)
    }

    async fn check(&self, client: &mut Client, _: &Usage) -> Result<(), Error> {
        client.check().await
    }

    fn needs_reset(&self, client: &mut Client, usage: &Usage) -> bool {
        usage.tainted || client.state.is_running() || client.state.is_unclean()
    }

    async fn reset(&self, client: &mut Client, usage: &Usage) -> Result<(), Error> {
        if usage.tainted {
            // A panic may have stopped the caller at any point.
            client.clean_on_return();
        }
        if !client.state.is_running() {
            return client.settle(&self.setup).await;
        }
        // Most abandoned statements end soon. Otherwise the connection is closed, and the close cancels the statement. The
        // connection is not kept: nothing says when the server receives the cancel request, and it could hit a statement of the
        // next caller.
        match timeout(GRACE, client.settle(&self.setup)).await {
            Ok(settled) => settled,
            Err(_) => Err(Error::still_busy(GRACE)),
        }
    }

    fn is_broken(&self, client: &mut Client) -> bool {
        client.is_closed() || client.state.is_ending()
    }

    async fn close(&self, client: Client) {
        client.close(self.tls.clone()).await;
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// How long an abandoned statement may go on before its connection is closed.
const GRACE: Duration = Duration::from_millis(100);
