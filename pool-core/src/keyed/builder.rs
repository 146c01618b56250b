//! Making a keyed pool.

use std::fmt;

use super::{KeyLimits, KeyedManager, KeyedPool, inner::Inner};
use crate::{
    config::{
        Config, ConfigError, Env,
        settings::{at_least_one, auto_waiters},
    },
    host::{Setup, naming},
};

/// Begins a [`KeyedPool`].
///
/// The settings of [`Config`] are those of each key; the bounds in total are set here. Some mean something else than in a
/// [`Pool`](crate::Pool), or nothing:
///
/// | setting | in a keyed pool |
/// |---|---|
/// | [`max_lifetime`](Config::max_lifetime) | one that is over is closed when it is next idle or given back, and another is opened when somebody asks: its replacement is *not* opened first, so that get waits for an open. While nothing can be opened for its key it is kept |
/// | [`idle_order`](Config::idle_order), [`check_timeout`](Config::check_timeout), [`reset_timeout`](Config::reset_timeout), [`close_timeout`](Config::close_timeout), [`reclaim_after`](Config::reclaim_after), [`leak_after`](Config::leak_after), [`keepalive`](Config::keepalive), [`check_after`](Config::check_after) | as in a pool, for all keys alike |
/// | [`max_opening`](Config::max_opening) | of one key; see [`KeyedPool`](KeyedPool#keys-that-hang-or-fail) for connects that hang |
/// | [`max_waiters`](Config::max_waiters) | of one key |
/// | [`min_idle`](Config::min_idle) | must be 0: keys come into use by being asked for |
/// | [`shed_target`](Config::shed_target) | must be off |
/// | [`slow_get`](Config::slow_get) | as in a pool |
pub struct KeyedBuilder<K: Send + Sync + 'static, M: KeyedManager<K>> {
    manager: M,
    pub(crate) config: Config,
    max_total: Option<u32>,
    max_total_waiters: Option<usize>,
    says: Says<K>,
    setup: Setup,
}

/// What the user says of keys. Called with nothing locked.
pub(super) struct Says<K> {
    pub(super) limits: Option<Of<K, KeyLimits>>,
    pub(super) name: Option<Of<K, String>>,
}

/// What is said of a key.
pub(super) type Of<K, T> = Box<dyn Fn(&K) -> T + Send + Sync>;

impl<K: Send + Sync + 'static, M: KeyedManager<K>> KeyedBuilder<K, M> {
    pub(super) fn new(manager: M) -> Self {
        Self {
            manager,
            config: Config::new(),
            max_total: None,
            max_total_waiters: None,
            says: Says {
                limits: None,
                name: None,
            },
            setup: Setup::new("keyed pool"),
        }
    }

    naming!("keyed pool");

    /// Names the keys, for messages and the observer, who are told `pool/key`, and for the field `pool.key` of the feature `tracing`. It is asked when something is to be said of a key.
    ///
    /// Default: none, so that no key is shown anywhere: it may be a secret, or a customer.
    #[must_use]
    pub fn key_name(mut self, name: impl Fn(&K) -> String + Send + Sync + 'static) -> Self {
        self.says.name = Some(Box::new(name));
        self
    }

    /// What holds for each key, as far as [`limits_of`](Self::limits_of) says nothing else.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Overrides the settings so far by what the environment holds under `prefix`; `{PREFIX}_MAX_TOTAL` and
    /// `{PREFIX}_MAX_TOTAL_WAITERS` are the bounds in total.
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let mut env = Env::read(prefix)?;
        self.config.apply_env(&mut env)?;
        if let Some(max_total) = env.take("MAX_TOTAL")? {
            self.max_total = Some(max_total);
        }
        if let Some(waiters) = env.take("MAX_TOTAL_WAITERS")? {
            self.max_total_waiters = Some(waiters);
        }
        self.setup.was_read(env)?;
        Ok(self)
    }

    /// How many may be open at once, all keys together, counted from the moment an open begins to the moment a close has ended. At
    /// least 1. Default: 10 times `max_size`.
    #[must_use]
    pub fn max_total(mut self, value: u32) -> Self {
        self.max_total = Some(value);
        self
    }

    /// How many may wait, all keys together; of one more, either it or the last of the key that has most in line fails with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded): see [`KeyedPool`](KeyedPool#who-may-wait).
    ///
    /// Default: 16 for each of `max_total`, at least 64.
    #[must_use]
    pub fn max_total_waiters(mut self, value: usize) -> Self {
        self.max_total_waiters = Some(value);
        self
    }

    /// What holds for a key in place of the settings for all. It is asked when a key comes into use, and again by
    /// [`KeyedPool::reload_limits`], with nothing locked. What [`KeyLimits::validate`] refuses fails the gets of its key.
    #[must_use]
    pub fn limits_of(mut self, limits: impl Fn(&K) -> KeyLimits + Send + Sync + 'static) -> Self {
        self.says.limits = Some(Box::new(limits));
        self
    }

    /// Makes the pool. It opens nothing yet and needs no runtime: the first get does.
    ///
    /// # Errors
    /// A setting that is out of its range, contradicts another, or does not go with keys.
    pub fn build(self) -> Result<KeyedPool<K, M>, ConfigError> {
        let max_total = self
            .max_total
            .unwrap_or_else(|| self.config.max_size.saturating_mul(10));
        let valid = self.validate(max_total);
        valid.map_err(|error| self.setup.blame(error))?;
        let max_waiters = self
            .max_total_waiters
            .unwrap_or_else(|| auto_waiters(max_total));
        let inner = Inner::new(
            self.manager,
            self.config,
            max_total,
            max_waiters,
            self.says,
            self.setup,
        );
        Ok(KeyedPool::from_inner(inner))
    }

    fn validate(&self, max_total: u32) -> Result<(), ConfigError> {
        self.config.validate()?;
        if self.config.min_idle > 0 {
            let was = self.config.min_idle.to_string();
            return Err(ConfigError::new("min_idle", was, "0 in a keyed pool"));
        }
        if let Some(target) = self.config.shed_target {
            let was = format!("{target:?}");
            return Err(ConfigError::new("shed_target", was, "off in a keyed pool"));
        }
        at_least_one("max_total", max_total)
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> fmt::Debug for KeyedBuilder<K, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedBuilder")
            .field("name", &self.setup.name)
            .field("config", &self.config)
            .field("max_total", &self.max_total)
            .finish_non_exhaustive()
    }
}
