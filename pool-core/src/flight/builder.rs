//! The builder of a flight.

use std::{fmt, hash::Hash, marker::PhantomData};

use super::{Flight, FlightConfig};
use crate::config::{__Sources, ConfigError, Env};

/// Builds a [`Flight`]. Each setting of [`FlightConfig`] has a method here.
///
/// ```
/// use std::time::Duration;
/// use pool_core::Flight;
///
/// // Reads PAGES_TIMEOUT, PAGES_MAX_WAITERS and so on.
/// let pages = Flight::<u32, String>::builder().timeout(Duration::from_secs(2)).env("PAGES")?.build()?;
/// assert_eq!(pages.name(), "pages");
/// # Ok::<(), pool_core::ConfigError>(())
/// ```
#[must_use = "`build` makes the flight"]
pub struct FlightBuilder<K, V, E> {
    pub(crate) config: FlightConfig,
    sources: __Sources,
    of: PhantomData<fn(K) -> Result<V, E>>,
}

impl<K, V, E> FlightBuilder<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self {
            config: FlightConfig::new(),
            sources: __Sources::default(),
            of: PhantomData,
        }
    }

    /// Takes all settings from `config`. Settings that were set before are replaced, except for the name if `config` has none.
    /// Settings that are set after this override `config`.
    pub fn config(mut self, config: FlightConfig) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings made so far by the environment variables under `prefix`.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let env = Env::read(prefix)?;
        self.sources.read(env, |env| self.config.apply_env(env))?;
        Ok(self)
    }

    /// Builds the flight.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn build(self) -> Result<Flight<K, V, E>, ConfigError> {
        let valid = self.config.validate();
        valid.map_err(|error| self.sources.blame(error))?;
        Ok(self.finish())
    }

    pub(super) fn finish(self) -> Flight<K, V, E> {
        let name = self.config.get_name().unwrap_or("flight").into();
        Flight::with(name, self.config)
    }
}

impl<K, V, E> fmt::Debug for FlightBuilder<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlightBuilder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
