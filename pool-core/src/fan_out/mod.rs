//! Bounded concurrency over many items.
//!
//! ```
//! use std::time::Duration;
//! use pool_core::fan_out;
//!
//! # async fn balance(account: u32) -> Result<u64, std::io::Error> { Ok(u64::from(account) * 100) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! /// The statement of a customer with many accounts: sixteen calls at a time, the first failure ends it.
//! let balances = fan_out(1..=200)
//!     .limit(16)
//!     .each_within(Duration::from_secs(2))
//!     .map(|account| async move { balance(account).await })
//!     .await?;
//! assert_eq!((balances.len(), balances[9]), (200, 1000));
//! # Ok(())
//! # }
//! ```
//!
//! The items run on the task that awaits them, at the same time but not in parallel: work that needs a core of its own is spawned
//! in the closure, or belongs on a CPU pool. Whatever the number of items, there is memory for as many as run at once, and it is
//! used again and again.
//!
//! | to have | write |
//! |---|---|
//! | all values, in order, or the first error | `.map(f).await` |
//! | every outcome, in order | `.map(f).settle().await` |
//! | values as they come, nothing kept, or the first error | `.map(f).for_each(sink).await` |
//! | a stream of outcomes, in order or as they come | `.map(f).ordered()`, `.map(f).unordered()` |
//!
//! Dropping any of these drops every item that is running, and starts no more.

mod bells;
mod collect;
mod config;
mod error;
mod progress;
mod running;
mod source;
mod start;
mod stream;
#[cfg(test)]
mod tests;

use std::{fmt, panic::Location, time::Duration};

use futures_core::Stream;

pub use collect::{Collect, ForEach, Settle};
pub use config::FanOutConfig;
pub use error::ItemError;
pub use progress::Progress;
pub use running::Running;
pub use source::Iter;
pub use start::{OnPool, Plain, Start};
pub use stream::{Ordered, Unordered};

use crate::pool::{Lease, Manager, Pool};

/// Begins a fan-out over `items`. See the [module](self).
///
/// A dashboard that calls four things, and shows what it has in time:
///
/// ```
/// use std::{io, time::Duration};
/// use pool_core::fan_out;
///
/// #[derive(Clone, Copy)]
/// enum Panel { Sales, Stock, Staff, Weather }
///
/// async fn load(panel: Panel) -> io::Result<&'static str> {
///     match panel {
///         Panel::Sales => Ok("1,204 orders"),
///         Panel::Stock => Ok("17 to order"),
///         Panel::Staff => Ok("9 on shift"),
///         Panel::Weather => Err(io::Error::other("no answer")),
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let panels = fan_out([Panel::Sales, Panel::Stock, Panel::Staff, Panel::Weather])
///     .each_within(Duration::from_millis(300))
///     .map(load)
///     .settle()
///     .await;
/// let shown: Vec<_> = panels.iter().map(|panel| *panel.as_ref().unwrap_or(&"n/a")).collect();
/// assert_eq!(shown, ["1,204 orders", "17 to order", "9 on shift", "n/a"]);
/// # }
/// ```
pub fn fan_out<'a, I: IntoIterator>(items: I) -> FanOut<'a, Iter<I::IntoIter>> {
    FanOut::new(Iter::new(items.into_iter()))
}

/// Begins a fan-out over what `items` yields, as it yields it.
///
/// ```
/// use pool_core::fan_out::fan_out_stream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lines = futures_util::stream::iter(["a", "b", "c"]); // of a file that is being read
/// let mut imported = 0;
/// fan_out_stream(lines)
///     .limit(2)
///     .map(|line| async move { Ok::<_, std::io::Error>(line.len()) })
///     .for_each(|length| imported += length)
///     .await?;
/// assert_eq!(imported, 3);
/// # Ok(())
/// # }
/// ```
pub fn fan_out_stream<'a, S: Stream>(items: S) -> FanOut<'a, S> {
    FanOut::new(items)
}

/// A fan-out that is being described: over what, how many at once. [`map`](Self::map) says what is done with each.
#[must_use = "a fan-out does nothing before it is awaited"]
pub struct FanOut<'a, S, P = ()> {
    source: S,
    pool: P,
    settings: Settings<'a>,
}

/// What can be told of a fan-out.
struct Settings<'a> {
    limit: Option<usize>,
    each: Option<Duration>,
    progress: Option<Box<dyn FnMut(Progress) + Send + 'a>>,
}

