//! What a load found.

use std::time::Duration;

/// What a load found: a value, or that there is none; and the tags by which it is invalidated.
///
/// ```
/// use pool_db::cache::Loaded;
///
/// struct Page { author: u32, html: String }
/// let page = Page { author: 7, html: "<h1>hello</h1>".to_owned() };
/// let loaded = Loaded::new(page.html).tag(format!("author:{}", page.author));
/// assert!(!loaded.is_absent());
/// assert!(Loaded::<String>::absent().is_absent());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Loaded<V> {
    pub(super) value: Option<V>,
    pub(super) tags: Vec<String>,
    pub(super) ttl: Option<Duration>,
}

impl<V> Loaded<V> {
    /// This value.
    pub fn new(value: V) -> Self {
        Some(value).into()
    }

    /// There is no such value. It is remembered for [`negative_ttl`](super::CacheConfig::negative_ttl).
    pub fn absent() -> Self {
        None.into()
    }

    /// Adds a tag: [`Cache::invalidate_tag`](super::Cache::invalidate_tag) of it invalidates the entry. What the load found may decide
    /// which tags there are.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let tag = tag.into();
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
        self
    }

    /// Sets the ttl of this entry, if it is shorter than that of the cache: an entry is never fresh for longer than the cache's
    /// setting. Jitter applies to it. With zero, the entry is served to those who wait for this load, and not stored.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Whether there is no value.
    pub fn is_absent(&self) -> bool {
        self.value.is_none()
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        Self {
            value,
            tags: Vec::new(),
            ttl: None,
        }
    }
}
