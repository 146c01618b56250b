//! Opens, checks, resets and closes connections to a PostgreSQL server.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Client, Reset,
    dial::{Dial, Dialled, Failures, is_yes},
    fleet::Member,
    session_attrs::SessionAttrs,
    setup::Setup,
};
use crate::{Error, operation::Operations};
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
    pub(super) operations: Operations,
    /// What shares the server's connections with other processes.
    pub(super) fleet: Option<Arc<Member>>,
}

impl pool_core::Manager for Manager {
    type Resource = Client;
    type Error = Error;

    async fn create(&self) -> Result<Client, Error> {
        let mut client = match &self.fleet {
            None => self.dial().await?,
            Some(member) => {
                let opened = member.open(|dialled| self.client(dialled)).await;
                match opened? {
                    Some(client) => client,
                    None => self.dial().await?,
                }
            }
        };
        if let Err(error) = self.set_up(&mut client).await {
            client.close().await;
            return Err(error);
        }
        Ok(client)
    }

    async fn check(&self, client: &mut Client, _: &Usage) -> Result<(), Error> {
        let era = client.session.standing().era();
        client.check().await?;
        self.judge(client, era).await
    }

    fn needs_reset(&self, client: &mut Client, usage: &Usage) -> bool {
        client.operations.report(false);
        client.session.rests();
        usage.tainted || !client.is_clean(self.reset) || client.session.must_be_judged()
    }

    async fn reset(&self, client: &mut Client, usage: &Usage) -> Result<(), Error> {
        if usage.tainted {
            // A panic may have stopped the caller at any point.
            client.clean_on_return();
        }
        let session = &client.session;
        let era = session.standing().era();
        let is_doubted = session.is_doubted();
        let must_be_judged = session.must_be_judged();
        let settled = client.settle(self.reset, &self.setup).await;
        if let Err(error) = &settled
            && error.is_abandoned()
        {
            // Not even the request to cancel was heeded.
            client.session.standing().doubt(client.session.era());
        }
        settled?;
        if is_doubted {
            client.check().await?;
        }
        if must_be_judged || client.session.must_be_judged() {
            self.judge(client, era).await?;
        }
        Ok(())
    }

    fn is_broken(&self, client: &mut Client) -> bool {
        let session = &client.session;
        client.is_closed() || session.is_spoilt() || session.is_condemned()
    }

    async fn close(&self, client: Client) {
        client.close().await;
    }

    fn __is_full(&self, error: &Error) -> bool {
        // Without a fleet, a server that is full is one that does not serve: its callers are told at once.
        self.fleet.is_some() && error.is_too_many()
    }
}

impl Manager {
    /// Opens a connection, of which nothing is set up.
    pub(super) async fn dial(&self) -> Result<Client, Error> {
        self.client(self.dial.connect().await)
    }

    /// Begins to drive a connection.
    fn client(&self, dialled: Result<Dialled, Failures>) -> Result<Client, Error> {
        let dialled = dialled.map_err(|error| Error::connect(&self.target, error))?;
        Ok(Client::new(
            &self.dial,
            dialled,
            self.statement_cache,
            self.query_timeout,
            self.cancels_on_drop,
            self.operations.silent(),
        ))
    }

    /// Runs what the settings want on each new connection.
    pub(super) async fn set_up(&self, client: &mut Client) -> Result<(), Error> {
        let done = client.set_up(&self.setup).await;
        done.map_err(|error| Error::connect(&self.target, error))?;
        // What the setup has made of the session is no news of the server.
        client.session.was_good_in(client.session.era());
        Ok(())
    }

    /// Whether the server is still what the pool wants. Then the connection is good in `era`, which was read before the server has
    /// answered last. The session is clean, so its settings are those of the server.
    ///
    /// # Errors
    /// The server is something else, which the other connections are told, or it does not answer.
    async fn judge(&self, client: &Client, era: u64) -> Result<(), Error> {
        let session = &client.session;
        let refuses = session.take_refused_writes();
        let mut wanted = self.dial.settings.session_attrs;
        if self.reset == Reset::Nothing && wanted == SessionAttrs::ReadWrite {
            // What a caller has made read-only stays so, and says nothing of the server.
            wanted = SessionAttrs::Primary;
        }
        if !suits(client, wanted).await? {
            session.standing().condemn(era);
            return Err(Error::unsuitable(wanted.as_str()));
        }
        // The pool takes any server. One that only reads is left all the same when it was asked to write: the next connection may
        // find another, as where a name has moved to the new primary.
        if refuses && wanted == SessionAttrs::Any && !suits(client, SessionAttrs::ReadWrite).await?
        {
            return Err(Error::unsuitable(SessionAttrs::ReadWrite.as_str()));
        }
        session.was_good_in(era);
        Ok(())
    }
}

/// Whether the server is what it should be. One that does not say so by itself is asked.
async fn suits(client: &Client, wanted: SessionAttrs) -> Result<bool, Error> {
    match (client.session.suits(wanted), wanted.question()) {
        (Some(suits), _) => Ok(suits),
        (None, None) => Ok(true),
        (None, Some(question)) => Ok(is_yes(&client.simple_query(question).await?)),
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
