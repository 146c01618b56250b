//! Making a pool.

use std::{fmt, sync::Arc};

use super::{Manager, Pool, shared::Shared};
#[cfg(feature = "metrics")]
use crate::observe::MetricNames;
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
    #[cfg(feature = "metrics")]
    metric_names: MetricNames,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            name: "pool".to_owned(),
            config: Config::new(),
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
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
    /// A setting that is out of its range, or contradicts another; see [`Config::validate`].
    pub fn build(self) -> Result<Pool<M>, ConfigError> {
        self.config.validate()?;
        let shared = Shared::new(self.manager, self.name, self.config, self.observer);
        #[cfg(feature = "metrics")]
        let shared = shared.published_as(self.metric_names);
        Ok(Pool::from_shared(shared))
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
