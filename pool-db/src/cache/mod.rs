//! A read-through cache: in the process, and optionally in Redis for all processes.
//!
//! A cache is for what is read often, changes seldom and costs something to get: a rendered page, a row that every request needs, a
//! partner's answer. A call names a key and says how to load its value; the cache answers from memory, or has the value loaded once for
//! all callers that ask for it.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use pool_db::cache::{Cache, LoadError};
//!
//! # type DbError = std::fmt::Error;
//! # async fn render(product: u32) -> Result<String, DbError> { Ok(format!("<h1>product {product}</h1>")) }
//! struct Shop {
//!     pages: Cache<u32, Arc<str>, DbError>,
//! }
//!
//! impl Shop {
//!     async fn page(&self, product: u32) -> Result<Arc<str>, LoadError<DbError>> {
//!         self.pages.get(&product, move || async move { Ok(render(product).await?.into()) }).await
//!     }
//!
//!     async fn changed(&self, product: u32) {
//!         // Without a second layer there is nobody else to tell.
//!         let _told = self.pages.invalidate(&product).await;
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pages = Cache::builder().ttl(Duration::from_secs(30)).max_size(50_000).build()?;
//! let shop = Shop { pages };
//! let (one, other) = tokio::join!(shop.page(7), shop.page(7));
//! assert!(Arc::ptr_eq(&one.unwrap(), &other.unwrap()));
//! shop.changed(7).await;
//! assert_eq!(&*shop.page(7).await.unwrap(), "<h1>product 7</h1>");
//! assert_eq!(shop.pages.status().loads, 2);
//! # Ok(())
//! # }
//! ```
//!
//! # What a call gets
//!
//! | the process has | a call gets |
//! |---|---|
//! | a fresh value | the value, at once: no lock but moka's, no allocation |
//! | a value past its [`ttl`](CacheConfig::ttl), within [`stale_while_revalidate`](CacheConfig::stale_while_revalidate) | the old value, at once; one load in the background refreshes it |
//! | nothing, or a value that is too old | what one load finds, for all that wait for it |
//! | a value within [`stale_if_error`](CacheConfig::stale_if_error), and the load fails | the old value |
//! | "there is none", within [`negative_ttl`](CacheConfig::negative_ttl) | [`get_opt`](Cache::get_opt) gets `None` at once; [`get`](Cache::get) loads |
//! | the error of a load, within [`error_backoff`](CacheConfig::error_backoff) | the same error, at once |
//!
//! By default, values are fresh for 60 s, give or take 10 % at random, and neither stale values nor errors are served; "there is none"
//! is remembered for 5 s, and there is room for 10,000 entries. Every setting is in [`CacheConfig`].
//!
//! # Loads
//! A key has one load at a time in a process, by [`pool_core::Flight`]: it runs on a task of its own; a caller that goes away does not stop
//! it as long as another waits; a load that fails, panics or takes longer than [`load_timeout`](CacheConfig::load_timeout) is an error of
//! those who wait, and nothing is stored. A refresh in the background goes on without callers.
//!
//! # Invalidation
//! [`invalidate`](Cache::invalidate), [`invalidate_tag`](Cache::invalidate_tag) and [`clear`](Cache::clear) are safe against loads that
//! run: what a load found that began before is neither stored nor served to calls that begin after. So once an invalidation that follows a
//! write has returned, no call that begins in this process gets what was true before the write.
#![cfg_attr(
    feature = "redis",
    doc = "\n# The second layer\nSee [`Remote`]: values as bytes in Redis, one load for all processes, invalidations across processes."
)]
//!
//! # Limits
//! Values are cloned for each caller: make them cheap to clone (`Arc`, [`Bytes`](bytes::Bytes)). An entry that a tag invalidated keeps its
//! room until its key is loaded again, or it is evicted or too old. Times run on tokio's clock, but for
//! [`idle_timeout`](CacheConfig::idle_timeout) and the memory of what is too old, which run on the system's.

