//! The builder of a cache.

use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Weak},
};

use pool_core::{__Sources, __name_for, ConfigError, Env};

use super::{Cache, CacheConfig, inner::Inner, second::Second, status::Counters};

/// Builds a [`Cache`]. Each setting of [`CacheConfig`] has a method here.
///
/// ```
/// use std::time::Duration;
/// use pool_db::cache::Cache;
///
/// // Reads PAGES_TTL, PAGES_MAX_SIZE and so on.
/// let pages = Cache::<u32, String>::builder().ttl(Duration::from_secs(30)).env("PAGES")?.build()?;
/// assert_eq!(pages.name(), "pages");
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
#[must_use = "`build` makes the cache"]
pub struct CacheBuilder<K, V, E> {
    pub(crate) config: CacheConfig,
    sources: __Sources,
    weigher: Option<Box<dyn Fn(&K, &V) -> u32 + Send + Sync>>,
    second: Option<Result<Make<K, V, E>, ConfigError>>,
}

/// Makes the second layer of a cache.
pub(super) type Make<K, V, E> = Box<
    dyn FnOnce(&Weak<Inner<K, V, E>>, &CacheConfig, Arc<Counters>) -> Box<dyn Second<K, V>>
        + Send
        + Sync,
>;

impl<K, V, E> CacheBuilder<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self {
            config: CacheConfig::new(),
            sources: __Sources::default(),
            weigher: None,
            second: None,
        }
    }

    /// Takes all settings from `config`. Settings that were set before are replaced, except for the name if `config` has none.
    /// Settings that are set after this override `config`.
    pub fn config(mut self, config: CacheConfig) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings made so far by the environment variables under `prefix`: `{PREFIX}_TTL` and so on.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(mut self, prefix: &str) -> Result<Self, ConfigError> {
        let env = Env::read(prefix)?;
        self.sources.read(env, |env| self.config.apply_env(env))?;
        Ok(self)
    }

    /// Weighs the entries: [`max_size`](Self::max_size) is then their weight in total, such as bytes. It is called once when a value is
    /// stored. What has no value weighs 1.
    ///
    /// ```
    /// use pool_db::cache::Cache;
    ///
    /// let pages = Cache::<u32, String>::builder()
    ///     .weigher(|_, page| u32::try_from(page.len()).unwrap_or(u32::MAX))
    ///     .max_size(64 * 1024 * 1024)
    ///     .build()?;
    /// # Ok::<(), pool_db::ConfigError>(())
    /// ```
    pub fn weigher(mut self, weigh: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigh));
        self
    }

    #[cfg_attr(not(feature = "redis"), expect(dead_code))]
    pub(super) fn second(mut self, make: Result<Make<K, V, E>, ConfigError>) -> Self {
        self.second = Some(make);
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// A setting is out of its range.
    pub fn build(self) -> Result<Cache<K, V, E>, ConfigError> {
        let valid = self.config.validate();
        valid.map_err(|error| self.sources.blame(error))?;
        let second = self.second.transpose()?;
        let name = self.config.get_name();
        let name: Arc<str> = name.map_or_else(|| __name_for("cache"), Into::into);
        let inner = Inner::new(name, self.config, self.weigher, second)?;
        Ok(Cache { inner })
    }
}

impl<K, V, E> fmt::Debug for CacheBuilder<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("config", &self.config)
            .field("weigher", &self.weigher.is_some())
            .field("second", &self.second.is_some())
            .finish_non_exhaustive()
    }
}
