//! The settings of a client, each declared once.

use std::time::Duration;

use pool_core::{ConfigError, Env};

/// Declares every setting once: field, type, default, variable. From it come the struct, the setters of [`Config`] and of
/// [`Builder`](crate::Builder), and the reading of the environment.
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $(#[cfg_attr($cfg:meta, $attr:meta)])?
        $name:ident / $getter:ident: $type:ty = $default:expr, $variable:literal;
    )+) => {
        /// The settings of a [`Client`](crate::Client): plain data.
        ///
        /// Each can be set in code, read from the environment as `{PREFIX}_{NAME}` in upper case, and, with the feature
        /// `serde`, read from any format; durations are written `250ms`, `30s`, `5m`. The defaults are safe: everything is
        /// bounded.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_http::Config;
        ///
        /// let config = Config::new().max_per_origin(50).header_timeout(Some(Duration::from_secs(5)));
        /// config.validate()?;
        /// # Ok::<(), pool_http::ConfigError>(())
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
        pub struct Config {
            $($(#[cfg_attr($cfg, $attr)])? pub(crate) $name: $type,)+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl Config {
            /// Reads what is set under the prefix of `env`; the rest stays as it is.
            ///
            /// # Errors
            ///
            /// A value that its setting cannot have. Names that no setting has are found by [`Env::finish`].
            pub fn apply_env(&mut self, env: &mut Env) -> Result<(), ConfigError> {
                $(if let Some(value) = env.take($variable)? {
                    self.$name = value;
                    if let Err(error) = self.validate() && error.setting() == stringify!($name) {
                        // By the name that whoever set it knows.
                        let value = error.value().unwrap_or_default();
                        return Err(ConfigError::new(env.name_of($variable), value, error.expected()));
                    }
                })+
                Ok(())
            }

            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, value: $type) -> Self {
                    self.$name = value;
                    self
                }

                #[doc = concat!("The value of [`", stringify!($name), "`](Self::", stringify!($name), ").")]
                pub fn $getter(&self) -> $type {
                    self.$name
                }
            )+
        }

        impl crate::Builder {
            $(
                $(#[doc = $doc])+
                pub fn $name(mut self, value: $type) -> Self {
                    self.config.$name = value;
                    self
                }
            )+
        }
    };
}

settings! {
    /// How many connections one origin (scheme, host and port) may have at once, in use, idle, being opened and being closed.
    /// At least 1. Default: 32.
    max_per_origin / get_max_per_origin: u32 = 32, "MAX_PER_ORIGIN";

    /// How many origins may have connections at once. For one more, the origin that was idle longest is given up; when none is
    /// idle, the request fails at once with [`Error::is_overloaded`](crate::Error::is_overloaded). At least 1. Default: 1024.
    max_origins / get_max_origins: usize = 1024, "MAX_ORIGINS";

    /// How many requests may wait for a connection to one origin; one more fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `None` (`auto`) means 16 for each of `max_per_origin`, at least
    /// 64; `Some(0)` means that nobody ever waits. Default: `None`.
    max_waiters / get_max_waiters: Option<usize> = None, "MAX_WAITERS";

    /// How long a request may wait for a connection, opening one included. Not zero. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    acquire_timeout / get_acquire_timeout: Duration = Duration::from_secs(30), "ACQUIRE_TIMEOUT";

    /// How long name lookup and TCP connect may take. Not zero. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    connect_timeout / get_connect_timeout: Duration = Duration::from_secs(10), "CONNECT_TIMEOUT";

    /// How long a TLS handshake may take. Not zero. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    tls_timeout / get_tls_timeout: Duration = Duration::from_secs(10), "TLS_TIMEOUT";

    /// How long the head of a response may take, from the last byte of the request that left. `None` (`off`): as long as the
    /// whole request may. Not zero. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    header_timeout / get_header_timeout: Option<Duration> = Some(Duration::from_secs(30)), "HEADER_TIMEOUT";

    /// How long the next bytes of a body may take while it is read. `None` (`off`): as long as the whole request may. Not zero.
    /// Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    body_timeout / get_body_timeout: Option<Duration> = Some(Duration::from_secs(30)), "BODY_TIMEOUT";

    /// How long a whole request may take, from `send` to the last byte of its body. A request may set another. `None` (`off`):
    /// only the bounds above hold. Not zero. Default: `None`.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    timeout / get_timeout: Option<Duration> = None, "TIMEOUT";

    /// A connection that nobody used for so long is closed; an upstream that says so (`Keep-Alive: timeout=5`) makes it sooner.
    /// `None` (`off`): never. Not zero. Default: 55 s, below the 60 s after which many load balancers close.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    idle_timeout / get_idle_timeout: Option<Duration> = Some(Duration::from_secs(55)), "IDLE_TIMEOUT";

    /// A connection that was opened so long ago is closed once it is free, so that changes of DNS are followed. `None` (`off`):
    /// never. Not zero. Default: 10 min, less a random tenth at most.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    max_lifetime / get_max_lifetime: Option<Duration> = Some(Duration::from_secs(600)), "MAX_LIFETIME";

    /// When a body is dropped before its end, up to so many bytes of it are read to keep the connection; with more left the
    /// connection is closed. Default: 64 KiB.
    drain_bytes / get_drain_bytes: u64 = 64 << 10, "DRAIN_BYTES";

    /// How long that reading may take, and how long a request may still be sent after its response is complete. Not zero.
    /// Default: 100 ms.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    drain_time / get_drain_time: Duration = Duration::from_millis(100), "DRAIN_TIME";
}

