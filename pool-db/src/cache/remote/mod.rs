//! Redis as the second layer.

mod breaker;
mod codec;
mod layer;
mod listener;
mod pending;
mod scripts;

use std::{fmt::Display, hash::Hash};

use pool_core::ConfigError;

pub use codec::{Codec, Raw};
use layer::Layer;

use super::CacheBuilder;
use crate::redis::Shared;

/// Redis as the second layer of a cache, which all processes share.
///
/// ```no_run
/// use bytes::Bytes;
/// use pool_db::{cache::{Cache, Raw, Remote}, redis::Shared};
///
/// # async fn render(product: u32) -> Result<Bytes, pool_db::Error> { Ok(Bytes::from_static(b"{}")) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = Shared::from_env()?; // POOL_REDIS_URL, REDIS_URL
/// let pages = Cache::<u32, Bytes>::builder()
///     .remote(Remote::new(redis, "shop:pages:1"), Raw)
///     .env("PAGES")?
///     .build()?;
/// let page = pages.get(&7, || render(7)).await?; // the bytes as they were rendered, by whichever process
/// # drop(page);
/// # Ok(())
/// # }
/// ```
///
/// # What it does
/// - A key that this process does not have is sought there, before it is loaded.
/// - A key that is not there either is loaded by one process: the one that has the key's lease, for
///   [`lease_time`](super::CacheConfig::lease_time) at most. The others look again every few milliseconds, for
///   [`lease_wait`](super::CacheConfig::lease_wait), and then load it too: so a process that hangs or is killed stops nobody for long.
/// - An invalidation of a key, a tag or everything reaches all processes, also while they load: what was loaded before it is not stored
///   after it. Processes hear of it by publish and subscribe, on a connection of each cache.
///
/// # When Redis is down, slow, full, or loses its data
/// No read fails. An operation takes at most [`remote_timeout`](super::CacheConfig::remote_timeout), 50 ms, and there are two in a
/// read; then the process loads by itself. After three operations that failed, Redis is left alone for
/// [`remote_retry`](super::CacheConfig::remote_retry), 1 s, but for one operation that tries it: so nearly all reads lose no time. A
/// server that is full, or a replica that takes no writes, says so at once. What cannot be stored is not. When data is lost, everything
/// that is left, and every load that began before, counts as invalid.
///
/// An invalidation that Redis does not take is [`NotTold`](super::NotTold). This process does not read there until it was sent, so its
/// calls never get what it has invalidated. Other processes may serve the old value from their own memory until they hear of it, at
/// most for their ttl.
///
/// When the subscription is lost, and again when it is back, everything in the process counts as stale at once, as invalidations may have
/// been missed: it is served while it is revalidated, or if loads fail, as far as the settings allow it, and otherwise sought again.
///
/// # Limits
/// - All processes that share a prefix must have the same type of values, and about the same times.
/// - Keys that differ must differ in their text (`Display`), and equal keys must have the same.
/// - Redis replicates asynchronously: after a failover, an invalidation may be lost that was acknowledged just before.
/// - The state of the latest 10,000 to 20,000 keys and tags that were invalidated is kept. Values that were loaded before those are
///   loaded again.
#[derive(Clone, Debug)]
pub struct Remote {
    redis: Shared,
    prefix: String,
}

impl Remote {
    /// The keys of the cache begin with `{prefix}:`, braces included. Must not be empty, and must have no braces itself.
    pub fn new(redis: Shared, prefix: impl Into<String>) -> Self {
        let prefix = prefix.into();
        Self { redis, prefix }
    }
}

impl<K, V, E> CacheBuilder<K, V, E>
where
    K: Hash + Eq + Clone + Display + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Adds Redis as the second layer. `codec` writes the values as bytes: [`Raw`] if they are bytes or text.
    pub fn remote(self, remote: Remote, codec: impl Codec<V>) -> Self {
        let Remote { redis, prefix } = remote;
        if prefix.is_empty() || prefix.contains(['{', '}']) {
            let expected = "text that is not empty and has no braces";
            let error = ConfigError::new("prefix", format!("{prefix:?}"), expected);
            return self.second(Err(error));
        }
        self.second(Ok(Box::new(move |cache, config, counters| {
            let cache = std::sync::Weak::clone(cache);
            Box::new(Layer::new(redis, &prefix, codec, cache, config, counters))
        })))
    }
}
