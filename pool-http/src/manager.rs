//! The pool manager of HTTP/1.1 connections.

use std::sync::Arc;

use pool_core::{Manager, Usage};

use crate::{connection::Connection, dial::DialError, dial::Dialer, origin::Origin};

/// Manages the connections to one origin.
pub(crate) struct Http1 {
    dialer: Arc<Dialer>,
    origin: Origin,
    /// How many bytes of a dropped response are read to keep its connection.
    drain_bytes: u64,
}

impl Http1 {
    pub(crate) const fn new(dialer: Arc<Dialer>, origin: Origin, drain_bytes: u64) -> Self {
        Self {
            dialer,
            origin,
            drain_bytes,
        }
    }
}

impl Manager for Http1 {
    type Resource = Connection;
    type Error = DialError;

    async fn create(&self) -> Result<Connection, DialError> {
        self.dialer.dial(&self.origin).await
    }

    /// Does nothing. While a connection is idle, its driver task reads from it, so [`is_broken`](Self::is_broken) already reports
    /// an end of the connection or unrequested bytes. HTTP/1.1 has no message for a check.
    async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), DialError> {
        Ok(())
    }

    fn is_broken(&self, connection: &mut Connection) -> bool {
        connection.is_broken()
    }

    fn needs_reset(&self, connection: &mut Connection, _: &Usage) -> bool {
        connection.is_unsettled()
    }

    async fn reset(&self, connection: &mut Connection, _: &Usage) -> Result<(), DialError> {
        connection.settle(self.drain_bytes).await
    }

    async fn close(&self, connection: Connection) {
        connection.close().await;
    }
}