impl<S> FanOut<'_, S> {
    fn new(source: S) -> Self {
        Self {
            source,
            pool: (),
            settings: Settings {
                limit: None,
                each: None,
                progress: None,
            },
        }
    }
}

impl<'a, S, P> FanOut<'a, S, P> {
    /// How many run at once. With 0 none can, and every item ends with an error that says so.
    ///
    /// Default: 16; [on a pool](FanOut::on) as many as that may have open.
    pub fn limit(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.settings.limit = limit.into();
        self
    }

    /// How long one item may take, the wait for its lease included; a longer one is dropped and ends with
    /// [`ItemError::is_timeout`]. Needs a tokio runtime. Default: as long as it takes.
    pub fn each_within(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.each = limit.into();
        self
    }

    /// Takes both from `config`: what the environment or a file says.
    pub fn config(self, config: &FanOutConfig) -> Self {
        self.limit(config.limit).each_within(config.each_within)
    }

    /// Is called whenever an item has ended. A panic in it is caught and ignored.
    pub fn progress(mut self, tell: impl FnMut(Progress) + Send + 'a) -> Self {
        self.settings.progress = Some(Box::new(tell));
        self
    }
}

impl<'a, S: Stream> FanOut<'a, S> {
    /// What is done with each item.
    pub fn map<F, R, T, E>(self, each: F) -> Running<'a, S, Plain<F>>
    where
        F: FnMut(S::Item) -> R,
        R: Future<Output = Result<T, E>>,
    {
        let limit = self.settings.limit.unwrap_or(LIMIT);
        Running::new(self.source, Plain::new(each), limit, self.settings)
    }

    /// Leases one of `pool` for each item.
    ///
    /// An item is started when there is a lease for it, and only one at a time asks for one: a fan-out over a million items puts
    /// one request in the pool's line, and no item ever holds a lease while it waits for another.
    ///
    /// An item may be dropped before its end: at its time limit, by the first error of another, or with the whole. Its lease is
    /// then given back wherever it was. So what leaves the resource unfit when it stops half-way belongs in
    /// [`Lease::run`](crate::Lease::run), here as anywhere: that taints the lease, and nobody gets it as it is.
    ///
    /// ```
    /// # use pool_core::{Lease, Manager, Pool, Usage, fan_out};
    /// # struct Shards;
    /// # impl Manager for Shards {
    /// #     type Resource = Vec<u32>;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Vec<u32>, std::io::Error> { Ok(Vec::new()) }
    /// #     async fn check(&self, _: &mut Vec<u32>, _: &Usage) -> Result<(), std::io::Error> { Ok(()) }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Shards).max_size(4).build()?;
    /// // A nightly import, beside the requests of the day: it takes what is free, and one place in line.
    /// let written = fan_out(0..1_000)
    ///     .on(&pool)
    ///     .map(|row, mut connection| async move {
    ///         // A statement that is dropped half-way leaves an answer on the wire: its connection is not handed on.
    ///         Lease::run(&mut connection, async |connection| connection.push(row)).await;
    ///         Ok::<_, std::io::Error>(row)
    ///     })
    ///     .await?;
    /// assert_eq!(written.len(), 1_000);
    /// # Ok(())
    /// # }
    /// ```
    pub fn on<M: Manager>(self, pool: &'a Pool<M>) -> FanOut<'a, S, &'a Pool<M>> {
        FanOut {
            source: self.source,
            pool,
            settings: self.settings,
        }
    }
}

impl<'a, S: Stream, M: Manager> FanOut<'a, S, &'a Pool<M>> {
    /// What is done with each item and its lease. To the pool, its leases are got where this is called.
    #[track_caller]
    pub fn map<F, R, T, E>(self, each: F) -> Running<'a, S, OnPool<'a, M, F>>
    where
        F: FnMut(S::Item, Lease<M>) -> R,
        R: Future<Output = Result<T, E>>,
    {
        let places = || self.pool.status().max_size as usize;
        let limit = self.settings.limit.unwrap_or_else(places);
        let start = OnPool::new(self.pool, Location::caller(), each);
        Running::new(self.source, start, limit, self.settings)
    }
}

impl<S, P> fmt::Debug for FanOut<'_, S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanOut")
            .field("limit", &self.settings.limit)
            .field("each_within", &self.settings.each)
            .finish_non_exhaustive()
    }
}

/// How many run at once where nobody says.
const LIMIT: usize = 16;
