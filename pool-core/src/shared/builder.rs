//! Making a shared pool.

use std::{fmt, sync::Arc};

use super::{SharedConfig, SharedManager, SharedPool, inner::Inner};
use crate::{
    config::{ConfigError, Env},
    host::{Setup, observing},
    observe::Observer,
};

/// Builds a [`SharedPool`].
///
/// Each setting of [`SharedConfig`] has a method here.
///
/// ```
/// # use pool_core::{Gauge, SharedManager, SharedPool};
/// # struct Redis;
/// # impl SharedManager for Redis {
/// #     type Resource = ();
/// #     type Error = std::io::Error;
/// #     async fn create(&self, gauge: Gauge) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// // Reads CACHE_MAX_SIZE, CACHE_ACQUIRE_TIMEOUT, CACHE_SPARE_SHARES and so on.
/// let pool = SharedPool::builder(Redis).name("cache").max_size(2).env("CACHE")?.build()?;
/// # drop(pool);
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
#[must_use = "`build` makes the pool"]
pub struct SharedBuilder<M: SharedManager> {
    manager: M,
    pub(crate) config: SharedConfig,
    setup: Setup,
}

impl<M: SharedManager> SharedBuilder<M> {
    pub(super) fn new(manager: M) -> Self {
        Self {
            manager,
            config: SharedConfig::new(),
            setup: Setup::new(),
        }
    }

    observing!();

    /// Takes all settings from `config`. Settings that were set before are replaced, except for the name if `config` has none.
    /// Settings that are set after this override `config`.
    pub fn config(mut self, config: SharedConfig) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings made so far by the environment variables under `prefix`.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let env = Env::read(prefix)?;
        self.setup
            .sources
            .read(env, |env| self.config.apply_env(env))?;
        Ok(self)
    }

    /// Sets the default name, for a pool without a given name; a number is appended if it is taken. For the crates of this
    /// workspace.
    #[doc(hidden)]
    pub fn __word(mut self, word: &'static str) -> Self {
        self.setup.word(word);
        self
    }

    /// Sets an observer that another builder already has. For the crates of this workspace.
    #[doc(hidden)]
    pub fn __observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.setup.observer = Some(observer);
        self
    }

    /// Builds the pool. `build` opens nothing and needs no runtime; the first get does.
    ///
    /// # Errors
    /// A setting is out of its range, or contradicts another setting; see [`SharedConfig::validate`].
    pub fn build(self) -> Result<SharedPool<M>, ConfigError> {
        let valid = self.config.validate();
        valid.map_err(|error| self.setup.sources.blame(error))?;
        let setup = self.setup.named(self.config.get_name(), "shared pool");
        let inner = Inner::new(self.manager, self.config, setup);
        Ok(SharedPool::from_inner(inner))
    }
}

impl<M: SharedManager> fmt::Debug for SharedBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
