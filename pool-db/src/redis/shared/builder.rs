//! Making a pool of shared connections.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "metrics")]
use pool_core::observe::MetricNames;
use pool_core::{
    __Sources, __checks::at_least_one, __checks::no_zeros, ConfigError, Env, SharedConfig,
    SharedPool, observe::Observer,
};

use super::{
    Shared,
    manager::{Limits, Manager},
};
use crate::{
    address::Address,
    environment::Environment,
    redis::{DriverSettings, dial::Dial},
};

/// Builds a [`Shared`] pool. It has the settings of a [`SharedConfig`], the address and what is said to the server, and its own.
///
/// ```
/// use std::time::Duration;
/// use pool_db::redis::Shared;
///
/// let shared = Shared::builder()
///     .url("redis://cache.example/2")
///     .name("cache")
///     .max_size(2)
///     .query_timeout(Duration::from_secs(1))
///     .build()?;
/// assert_eq!((shared.name(), shared.status().max_size), ("cache", 2));
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use = "`build` makes the pool"]
pub struct SharedBuilder {
    url: Option<Address>,
    pub(in crate::redis) settings: DriverSettings,
    config: SharedConfig,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metric_names: MetricNames,
    sources: __Sources,
}

impl SharedBuilder {
    /// Creates a builder with the default settings, and without the address of a server.
    pub fn new() -> Self {
        Self {
            url: None,
            settings: DriverSettings::default(),
            config: SharedConfig::new().max_size(MAX_SIZE),
            limits: Limits {
                capacity: 256,
                max_bytes: 16 << 20,
                query_timeout: Some(Duration::from_secs(5)),
            },
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
            sources: __Sources::default(),
        }
    }

    /// How many calls may be in flight on one connection. More wait for another connection or for an answer. At least 1.
    ///
    /// Default: 256.
    pub const fn capacity(mut self, calls: u32) -> Self {
        self.limits.capacity = calls;
        self
    }

    /// How long a request may be, in bytes of its arguments and 8 for each of them. A longer one is refused before it is sent: it
    /// would hold up those behind it. At least 1.
    ///
    /// Default: 16 MiB.
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// How long one call may take, from its request to the last of its answer. A connection that has not answered at all for so long
    /// is closed. `None` (`off`) means no limit. Not zero.
    ///
    /// Default: 5 s.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.limits.query_timeout = limit.into();
        self
    }

    /// Overrides the settings so far with environment variables.
    ///
    /// The address is read from `{PREFIX}_URL`, or else from `REDIS_URL`. Every setter has a variable of its name:
    /// `{PREFIX}_CAPACITY`, `{PREFIX}_QUERY_TIMEOUT` (or `off`), `{PREFIX}_PASSWORD`, `{PREFIX}_MAX_SIZE` and so on. Take another
    /// prefix than that of a pool of exclusive connections.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Env::read(prefix)?, Environment::read(URL, &[])?)
    }

    fn apply(mut self, mut env: Env, beside: Environment) -> Result<Self, ConfigError> {
        let url = beside.take_url(&mut env, URL)?;
        self.settings.read(&mut self.url, url, &mut env)?;
        let limits = &mut self.limits;
        if let Some(limit) = env.take("QUERY_TIMEOUT")? {
            limits.query_timeout = limit;
        }
        if let Some(calls) = env.take("CAPACITY")? {
            limits.capacity = calls;
        }
        if let Some(bytes) = env.take("MAX_BYTES")? {
            limits.max_bytes = bytes;
        }
        self.config.apply_env(&mut env)?;
        self.sources.was_read(env)?;
        Ok(self)
    }

    /// Builds the pool. Nothing is opened before the first call.
    ///
    /// # Errors
    /// A setting is out of its range or contradicts another setting, or the address is invalid or missing. The error names the
    /// setting, or the variable that it came from.
    pub fn build(self) -> Result<Shared, ConfigError> {
        let sources = self.sources.clone();
        self.built().map_err(|error| sources.blame(error))
    }

    fn built(self) -> Result<Shared, ConfigError> {
        let Self {
            url,
            settings,
            config,
            limits,
            observer,
            ..
        } = self;
        config.validate()?;
        limits.validate()?;
        settings.validate()?;
        let dial = Arc::new(Dial::new(url.as_ref(), &settings)?);
        let mut core = SharedPool::builder(Manager { dial, limits })
            .config(config)
            .__word("shared redis");
        if let Some(observer) = observer {
            core = core.__observer(observer);
        }
        #[cfg(feature = "metrics")]
        {
            core = core.metric_names(self.metric_names);
        }
        Ok(Shared {
            core: core.build()?,
        })
    }
}

