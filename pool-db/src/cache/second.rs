//! What the cache asks of its second layer. Nothing of it fails: a layer that cannot answer in time says that it has nothing.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use super::Loaded;

/// A second layer, which several processes share.
pub(super) trait Second<K, V>: Send + Sync + 'static {
    /// What it has for the key, or who shall load it. May wait for another process that loads the key.
    fn look<'a>(&'a self, key: &'a K, wish: Wish) -> Boxed<'a, Look<V>>;

    /// Keeps an invalidation in mind until it was sent: until then the layer says that it has nothing. Called before the process
    /// invalidates what it has itself.
    fn note(&self, what: Invalidation<'_, K>);

    /// Sends the invalidations that were noted.
    fn send<'a>(&'a self) -> Boxed<'a, Result<(), NotTold>>;

    /// The name of a key among the tags of what was loaded for it. Another process invalidates the key by this tag.
    fn tag_of(&self, key: &K) -> Arc<str>;

    /// Begins to listen for the invalidations of other processes, if that has to be done and is not.
    fn listen(&self);

    /// Whether it is left alone, as its operations failed.
    fn is_shut(&self) -> bool;
}

/// Until when a value will do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// For so long after it was fresh.
    pub(super) stale: Duration,
    /// Whether "there is none" will do.
    pub(super) absent: bool,
}

/// What a second layer has.
pub(super) enum Look<V> {
    Found(Found<V>),
    /// This process shall load it; what it finds goes there.
    Load(Option<Box<dyn Fill<V>>>),
}

pub(super) struct Found<V> {
    pub(super) value: Option<V>,
    /// For how long it is still fresh.
    pub(super) fresh: Duration,
    /// For how long it has not been.
    pub(super) overdue: Duration,
    pub(super) tags: Vec<String>,
}

/// Takes what a load found, unless it was invalidated meanwhile. Dropping it says that the load found nothing.
pub(super) trait Fill<V>: Send {
    fn fill(self: Box<Self>, loaded: &Loaded<V>, fresh: Duration) -> Boxed<'static, ()>;
}

/// What is no longer true.
#[derive(Debug)]
pub(super) enum Invalidation<'a, K> {
    Key(&'a K),
    Tag(&'a str),
    All,
}

/// Other processes could not be told of an invalidation yet.
///
/// In this process it is done. It is sent to the second layer before this process reads there again, and in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotTold;

impl std::fmt::Display for NotTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the second layer of the cache did not take the invalidation, which is sent again later")
    }
}

impl std::error::Error for NotTold {}

pub(super) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
