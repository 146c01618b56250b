//! Catches panics of user code.

use std::{
    any::Any,
    future::Future,
    panic::{self, AssertUnwindSafe},
    pin::Pin,
    task::{Context, Poll},
};

pin_project_lite::pin_project! {
    /// A future whose panic is returned as an error.
    pub(crate) struct Caught<F> {
        #[pin]
        future: F,
    }
}

impl<F> Caught<F> {
    pub(crate) const fn new(future: F) -> Self {
        Self { future }
    }
}

impl<F: Future> Future for Caught<F> {
    type Output = Result<F::Output, String>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let future = self.project().future;
        // Unwind safety: a future that panicked is not polled again, and the resource that it used is closed.
        match panic::catch_unwind(AssertUnwindSafe(|| future.poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(message_of(payload))),
        }
    }
}

/// Runs `code`. Returns the panic message if it panics.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, String> {
    // Unwind safety: when `code` panics, the caller gives up what `code` used.
    panic::catch_unwind(AssertUnwindSafe(code)).map_err(message_of)
}

/// The message of a panic, if it is text.
fn message_of(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    // The drop of the payload may panic too.
    if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(payload);
    }
    text.unwrap_or_else(|| "a panic without text".to_owned())
}
