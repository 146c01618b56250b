//! A stream whose items a future passes on.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use futures_util::{Stream, future::BoxFuture};

/// A stream that owns what its items are read from.
pub(super) struct Passing<'a, T> {
    /// Ends with the stream. It waits after each item until that was taken.
    work: Option<BoxFuture<'a, Result<(), sqlx::Error>>>,
    hand: Hand<T>,
}

/// The place for the one item that is passed on.
pub(super) struct Hand<T>(Arc<Mutex<Option<T>>>);

impl<'a, T: Send + 'a> Passing<'a, T> {
    pub(super) fn new<F>(work: impl FnOnce(Hand<T>) -> F) -> Self
    where
        F: Future<Output = Result<(), sqlx::Error>> + Send + 'a,
    {
        let place = Arc::new(Mutex::new(None));
        Self {
            work: Some(Box::pin(work(Hand(Arc::clone(&place))))),
            hand: Hand(place),
        }
    }
}

impl<T> Hand<T> {
    /// Passes the item on, and returns when it was taken.
    pub(super) async fn give(&self, item: T) {
        let mut item = Some(item);
        poll_fn(|_| match item.take() {
            // The stream has the item once this returns, and polls again when it is asked for the next.
            Some(item) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(item);
                Poll::Pending
            }
            None => Poll::Ready(()),
        })
        .await;
    }

    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<T> Stream for Passing<'_, T> {
    type Item = Result<T, sqlx::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(None);
        };
        let done = work.as_mut().poll(context);
        if let Some(item) = self.hand.take() {
            return Poll::Ready(Some(Ok(item)));
        }
        match done {
            Poll::Pending => Poll::Pending,
            Poll::Ready(done) => {
                self.work = None;
                Poll::Ready(done.err().map(Err))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn items_come_in_order_then_the_error_then_nothing() {
        let mut stream = Passing::new(|hand| async move {
            for item in 0..3 {
                hand.give(item).await;
                tokio::task::yield_now().await;
            }
            Err(sqlx::Error::RowNotFound)
        });
        for item in 0..3 {
            assert_eq!(stream.next().await.unwrap().unwrap(), item);
        }
        assert!(matches!(
            stream.next().await,
            Some(Err(sqlx::Error::RowNotFound))
        ));
        assert!(stream.next().await.is_none() && stream.next().await.is_none());
    }
}
