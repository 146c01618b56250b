//! Opens and closes connections that are shared.

use std::{sync::Arc, time::Duration};

use pool_core::{Gauge, SharedManager};
use redis::aio::MultiplexedConnection;
use tokio::{
    runtime::{self, Handle},
    task::JoinHandle,
    time::Instant,
};

use super::{
    super::{
        dial::{Dial, Dialled},
        socket::Traffic,
    },
    heart::{Calls, Heart, Master},
};
use crate::{Error, pulse::Pulse};

/// Manages the connections of one [`Shared`](super::Shared) pool.
#[derive(Debug)]
pub(super) struct Manager {
    pub(super) dial: Arc<Dial>,
    pub(super) limits: Limits,
}

/// What one connection may carry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) capacity: u32,
    pub(super) max_bytes: usize,
    pub(super) query_timeout: Option<Duration>,
}

/// A connection that many use.
pub(super) struct Wire {
    pub(super) connection: MultiplexedConnection,
    pub(super) calls: Arc<Calls>,
    pub(super) traffic: Arc<Traffic>,
    pub(super) gauge: Gauge,
    /// Where its task is.
    pub(super) runtime: runtime::Id,
    pub(super) opened: Instant,
    pub(super) query_timeout: Option<Duration>,
    pub(super) max_bytes: usize,
    pub(super) db: i64,
    task: Task,
}

/// Drives a connection. The drop of the handle closes the connection.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl SharedManager for Manager {
    type Resource = Wire;
    type Error = Error;

    async fn create(&self, gauge: Gauge) -> Result<Wire, Error> {
        let limits = self.limits;
        let Dialled {
            connection,
            driver,
            traffic,
            epoch,
            ..
        } = self.dial.connect(limits.capacity as usize).await?;
        gauge.set_capacity(limits.capacity);
        let calls = Arc::new(Calls::default());
        let master = Master {
            dial: Arc::clone(&self.dial),
            epoch,
        };
        let pulse = Pulse::new(limits.query_timeout);
        let heart = Heart::new(
            driver,
            Arc::clone(&traffic),
            Arc::clone(&calls),
            gauge.clone(),
            pulse,
            master,
        );
        Ok(Wire {
            connection,
            calls,
            traffic,
            gauge,
            runtime: Handle::current().id(),
            opened: Instant::now(),
            query_timeout: limits.query_timeout,
            max_bytes: limits.max_bytes,
            db: self.dial.db.into(),
            task: Task(tokio::spawn(heart)),
        })
    }

    async fn close(&self, wire: Wire) {
        let Wire {
            connection,
            mut task,
            ..
        } = wire;
        // The task ends when the last request was answered and nobody can send another.
        drop(connection);
        drop((&mut task.0).await);
    }
}
