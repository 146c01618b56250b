//! Hands out items in chunks, and yields to the executor in between.

use std::{fmt, time::Duration};

use super::{BUDGET, Budget};
use crate::ConfigError;

/// Hands out `items` in chunks of `n`, and yields to the executor between two chunks whenever the [`BUDGET`] is spent.
///
/// The clock is read once for each chunk. Choose `n` so that `n` items certainly take less than the budget.
///
/// # Errors
/// `n` is 0.
///
/// ```
/// use pool_cpu::coop;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::ConfigError> {
/// let rows: Vec<u64> = (0..100_000).collect();
/// let mut sum = 0;
/// let mut chunks = coop::chunks(&rows, 256)?;
/// while let Some(chunk) = chunks.next().await {
///     for row in chunk {
///         sum += row;
///     }
/// }
/// assert_eq!(sum, 4_999_950_000);
/// # Ok(())
/// # }
/// ```
pub fn chunks<I: IntoIterator>(items: I, n: usize) -> Result<Chunks<I::IntoIter>, ConfigError> {
    if n == 0 {
        return Err(ConfigError::new(
            "n",
            "0",
            "at least 1: the items of one chunk",
        ));
    }
    Ok(Chunks {
        items: items.into_iter(),
        first: None,
        n,
        budget: Budget::new(BUDGET),
    })
}

/// Hands out items in chunks. [`chunks`] returns it.
pub struct Chunks<I: Iterator> {
    items: I,
    /// An item that was taken to see whether there is another chunk, and was not handed out yet.
    first: Option<I::Item>,
    n: usize,
    budget: Budget,
}

/// Up to `n` items. Items that are not taken come with the next chunk.
pub struct Chunk<'a, I: Iterator> {
    chunks: &'a mut Chunks<I>,
    left: usize,
}

impl<I: Iterator> Chunks<I> {
    /// Sets how long the loop holds the thread at most, give or take a chunk. Default: [`BUDGET`].
    #[must_use]
    pub fn budget(mut self, budget: Duration) -> Self {
        self.budget = Budget::new(budget);
        self
    }

    /// Returns the next chunk, which has at least one item, or `None` when there are no more items. Yields to the executor first if
    /// the budget is spent.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing. Dropping a chunk loses none of its items either.
    pub async fn next(&mut self) -> Option<Chunk<'_, I>> {
        self.budget.turn().await;
        if self.first.is_none() {
            self.first = Some(self.items.next()?);
        }
        let left = self.n;
        Some(Chunk { chunks: self, left })
    }
}

impl<I: Iterator> Iterator for Chunk<'_, I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.checked_sub(1)?;
        let first = self.chunks.first.take();
        first.or_else(|| self.chunks.items.next())
    }
}

impl<I: Iterator> fmt::Debug for Chunks<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("n", &self.n)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl<I: Iterator> fmt::Debug for Chunk<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunk")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{future::Future, task::Poll};

    use super::*;

    #[tokio::test]
    async fn every_item_comes_once_and_in_order() {
        let mut chunks = chunks(0..10, 4).unwrap();
        let mut seen = Vec::new();
        while let Some(chunk) = chunks.next().await {
            seen.push(chunk.collect::<Vec<_>>());
        }
        assert_eq!(seen, [vec![0, 1, 2, 3], vec![4, 5, 6, 7], vec![8, 9]]);
    }

    #[tokio::test]
    async fn items_that_a_chunk_did_not_hand_out_come_with_the_next() {
        let mut chunks = chunks(0..4, 4).unwrap();
        assert_eq!(chunks.next().await.unwrap().next(), Some(0));
        assert_eq!(chunks.next().await.unwrap().collect::<Vec<_>>(), [1, 2, 3]);
    }

    #[tokio::test]
    async fn a_chunk_that_is_dropped_untouched_loses_nothing() {
        let mut chunks = chunks(0..4, 4).unwrap();
        assert!(chunks.next().await.is_some());
        assert_eq!(
            chunks.next().await.unwrap().collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        assert!(chunks.next().await.is_none());
    }

    #[tokio::test]
    async fn a_wait_for_a_chunk_that_is_given_up_loses_nothing() {
        let mut chunks = chunks(0..2, 2).unwrap().budget(Duration::ZERO);
        for _ in 0..3 {
            let mut next = std::pin::pin!(chunks.next());
            let polled = std::future::poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx)));
            assert!(polled.await.is_pending());
        }
        assert_eq!(chunks.next().await.unwrap().collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn no_items_at_a_time_is_an_error() {
        assert_eq!(chunks([1], 0).unwrap_err().setting(), "n");
    }

    #[tokio::test]
    async fn another_task_gets_its_turn_once_the_budget_is_spent() {
        let other = tokio::spawn(async {});
        let mut chunks = chunks(0..3, 1).unwrap().budget(Duration::ZERO);
        assert!(chunks.next().await.is_some());
        assert!(other.is_finished());
    }
}
