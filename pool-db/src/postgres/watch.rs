//! What watches over a request whose answer comes in parts.

use std::{
    ops::Deref,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::time::{Sleep, sleep};

use super::Client;
use crate::{
    Error,
    operation::{Operation, Verb},
};

/// The holder of a connection while the answer to one request comes in parts.
///
/// It bounds the wait for each part by `query_timeout`. The end of the answer lets the connection go. A drop before that abandons
/// the request.
#[derive(Debug)]
pub(super) struct Watch<H: Deref<Target = Client>> {
    /// `None` once the server has answered.
    holder: Option<H>,
    operation: Operation,
    /// Runs while a part is awaited.
    timeout: Option<Pin<Box<Sleep>>>,
}

impl<H: Deref<Target = Client>> Watch<H> {
    /// Begins an operation, and sends its request by `start`.
    pub(super) async fn start<T>(
        holder: H,
        verb: Verb,
        start: impl AsyncFnOnce(&H) -> Result<T, Error>,
    ) -> Result<(T, Self), Error> {
        let mut operation = holder.operations.begin(verb);
        let started = operation.within(start(&holder)).await;
        let started = started.inspect_err(|error| operation.failed(error))?;
        Ok((started, Self::new(holder, operation)))
    }

    const fn new(holder: H, operation: Operation) -> Self {
        Self {
            holder: Some(holder),
            operation,
            timeout: None,
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
        let Some(limit) = self.holder.as_ref().and_then(|held| held.query_timeout) else {
            return Poll::Pending;
        };
        let timeout = self.timeout.get_or_insert_with(|| Box::pin(sleep(limit)));
        if timeout.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.timeout = None;
        let error = Error::no_answer(limit);
        self.operation.failed(&error);
        Poll::Ready(Err(error))
    }

    /// Whether the server has answered the request.
    pub(super) const fn has_ended(&self) -> bool {
        self.holder.is_none()
    }

    /// A row has come.
    pub(super) fn row(&mut self) {
        self.operation.rows(1);
    }

    /// The server has answered the request.
    pub(super) fn ended(&mut self) {
        self.operation.ended();
        self.holder = None;
    }

    /// The request has failed.
    pub(super) fn failed(&mut self, error: tokio_postgres::Error) -> Error {
        // After any other error the server may still send more of the answer.
        let is_answer = error.as_db_error().is_some();
        let error = match &self.holder {
            Some(holder) => holder.explain(error),
            None => error.into(),
        };
        self.operation.failed(&error);
        if is_answer {
            self.ended();
        }
        error
    }
}

impl<H: Deref<Target = Client>> Drop for Watch<H> {
    fn drop(&mut self) {
        if let Some(holder) = &self.holder {
            holder.abandon();
        }
    }
}
