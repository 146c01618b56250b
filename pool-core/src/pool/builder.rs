//! The builder of a pool.

use std::{fmt, sync::Arc};

use super::{Manager, Pool, inner::Inner};
use crate::{
    config::{Config, ConfigError, Env},
    host::{Setup, observing},
    observe::Observer,
};

/// Builds a [`Pool`]. Each setting of [`Config`] has a method here.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Db)
///     .name("orders")
///     .max_size(16)
///     .min_idle(2)
///     .acquire_timeout(Duration::from_secs(3))
///     .shed_target(Some(Duration::from_millis(20)))
///     .build()?;
/// assert_eq!((pool.name(), pool.status().max_size), ("orders", 16));
/// // `build` reports contradictory settings before anything is opened.
/// let error = Pool::builder(Db).max_size(4).min_idle(5).build().unwrap_err();
/// assert_eq!(error.to_string(), "min_idle is 5, but must be at most max_size, which is 4");
/// # Ok(())
/// # }
/// ```
#[must_use = "`build` makes the pool"]
pub struct Builder<M: Manager> {
    manager: M,
    pub(crate) config: Config,
    setup: Setup,
}

impl<M: Manager> Builder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            config: Config::new(),
            setup: Setup::new(),
        }
    }

    observing!();

    /// Takes all settings from `config`, for example from a config that was read from a file or that several pools share. Settings
    /// that were set before are replaced, except for the name if `config` has none. Settings that are set after this override
    /// `config`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::{Pool, Config};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let shared = Config::new().acquire_timeout(Duration::from_secs(3));
    /// let reads = Pool::builder(Db).name("reads").config(shared.clone()).max_size(32).build()?;
    /// let writes = Pool::builder(Db).name("writes").config(shared).max_size(4).build()?;
    /// assert_eq!((reads.status().max_size, writes.status().max_size), (32, 4));
    /// # Ok(())
    /// # }
    /// ```
    pub fn config(mut self, config: Config) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings made so far by the environment variables under `prefix`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // `ORDERS_DB_MAX_SIZE=40` in the environment makes the pool of one deployment larger.
    /// let pool = Pool::builder(Db).max_size(16).env("ORDERS_DB")?.build()?;
    /// assert_eq!(pool.status().max_size, 16, "nothing is set there");
    /// # Ok(())
    /// # }
    /// ```
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

    /// Sets the key of the whole pool: spans, warnings and the observer report it as in a keyed pool. For the crates of this
    /// workspace, which have several pools with one name.
    #[doc(hidden)]
    pub fn __key(mut self, key: &str) -> Self {
        self.setup.key = Some(key.into());
        self
    }

    /// Builds the pool. `build` opens nothing and needs no runtime; the first get does.
    ///
    /// # Errors
    /// A setting is out of its range, or contradicts another setting; see [`Config::validate`].
    pub fn build(self) -> Result<Pool<M>, ConfigError> {
        let valid = self.config.validate();
        valid.map_err(|error| self.setup.sources.blame(error))?;
        let setup = self.setup.named(self.config.get_name(), "pool");
        let inner = Inner::new(self.manager, self.config, setup);
        Ok(Pool::from_inner(inner))
    }
}

impl<M: Manager> fmt::Debug for Builder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