impl Limits {
    fn validate(&self) -> Result<(), ConfigError> {
        at_least_one("capacity", self.capacity)?;
        if self.capacity > MOST_CALLS {
            let expected = format!("at most {MOST_CALLS}");
            return Err(ConfigError::new(
                "capacity",
                self.capacity.to_string(),
                expected,
            ));
        }
        if self.max_bytes == 0 {
            return Err(ConfigError::new("max_bytes", "0", "at least 1"));
        }
        no_zeros([("query_timeout", self.query_timeout.into())])
    }
}

impl SharedBuilder {
    /// Sets the address of the server: see the [module](crate::redis). An error never shows the password in it.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(Address(url.into()));
        self
    }
}

passed_on! {
    SharedBuilder;
    config:
        /// How many connections may be open at once. Another one is opened only when all are full or suspect. At least 1.
        ///
        /// Default: 2.
        max_size(u32);
}

shared_settings!(SharedBuilder);

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for SharedBuilder {
    fn deserialize<F: serde::Deserializer<'de>>(deserializer: F) -> Result<Self, F::Error> {
        use serde::de::Error;
        let env = Env::deserialize(deserializer)?;
        let read = Self::new().apply(env, Environment::default());
        read.map_err(F::Error::custom)
    }
}

impl Default for SharedBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for SharedBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuilder")
            .field("url", &self.url)
            .field("settings", &self.settings)
            .field("config", &self.config)
            .field("limits", &self.limits)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}

/// One connection carries what a server can do; another is there while it is replaced.
const MAX_SIZE: u32 = 2;

/// More than this is no bound any more, and the driver's queue is no longer than this.
const MOST_CALLS: u32 = 1 << 20;

