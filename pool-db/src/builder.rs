//! The builder of a pool: the settings that all drivers have.

use std::{fmt, sync::Arc, time::Duration};

#[cfg(feature = "metrics")]
use pool_core::observe::MetricNames;
use pool_core::{
    __Sources, __checks::no_zeros, __config, Config, ConfigError, Env, observe::Observer,
};

use crate::{Driver, Pool, address::Address, environment::Environment, operation::Operations};

/// Builds a [`Pool`]. It has a method for every setting of [`Config`], for the settings that all drivers have, and for those of the
/// driver `D`.
///
/// With the feature `serde` the builder can be read from any format, flat, with the names of the environment in lower case and the
/// same texts for values.
#[must_use = "`build` makes the pool"]
pub struct Builder<D: Driver> {
    pub(crate) config: Config,
    /// The address. It takes precedence over an address in another form that the driver's settings hold.
    pub(crate) url: Option<Address>,
    pub(crate) query_timeout: Option<Duration>,
    pub(crate) settings: D::Settings,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    #[cfg(feature = "metrics")]
    pub(crate) metric_names: MetricNames,
    pub(crate) sources: __Sources,
    /// The environment variables outside the prefix that some settings came from.
    pub(crate) beside: Environment,
}

impl<D: Driver> Builder<D> {
    /// Creates a builder with the default settings, and without the address of a database.
    pub fn new() -> Self {
        Self {
            config: Config::new(),
            url: None,
            query_timeout: Some(Duration::from_secs(30)),
            settings: D::Settings::default(),
            observer: None,
            #[cfg(feature = "metrics")]
            metric_names: MetricNames::default(),
            sources: __Sources::default(),
            beside: Environment::default(),
        }
    }

    /// Sets the address of the database, in place of one that was set before. Each driver says what its addresses look like.
    ///
    /// An error never shows the password in it.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(Address(url.into()));
        self
    }

    /// How long one call may take, from its request to the last of its answer. `None` (`off`) means no limit. Not zero.
    ///
    /// Default: 30 s.
    pub fn query_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.query_timeout = limit.into();
        self
    }

    /// Sets the observer, which the pool notifies of events: see [`Observer`].
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Sets the names under which the pool is published (feature `metrics`). Default: [`MetricNames::Database`].
    #[cfg(feature = "metrics")]
    pub fn metric_names(mut self, names: MetricNames) -> Self {
        self.metric_names = names;
        self
    }

    /// Takes all settings of the pool from `config`. It replaces the settings that were set before, but keeps the name if `config`
    /// has none. Settings that are set after this call override it.
    pub fn config(mut self, config: Config) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings so far with environment variables.
    ///
    /// The address is read from `{PREFIX}_URL`, or else from `DATABASE_URL` (for Redis `REDIS_URL`). Every setter has a variable of its name:
    /// `{PREFIX}_QUERY_TIMEOUT` (or `off`), `{PREFIX}_MAX_SIZE` and so on. [`Config::apply_env`] reads those of [`Config`]. The
    /// module of the driver lists the variables of the driver.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Env::read(prefix)?, Environment::read(D::URL, D::VARIABLES)?)
    }

    /// Builds the pool. Nothing is opened before the first get.
    ///
    /// # Errors
    /// A setting is out of its range or contradicts another setting, or the address is invalid or missing. The error names the
    /// setting, or the variable that it came from.
    pub fn build(self) -> Result<Pool<D>, ConfigError> {
        let sources = self.sources.clone();
        self.checked()
            .and_then(D::build)
            .map_err(|error| sources.blame(error))
    }

    fn checked(self) -> Result<Self, ConfigError> {
        self.config.validate()?;
        no_zeros([("query_timeout", self.query_timeout.into())])?;
        Ok(self)
    }

    /// Builds a pool of the connections of `manager`, with the settings that all drivers have.
    pub(crate) fn core(
        &self,
        manager: D::Manager,
    ) -> Result<pool_core::Pool<D::Manager>, ConfigError> {
        let mut core = pool_core::Pool::builder(manager)
            .config(self.config.clone())
            .__word(D::WORD);
        if let Some(observer) = &self.observer {
            core = core.__observer(Arc::clone(observer));
        }
        #[cfg(feature = "metrics")]
        {
            core = core.metric_names(self.metric_names.clone());
        }
        core.build()
    }

    /// What the connections of the pool report their operations to. They must be told the pool's name: [`Operations::are_of`].
    ///
    /// `system` is OpenTelemetry's name of the database, `db.system.name`.
    pub(crate) fn operations(&self, system: &'static str) -> Operations {
        #[cfg(feature = "metrics")]
        return Operations::new(system, duration_metric(&self.metric_names));
        #[cfg(not(feature = "metrics"))]
        Operations::new(system, "")
    }

    /// Reads the settings from the variables under a prefix and beside it, or from a map.
    pub(crate) fn apply(mut self, mut env: Env, beside: Environment) -> Result<Self, ConfigError> {
        let url = beside.take_url(&mut env, D::URL)?;
        self.beside = beside;
        D::read(&mut self, url, &mut env)?;
        if let Some(limit) = env.take("QUERY_TIMEOUT")? {
            self.query_timeout = limit;
        }
        self.config.apply_env(&mut env)?;
        self.sources.was_read(env)?;
        Ok(self)
    }
}

/// The histogram of the durations of operations.
#[cfg(feature = "metrics")]
pub(crate) const fn duration_metric(names: &MetricNames) -> &'static str {
    match names {
        MetricNames::Database => "db.client.operation.duration",
        _ => "pool.operation.duration",
    }
}

__config! { __setters { [D: Driver] Builder<D> = config } }

impl<D: Driver> Default for Builder<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Driver> Clone for Builder<D> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            url: self.url.clone(),
            query_timeout: self.query_timeout,
            settings: self.settings.clone(),
            observer: self.observer.clone(),
            #[cfg(feature = "metrics")]
            metric_names: self.metric_names.clone(),
            sources: self.sources.clone(),
            beside: self.beside.clone(),
        }
    }
}

impl<D: Driver> fmt::Debug for Builder<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .field("url", &self.url)
            .field("query_timeout", &self.query_timeout)
            .field("settings", &self.settings)
            .field("sources", &self.sources)
            .field("beside", &self.beside)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "serde")]
impl<'de, D: Driver> serde::Deserialize<'de> for Builder<D> {
    fn deserialize<F: serde::Deserializer<'de>>(deserializer: F) -> Result<Self, F::Error> {
        use serde::de::Error;
        let env = Env::deserialize(deserializer)?;
        let read = Self::new().apply(env, Environment::default());
        read.map_err(F::Error::custom)
    }
}
