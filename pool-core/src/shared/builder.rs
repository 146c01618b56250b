//! Making a shared pool.

use std::{fmt, sync::Arc, time::Duration};

use super::{SharedManager, SharedPool, inner::Inner};
#[cfg(feature = "metrics")]
use crate::observe::MetricNames;
use crate::{
    config::{Config, ConfigError, Env},
    observe::Observer,
};

/// Begins a [`SharedPool`].
///
/// The settings are those of [`Config`]; of these a shared pool uses `max_size` and `min_idle` (connections, open whether anybody
/// shares them or not), `max_opening`, `max_waiters`, `acquire_timeout`, `create_timeout`, `close_timeout`, `idle_timeout`,
/// `max_lifetime`, `lifetime_jitter`, `reclaim_after` and `slow_get`. It has nothing to check, to reset or to report as leaked:
/// those that have no meaning here must be as they are by default.
///
/// ```
/// # use pool_core::{Gauge, SharedManager, SharedPool};
/// # struct Redis;
/// # impl SharedManager for Redis {
/// #     type Connection = ();
/// #     type Error = std::io::Error;
/// #     async fn connect(&self, gauge: Gauge) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// // Reads CACHE_MAX_SIZE, CACHE_ACQUIRE_TIMEOUT, CACHE_SPARE_SHARES and so on.
/// let pool = SharedPool::builder(Redis).name("cache").max_size(2).env("CACHE")?.build()?;
/// # drop(pool);
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
pub struct SharedBuilder<M: SharedManager> {
    manager: M,
    name: String,
    config: Config,
    spare: u32,
    observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    metric_names: MetricNames,
}

impl<M: SharedManager> SharedBuilder<M> {
    pub(super) fn new(manager: M) -> Self {
        Self {
            manager,
            name: "shared pool".to_owned(),
            config: Config::new(),
            spare: 0,
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
        }
    }

    /// Names the pool, for messages and metrics. Default: `shared pool`.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Takes all settings from `config`.
    #[must_use]
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Overrides the settings so far by what the environment holds under `prefix`; `{PREFIX}_SPARE_SHARES` is
    /// [`spare_shares`](Self::spare_shares).
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let mut env = Env::read(prefix)?;
        self.config.apply_env(&mut env)?;
        if let Some(shares) = env.take("SPARE_SHARES")? {
            self.spare = shares;
        }
        env.finish()?;
        Ok(self)
    }

    /// How many connections there may be. See [`Config::max_size`].
    #[must_use]
    pub fn max_size(mut self, connections: u32) -> Self {
        self.config.max_size = connections;
        self
    }

    /// How long a get may take. See [`Config::acquire_timeout`].
    #[must_use]
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.config.acquire_timeout = timeout;
        self
    }

    /// Another connection is opened ahead of need, when fewer shares than this can be had at once. Default: 0, when all are full.
    #[must_use]
    pub fn spare_shares(mut self, shares: u32) -> Self {
        self.spare = shares;
        self
    }

    /// Tells `observer` what happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Publishes the pool under these names (feature `metrics`). Default: [`MetricNames::Database`].
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn metric_names(mut self, names: MetricNames) -> Self {
        self.metric_names = names;
        self
    }

    /// Makes the pool. It opens nothing yet and needs no runtime: the first get does.
    ///
    /// # Errors
    /// A setting that is out of its range, contradicts another ([`Config::validate`]), or has no meaning where things are shared.
    pub fn build(self) -> Result<SharedPool<M>, ConfigError> {
        self.config.validate()?;
        self.refuse_what_is_ignored()?;
        Ok(SharedPool::from_inner(Inner::new(
            self.manager,
            self.name,
            self.config,
            self.spare,
            self.observer,
            #[cfg(feature = "metrics")]
            self.metric_names,
        )))
    }
}

impl<M: SharedManager> SharedBuilder<M> {
    fn refuse_what_is_ignored(&self) -> Result<(), ConfigError> {
        let (set, default) = (&self.config, Config::new());
        let off = |time: Option<Duration>| time.map(|time| format!("{time:?}"));
        let time = |set: Duration, default: Duration| (set != default).then(|| format!("{set:?}"));
        let ignored = [
            ("shed_target", off(set.shed_target), "off"),
            ("leak_after", off(set.leak_after), "off"),
            ("keepalive", off(set.keepalive), "off"),
            (
                "check_after",
                time(set.check_after, default.check_after),
                "500ms, the default,",
            ),
            (
                "check_timeout",
                time(set.check_timeout, default.check_timeout),
                "5s, the default,",
            ),
            (
                "reset_timeout",
                time(set.reset_timeout, default.reset_timeout),
                "5s, the default,",
            ),
            (
                "idle_order",
                (set.idle_order != default.idle_order).then(|| "fifo".to_owned()),
                "lifo",
            ),
        ];
        let first = ignored
            .into_iter()
            .find_map(|(name, was, may)| Some((name, was?, may)));
        match first {
            Some((name, was, may)) => Err(ConfigError::new(
                name,
                was,
                format!("{may} in a shared pool"),
            )),
            None => Ok(()),
        }
    }
}

impl<M: SharedManager> fmt::Debug for SharedBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
