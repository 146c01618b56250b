//! What every builder is told: a name, an observer, the names of metrics.

use std::{fmt, sync::Arc};

#[cfg(feature = "metrics")]
use crate::observe::MetricNames;
use crate::{
    config::{ConfigError, Env},
    observe::Observer,
};

/// What every builder is told beside its settings.
pub(crate) struct Setup {
    pub(crate) name: String,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    pub(crate) metric_names: MetricNames,
    /// The environments that settings were read from, to be blamed for them.
    read: Vec<Env>,
}

impl Setup {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
            read: Vec::new(),
        }
    }

    /// Everything under the prefix was taken from `env`.
    pub(crate) fn was_read(&mut self, env: Env) -> Result<(), ConfigError> {
        env.check()?;
        self.read.push(env);
        Ok(())
    }

    /// Names the variable that a setting was read from in an error that names the setting.
    pub(crate) fn blame(&self, error: ConfigError) -> ConfigError {
        self.read.iter().fold(error, |error, env| env.blame(error))
    }
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The methods of a builder with a field `setup`, by which all are named, observed and published alike.
macro_rules! naming {
    ($default:literal) => {
        #[doc = concat!("Names the pool, for messages and metrics. Default: `", $default, "`.")]
        #[must_use]
        pub fn name(mut self, name: impl Into<String>) -> Self {
            self.setup.name = name.into();
            self
        }

        /// Tells `observer` what happens: see [`Observer`](crate::observe::Observer).
        #[must_use]
        pub fn observer(mut self, observer: impl crate::observe::Observer) -> Self {
            self.setup.observer = Some(std::sync::Arc::new(observer));
            self
        }

        /// Publishes the pool under these names (feature `metrics`). Default:
        /// [`MetricNames::Database`](crate::observe::MetricNames::Database).
        #[cfg(feature = "metrics")]
        #[must_use]
        pub fn metric_names(mut self, names: crate::observe::MetricNames) -> Self {
            self.setup.metric_names = names;
            self
        }
    };
}
pub(crate) use naming;
