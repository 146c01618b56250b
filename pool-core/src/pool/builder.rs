//! Making a pool.

use std::{fmt, sync::Arc};

use super::{Manager, Pool, shared::Shared};
use crate::{
    config::{Config, ConfigError, Env},
    observe::Observer,
};

/// Begins a [`Pool`]. Every setting of [`Config`] has a method here.
pub struct Builder<M: Manager> {
    manager: M,
    name: String,
    pub(crate) config: Config,
    observer: Option<Arc<dyn Observer>>,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            name: "pool".to_owned(),
            config: Config::new(),
            observer: None,
        }
    }

    /// Names the pool, for messages and metrics. Default: `pool`.
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

    /// Overrides the settings so far by what the environment holds under `prefix`.
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let mut env = Env::read(prefix)?;
        self.config.apply_env(&mut env)?;
        env.finish()?;
        Ok(self)
    }

    /// Tells `observer` what happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Makes the pool. It opens nothing yet and needs no runtime: the first get does.
    ///
    /// # Errors
    /// A setting that is out of its range, or contradicts another; see [`Config::validate`].
    pub fn build(self) -> Result<Pool<M>, ConfigError> {
        self.config.validate()?;
        Ok(Pool::from_shared(Shared::new(
            self.manager,
            self.name,
            self.config,
            self.observer,
        )))
    }
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