impl Config {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The defaults, overridden by what the environment holds under `prefix` (`POOL_HTTP` reads `POOL_HTTP_MAX_PER_ORIGIN`, ..).
    ///
    /// # Errors
    ///
    /// A value that its setting cannot have, a name under the prefix that no setting has, or settings that do not go together.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        let mut env = Env::read(prefix)?;
        let mut config = Self::new();
        config.apply_env(&mut env)?;
        env.finish()?;
        config.validate()?;
        Ok(config)
    }

    /// Can a client be built with these?
    ///
    /// # Errors
    ///
    /// The first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let counts = [
            ("max_per_origin", self.max_per_origin as usize),
            ("max_origins", self.max_origins),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, count)| *count == 0) {
            return Err(ConfigError::new(name, "0", "at least 1"));
        }
        let durations = [
            ("acquire_timeout", Some(self.acquire_timeout)),
            ("connect_timeout", Some(self.connect_timeout)),
            ("tls_timeout", Some(self.tls_timeout)),
            ("header_timeout", self.header_timeout),
            ("body_timeout", self.body_timeout),
            ("timeout", self.timeout),
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("drain_time", Some(self.drain_time)),
        ];
        match durations
            .into_iter()
            .find(|(_, duration)| *duration == Some(Duration::ZERO))
        {
            Some((name, _)) => Err(ConfigError::new(name, "0s", "longer than zero")),
            None => Ok(()),
        }
    }

    /// The same for the pool of one origin.
    pub(crate) fn pool(&self) -> pool_core::Config {
        pool_core::Config::new()
            .max_size(self.max_per_origin)
            .max_waiters(self.max_waiters)
            .acquire_timeout(self.acquire_timeout)
            // Each step of an open has its own bound; this one is for the pool's peace of mind.
            .create_timeout(
                self.connect_timeout
                    .saturating_add(self.tls_timeout)
                    .saturating_add(Duration::from_secs(1)),
            )
            .reset_timeout(self.drain_time)
            .idle_timeout(self.idle_timeout)
            .max_lifetime(self.max_lifetime)
            // There is nothing to ask an idle connection: its driver notices by itself when it ends.
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
    fn zeros_are_errors_that_name_the_setting() {
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
            says(Config::new().header_timeout(Some(Duration::ZERO))),
            "header_timeout is 0s, but must be longer than zero"
        );
        assert_eq!(
            says(Config::new().drain_time(Duration::ZERO)),
            "drain_time is 0s, but must be longer than zero"
        );
    }

    #[test]
    fn every_setting_reads_its_variable() {
        let vars = [
            ("P_MAX_PER_ORIGIN", "7"),
            ("P_MAX_ORIGINS", "8"),
            ("P_MAX_WAITERS", "9"),
            ("P_ACQUIRE_TIMEOUT", "1s"),
            ("P_CONNECT_TIMEOUT", "2s"),
            ("P_TLS_TIMEOUT", "3s"),
            ("P_HEADER_TIMEOUT", "4s"),
            ("P_BODY_TIMEOUT", "off"),
            ("P_TIMEOUT", "5s"),
            ("P_IDLE_TIMEOUT", "6s"),
            ("P_MAX_LIFETIME", "7s"),
            ("P_DRAIN_BYTES", "10"),
            ("P_DRAIN_TIME", "8s"),
        ];
        let mut env = Env::from_vars("P", vars);
        let mut config = Config::new();
        config.apply_env(&mut env).unwrap();
        env.finish().unwrap();
        let seconds = Duration::from_secs;
        let expected = Config {
            max_per_origin: 7,
            max_origins: 8,
            max_waiters: Some(9),
            acquire_timeout: seconds(1),
            connect_timeout: seconds(2),
            tls_timeout: seconds(3),
            header_timeout: Some(seconds(4)),
            body_timeout: None,
            timeout: Some(seconds(5)),
            idle_timeout: Some(seconds(6)),
            max_lifetime: Some(seconds(7)),
            drain_bytes: 10,
            drain_time: seconds(8),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn a_value_out_of_its_range_is_told_by_the_name_of_its_variable() {
        for (variable, value, says) in [
            (
                "P_MAX_PER_ORIGIN",
                "0",
                "P_MAX_PER_ORIGIN is 0, but must be at least 1",
            ),
            (
                "P_TLS_TIMEOUT",
                "0s",
                "P_TLS_TIMEOUT is 0s, but must be longer than zero",
            ),
        ] {
            let mut env = Env::from_vars("P", [(variable, value)]);
            let error = Config::new().apply_env(&mut env).unwrap_err();
            assert_eq!(error.to_string(), says);
        }
    }

    #[test]
    fn a_misspelt_variable_is_an_error_that_lists_the_names() {
        let mut env = Env::from_vars("P", [("P_MAX_PER_HOST", "7")]);
        Config::new().apply_env(&mut env).unwrap();
        let error = env.finish().unwrap_err().to_string();
        assert!(
            error.starts_with("P_MAX_PER_HOST is \"7\"") && error.contains("P_MAX_PER_ORIGIN"),
            "{error}"
        );
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_uses_the_same_names_and_refuses_unknown_ones() {
        let config: Config = serde_json::from_str(
            r#"{"max_per_origin": 7, "tls_timeout": "2s", "body_timeout": null}"#,
        )
        .unwrap();
        assert_eq!(
            config,
            Config::new()
                .max_per_origin(7)
                .tls_timeout(Duration::from_secs(2))
                .body_timeout(None)
        );
        assert_eq!(
            serde_json::from_str::<Config>(&serde_json::to_string(&config).unwrap()).unwrap(),
            config
        );
        assert!(serde_json::from_str::<Config>(r#"{"max_per_host": 7}"#).is_err());
    }
}
