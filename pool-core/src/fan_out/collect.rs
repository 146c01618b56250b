//! Fan-outs that are awaited to their end.

use std::{
    fmt,
    future::IntoFuture,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::{ItemError, Ordered, Running, Start, Unordered};

pin_project! {
    /// All values in order, or the first error: the future of a [`Running`].
    #[must_use = "a future does nothing before it is awaited"]
    pub struct Collect<'a, S: Stream, X: Start<S::Item>> {
        #[pin]
        running: Option<Running<'a, S, X>>,
        values: Slots<X::Value>,
    }
}

pin_project! {
    /// Every outcome in order: the future of [`Running::settle`].
    #[must_use = "a future does nothing before it is awaited"]
    pub struct Settle<'a, S: Stream, X: Start<S::Item>> {
        #[pin]
        running: Running<'a, S, X>,
        outcomes: Slots<Result<X::Value, ItemError<X::Error>>>,
    }
}

pin_project! {
    /// Passes on values as they come, or ends with the first error: the future of [`Running::for_each`].
    #[must_use = "a future does nothing before it is awaited"]
    pub struct ForEach<'a, S: Stream, X: Start<S::Item>, F> {
        #[pin]
        running: Option<Running<'a, S, X>>,
        sink: F,
    }
}

/// Values by their number, as they come.
struct Slots<T> {
    /// The values of the unbroken run from the first item on.
    values: Vec<T>,
    /// The values after that run, some of which are still missing.
    later: std::collections::VecDeque<Option<T>>,
}

impl<'a, S: Stream, X: Start<S::Item>> Running<'a, S, X> {
    /// Waits for every item, and returns every outcome, in order. An error does not end the fan-out.
    ///
    /// ```
    /// use pool_core::fan_out;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// // A mailing: addresses that bounce are tried again tomorrow, and do not stop the others.
    /// let sent = fan_out(["a@example.org", "b@", "c@example.org"])
    ///     .map(|to| async move { if to.ends_with('@') { Err("no host") } else { Ok(to.len()) } })
    ///     .settle()
    ///     .await;
    /// let bounced: Vec<_> = sent.iter().filter_map(|sent| sent.as_ref().err()).collect();
    /// assert_eq!((bounced.len(), bounced[0].index()), (1, 1));
    /// # }
    /// ```
    pub fn settle(self) -> Settle<'a, S, X> {
        Settle {
            outcomes: Slots::new(self.total()),
            running: self,
        }
    }

    /// Passes each value to `sink` as it comes, and keeps none. The first error ends the fan-out.
    pub fn for_each<F: FnMut(X::Value)>(self, sink: F) -> ForEach<'a, S, X, F> {
        ForEach {
            running: Some(self),
            sink,
        }
    }

    /// Returns a stream of outcomes in the order of the items.
    ///
    /// An outcome that waits for an earlier item counts as running, so there are never more than [`limit`](super::FanOut::limit) of
    /// both. One slow item at the head delays the others.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use futures_util::{TryStreamExt, pin_mut};
    /// use pool_core::fan_out;
    ///
    /// /// A part of a large object in a store.
    /// async fn part(number: u64) -> io::Result<String> {
    ///     tokio::time::sleep(Duration::from_millis(6 - 2 * number)).await;
    ///     Ok(format!("part {number}, "))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // A download: fetches four parts at a time, and sends them on in order.
    /// let parts = fan_out(0..3).limit(4).map(part).ordered();
    /// pin_mut!(parts);
    /// let mut sent = String::new();
    /// while let Some(part) = parts.try_next().await? {
    ///     sent += &part;
    /// }
    /// assert_eq!(sent, "part 0, part 1, part 2, ");
    /// # Ok(())
    /// # }
    /// ```
    pub fn ordered(self) -> Ordered<'a, S, X> {
        Ordered::new(self)
    }

    /// Returns a stream of outcomes as they come, each with the number of its item.
    ///
    /// ```
    /// use std::{io, time::Duration};
    /// use futures_util::{StreamExt, pin_mut};
    /// use pool_core::fan_out;
    ///
    /// /// The price in this shop; one shop is slow today.
    /// async fn offer(shop: u64) -> io::Result<u64> {
    ///     tokio::time::sleep(Duration::from_millis(if shop == 0 { 1_000 } else { shop })).await;
    ///     Ok(100 + shop)
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// // The first two offers are enough: the other calls are dropped.
    /// let offers = fan_out(0..4).map(offer).unordered();
    /// pin_mut!(offers);
    /// let mut first = Vec::new();
    /// while let Some((shop, Ok(price))) = offers.next().await {
    ///     first.push((shop, price));
    ///     if first.len() == 2 {
    ///         break;
    ///     }
    /// }
    /// assert_eq!(first, [(1, 101), (2, 102)]);
    /// # }
    /// ```
    pub fn unordered(self) -> Unordered<'a, S, X> {
        Unordered::new(self)
    }
}

