//! Making a limiter.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use super::{Inner, Limiter, permits::Permits};
use crate::config::ConfigError;

/// Begins a [`Limiter`].
///
/// ```
/// use std::time::Duration;
/// use pool_core::Limiter;
///
/// // A partner allows ten calls at once. Fifty may wait for that, for two seconds; the others are told at once.
/// let partner = Limiter::builder(10)
///     .name("partner")
///     .max_waiters(50)
///     .acquire_timeout(Some(Duration::from_secs(2)))
///     .build()?;
/// assert_eq!((partner.name(), partner.status().available), ("partner", 10));
///
/// let error = Limiter::builder(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "limit is 0, but must be at least 1");
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct LimiterBuilder {
    limit: u32,
    name: String,
    max_waiters: Option<usize>,
    timeout: Option<Duration>,
    reclaim_after: Option<Duration>,
}

impl LimiterBuilder {
    pub(super) fn new(limit: u32) -> Self {
        Self {
            limit,
            name: "limiter".to_owned(),
            max_waiters: None,
            timeout: None,
            reclaim_after: Some(Duration::from_millis(50)),
        }
    }

    /// Names it, for messages. Default: `limiter`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// How many may wait in line; one more fails at once with [`LimitError::is_overloaded`](super::LimitError::is_overloaded).
    /// 0 means that nobody ever waits. Where there are [keys](super::Acquire::key), the line is shared out among them evenly.
    ///
    /// Default: 16 for each permit of the first limit, at least 64.
    pub const fn max_waiters(mut self, max_waiters: usize) -> Self {
        self.max_waiters = Some(max_waiters);
        self
    }

    /// How long an acquire may wait that has no [`timeout`](super::Acquire::timeout) of its own. `None`: as long as it takes. Not
    /// zero.
    ///
    /// Default: `None`.
    pub const fn acquire_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout;
        self
    }

    /// Permits that were handed to a future that nobody polls go to the next in line after so long, within two ticks of 10 ms.
    /// `None`: never. Not zero.
    ///
    /// It takes a tokio runtime with a timer. On one that was built without, set `None`: the task that would keep the time
    /// panics there, once, and the limiter goes on without it.
    ///
    /// Default: 50 ms.
    pub const fn reclaim_after(mut self, after: Option<Duration>) -> Self {
        self.reclaim_after = after;
        self
    }

    /// Makes the limiter.
    ///
    /// # Errors
    /// A setting that is out of its range.
    pub fn build(self) -> Result<Limiter, ConfigError> {
        if self.limit == 0 {
            return Err(ConfigError::new("limit", "0", "at least 1"));
        }
        let durations = [
            ("acquire_timeout", self.timeout),
            ("reclaim_after", self.reclaim_after),
        ];
        for (name, duration) in durations {
            if duration == Some(Duration::ZERO) {
                return Err(ConfigError::new(name, "0s", "longer than zero"));
            }
        }
        Ok(self.finish())
    }

    pub(super) fn finish(self) -> Limiter {
        let waiters = || (16 * self.limit as usize).max(64);
        let max_waiters = self.max_waiters.unwrap_or_else(waiters);
        let hasher = RandomState::new();
        let inner = Inner {
            serial: hasher.hash_one(()),
            permits: Permits::new(self.limit, max_waiters),
            name: self.name.into(),
            timeout: self.timeout,
            reclaim_after: self.reclaim_after,
            driven: AtomicBool::new(false),
            hasher,
        };
        Limiter::from_inner(Arc::new(inner))
    }
}
