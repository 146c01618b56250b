//! Opens, checks, resets and closes connections to a PostgreSQL server.

use std::{fmt, sync::Arc, time::Duration};

use super::{Client, Reset, dial::Dial, setup::Setup};
use crate::Error;
use pool_core::Usage;

/// Manages the connections of one [`Pool`](super::Pool).
pub struct Manager {
    pub(super) dial: Arc<Dial>,
    /// The name of the server in error messages.
    pub(super) target: String,
    pub(super) statement_cache: usize,
    pub(super) query_timeout: Option<Duration>,
    pub(super) setup: Setup,
    pub(super) reset: Reset,
    pub(super) cancels_on_drop: bool,
    /// How long a connection of a listener may take to open.
    pub(super) create_timeout: Duration,
}

impl pool_core::Manager for Manager {
    type Resource = Client;
    type Error = Error;

    async fn create(&self) -> Result<Client, Error> {
        let dialled = self.dial.connect().await;
        let dialled = dialled.map_err(|error| Error::connect(&self.target, error))?;
        let mut client = Client::new(
            &self.dial,
            dialled,
            self.statement_cache,
            self.query_timeout,
            self.cancels_on_drop,
        );
        if let Err(error) = client.set_up(&self.setup).await {
            client.close().await;
            return Err(Error::connect(&self.target, error));
        }
        Ok(client)
    }

    async fn check(&self, client: &mut Client, _: &Usage) -> Result<(), Error> {
        client.check().await
    }

    fn needs_reset(&self, client: &mut Client, usage: &Usage) -> bool {
        client.session.rests();
        usage.tainted || !client.is_clean(self.reset)
    }

    async fn reset(&self, client: &mut Client, usage: &Usage) -> Result<(), Error> {
        if usage.tainted {
            // A panic may have stopped the caller at any point.
            client.clean_on_return();
        }
        client.settle(self.reset, &self.setup).await
    }

    fn is_broken(&self, client: &mut Client) -> bool {
        // A server that has begun to refuse writes is not the one that was connected to.
        client.is_closed() || client.session.is_spoilt() || client.session.take_read_only()
    }

    async fn close(&self, client: Client) {
        client.close().await;
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
