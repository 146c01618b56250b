//! A share of a connection.

use std::{fmt, time::Duration};

use pool_core::Share;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, ServerErrorKind, Value, aio::ConnectionLike};
use tokio::runtime::Handle;

use super::{
    super::shareable,
    manager::{Manager, Wire},
};
use crate::{Error, bounded::bounded};

/// A share of one connection, for several commands that shall go over the same connection, in order.
///
/// It is a connection of the driver, as [`Shared`](super::Shared) is, with the same limits. It takes one of the places of the connection
/// until it is dropped.
///
/// # Cancel safety
/// As for [`Shared`](super::Shared).
pub struct SharedConnection {
    share: Share<Manager>,
}

impl SharedConnection {
    pub(super) const fn new(share: Share<Manager>) -> Self {
        Self { share }
    }

    /// Whether the connection has ended. Get another one.
    pub fn is_dead(&self) -> bool {
        Share::is_dead(&self.share)
    }

    pub(super) async fn one(&self, cmd: &Cmd) -> Result<Value, Error> {
        let mut connection = self.share.connection.clone();
        self.answered(connection.send_packed_command(cmd), |answer| {
            is_read_only(answer)
        })
        .await
    }

    pub(super) async fn all(
        &self,
        pipeline: &Pipeline,
        offset: usize,
        count: usize,
    ) -> Result<Vec<Value>, Error> {
        let mut connection = self.share.connection.clone();
        let request = connection.send_packed_commands(pipeline, offset, count);
        self.answered(request, |answers| answers.iter().any(is_read_only))
            .await
    }

    /// Waits for an answer, and looks whether the server has become one that takes no writes.
    async fn answered<T>(
        &self,
        request: impl Future<Output = Result<T, RedisError>>,
        is_read_only: impl FnOnce(&T) -> bool,
    ) -> Result<T, Error> {
        let wire: &Wire = &self.share;
        let _call = wire.calls.begin();
        let reads = wire.traffic.reads();
        let answer = bounded(wire.query_timeout, request)
            .await
            .inspect_err(|_| {
                // Nothing was read for as long as a call may take. The task of the connection would see that, but perhaps nobody
                // drives its runtime.
                let is_elsewhere =
                    Handle::try_current().is_ok_and(|here| here.id() != wire.runtime);
                if is_elsewhere && wire.traffic.reads() == reads {
                    wire.gauge.dead();
                }
            })?;
        let refuses_writes = match &answer {
            Ok(answer) => is_read_only(answer),
            Err(error) => has_read_only(error),
        };
        // The address may lead to another server by now. Where it is one that never took writes, opening another connection for
        // each refusal would help nobody.
        if refuses_writes && wire.opened.elapsed() >= SETTLED {
            Share::taint(&self.share);
        }
        Ok(answer?)
    }
}

impl ConnectionLike for SharedConnection {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            shareable::one(cmd, self.share.max_bytes)?;
            Ok(self.one(cmd).await?)
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        Box::pin(async move {
            shareable::all(pipeline, offset, count, self.share.max_bytes)?;
            Ok(self.all(pipeline, offset, count).await?)
        })
    }

    fn get_db(&self) -> i64 {
        self.share.db
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("is_dead", &self.is_dead())
            .finish_non_exhaustive()
    }
}

fn is_read_only(answer: &Value) -> bool {
    match answer {
        Value::ServerError(error) => error.kind() == Some(ServerErrorKind::ReadOnly),
        // The answers of a transaction.
        Value::Array(answers) => answers.iter().any(|answer| match answer {
            Value::ServerError(error) => error.kind() == Some(ServerErrorKind::ReadOnly),
            _ => false,
        }),
        _ => false,
    }
}

fn has_read_only(error: &RedisError) -> bool {
    let errors = error.clone().into_server_errors();
    errors.is_some_and(|errors| {
        let mut kinds = errors.iter().map(|(_, error)| error.kind());
        kinds.any(|kind| kind == Some(ServerErrorKind::ReadOnly))
    })
}

/// A connection of this age is closed when its server takes no writes.
const SETTLED: Duration = Duration::from_secs(1);
