//! A stream that yields to the executor.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::Budget;

/// Yields to the executor whenever `budget` has passed since the last yield.
///
/// A stream that always has an item ready (from memory, a file or a decoder) never releases the thread: its consumer takes item
/// after item, and the task does not return to the executor. The time that the consumer spends on the items counts too. A `Pending`
/// of the inner stream does not count as a yield, because an adapter such as `ready_chunks` may go on with the items that it has.
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
    }
}

pin_project! {
    /// A stream that yields to the executor. [`yield_every`] returns it.
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct YieldEvery<S> {
        #[pin]
        stream: S,
        budget: Budget,
    }
}

impl<S: Stream> Stream for YieldEvery<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        ready!(this.budget.poll_turn(cx));
        this.stream.poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.stream.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, pin::pin};

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

    /// Endless items behind an adapter that goes on with the items that it has.
    async fn chunks_until(over: &Cell<bool>, items: impl Stream<Item = u64>) -> u64 {
        let endless = yield_every(items, Duration::ZERO);
        let mut chunks = pin!(endless.ready_chunks(64));
        let mut chunk = 0;
        while !over.get() {
            chunk += chunks.next().await.map_or(0, |_| 1);
            assert!(chunk < 1_000_000, "nobody else had a turn");
        }
        chunk
    }

    #[tokio::test(start_paused = true)]
    async fn timers_fire_beside_an_adapter_that_swallows_pending() {
        let over = Cell::new(false);
        let timer = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            over.set(true);
        };
        // The paused clock only advances by itself while all tasks wait. Here the chunks run, so the test advances it.
        let clock = async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
                tokio::time::advance(Duration::from_millis(1)).await;
            }
        };
        let ready = stream::iter(0..);
        let (chunks, ..) = tokio::join!(chunks_until(&over, ready), timer, clock);
        assert!(chunks < 1000, "{chunks} chunks between two turns");
    }

    #[tokio::test]
    async fn a_source_that_is_pending_now_and_then_is_no_rest() {
        let over = Cell::new(false);
        let told = tokio::spawn(async {});
        // Every other poll is pending, and wakes the task at once.
        let mut polls = 0_u64;
        let source = stream::poll_fn(move |cx| {
            polls += 1;
            if polls.is_multiple_of(2) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Some(polls))
        });
        let other = async {
            told.await.ok();
            over.set(true);
        };
        let (chunks, ()) = tokio::join!(chunks_until(&over, source), other);
        assert!(chunks < 1000, "{chunks} chunks between two turns");
    }
}
