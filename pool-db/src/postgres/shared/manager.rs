//! Opens and closes connections that are shared.

use std::{sync::Arc, time::Duration};

use pool_core::{Gauge, SharedManager};
use tokio_postgres::SimpleQueryMessage;

use super::{
    super::{Client, session::Session},
    pipe::Pipe,
};
use crate::Error;

/// Manages the connections of one [`Shared`](super::Shared) pool.
pub(super) struct Manager {
    /// Where and how connections are opened. It opens none itself.
    pub(super) settings: super::super::Manager,
    pub(super) limits: Limits,
}

/// What one connection may carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) capacity: u32,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) max_rows: usize,
    pub(super) max_bytes: usize,
}

impl Limits {
    /// How long a connection may give no answer before it is taken for dead.
    ///
    /// By `query_timeout` its callers have given up. But the server gets the time to end a slow statement by itself first, as that
    /// costs one call, and a closed connection costs all that it has.
    pub(super) fn patience(&self, query_timeout: Option<Duration>) -> Option<Duration> {
        let ends = self.statement_timeout.unwrap_or_default();
        query_timeout.map(|limit| limit.max(ends * 2))
    }
}

impl SharedManager for Manager {
    type Resource = Pipe;
    type Error = Error;

    async fn create(&self, gauge: Gauge) -> Result<Pipe, Error> {
        let settings = &self.settings;
        let mut client = settings.dial().await?;
        if let Err(error) = self.set_up(&mut client).await {
            client.close().await;
            return Err(error);
        }
        let (driver, session, line) = client.into_parts();
        gauge.set_capacity(self.limits.capacity);
        Ok(Pipe::new(
            driver,
            session,
            line,
            gauge,
            settings,
            self.limits,
        ))
    }

    async fn close(&self, pipe: Pipe) {
        pipe.close().await;
    }
}

impl Manager {
    /// What comes before the first call.
    async fn set_up(&self, client: &mut Client) -> Result<(), Error> {
        let settings = &self.settings;
        let session = Arc::clone(&client.session);
        let cleaning = session.clean();
        let answer = client.driver.simple_query(&self.hello()).await;
        let answer = answer.map_err(|error| Error::connect(&settings.target, error))?;
        cleaning.done();
        if is_behind_a_proxy(&session, &answer) {
            return Err(Error::connect(&settings.target, Proxied));
        }
        settings.set_up(client).await
    }

    /// The first request on a connection.
    fn hello(&self) -> String {
        let mut sql = String::from("SELECT pg_catalog.pg_backend_pid()");
        if let Some(limit) = self.limits.statement_timeout {
            sql.push_str(&format!("; SET statement_timeout = {}", limit.as_millis()));
        }
        sql
    }
}

/// Whether the process that answers is another than the one that the connection was told of: a proxy that gives its connections to
/// one statement or transaction after the other has ids of its own. Such a proxy does not let statements be pipelined.
fn is_behind_a_proxy(session: &Session, answer: &[SimpleQueryMessage]) -> bool {
    let answers = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0)?.parse().ok(),
        _ => None,
    });
    answers != Some(session.process_id())
}

/// The connection leads to a proxy.
#[derive(Debug)]
struct Proxied;

impl std::fmt::Display for Proxied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "this is a pooling proxy, behind which connections cannot be shared: use a `Pool`, whose connections are exclusive, \
             or connect to the server itself",
        )
    }
}

impl std::error::Error for Proxied {}
