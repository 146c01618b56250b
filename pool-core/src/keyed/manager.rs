//! What a keyed pool is told about its resources.

use std::{error::Error, future::Future};

use crate::pool::Usage;

/// Opens, checks, cleans and closes the resources of a [`KeyedPool`](super::KeyedPool): a [`Manager`](crate::Manager) that is told
/// for which key it opens one.
///
/// Only [`create`](Self::create) and [`check`](Self::check) must be written. Every future runs on a task of the pool's, bounded by a
/// timeout of the pool's: a caller that gives up wastes nothing, and one that hangs stops nobody. An error, a panic or a timeout in
/// any of them closes the resource and frees its place.
pub trait KeyedManager<K>: Send + Sync + 'static {
    /// What is pooled.
    type Resource: Send + 'static;

    /// Why one could not be opened, checked or reset. Its text is shown, as that of [`Manager::Error`](crate::Manager::Error): it
    /// must not hold a secret.
    type Error: Error + Send + Sync + 'static;

    /// Opens one for `key`. Bounded by `create_timeout`.
    fn create(&self, key: &K) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Is it still good? Asked before a lease when it was last known to be good longer than `check_after` ago, and for
    /// `keepalive`. Bounded by `check_timeout`; an error closes it, and another one is found or opened.
    fn check(
        &self,
        resource: &mut Self::Resource,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Is there anything for [`reset`](Self::reset) to do? Asked on every return, on the caller's thread: no I/O, no waiting.
    ///
    /// The default says no. A tainted resource ([`Usage::tainted`]) for which this says no is closed.
    fn needs_reset(&self, resource: &mut Self::Resource, usage: &Usage) -> bool {
        let _ = (resource, usage);
        false
    }

    /// Makes it clean for the next user of its key. Runs after a return for which [`needs_reset`](Self::needs_reset) said yes,
    /// bounded by `reset_timeout`; an error closes it.
    fn reset(
        &self,
        resource: &mut Self::Resource,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, usage);
        async { Ok(()) }
    }

    /// Is it known to be broken? Asked on every return and before an idle one is handed out, on the caller's thread: no I/O, no
    /// waiting. The default says no.
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Says goodbye. Bounded by `close_timeout`. The default drops it; so does the pool when no runtime is left to run this on.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(resource) }
    }
}
