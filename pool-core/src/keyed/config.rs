//! The settings of a keyed pool.

use crate::{
    __reads,
    config::{
        Config, ConfigError, Env,
        checks::{at_least_one, auto_waiters},
    },
};

/// The settings of a [`KeyedPool`](super::KeyedPool), as plain data: its bounds in total, and the settings of each key in
/// [`each`](Self::each). The name in `each` is the name of the pool.
///
/// In the environment and in serde all settings are flat: `{PREFIX}_MAX_TOTAL`, `{PREFIX}_MAX_SIZE`, and so on.
///
/// ```
/// use pool_core::{Config, KeyedConfig};
///
/// let config = KeyedConfig::new().max_total(200).each(Config::new().max_size(8));
/// config.validate()?;
/// assert_eq!(config.get_each().get_max_size(), 8);
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeyedConfig {
    max_total: Option<u32>,
    max_total_waiters: Option<usize>,
    pub(super) each: Config,
}

impl KeyedConfig {
    /// Returns the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the settings that are set under the prefix of `env`, and leaves the others as they are.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting. [`Env::finish`] finds variables that name no setting.
    pub fn apply_env(&mut self, env: &mut Env) -> Result<(), ConfigError> {
        self.each.apply_env(env)?;
        if let Some(max_total) = env.take("MAX_TOTAL")? {
            self.max_total = max_total;
        }
        if let Some(waiters) = env.take("MAX_TOTAL_WAITERS")? {
            self.max_total_waiters = waiters;
        }
        Ok(())
    }

    /// How many resources may be open at once, for all keys together. A resource counts from the moment its open begins to the
    /// moment its close has ended. `None` (`auto`) means 10 times `max_size`. At least 1.
    ///
    /// Default: `None`.
    #[must_use]
    pub fn max_total(mut self, value: impl Into<Option<u32>>) -> Self {
        self.max_total = value.into();
        self
    }

    /// Returns the value of [`max_total`](Self::max_total).
    pub fn get_max_total(&self) -> Option<u32> {
        self.max_total
    }

    /// How many gets may wait, for all keys together. When so many wait, a further get fails with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded), or the last waiter of the key with the most waiters does: see
    /// [`KeyedPool`](super::KeyedPool#queue-bounds). `None` (`auto`) means 16 for each of `max_total`, at least 1024.
    ///
    /// Default: `None`.
    #[must_use]
    pub fn max_total_waiters(mut self, value: impl Into<Option<usize>>) -> Self {
        self.max_total_waiters = value.into();
        self
    }

    /// Returns the value of [`max_total_waiters`](Self::max_total_waiters).
    pub fn get_max_total_waiters(&self) -> Option<usize> {
        self.max_total_waiters
    }

    /// The settings of each key, unless [`limits_of`](super::KeyedBuilder::limits_of) sets others.
    #[must_use]
    pub fn each(mut self, value: Config) -> Self {
        self.each = value;
        self
    }

    /// Returns the value of [`each`](Self::each).
    pub fn get_each(&self) -> &Config {
        &self.each
    }

    /// Checks whether a pool can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is out of its range, contradicts another setting, or cannot be used with keys.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.each.validate()?;
        at_least_one("max_total", self.total())
    }

    /// The bound in total, with `auto` resolved.
    pub(super) fn total(&self) -> u32 {
        let auto = || self.each.max_size.saturating_mul(10);
        self.max_total.unwrap_or_else(auto)
    }

    /// The bound of all queues together, with `auto` resolved.
    pub(super) fn total_waiters(&self) -> usize {
        let auto = || auto_waiters(self.total());
        self.max_total_waiters.unwrap_or_else(auto)
    }
}

impl From<Config> for KeyedConfig {
    fn from(each: Config) -> Self {
        Self::new().each(each)
    }
}

__reads! { KeyedConfig }

#[cfg(feature = "serde")]
impl KeyedConfig {
    fn write<M: serde::ser::SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        let waiters = &self.max_total_waiters;
        map.serialize_entry("max_total", &crate::__Shown(&self.max_total))?;
        map.serialize_entry("max_total_waiters", &crate::__Shown(waiters))?;
        self.each.write(map)
    }
}
