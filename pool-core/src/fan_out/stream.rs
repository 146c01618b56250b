//! Fan-outs that are streams.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{ItemError, Running, Start};

pin_project! {
    /// Outcomes as they come: the stream of [`Running::unordered`].
    #[must_use = "a stream does nothing before it is polled"]
    pub struct Unordered<'a, S: Stream, X: Start<S::Item>> {
        #[pin]
        running: Running<'a, S, X>,
    }
}

pin_project! {
    /// Outcomes in order: the stream of [`Running::ordered`].
    #[must_use = "a stream does nothing before it is polled"]
    pub struct Ordered<'a, S: Stream, X: Start<S::Item>> {
        #[pin]
        running: Running<'a, S, X>,
        // From the next outcome on; `None` is still running. Never more than the limit.
        window: VecDeque<Option<Result<X::Value, ItemError<X::Error>>>>,
        next: usize,
        held: usize,
    }
}

impl<'a, S: Stream, X: Start<S::Item>> Unordered<'a, S, X> {
    pub(super) const fn new(running: Running<'a, S, X>) -> Self {
        Self { running }
    }
}

impl<'a, S: Stream, X: Start<S::Item>> Ordered<'a, S, X> {
    pub(super) const fn new(running: Running<'a, S, X>) -> Self {
        Self {
            running,
            window: VecDeque::new(),
            next: 0,
            held: 0,
        }
    }
}

impl<S: Stream, X: Start<S::Item>> Stream for Unordered<'_, S, X> {
    type Item = (usize, Result<X::Value, ItemError<X::Error>>);

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.project().running.poll_next(context)
    }
}

impl<S: Stream, X: Start<S::Item>> Stream for Ordered<'_, S, X> {
    type Item = Result<X::Value, ItemError<X::Error>>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        loop {
            if let Some(Some(_)) = this.window.front() {
                *this.next += 1;
                *this.held -= 1;
                return Poll::Ready(this.window.pop_front().flatten());
            }
            this.running.as_mut().hold(*this.held);
            match this.running.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Ready(Some((index, outcome))) => {
                    let ahead = index - *this.next;
                    if this.window.len() <= ahead {
                        this.window.resize_with(ahead + 1, || None);
                    }
                    this.window[ahead] = Some(outcome);
                    *this.held += 1;
                }
            }
        }
    }
}

impl<S: Stream, X: Start<S::Item>> fmt::Debug for Unordered<'_, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unordered").field(&self.running).finish()
    }
}

impl<S: Stream, X: Start<S::Item>> fmt::Debug for Ordered<'_, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ordered").field(&self.running).finish()
    }
}
