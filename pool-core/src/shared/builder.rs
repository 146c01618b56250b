//! Making a shared pool.

use std::{fmt, sync::Arc, time::Duration};

use super::{SharedManager, SharedPool, inner::Inner};
use crate::{
    config::{Config, ConfigError},
    observe::Observer,
};

/// Begins a [`SharedPool`].
///
/// The settings are those of [`Config`]; of these a shared pool uses `max_size` and `min_idle` (connections, open whether anybody
/// shares them or not), `max_opening`, `max_waiters`, `acquire_timeout`, `create_timeout`, `close_timeout`, `idle_timeout`,
/// `max_lifetime`, `lifetime_jitter` and `reclaim_after`.
pub struct SharedBuilder<M: SharedManager> {
    manager: M,
    name: String,
    config: Config,
    spare: u32,
    observer: Option<Arc<dyn Observer>>,
}

impl<M: SharedManager> SharedBuilder<M> {
    pub(super) fn new(manager: M) -> Self {
        Self {
            manager,
            name: "shared pool".to_owned(),
            config: Config::new(),
            spare: 0,
            observer: None,
        }
    }

    /// Names the pool, for messages. Default: `shared pool`.
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

    /// Makes the pool. It opens nothing yet and needs no runtime: the first get does.
    ///
    /// # Errors
    /// A setting that is out of its range, or contradicts another; see [`Config::validate`].
    pub fn build(self) -> Result<SharedPool<M>, ConfigError> {
        self.config.validate()?;
        Ok(SharedPool::from_inner(Inner::new(
            self.manager,
            self.name,
            self.config,
            self.spare,
            self.observer,
        )))
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
