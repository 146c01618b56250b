//! The settings of a client. Each setting is declared once.

use std::time::Duration;

use pool_core::{
    __checks::{at_least_one, named, no_zeros},
    __settings, ConfigError,
};

__settings! {
    {
        /// The settings of a [`Client`](crate::Client), as plain data.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_http::Config;
        ///
        /// let config = Config::new().max_per_origin(50).header_timeout(Duration::from_secs(5)).body_timeout(None);
        /// config.validate()?;
        /// # Ok::<(), pool_http::ConfigError>(())
        /// ```
        Config for [] crate::Builder;
    }

    /// How many connections one origin (scheme, host and port) may have at once. Connections that are in use, idle, being opened or
    /// being closed all count. At least 1. Default: 32.
    max_per_origin / get_max_per_origin(u32): u32 = 32, "MAX_PER_ORIGIN";

    /// How many origins may have connections at once. A request to a further origin evicts the origin that has been idle longest.
    /// If no origin is idle, the request fails at once with [`Error::is_overloaded`](crate::Error::is_overloaded). At least 1.
    /// Default: 1024.
    max_origins / get_max_origins(usize): usize = 1024, "MAX_ORIGINS";

    /// How many requests may wait for a connection to one origin. A further request fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `None` (`auto`) means 16 for each of `max_per_origin`, at least 1024.
    /// With 0, no request ever waits. Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a request may wait for a connection, including the time to open a connection. Not zero. Default: 30 s.
    acquire_timeout / get_acquire_timeout(Duration): Duration = Duration::from_secs(30), "ACQUIRE_TIMEOUT";

    /// How long the name lookup and the TCP connect may take together. Not zero. Default: 10 s.
    connect_timeout / get_connect_timeout(Duration): Duration = Duration::from_secs(10), "CONNECT_TIMEOUT";

    /// How long a TLS handshake may take. Not zero. Default: 10 s.
    tls_timeout / get_tls_timeout(Duration): Duration = Duration::from_secs(10), "TLS_TIMEOUT";

    /// How long the head of a response may take, counted from the last byte of the request that was sent. `None` (`off`) means that
    /// only the request's `timeout` bounds the wait. Not zero. Default: 30 s.
    header_timeout / get_header_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "HEADER_TIMEOUT";

    /// How long a body that is being read may take to deliver its next bytes. `None` (`off`) means that only the request's
    /// `timeout` bounds the wait. Not zero. Default: 30 s.
    body_timeout / get_body_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "BODY_TIMEOUT";

    /// How long a whole request may take, from `send` to the last byte of the response's body. A single request may have another
    /// timeout. `None` (`off`) means that only the settings above bound a request. Not zero. Default: `None`.
    timeout / get_timeout(impl Into<Option<Duration>>): Option<Duration> = None, "TIMEOUT";

    /// The client closes a connection that has been idle for this long. If the upstream announces a shorter time (`Keep-Alive:
    /// timeout=5`), the client closes the connection sooner. `None` (`off`) means never. Not zero. Default: 55 s, because many load
    /// balancers close after 60 s.
    idle_timeout / get_idle_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(55)), "IDLE_TIMEOUT";

    /// The client closes a connection of this age as soon as it is idle, so that the client follows changes of DNS. The client
    /// shortens each lifetime by a random fraction, up to a tenth. `None` (`off`) means never. Not zero. Default: 10 min.
    max_lifetime / get_max_lifetime(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(600)), "MAX_LIFETIME";

    /// How many bytes of a body that was dropped before its end the client reads to keep the connection. If more bytes are left,
    /// the client closes the connection. Default: 64 KiB.
    drain_bytes / get_drain_bytes(u64): u64 = 64 << 10, "DRAIN_BYTES";

    /// How long the client reads such a body, and how long a request may still be sent after its response is complete. Not zero.
    /// Default: 100 ms.
    drain_time / get_drain_time(Duration): Duration = Duration::from_millis(100), "DRAIN_TIME";
}

impl Config {
    /// Checks whether a client can be built with these settings.
    ///
    /// # Errors
    ///
    /// The error names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        at_least_one("max_per_origin", self.max_per_origin)?;
        let max_origins = u32::try_from(self.max_origins).unwrap_or(u32::MAX);
        at_least_one("max_origins", max_origins)?;
        no_zeros([
            ("acquire_timeout", self.acquire_timeout.into()),
            ("connect_timeout", self.connect_timeout.into()),
            ("tls_timeout", self.tls_timeout.into()),
            ("header_timeout", self.header_timeout.into()),
            ("body_timeout", self.body_timeout.into()),
            ("timeout", self.timeout.into()),
            ("idle_timeout", self.idle_timeout.into()),
            ("max_lifetime", self.max_lifetime.into()),
            ("drain_time", self.drain_time.into()),
        ])
    }

    /// Returns the settings of the pool of one origin.
    pub(crate) fn pool(&self) -> pool_core::Config {
        pool_core::Config::new()
            .max_size(self.max_per_origin)
            .max_waiters(self.max_waiters)
            .acquire_timeout(self.acquire_timeout)
            // Each step of an open has its own timeout. This one exceeds their sum and is only a backstop.
            .create_timeout(
                self.connect_timeout
                    .saturating_add(self.tls_timeout)
                    .saturating_add(Duration::from_secs(1)),
            )
            .reset_timeout(self.drain_time)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_lifetime)
            // An idle connection needs no check: its driver task notices when the connection ends.
            .check_after(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_defaults_are_valid_for_client_and_pool() {
        Config::new().validate().unwrap();
        Config::new().pool().validate().unwrap();
    }

    #[test]
    fn zeros_are_errors_that_name_the_setting_and_say_what_may_be_off() {
        let says = |config: Config| config.validate().unwrap_err().to_string();
        assert_eq!(
            says(Config::new().max_per_origin(0)),
            "max_per_origin is 0, but must be at least 1"
        );
        assert_eq!(
            says(Config::new().max_origins(0)),
            "max_origins is 0, but must be at least 1"
        );
        assert_eq!(
            says(Config::new().header_timeout(Duration::ZERO)),
            "header_timeout is 0s, but must be longer than zero, or off"
        );
        assert_eq!(
            says(Config::new().drain_time(Duration::ZERO)),
            "drain_time is 0s, but must be longer than zero"
        );
    }
}
