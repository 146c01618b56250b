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
        /// The settings of a [`Flight`](super::Flight): plain data.
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

    /// How many calls may wait at once, for all keys together; one more fails at once with
    /// [`FlightError::is_overloaded`](crate::FlightError::is_overloaded). `None` (`auto`) means 16,384; 0 lets no call in.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a call waits at most, unless it has a [`timeout`](crate::Run::timeout) of its own. Not zero. Default: 30 s.
    timeout / get_timeout(Duration): Duration = Duration::from_secs(30), "TIMEOUT";

    /// Whether an error goes only to the caller whose computation it was, and the next in line tries its own. For errors that
    /// another caller may be spared: each has a replica, a route, a connection of its own. Where all would fail alike they would do so
    /// one after the other: then leave it as it is, and all get the first error.
    ///
    /// Default: false.
    retry_errors / get_retry_errors(bool): bool = false, "RETRY_ERRORS";
}

impl FlightConfig {
    /// Can a flight be built with these?
    ///
    /// # Errors
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        no_zeros([("timeout", self.timeout.into())])
    }

    /// The bound of the line, `auto` worked out.
    pub(super) fn waiters(&self) -> usize {
        self.max_waiters.unwrap_or(16_384)
    }
}
