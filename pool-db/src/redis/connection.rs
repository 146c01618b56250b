//! A leased connection.

use std::{fmt, time::Duration};

use pool_core::Lease;
use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

use super::Manager;

/// A connection of a [`Pool`](super::Pool), for one caller. Its drop returns it to the pool.
///
/// It is a connection of the driver (`redis::aio::ConnectionLike`): all commands of `redis::AsyncCommands`, `redis::cmd` and
/// `redis::pipe` work on it. What a caller leaves on it (a `WATCH`, an open `MULTI`, another database, user, name or protocol, tracking)
/// is undone before the next caller gets it, or else the connection is closed.
///
/// # Cancel safety
/// Dropping the future of a call abandons its answer: the command may take effect, and the connection is used again only after the
/// server has answered. A command that waits on the server, such as `BLPOP`, is ended there (`CLIENT UNBLOCK`), and an element that it
/// took meanwhile is put back where it was. Other callers may see the gap until then, and it is lost if the connection is lost at that
/// moment: `BLMOVE` keeps it on the server. Until then the connection takes no other call of this lease.
pub struct Connection {
    lease: Lease<Manager>,
}

impl Connection {
    fn limit(&self) -> Option<Duration> {
        Lease::manager(&self.lease).query_timeout
    }
}

impl From<Lease<Manager>> for Connection {
    fn from(lease: Lease<Manager>) -> Self {
        Self { lease }
    }
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let limit = self.limit();
        Box::pin(async move { Ok(self.lease.one(cmd, limit).await?) })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let limit = self.limit();
        Box::pin(async move {
            super::shareable::counts(pipeline, offset, count)?;
            Ok(self.lease.all(pipeline, offset, count, limit).await?)
        })
    }

    fn get_db(&self) -> i64 {
        Lease::manager(&self.lease).dial.db.into()
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("session", &*self.lease)
            .finish_non_exhaustive()
    }
}
