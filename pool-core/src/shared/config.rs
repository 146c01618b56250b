//! The settings of a shared pool.

use std::time::Duration;

use crate::{
    __settings,
    config::{
        __default_max_size as default_max_size, ConfigError,
        checks::{at_least_one, auto_waiters, named, no_zeros, share, sizes},
    },
};

__settings! {
    {
        /// The settings of a [`SharedPool`](super::SharedPool), as plain data. These are the settings of [`Config`](crate::Config)
        /// that apply to shared connections, with the same names and defaults, and [`spare_shares`](Self::spare_shares).
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_core::SharedConfig;
        ///
        /// let config = SharedConfig::new().max_size(2).acquire_timeout(Duration::from_secs(2));
        /// config.validate()?;
        /// # Ok::<(), pool_core::ConfigError>(())
        /// ```
        SharedConfig for [M: super::SharedManager] super::SharedBuilder<M>;
    }

    /// How many connections may be open at once. A connection counts from the moment its open begins to the moment its close has
    /// ended. At least 1.
    ///
    /// Default: twice the number of cores, at least 10.
    max_size / get_max_size(u32): u32 = default_max_size(), "MAX_SIZE";

    /// How many connections the pool keeps open, even without shares. At most `max_size`. Default: 0.
    min_idle / get_min_idle(u32): u32 = 0, "MIN_IDLE";

    /// The pool opens another connection ahead of need when fewer shares than this are free. Default: 0, which means when all
    /// connections are full.
    spare_shares / get_spare_shares(u32): u32 = 0, "SPARE_SHARES";

    /// How many opens may run at once. At least 1. Default: 4.
    max_opening / get_max_opening(u32): u32 = 4, "MAX_OPENING";

    /// How many gets may wait in the queue. A further get fails at once with [`Error::is_overloaded`](crate::Error::is_overloaded).
    /// `None` (`auto`) means 16 for each of `max_size`, at least 1024, and follows a resize. With 0, no get ever waits.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a get may take in total. A single get may have another timeout ([`GetShare::timeout`](super::GetShare::timeout)).
    /// Not zero.
    ///
    /// Default: 30 s.
    acquire_timeout / get_acquire_timeout(Duration): Duration = Duration::from_secs(30), "ACQUIRE_TIMEOUT";

    /// How long one open may take. An open that takes longer has failed. Not zero. Default: 10 s.
    create_timeout / get_create_timeout(Duration): Duration = Duration::from_secs(10), "CREATE_TIMEOUT";

    /// How long one close may take. After that the pool drops the connection without a close, and the place of the connection is
    /// free. Not zero.
    ///
    /// Default: 1 s.
    close_timeout / get_close_timeout(Duration): Duration = Duration::from_secs(1), "CLOSE_TIMEOUT";

    /// The pool closes a connection that has had no shares for this long, but keeps `min_idle` connections. `None` (`off`) means
    /// never. Not zero.
    ///
    /// Default: 10 min.
    idle_timeout / get_idle_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(600)), "IDLE_TIMEOUT";

    /// A connection of this age takes no more shares as soon as its replacement is open, and closes with its last share. `None`
    /// (`off`) means never. Not zero.
    ///
    /// Default: 30 min.
    max_lifetime / get_max_lifetime(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(1800)), "MAX_LIFETIME";

    /// The pool shortens each lifetime by a random fraction of it, up to this value, so that connections that were opened together
    /// are not closed together. 0 to 1. Default: 0.1.
    lifetime_jitter / get_lifetime_jitter(f64): f64 = 0.1, "LIFETIME_JITTER";

    /// After this time, a waiter whose future is not polled loses the share that was handed to it. The share goes to the next
    /// waiter, and the unpolled waiter keeps its place in the queue. Not zero.
    ///
    /// Default: 50 ms.
    reclaim_after / get_reclaim_after(Duration): Duration = Duration::from_millis(50), "RECLAIM_AFTER";

    /// The pool logs a warning for a get that takes this long (feature `tracing`). `None` (`off`) means never. Not zero.
    ///
    /// Default: 2 s.
    slow_get / get_slow_get(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(2)), "SLOW_GET";
}

impl SharedConfig {
    /// Checks whether a pool can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range or contradicts another setting.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        at_least_one("max_opening", self.max_opening)?;
        sizes(self.max_size, self.min_idle)?;
        share("lifetime_jitter", self.lifetime_jitter)?;
        no_zeros([
            ("acquire_timeout", self.acquire_timeout.into()),
            ("create_timeout", self.create_timeout.into()),
            ("close_timeout", self.close_timeout.into()),
            ("idle_timeout", self.idle_timeout.into()),
            ("max_lifetime", self.max_lifetime.into()),
            ("reclaim_after", self.reclaim_after.into()),
            ("slow_get", self.slow_get.into()),
        ])
    }

    /// Returns the bound of the queue; `None` stands for the bound that follows from `max_size`.
    pub(super) fn waiters(&self) -> usize {
        self.max_waiters
            .unwrap_or_else(|| auto_waiters(self.max_size))
    }
}
