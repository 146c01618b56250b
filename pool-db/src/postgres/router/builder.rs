//! The settings of a router.

use std::time::Duration;

use pool_core::{__checks::no_zeros, ConfigError, Env};

use super::{Router, Rules};
use crate::{
    Driver as _,
    environment::Environment,
    postgres::{Builder, Pool, Postgres, SessionAttrs, settings::LIBPQ},
};

/// Builds a [`Router`].
#[derive(Clone, Debug)]
#[must_use = "`build` makes the router"]
pub struct RouterBuilder {
    pool: Builder,
    rules: Rules,
}

impl RouterBuilder {
    pub(super) fn new() -> Self {
        Self {
            pool: Pool::builder(),
            rules: Rules {
                max_lag: Some(Duration::from_secs(10)),
                max_lag_bytes: None,
                fallback: true,
                measure_every: Duration::from_millis(500),
                measure_timeout: Duration::from_secs(2),
            },
        }
    }

    /// Sets the address of all hosts: `postgres://me@a,b,c/orders`. Each host must be one server; in what order they are named does
    /// not matter.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.pool = self.pool.url(url);
        self
    }

    /// Takes the address and all settings of the pools from the builder of a pool, in place of those so far. Each pool of the
    /// router has them, `max_size` among them. Its `target_session_attrs` does not count.
    pub fn pool(mut self, pool: Builder) -> Self {
        self.pool = pool;
        self
    }

    /// Sets how far a replica may be behind the primary to be read from. `None` (`off`) means no bound. At least twice
    /// `measure_every`. Default: 10 s.
    pub fn max_lag(mut self, lag: impl Into<Option<Duration>>) -> Self {
        self.rules.max_lag = lag.into();
        self
    }

    /// Sets how many bytes of the log of writes a replica may be behind to be read from. Default: `None`, no bound.
    pub fn max_lag_bytes(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.rules.max_lag_bytes = bytes.into();
        self
    }

    /// Sets whether the primary is read from when no replica will do. Otherwise such a read fails. Default: true.
    pub const fn fallback(mut self, fallback: bool) -> Self {
        self.rules.fallback = fallback;
        self
    }

    /// Sets how often each server is asked for its role and its place in the log. Not zero. Default: 500 ms.
    pub const fn measure_every(mut self, interval: Duration) -> Self {
        self.rules.measure_every = interval;
        self
    }

    /// Sets how long a server may take to answer that, or to be connected to for that, before it is left out. Not zero. Default: 2 s.
    pub const fn measure_timeout(mut self, limit: Duration) -> Self {
        self.rules.measure_timeout = limit;
        self
    }

    /// Overrides the settings so far with environment variables: those of a pool ([`Builder::env`](crate::Builder::env)), and
    /// `{PREFIX}_MAX_LAG`, `_MAX_LAG_BYTES`, `_FALLBACK`, `_MEASURE_EVERY` and `_MEASURE_TIMEOUT`.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(
            Env::read(prefix)?,
            Environment::read(Postgres::URL, &LIBPQ)?,
        )
    }

    fn apply(mut self, mut env: Env, beside: Environment) -> Result<Self, ConfigError> {
        let rules = &mut self.rules;
        if let Some(lag) = env.take("MAX_LAG")? {
            rules.max_lag = lag;
        }
        if let Some(bytes) = env.take::<u64>("MAX_LAG_BYTES")? {
            rules.max_lag_bytes = Some(bytes);
        }
        if let Some(fallback) = env.take("FALLBACK")? {
            rules.fallback = fallback;
        }
        if let Some(interval) = env.take("MEASURE_EVERY")? {
            rules.measure_every = interval;
        }
        if let Some(limit) = env.take("MEASURE_TIMEOUT")? {
            rules.measure_timeout = limit;
        }
        self.pool = self.pool.apply(env, beside)?;
        Ok(self)
    }

    /// Builds the router and its pools. Nothing is opened before the first read, write or [`warm_up`](Router::warm_up).
    ///
    /// # Errors
    /// A setting is out of its range or contradicts another setting, or the address is invalid or missing.
    pub fn build(self) -> Result<Router, ConfigError> {
        let blamed = self.pool.sources.clone();
        self.checked().map_err(|error| blamed.blame(error))?.built()
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let rules = &self.rules;
        no_zeros([
            ("measure_every", rules.measure_every.into()),
            ("measure_timeout", rules.measure_timeout.into()),
        ])?;
        let least = rules.measure_every.saturating_mul(2);
        match rules.max_lag {
            Some(lag) if lag < least => Err(ConfigError::new(
                "max_lag",
                format!("{lag:?}"),
                format!(
                    "at least twice measure_every, which is {:?}",
                    rules.measure_every
                ),
            )),
            _ => Ok(self),
        }
    }

    fn built(self) -> Result<Router, ConfigError> {
        let Self { pool, rules } = self;
        let write = pool
            .clone()
            .target_session_attrs(SessionAttrs::ReadWrite)
            .build()?;
        let mut hosts = Vec::new();
        for (index, target) in write.manager().dial.settings.targets.iter().enumerate() {
            let mut one = pool.clone().target_session_attrs(SessionAttrs::Any);
            one.settings.only_host = Some(index);
            if let Some(name) = pool.config.get_name() {
                one = one.name(format!("{name}/{target}"));
            }
            hosts.push((target.to_string(), one.build()?));
        }
        Ok(Router::new(write, hosts, rules))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_environment_has_the_settings_of_the_router_and_of_its_pools() {
        let (env, beside) = Environment::of(&[
            ("POOL_DB_URL", "postgres://me@a,b:5433/shop"),
            ("POOL_DB_MAX_SIZE", "7"),
            ("POOL_DB_MAX_LAG", "off"),
            ("POOL_DB_MAX_LAG_BYTES", "1000"),
            ("POOL_DB_FALLBACK", "false"),
            ("POOL_DB_MEASURE_EVERY", "1s"),
            ("POOL_DB_MEASURE_TIMEOUT", "3s"),
        ]);
        let builder = Router::builder().apply(env, beside).unwrap();
        let rules = builder.rules;
        assert_eq!((rules.max_lag, rules.max_lag_bytes), (None, Some(1000)));
        assert!(!rules.fallback);
        assert_eq!(rules.measure_every, Duration::from_secs(1));
        assert_eq!(rules.measure_timeout, Duration::from_secs(3));
        let router = builder.build().unwrap();
        assert_eq!(router.write().status().max_size, 7);
        let status = router.status();
        let hosts: Vec<_> = status.hosts.iter().map(|host| host.host.as_str()).collect();
        assert_eq!(hosts, ["a:5432", "b:5433"]);
        assert!(status.hosts.iter().all(|host| host.pool.max_size == 7));
    }

    #[test]
    fn what_is_out_of_its_range_is_named() {
        let url = "postgres://me@a,b/shop";
        let builder = || Router::builder().url(url);
        for (builder, says) in [
            (
                builder().max_lag(Duration::from_millis(999)),
                "max_lag is 999ms, but must be at least twice measure_every, which is 500ms",
            ),
            (
                builder().measure_every(Duration::ZERO),
                "measure_every is 0s, but must be longer than zero",
            ),
            (
                builder().measure_timeout(Duration::ZERO),
                "measure_timeout is 0s, but must be longer than zero",
            ),
            (Router::builder(), "url must be set"),
        ] {
            let error = builder.build().unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let (env, beside) = Environment::of(&[("POOL_DB_URL", url), ("POOL_DB_MAX_LAG", "1ms")]);
        let error = Router::builder().apply(env, beside).unwrap().build();
        let error = error.unwrap_err().to_string();
        assert!(error.starts_with("POOL_DB_MAX_LAG is 1ms"), "{error}");
    }
}
