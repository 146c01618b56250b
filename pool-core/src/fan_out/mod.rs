//! Bounded concurrency over many items.
//!
//! ```
//! use std::time::Duration;
//! use pool_core::fan_out;
//!
//! # async fn balance(account: u32) -> Result<u64, std::io::Error> { Ok(u64::from(account) * 100) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! /// Loads all balances of a customer: sixteen calls at a time, and the first failure ends it.
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
//! The items run on the task that awaits them, concurrently but not in parallel. Spawn CPU-bound work in the closure, or send it to
//! a CPU pool. A fan-out allocates memory for as many items as run at once, and reuses it, however many items there are.
//!
//! | to get | write |
//! |---|---|
//! | all values, in order, or the first error | `.map(f).await` |
//! | every outcome, in order | `.map(f).settle().await` |
//! | values as they come, without keeping them, or the first error | `.map(f).for_each(sink).await` |
//! | a stream of outcomes, in order or as they come | `.map(f).ordered()`, `.map(f).unordered()` |
//!
//! Dropping any of these drops every running item, and starts no more.

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

use crate::{
    config::ConfigError,
    pool::{Lease, Manager, Pool},
};

/// Creates a fan-out over `items`. See the [module](self).
///
/// A dashboard that makes four calls and shows the results that come in time:
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

/// Creates a fan-out over the items of a stream. Items are taken as the stream yields them.
///
/// ```
/// use pool_core::fan_out::fan_out_stream;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let lines = futures_util::stream::iter(["a", "b", "c"]); // stands for the lines of a file
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

/// A fan-out without its closure: the items, and how many run at once. [`map`](Self::map) sets the closure.
#[must_use = "a fan-out does nothing before it is awaited"]
pub struct FanOut<'a, S, P = ()> {
    source: S,
    pool: P,
    settings: Settings<'a>,
}

/// The options of a fan-out.
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
    /// Takes the limits from the environment, where it sets them: `{prefix}_LIMIT` and `{prefix}_EACH_WITHIN`. A service that runs many
    /// fan-outs reads a [`FanOutConfig`] once instead.
    ///
    /// # Errors
    /// A variable has a value that its setting cannot have, or a name under the prefix is not a setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        let config = FanOutConfig::new()
            .limit(self.settings.limit)
            .each_within(self.settings.each);
        Ok(self.config(&config.overridden(prefix)?))
    }

    /// How many items run at once. With 0, every item fails with an error that says so.
    ///
    /// Default: 16; [on a pool](FanOut::on) its `max_size`.
    pub fn limit(mut self, limit: impl Into<Option<usize>>) -> Self {
        self.settings.limit = limit.into();
        self
    }

    /// How long one item may take, including the wait for its lease. An item that takes longer is dropped and ends with
    /// [`ItemError::is_timeout`]. Needs a tokio runtime. Default: no limit.
    pub fn each_within(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.each = limit.into();
        self
    }

    /// Takes both options from `config`, which may come from the environment or a file.
    pub fn config(self, config: &FanOutConfig) -> Self {
        self.limit(config.limit).each_within(config.each_within)
    }

    /// Sets a callback that runs whenever an item has ended. A panic in it is caught and ignored.
    pub fn progress(mut self, tell: impl FnMut(Progress) + Send + 'a) -> Self {
        self.settings.progress = Some(Box::new(tell));
        self
    }
}

impl<'a, S: Stream> FanOut<'a, S> {
    /// Sets the closure that runs for each item.
    pub fn map<F, R, T, E>(self, each: F) -> Running<'a, S, Plain<F>>
    where
        F: FnMut(S::Item) -> R,
        R: Future<Output = Result<T, E>>,
    {
        let limit = self.settings.limit.unwrap_or(LIMIT);
        Running::new(self.source, Plain::new(each), limit, self.settings)
    }

    /// Gets a lease of `pool` for each item.
    ///
    /// An item starts when there is a lease for it, and only one item at a time gets a lease. So a fan-out over a million items
    /// takes one place in the pool's queue, and no item holds a lease while it waits for another.
    ///
    /// An item may be dropped before its end: at its timeout, by the first error of another item, or with the whole fan-out. Its
    /// lease is then returned in whatever state the connection is. So run calls that leave the connection unusable when they are
    /// cut off in [`Lease::run`](crate::Lease::run): that taints the lease, and no other caller gets the connection as it is.
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
    /// // A nightly import beside the requests of the day: it uses free connections, and one place in the queue.
    /// let written = fan_out(0..1_000)
    ///     .on(&pool)
    ///     .map(|row, mut connection| async move {
    ///         // If this call is dropped before its end, the connection is not handed on.
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
    /// Sets the closure that runs for each item and its lease. The source line of this call is that of the leases.
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

/// How many items run at once by default.
const LIMIT: usize = 16;
