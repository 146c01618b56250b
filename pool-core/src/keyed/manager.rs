//! What a keyed pool is told about its resources.

use std::{fmt, future::Future};

use crate::host::Usage;

/// Opens, checks, cleans and closes the resources of a [`KeyedPool`](super::KeyedPool): a [`Manager`](crate::Manager) that is told
/// for which key it opens one.
///
/// Only [`create`](Self::create) and [`check`](Self::check) must be written. Every future runs on a task of the pool's, bounded by a
/// timeout of the pool's: a caller that gives up wastes nothing, and one that hangs stops nobody. An error, a panic or a timeout in
/// any of them closes the resource and frees its place.
///
/// ```
/// use std::io;
/// use pool_core::{KeyedManager, KeyedPool, Usage};
///
/// /// A database for each shard: where it is, and who we are there.
/// struct Shards {
///     hosts: Vec<&'static str>,
/// }
///
/// struct Connection {
///     host: &'static str,
///     in_transaction: bool,
/// }
///
/// impl KeyedManager<usize> for Shards {
///     type Resource = Connection;
///     type Error = io::Error;
///
///     async fn create(&self, shard: &usize) -> io::Result<Connection> {
///         // A shard that is not there fails its own gets, and nobody else's.
///         let host = self.hosts.get(*shard).ok_or(io::ErrorKind::NotFound)?;
///         Ok(Connection { host, in_transaction: false })
///     }
///
///     async fn check(&self, _: &mut Connection, _: &Usage) -> io::Result<()> {
///         Ok(()) // a ping, once it has been idle for a while
///     }
///
///     fn needs_reset(&self, connection: &mut Connection, usage: &Usage) -> bool {
///         connection.in_transaction || usage.tainted
///     }
///
///     async fn reset(&self, connection: &mut Connection, _: &Usage) -> io::Result<()> {
///         connection.in_transaction = false; // ROLLBACK
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shards = KeyedPool::builder(Shards { hosts: vec!["db-0", "db-1"] }).max_size(8).build()?;
/// let mut connection = shards.get(&1).await?;
/// assert_eq!(connection.host, "db-1");
/// connection.in_transaction = true; // and its user goes away
/// drop(connection);
/// assert!(!shards.get(&1).await?.in_transaction);
/// # Ok(())
/// # }
/// ```
pub trait KeyedManager<K>: Send + Sync + 'static {
    /// What is pooled.
    type Resource: Send + 'static;

    /// Why one could not be opened, checked or reset. Its text is shown, as that of [`Manager::Error`](crate::Manager::Error): it
    /// must not hold a secret.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

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

    /// Was a call on it dropped half-way? As [`Manager::is_interrupted`](crate::Manager::is_interrupted). The default says no.
    fn is_interrupted(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Says goodbye. Bounded by `close_timeout`. The default drops it; so does the pool when no runtime is left to run this on.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(resource) }
    }
}
