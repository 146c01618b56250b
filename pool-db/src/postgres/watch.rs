//! What watches over a request whose answer comes in parts.

use std::{
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Sleep, sleep};

use super::Client;
use crate::Error;

/// The holder of a connection while the answer to one request comes in parts.
///
/// It bounds the wait for each part by `query_timeout`. Its drop before [`ended`](Self::ended) abandons the request.
#[derive(Debug)]
pub(super) struct Watch<H: Deref<Target = Client>> {
    holder: H,
    /// Runs while a part is awaited.
    timeout: Option<Pin<Box<Sleep>>>,
    has_ended: bool,
}

impl<H: Deref<Target = Client>> Watch<H> {
    pub(super) const fn new(holder: H) -> Self {
        Self {
            holder,
            timeout: None,
            has_ended: false,
        }
    }

    /// Polls for the next part.
    pub(super) fn poll<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<Result<T, Error>> {
        if let Poll::Ready(part) = poll(context) {
            self.timeout = None;
            return Poll::Ready(Ok(part));
        }
        let Some(limit) = self.holder.query_timeout else {
            return Poll::Pending;
        };
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(limit)));
        if timeout.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.timeout = None;
        Poll::Ready(Err(Error::no_answer(limit)))
    }

    /// Whether the server has answered the request.
    pub(super) const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// The server has answered the request.
    pub(super) const fn ended(&mut self) {
        self.has_ended = true;
    }

    /// The request has failed.
    pub(super) fn failed(&mut self, error: tokio_postgres::Error) -> Error {
        // After any other error the server may still send more of the answer.
        self.has_ended |= error.as_db_error().is_some();
        self.holder.explain(error)
    }
}

impl<H: Deref<Target = Client>> Deref for Watch<H> {
    type Target = H;

    fn deref(&self) -> &H {
        &self.holder
    }
}

impl<H: Deref<Target = Client>> Drop for Watch<H> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.holder.abandon();
        }
    }
}
