//! The settings of a flight.

use std::time::Duration;

use crate::{
    __settings,
    config::{
        ConfigError,
        checks::{named, no_zeros},
    },
};

__settings! {
    {
        /// The settings of a [`Flight`](super::Flight), as plain data.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_core::FlightConfig;
        ///
        /// let config = FlightConfig::new().timeout(Duration::from_secs(2)).retry_errors(true);
        /// config.validate()?;
        /// # Ok::<(), pool_core::ConfigError>(())
        /// ```
        FlightConfig for [K, V, E] super::FlightBuilder<K, V, E>;
    }

    /// How many calls may wait at once, for all keys together. A further call fails at once with
    /// [`FlightError::is_overloaded`](crate::FlightError::is_overloaded). `None` (`auto`) means 16,384. With 0, every call fails.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a call may wait, unless it has a [`timeout`](crate::Run::timeout) of its own. Not zero. Default: 30 s.
    timeout / get_timeout(Duration): Duration = Duration::from_secs(30), "TIMEOUT";

    /// Whether only the caller whose computation failed gets the error, and the next waiter tries its own computation. Use it if
    /// another caller's computation may succeed, because each caller has a replica, a route or a connection of its own. If all
    /// computations would fail alike, they would fail one after the other: leave this off, and all callers get the first error.
    ///
    /// Default: false.
    retry_errors / get_retry_errors(bool): bool = false, "RETRY_ERRORS";
}

impl FlightConfig {
    /// Checks whether a flight can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        no_zeros([("timeout", self.timeout.into())])
    }

    /// The bound of the queue, with `auto` resolved.
    pub(super) fn waiters(&self) -> usize {
        self.max_waiters.unwrap_or(16_384)
    }
}