mod builder;
mod config;
mod entry;
mod epochs;
mod error;
mod inner;
mod loaded;
#[cfg(feature = "metrics")]
mod publisher;
#[cfg(feature = "redis")]
mod remote;
mod second;
mod status;

use std::{fmt, hash::Hash, sync::Arc};

use pool_core::ConfigError;

pub use builder::CacheBuilder;
pub use config::CacheConfig;
pub use error::LoadError;
pub use loaded::Loaded;
#[cfg(feature = "redis")]
pub use remote::{Codec, Raw, Remote};
pub use second::NotTold;
pub use status::CacheStatus;

use entry::Content;
use inner::{Inner, TAG, Verdict};
use second::Invalidation;

/// A read-through cache. The [module](self) describes it.
///
/// A `Cache` is a cheap handle: clones share the same entries. `E` is the error of the loads.
pub struct Cache<K, V, E = crate::Error> {
    inner: Arc<Inner<K, V, E>>,
}

impl<K, V, E> Cache<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Makes a cache with the environment variables under `POOL_CACHE`: `POOL_CACHE_TTL`, `POOL_CACHE_MAX_SIZE` and the other settings
    /// of [`CacheConfig`].
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::builder().env("POOL_CACHE")?.build()
    }

    /// Creates a builder for a cache.
    pub fn builder() -> CacheBuilder<K, V, E> {
        CacheBuilder::new()
    }

    /// Returns the value of `key`; has it loaded if the cache has none.
    ///
    /// `load` is called only if no load of the key runs. It runs on a task of its own.
    ///
    /// # Errors
    /// - [`LoadError::error`] when the load failed; [`LoadError::is_panic`] when it panicked; [`LoadError::is_timeout`] when it took too
    ///   long.
    /// - [`LoadError::is_overloaded`] when too many calls wait.
    /// - [`LoadError::is_reentrant`] when a load asks for its own key.
    /// - [`LoadError::is_no_runtime`] when nothing is cached and the call does not run on tokio.
    ///
    /// # Cancel safety
    /// Dropping the future stops the load if no other caller waits for it.
    ///
    /// # Panics
    /// Panics on a tokio runtime that was built without a timer.
    pub async fn get<F, R>(&self, key: &K, load: F) -> Result<V, LoadError<E>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<V, E>> + Send + 'static,
    {
        let held = self.inner.memory.get(key).await;
        if let Some(entry) = &held
            && let Some(value) = self.inner.hit(entry)
        {
            return Ok(value);
        }
        let load = move || {
            let found = load();
            async move { found.await.map(Loaded::new) }
        };
        // A box only here, so that the future of a hit is small.
        let found = Box::pin(self.inner.find(key, held, false, load)).await?;
        found.ok_or_else(|| LoadError::panicked(&self.inner.name, "it found nothing"))
    }

    /// Returns the value of `key`, or that there is none, which is cached as well, for
    /// [`negative_ttl`](CacheConfig::negative_ttl).
    ///
    /// ```
    /// # use pool_db::cache::Cache;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let users = Cache::<u32, String, std::io::Error>::builder().build()?;
    /// for _ in 0..2 {
    ///     let user = users.get_opt(&7, || async { Ok(None) }).await?;
    ///     assert_eq!(user, None);
    /// }
    /// assert_eq!((users.status().loads, users.status().negative_hits), (1, 1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Panics
    /// As [`get`](Self::get).
    pub async fn get_opt<F, R>(&self, key: &K, load: F) -> Result<Option<V>, LoadError<E>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Option<V>, E>> + Send + 'static,
    {
        let load = move || {
            let found = load();
            async move { found.await.map(Loaded::from) }
        };
        self.get_loaded(key, load).await
    }

    /// Returns the value of `key`, or that there is none; the load says in a [`Loaded`] by which tags the entry is invalidated, and how
    /// long it is fresh.
    ///
    /// ```
    /// # use pool_db::cache::{Cache, Loaded};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pages = Cache::<u32, String, std::io::Error>::builder().build()?;
    /// let load = || async { Ok(Loaded::new("a page".to_owned()).tag("author:7")) };
    /// pages.get_loaded(&1, load).await?;
    /// pages.invalidate_tag("author:7").await?;
    /// assert_eq!(pages.peek(&1).await, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`get`](Self::get).
    ///
    /// # Cancel safety
    /// As [`get`](Self::get).
    ///
    /// # Panics
    /// As [`get`](Self::get).
    pub async fn get_loaded<F, R>(&self, key: &K, load: F) -> Result<Option<V>, LoadError<E>>
    where
        F: FnOnce() -> R + Send + 'static,
        R: Future<Output = Result<Loaded<V>, E>> + Send + 'static,
    {
        let held = self.inner.memory.get(key).await;
        if let Some(entry) = &held
            && let Some(value) = self.inner.hit(entry)
        {
            return Ok(Some(value));
        }
        Box::pin(self.inner.find(key, held, true, load)).await
    }

    /// Returns the value of `key` if the process has one that is fresh. Nothing is loaded or counted.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn peek(&self, key: &K) -> Option<V> {
        let entry = self.inner.memory.get(key).await?;
        match &entry.content {
            Content::Value(value)
                if self.inner.judge(&entry, self.inner.now()) == Verdict::Fresh =>
            {
                Some(value.clone())
            }
            _ => None,
        }
    }

    /// Invalidates `key`: a call that begins after this returned gets nothing in this process that was loaded before this was called.
    ///
    /// # Errors
    /// [`NotTold`] if there is a second layer, and it did not take the invalidation in time. In this process it is done in any case.
    ///
    /// # Cancel safety
    /// A future that is dropped before it ends may have invalidated the key or not; the second layer is told in any case, once the
    /// future was polled.
    pub async fn invalidate(&self, key: &K) -> Result<(), NotTold> {
        self.note(Invalidation::Key(key));
        self.inner.epochs.invalidate(key);
        self.inner.memory.invalidate(key).await;
        self.tell().await
    }

    /// Invalidates all entries with this tag, as [`invalidate`](Self::invalidate) does with one.
    ///
    /// It takes the same short time however many entries there are.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// In this process it is done when the future is first polled; the second layer is told in any case.
    pub async fn invalidate_tag(&self, tag: &str) -> Result<(), NotTold> {
        self.note(Invalidation::Tag(tag));
        self.inner.epochs.invalidate_tag(&format!("{TAG}{tag}"));
        self.tell().await
    }

    /// Invalidates everything, as [`invalidate`](Self::invalidate) does with one.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// In this process it is done when the future is first polled; the second layer is told in any case.
    pub async fn clear(&self) -> Result<(), NotTold> {
        self.note(Invalidation::All);
        self.inner.epochs.clear();
        self.inner.memory.invalidate_all();
        self.tell().await
    }

    /// The second layer is told of it, whatever becomes of the call.
    fn note(&self, what: Invalidation<'_, K>) {
        self.inner.counters.invalidations.add();
        if let Some(second) = &self.inner.second {
            second.note(what);
        }
    }

    async fn tell(&self) -> Result<(), NotTold> {
        match &self.inner.second {
            Some(second) => second.send().await,
            None => Ok(()),
        }
    }

    /// Returns all counts of this moment.
    pub fn status(&self) -> CacheStatus {
        self.inner.status()
    }
}

impl<K, V, E> Cache<K, V, E> {
    /// Returns the name of the cache, as used in messages and metrics.
    pub fn name(&self) -> &str {
        &self.inner.name
    }
}

impl<K, V, E> Clone for Cache<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V, E> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("name", &self.inner.name)
            .field("config", &self.inner.config)
            .field("counters", &self.inner.counters)
            .finish_non_exhaustive()
    }
}
