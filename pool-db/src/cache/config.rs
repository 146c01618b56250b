//! The settings of a cache. Each setting is declared once.

use std::{hash::Hash, time::Duration};

use pool_core::{
    __checks::{named, no_zeros},
    __settings, ConfigError,
};

__settings! {
    {
        /// The settings of a [`Cache`](super::Cache), as plain data.
        ///
        /// ```
        /// use std::time::Duration;
        /// use pool_db::cache::CacheConfig;
        ///
        /// let config = CacheConfig::new().ttl(Duration::from_secs(30)).stale_while_revalidate(Duration::from_secs(10));
        /// config.validate()?;
        /// # Ok::<(), pool_db::ConfigError>(())
        /// ```
        CacheConfig for [K: Hash + Eq + Clone + Send + Sync + 'static, V: Clone + Send + Sync + 'static, E: Send + Sync + 'static]
            super::CacheBuilder<K, V, E>;
    }

    /// How many entries the cache holds in the process; with a [`weigher`](super::CacheBuilder::weigher), their weight in total. What
    /// was not used lately or often is evicted first. With 0, the cache holds nothing and only coalesces loads.
    ///
    /// Default: 10,000.
    max_size / get_max_size(u64): u64 = 10_000, "MAX_SIZE";

    /// How long a value is fresh. Not zero. Default: 60 s.
    ttl / get_ttl(Duration): Duration = Duration::from_secs(60), "TTL";

    /// By how much the ttl of each entry differs, as a fraction: with 0.1, an entry is fresh for 0.9 to 1.1 times its ttl, at random, so
    /// entries that were stored together do not expire together. From 0 to 1. Default: 0.1.
    ttl_jitter / get_ttl_jitter(f64): f64 = 0.1, "TTL_JITTER";

    /// An entry that was not read for this long is dropped. It runs on the system's clock. `None` (`off`) means never. Not zero.
    ///
    /// Default: `None`.
    idle_timeout / get_idle_timeout(impl Into<Option<Duration>>): Option<Duration> = None, "IDLE_TIMEOUT";

    /// For how long after its ttl a value is still served, at once, while one load in the background refreshes it. `None` (`off`)
    /// means that callers wait for the load. Not zero.
    ///
    /// Default: `None`.
    stale_while_revalidate / get_stale_while_revalidate(impl Into<Option<Duration>>): Option<Duration> = None, "STALE_WHILE_REVALIDATE";

    /// For how long after its ttl a value is still served if a load fails. `None` (`off`) means that callers get the error. Not zero.
    ///
    /// Default: `None`.
    stale_if_error / get_stale_if_error(impl Into<Option<Duration>>): Option<Duration> = None, "STALE_IF_ERROR";

    /// How long "there is no such value" is remembered. `None` (`off`) means that it is not. Not zero. Default: 5 s.
    negative_ttl / get_negative_ttl(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(5)), "NEGATIVE_TTL";

    /// After a load of a key failed, no other load of the key begins for this long: callers get the stale value, if
    /// [`stale_if_error`](Self::stale_if_error) allows it, or the same error. `None` (`off`) means that the next call loads. Not zero.
    ///
    /// Default: `None`.
    error_backoff / get_error_backoff(impl Into<Option<Duration>>): Option<Duration> = None, "ERROR_BACKOFF";

    /// How long a load may take. A load that takes longer is dropped, and has failed. Not zero. Default: 30 s.
    load_timeout / get_load_timeout(Duration): Duration = Duration::from_secs(30), "LOAD_TIMEOUT";

    /// How many calls may wait for loads at once, of all keys together. A further call fails at once with
    /// [`LoadError::is_overloaded`](super::LoadError::is_overloaded). `None` (`auto`) means 16,384.
    ///
    /// Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long an operation of the second layer may take before the cache goes on without it. Not zero. Default: 50 ms.
    remote_timeout / get_remote_timeout(Duration): Duration = Duration::from_millis(50), "REMOTE_TIMEOUT";

    /// For how long the second layer is left alone after three of its operations in a row failed. Then one operation tries it again,
    /// while the others go on without it. Not zero. Default: 1 s.
    remote_retry / get_remote_retry(Duration): Duration = Duration::from_secs(1), "REMOTE_RETRY";

    /// For how long a process has the right to load a key for all processes. It ends earlier if the load ends. Not zero.
    ///
    /// Default: 10 s.
    lease_time / get_lease_time(Duration): Duration = Duration::from_secs(10), "LEASE_TIME";

    /// How long a call waits for the value that another process loads, before this process loads it too. `None` (`off`) means that
    /// every process loads for itself. Not zero. Default: 1 s.
    lease_wait / get_lease_wait(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(1)), "LEASE_WAIT";
}

impl CacheConfig {
    /// Checks whether a cache can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        named(self.name.as_deref())?;
        if !(0.0..=1.0).contains(&self.ttl_jitter) {
            let value = self.ttl_jitter.to_string();
            return Err(ConfigError::new("ttl_jitter", value, "from 0 to 1"));
        }
        no_zeros([
            ("ttl", self.ttl.into()),
            ("idle_timeout", self.idle_timeout.into()),
            ("stale_while_revalidate", self.stale_while_revalidate.into()),
            ("stale_if_error", self.stale_if_error.into()),
            ("negative_ttl", self.negative_ttl.into()),
            ("error_backoff", self.error_backoff.into()),
            ("load_timeout", self.load_timeout.into()),
            ("remote_timeout", self.remote_timeout.into()),
            ("remote_retry", self.remote_retry.into()),
            ("lease_time", self.lease_time.into()),
            ("lease_wait", self.lease_wait.into()),
        ])?;
        // The memory's clock ends there.
        match self.idle_timeout {
            Some(idle) if idle > CENTURY => Err(ConfigError::new(
                "idle_timeout",
                format!("{idle:?}"),
                "at most 100 years, or off",
            )),
            _ => Ok(()),
        }
    }

    /// How long after its ttl a value may be served, for whatever reason.
    pub(super) fn longest_stale(&self) -> Duration {
        let windows = [self.stale_while_revalidate, self.stale_if_error];
        windows.into_iter().flatten().max().unwrap_or_default()
    }
}