impl<'a, S: Stream, X: Start<S::Item>> IntoFuture for Running<'a, S, X> {
    type Output = Result<Vec<X::Value>, ItemError<X::Error>>;
    type IntoFuture = Collect<'a, S, X>;

    fn into_future(self) -> Collect<'a, S, X> {
        Collect {
            values: Slots::new(self.total()),
            running: Some(self),
        }
    }
}

impl<S: Stream, X: Start<S::Item>> Future for Collect<'_, S, X> {
    type Output = Result<Vec<X::Value>, ItemError<X::Error>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        for _ in 0..TURN {
            let Some(running) = this.running.as_mut().as_pin_mut() else {
                break;
            };
            match running.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(this.values.take())),
                Poll::Ready(Some((index, Ok(value)))) => this.values.put(index, value),
                Poll::Ready(Some((_, Err(error)))) => {
                    // The other items are dropped now, not when this future is dropped.
                    this.running.set(None);
                    return Poll::Ready(Err(error));
                }
            }
        }
        pause(context)
    }
}

impl<S: Stream, X: Start<S::Item>> Future for Settle<'_, S, X> {
    type Output = Vec<Result<X::Value, ItemError<X::Error>>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        for _ in 0..TURN {
            match this.running.as_mut().poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(this.outcomes.take()),
                Poll::Ready(Some((index, outcome))) => this.outcomes.put(index, outcome),
            }
        }
        pause(context)
    }
}

impl<S: Stream, X: Start<S::Item>, F: FnMut(X::Value)> Future for ForEach<'_, S, X, F> {
    type Output = Result<(), ItemError<X::Error>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        for _ in 0..TURN {
            let Some(running) = this.running.as_mut().as_pin_mut() else {
                break;
            };
            match running.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Ready(Some((_, Ok(value)))) => (this.sink)(value),
                Poll::Ready(Some((_, Err(error)))) => {
                    this.running.set(None);
                    return Poll::Ready(Err(error));
                }
            }
        }
        pause(context)
    }
}

/// Lets other tasks of the thread run: items that are always ready would never yield.
fn pause<T>(context: &Context<'_>) -> Poll<T> {
    context.waker().wake_by_ref();
    Poll::Pending
}

/// How many outcomes are taken in one poll.
const TURN: usize = 128;

impl<T> Slots<T> {
    fn new(total: Option<usize>) -> Self {
        // The size hint of a source may be wrong, so no more than a page's worth is allocated in advance.
        let room = total.map_or(0, |total| total.min(ROOM));
        Self {
            values: Vec::with_capacity(room),
            later: std::collections::VecDeque::new(),
        }
    }

    #[inline]
    fn put(&mut self, index: usize, value: T) {
        let ahead = index - self.values.len();
        if ahead == 0 && self.later.is_empty() {
            return self.values.push(value);
        }
        if self.later.len() <= ahead {
            self.later.resize_with(ahead + 1, || None);
        }
        self.later[ahead] = Some(value);
        while let Some(Some(_)) = self.later.front() {
            self.values.extend(self.later.pop_front().flatten());
        }
    }

    fn take(&mut self) -> Vec<T> {
        mem::take(&mut self.values)
    }
}

const ROOM: usize = 1 << 16;

impl<S: Stream, X: Start<S::Item>> fmt::Debug for Collect<'_, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Collect").field(&self.running).finish()
    }
}

impl<S: Stream, X: Start<S::Item>> fmt::Debug for Settle<'_, S, X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Settle").field(&self.running).finish()
    }
}

impl<S: Stream, X: Start<S::Item>, F> fmt::Debug for ForEach<'_, S, X, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ForEach").field(&self.running).finish()
    }
}
