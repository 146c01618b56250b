//! The builder of a limiter.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, atomic::AtomicBool},
};

use super::{Inner, Limiter, LimiterConfig, permits::Permits};
use crate::config::{__Sources, ConfigError, Env};

/// Builds a [`Limiter`]. Each setting of [`LimiterConfig`] has a method here.
///
/// ```
/// use std::time::Duration;
/// use pool_core::Limiter;
///
/// // A partner allows ten calls at once. Fifty more may wait, for two seconds; further calls fail at once.
/// let partner = Limiter::builder(10)
///     .name("partner")
///     .max_waiters(50)
///     .acquire_timeout(Duration::from_secs(2))
///     .build()?;
/// assert_eq!((partner.name(), partner.status().available), ("partner", 10));
///
/// let error = Limiter::builder(0).build().unwrap_err();
/// assert_eq!(error.to_string(), "limit is 0, but must be at least 1");
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
#[derive(Debug)]
#[must_use = "`build` makes the limiter"]
pub struct LimiterBuilder {
    pub(crate) config: LimiterConfig,
    sources: __Sources,
}

impl LimiterBuilder {
    pub(super) fn new(config: LimiterConfig) -> Self {
        Self {
            config,
            sources: __Sources::default(),
        }
    }

    /// Takes all settings from `config`. Settings that were set before are replaced, except for the name if `config` has none.
    /// Settings that are set after this override `config`.
    pub fn config(mut self, config: LimiterConfig) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings made so far by the environment variables under `prefix`: `{PREFIX}_LIMIT` and so on.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let env = Env::read(prefix)?;
        self.sources.read(env, |env| self.config.apply_env(env))?;
        Ok(self)
    }

    /// Builds the limiter.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn build(self) -> Result<Limiter, ConfigError> {
        let valid = self.config.validate();
        valid.map_err(|error| self.sources.blame(error))?;
        Ok(self.finish())
    }

    pub(super) fn finish(self) -> Limiter {
        let config = self.config;
        let hasher = RandomState::new();
        let inner = Inner {
            serial: hasher.hash_one(()),
            permits: Permits::new(config.limit, config.waiters()),
            name: config.get_name().unwrap_or("limiter").into(),
            max_waiters: config.max_waiters,
            timeout: config.acquire_timeout,
            reclaim_after: config.reclaim_after,
            driven: AtomicBool::new(false),
            hasher,
        };
        Limiter::from_inner(Arc::new(inner))
    }
}