/// 100 years.
pub(super) const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use pool_core::Env;

    #[test]
    fn a_setting_out_of_its_range_is_named() {
        CacheConfig::new().validate().unwrap();
        let says = |config: CacheConfig| config.validate().unwrap_err().to_string();
        let base = CacheConfig::new;
        assert_eq!(
            says(base().ttl(Duration::ZERO)),
            "ttl is 0s, but must be longer than zero"
        );
        assert_eq!(
            says(base().negative_ttl(Duration::ZERO)),
            "negative_ttl is 0s, but must be longer than zero, or off"
        );
        assert_eq!(
            says(base().ttl_jitter(1.5)),
            "ttl_jitter is 1.5, but must be from 0 to 1"
        );
        assert!(says(base().ttl_jitter(f64::NAN)).starts_with("ttl_jitter is NaN"));
        assert!(says(base().idle_timeout(Duration::MAX)).contains("100 years"));
        assert!(says(base().name(" ")).starts_with("name is"));
    }

    #[test]
    fn every_setting_reads_its_variable_and_an_unknown_one_is_an_error() {
        let vars = [
            ("P_MAX_SIZE", "7"),
            ("P_TTL", "2s"),
            ("P_TTL_JITTER", "0"),
            ("P_IDLE_TIMEOUT", "1m"),
            ("P_STALE_WHILE_REVALIDATE", "3s"),
            ("P_STALE_IF_ERROR", "4s"),
            ("P_NEGATIVE_TTL", "off"),
            ("P_ERROR_BACKOFF", "5s"),
            ("P_LOAD_TIMEOUT", "6s"),
            ("P_MAX_WAITERS", "auto"),
            ("P_REMOTE_TIMEOUT", "20ms"),
            ("P_REMOTE_RETRY", "7s"),
            ("P_LEASE_TIME", "8s"),
            ("P_LEASE_WAIT", "off"),
        ];
        let mut env = Env::from_vars("P", vars);
        let mut config = CacheConfig::new();
        config.apply_env(&mut env).unwrap();
        env.finish().unwrap();
        let expected = CacheConfig::new()
            .name("p")
            .max_size(7)
            .ttl(Duration::from_secs(2))
            .ttl_jitter(0.0)
            .idle_timeout(Duration::from_secs(60))
            .stale_while_revalidate(Duration::from_secs(3))
            .stale_if_error(Duration::from_secs(4))
            .negative_ttl(None)
            .error_backoff(Duration::from_secs(5))
            .load_timeout(Duration::from_secs(6))
            .remote_timeout(Duration::from_millis(20))
            .remote_retry(Duration::from_secs(7))
            .lease_time(Duration::from_secs(8))
            .lease_wait(None);
        assert_eq!(config, expected);

        let mut env = Env::from_vars("P", [("P_TLL", "2s")]);
        CacheConfig::new().apply_env(&mut env).unwrap();
        let says = env.finish().unwrap_err().to_string();
        assert!(says.ends_with("did you mean P_TTL?"), "{says}");
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_has_the_same_names_and_texts() {
        let config = CacheConfig::new()
            .name("pages")
            .ttl(Duration::from_secs(2))
            .negative_ttl(None);
        let text = serde_json::to_string(&config).unwrap();
        assert!(
            text.contains(r#""ttl":"2s""#) && text.contains(r#""negative_ttl":"off""#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<CacheConfig>(&text).unwrap(), config);
        let says = serde_json::from_str::<CacheConfig>(r#"{"tll": "2s"}"#).unwrap_err();
        assert!(says.to_string().contains("did you mean ttl?"), "{says}");
    }
}
