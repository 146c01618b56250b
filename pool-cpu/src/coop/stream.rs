//! A stream that lets others have their turn.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{Budget, budget::yield_from};

/// Gives the executor its turn whenever `stream` has been ready for `budget` without a break.
///
/// A stream that always has an item at hand (from memory, from a file, from a decoder) never lets
/// go of the thread: its consumer gets item after item and the task does not return. What the
/// consumer does with the items counts as well.
///
/// ```
/// use futures_util::StreamExt;
/// use pool_cpu::coop;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let rows = futures_util::stream::iter(0..100_000_u64);
/// let sum = coop::yield_every(rows, coop::BUDGET).fold(0, async |sum, row| sum + row).await;
/// assert_eq!(sum, 4_999_950_000);
/// # }
/// ```
pub fn yield_every<S: Stream>(stream: S, budget: Duration) -> YieldEvery<S> {
    YieldEvery {
        stream,
        budget: Budget::new(budget),
        rested: true,
    }
}

pin_project! {
    /// A stream that lets others have their turn. From [`yield_every`].
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct YieldEvery<S> {
        #[pin]
        stream: S,
        budget: Budget,
        // Has the executor had its turn since the last item?
        rested: bool,
    }
}

impl<S: Stream> Stream for YieldEvery<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        if *this.rested {
            this.budget.renew();
            *this.rested = false;
        } else if this.budget.is_spent() {
            *this.rested = true;
            yield_from(cx);
            return Poll::Pending;
        }
        let Poll::Ready(item) = this.stream.poll_next(cx) else {
            *this.rested = true;
            return Poll::Pending;
        };
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    #[tokio::test]
    async fn every_item_comes_once_and_others_have_their_turn() {
        let mut items = yield_every(stream::iter(0..3), Duration::ZERO);
        assert_eq!(items.next().await, Some(0));
        let other = tokio::spawn(async {});
        assert_eq!(items.next().await, Some(1));
        assert!(other.is_finished(), "the budget of nothing was spent");
        assert_eq!(items.collect::<Vec<_>>().await, [2]);
    }

    #[tokio::test]
    async fn a_stream_within_its_budget_is_not_held_up() {
        let other = tokio::spawn(async {});
        let items = yield_every(stream::iter(0..1000), Duration::from_secs(3600));
        assert_eq!(items.count().await, 1000);
        assert!(!other.is_finished());
        other.await.ok();
    }
}
