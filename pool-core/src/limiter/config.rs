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
        /// The settings of a [`Limiter`](super::Limiter): plain data.
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
    /// Default: what [`Limiter::builder`](crate::Limiter::builder) is given; else twice the cores, at least 10.
    limit / get_limit(u32): u32 = default_limit(), "LIMIT";

    /// How many may wait in line; one more fails at once with [`LimitError::is_overloaded`](crate::LimitError::is_overloaded).
    /// `None` (`auto`) means 16 for each permit, at least 1024, also after a resize; 0 means that no acquire ever waits. Where there are
    /// [keys](crate::Acquire::key), the line is shared out among them evenly.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long an acquire may wait that has no [`timeout`](crate::Acquire::timeout) of its own. `None` (`off`): as long as it takes,
    /// also where there is no tokio runtime to keep the time. Not zero.
    ///
    /// Default: `None`.
    acquire_timeout / get_acquire_timeout(impl Into<Option<Duration>>): Option<Duration> = None, "ACQUIRE_TIMEOUT";

    /// Permits that were handed to a future that nobody polls go to the next in line after so long, within two ticks of 10 ms.
    /// `None` (`off`): never. Not zero.
    ///
    /// It takes a tokio runtime with a timer. On one that was built without, set `None`: the task that would keep the time
    /// panics there, once, and the limiter goes on without it.
    ///
    /// Default: 50 ms.
    reclaim_after / get_reclaim_after(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_millis(50)), "RECLAIM_AFTER";
}

impl LimiterConfig {
    /// Can a limiter be built with these?
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        at_least_one("limit", self.limit)?;
        no_zeros([
            ("acquire_timeout", self.acquire_timeout.into()),
            ("reclaim_after", self.reclaim_after.into()),
        ])
    }

    /// The bound of the line, `auto` worked out.
    pub(super) fn waiters(&self) -> usize {
        self.max_waiters.unwrap_or_else(|| auto_waiters(self.limit))
    }
}
