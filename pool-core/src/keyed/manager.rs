//! The trait that opens, checks, resets and closes the resources of a keyed pool.

use std::{fmt, future::Future};

use crate::host::Usage;

/// Opens, checks, resets and closes the resources of a [`KeyedPool`](super::KeyedPool). Like [`Manager`](crate::Manager), but
/// `create` gets the key of the resource.
///
/// Only [`create`](Self::create) and [`check`](Self::check) must be written. Every future runs on a task of the pool, under a
/// timeout of the pool. So a caller that gives up does not waste an open, and a future that hangs blocks no caller. If a future
/// returns an error, panics or times out, the pool closes the resource and frees its place.
///
/// ```
/// use std::io;
/// use pool_core::{KeyedManager, KeyedPool, Usage};
///
/// /// A database for each shard, and the hosts of the shards.
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
///         // A get of an unknown shard fails. Gets of other shards are not affected.
///         let host = self.hosts.get(*shard).ok_or(io::ErrorKind::NotFound)?;
///         Ok(Connection { host, in_transaction: false })
///     }
///
///     async fn check(&self, _: &mut Connection, _: &Usage) -> io::Result<()> {
///         Ok(()) // here: a ping, after the connection was idle for a while
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
/// connection.in_transaction = true; // the caller goes away in a transaction
/// drop(connection);
/// assert!(!shards.get(&1).await?.in_transaction);
/// # Ok(())
/// # }
/// ```
pub trait KeyedManager<K>: Send + Sync + 'static {
    /// The type of the pooled resource.
    type Resource: Send + 'static;

    /// The error of a failed open, check or reset. Its text is shown, like that of [`Manager::Error`](crate::Manager::Error): it
    /// must not contain a secret.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Opens a resource for `key`. Bounded by `create_timeout`.
    fn create(&self, key: &K) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Checks that the resource still works. The pool calls `check` before a lease if the resource was last known to be good longer
    /// than `check_after` ago, and for `keepalive`. Bounded by `check_timeout`. On an error the pool closes the resource, and finds
    /// or opens another.
    fn check(
        &self,
        resource: &mut Self::Resource,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether [`reset`](Self::reset) must run before the next lease. Called on every return, on the caller's thread: it must not
    /// do I/O or block.
    ///
    /// Returns false by default. If it returns false for a tainted resource ([`Usage::tainted`]), the pool closes the resource.
    fn needs_reset(&self, resource: &mut Self::Resource, usage: &Usage) -> bool {
        let _ = (resource, usage);
        false
    }

    /// Makes the resource clean for the next caller of its key. Runs after a return for which [`needs_reset`](Self::needs_reset)
    /// returned true. Bounded by `reset_timeout`. On an error the pool closes the resource.
    fn reset(
        &self,
        resource: &mut Self::Resource,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (resource, usage);
        async { Ok(()) }
    }

    /// Whether the resource is known to be broken. Called on every return, and before an idle resource is handed out, on the
    /// caller's thread: it must not do I/O or block. Returns false by default.
    fn is_broken(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Whether a call on the resource was dropped before it ended. Like
    /// [`Manager::is_interrupted`](crate::Manager::is_interrupted). Returns false by default.
    fn is_interrupted(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Closes the resource gracefully. Bounded by `close_timeout`. The default drops the resource. The pool drops it too if no
    /// runtime is left to run `close` on.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(resource) }
    }
}
