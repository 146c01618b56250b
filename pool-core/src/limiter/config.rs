//! The settings of a limiter.

use std::time::Duration;

use crate::{
    __settings,
    config::{
        __default_max_size as default_limit, ConfigError,
        checks::{at_least_one, auto_waiters, named, no_zeros},
    },
};

__settings! {
    {
        /// The settings of a [`Limiter`](super::Limiter), as plain data.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_core::LimiterConfig;
        ///
        /// let config = LimiterConfig::new().limit(10).acquire_timeout(Duration::from_secs(2));
        /// config.validate()?;
        /// # Ok::<(), pool_core::ConfigError>(())
        /// ```
        LimiterConfig for [] super::LimiterBuilder;
    }

    /// How many permits there are. At least 1.
    ///
    /// Default: the argument of [`Limiter::builder`](crate::Limiter::builder); else twice the number of cores, at least 10.
    limit / get_limit(u32): u32 = default_limit(), "LIMIT";

    /// How many acquires may wait in the queue. A further acquire fails at once with
    /// [`LimitError::is_overloaded`](crate::LimitError::is_overloaded). `None` (`auto`) means 16 for each permit, at least 1024,
    /// and follows a resize. With 0, no acquire ever waits. If there are [keys](crate::Acquire::key), they share the room in the
    /// queue evenly.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long an acquire without a [`timeout`](crate::Acquire::timeout) of its own may wait. `None` (`off`) means without limit,
    /// also where there is no tokio runtime to keep the time. Not zero.
    ///
    /// Default: `None`.
    acquire_timeout / get_acquire_timeout(impl Into<Option<Duration>>): Option<Duration> = None, "ACQUIRE_TIMEOUT";

    /// After this time, plus at most two ticks of 10 ms, an acquire whose future is not polled loses the permits that were handed
    /// to it. The permits go to the next waiter. `None` (`off`) means never. Not zero.
    ///
    /// This needs a tokio runtime with a timer. On a runtime without a timer, set `None`: the task that keeps the time panics once
    /// on such a runtime, and the limiter goes on without it.
    ///
    /// Default: 50 ms.
    reclaim_after / get_reclaim_after(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_millis(50)), "RECLAIM_AFTER";
}

impl LimiterConfig {
    /// Checks whether a limiter can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        at_least_one("limit", self.limit)?;
        no_zeros([
            ("acquire_timeout", self.acquire_timeout.into()),
            ("reclaim_after", self.reclaim_after.into()),
        ])
    }

    /// The bound of the queue, with `auto` resolved.
    pub(super) fn waiters(&self) -> usize {
        self.max_waiters.unwrap_or_else(|| auto_waiters(self.limit))
    }
}