const URL: &str = "REDIS_URL";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::redis::Protocol;

    fn built(vars: &[(&str, &str)]) -> Result<Shared, ConfigError> {
        let (env, beside) = Environment::of(vars);
        SharedBuilder::new().apply(env, beside)?.build()
    }

    const ADDRESS: (&str, &str) = ("REDIS_URL", "redis://me:topsecret@cache.example/3");

    #[test]
    fn the_environment_sets_what_the_setters_set() {
        let shared = built(&[
            ADDRESS,
            ("POOL_DB_MAX_SIZE", "3"),
            ("POOL_DB_CAPACITY", "7"),
            ("POOL_DB_MAX_BYTES", "600"),
            ("POOL_DB_QUERY_TIMEOUT", "off"),
            ("POOL_DB_PASSWORD", "other"),
            ("POOL_DB_USER", "you"),
            ("POOL_DB_DB", "4"),
            ("POOL_DB_PROTOCOL", "resp3"),
            ("POOL_DB_CLIENT_NAME", "web"),
        ])
        .unwrap();
        let Manager { dial, limits } = shared.core.manager();
        assert_eq!(dial.target, "redis at cache.example:6379/4 as you");
        assert_eq!((dial.db, dial.protocol), (4, Protocol::Resp3));
        assert_eq!((limits.capacity, limits.max_bytes), (7, 600));
        assert_eq!(limits.query_timeout, None);
        assert_eq!((shared.status().max_size, shared.name()), (3, "db"));
    }

    #[cfg(feature = "serde")]
    #[test]
    fn it_is_read_from_any_format_as_from_the_environment() {
        let text = r#"{"url": "redis://u:topsecret@h/3", "capacity": 7, "query_timeout": "off", "max_size": 3, "protocol": "resp3"}"#;
        let by_serde = serde_json::from_str::<SharedBuilder>(text).unwrap();
        assert!(!format!("{by_serde:?}").contains("topsecret"));
        let shared = by_serde.build().unwrap();
        let Manager { dial, limits } = shared.core.manager();
        assert_eq!((dial.db, dial.protocol), (3, Protocol::Resp3));
        assert_eq!((limits.capacity, limits.query_timeout), (7, None));
        assert_eq!(shared.status().max_size, 3);
        let error = serde_json::from_str::<SharedBuilder>(r#"{"capacty": 3}"#).unwrap_err();
        assert!(
            error.to_string().contains("did you mean capacity?"),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_what_it_may_be() {
        for (vars, says) in [
            (vec![], "url must be set, as REDIS_URL"),
            (
                vec![("POOL_DB_URL", "redis://u:topsecret@")],
                "POOL_DB_URL is an address of 20 characters that begins with `redis:`, but must be an address whose host",
            ),
            (
                vec![("REDIS_URL", "topsecret")],
                "REDIS_URL is a text of 9 characters, but must be an address: redis://",
            ),
            (
                vec![ADDRESS, ("POOL_DB_CAPACITY", "0")],
                "POOL_DB_CAPACITY is 0, but must be at least 1",
            ),
            (
                vec![ADDRESS, ("POOL_DB_CAPACITY", "1048577")],
                "POOL_DB_CAPACITY is 1048577, but must be at most 1048576",
            ),
            (
                vec![ADDRESS, ("POOL_DB_MAX_BYTES", "0")],
                "POOL_DB_MAX_BYTES is 0, but must be at least 1",
            ),
            (
                vec![ADDRESS, ("POOL_DB_QUERY_TIMEOUT", "0s")],
                "POOL_DB_QUERY_TIMEOUT is 0s",
            ),
            (vec![ADDRESS, ("POOL_DB_DB", "-1")], "POOL_DB_DB is "),
            (
                vec![ADDRESS, ("POOL_DB_CLIENT_NAME", "a b")],
                "POOL_DB_CLIENT_NAME is \"a b\", but must be printable",
            ),
            (
                vec![("REDIS_URL", "redis://h"), ("POOL_DB_USER", "me")],
                "password must be set, as a user is",
            ),
            (
                vec![ADDRESS, ("POOL_DB_ROOT_CERTIFICATE", "system")],
                "url is an address of 36 characters",
            ),
            (
                vec![
                    ("REDIS_URL", "rediss://h"),
                    ("POOL_DB_CLIENT_KEY", "/nowhere"),
                ],
                "client_certificate must be set",
            ),
            (
                vec![
                    ("REDIS_URL", "rediss://h"),
                    ("POOL_DB_ROOT_CERTIFICATE", "/nowhere"),
                ],
                "POOL_DB_ROOT_CERTIFICATE is /nowhere, but must be a PEM file",
            ),
            (
                vec![ADDRESS, ("POOL_DB_PROTOCOL", "3.1")],
                "POOL_DB_PROTOCOL is ",
            ),
            (
                vec![ADDRESS, ("POOL_DB_CAPACTY", "3")],
                "POOL_DB_CAPACTY must be left out",
            ),
        ] {
            let error = built(&vars).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn no_password_is_in_the_debug_output() {
        let builder = SharedBuilder::new().url(ADDRESS.1).password("topsecret");
        assert!(!format!("{builder:?}").contains("topsecret"));
        assert!(!format!("{:?}", builder.build().unwrap()).contains("topsecret"));
    }
}
