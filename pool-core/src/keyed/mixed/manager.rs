//! The trait that opens and closes the connections of a mixed pool.

use std::{fmt, future::Future};

use crate::{Gauge, host::Usage, keyed::Opened};

/// Opens and closes the connections of a [`MixedPool`](super::MixedPool), and says of each whether one caller has it or many share it.
///
/// Only [`create`](Self::create) and [`check`](Self::check) must be written. Every future runs on a task of the pool, under a
/// timeout of the pool. If a future returns an error, panics or times out, the pool closes the connection and frees its place.
///
/// ```
/// use std::io;
/// use pool_core::{Gauge, MixedManager, Opened, Usage};
///
/// struct Origins;
///
/// struct Http1;
/// struct Http2;
///
/// impl MixedManager<String> for Origins {
///     type One = Http1;
///     type Many = Http2;
///     type Error = io::Error;
///
///     async fn create(&self, origin: &String, gauge: Gauge) -> io::Result<Opened<Http1, Http2>> {
///         // Here: connect, and let TLS agree on a protocol.
///         if origin.ends_with(".old:443") {
///             return Ok(Opened::One(Http1));
///         }
///         gauge.set_capacity(100); // the server's SETTINGS; the task that reads the socket keeps the gauge
///         Ok(Opened::Many(Http2))
///     }
///
///     async fn check(&self, _: &mut Http1, _: &Usage) -> io::Result<()> { Ok(()) }
///
///     /// Without TLS nothing can be agreed on, and every connection serves one.
///     fn expects(&self, origin: &String) -> Option<u32> { origin.ends_with(":80").then_some(1) }
/// }
/// ```
pub trait MixedManager<K>: Send + Sync + 'static {
    /// A connection for one caller at a time.
    type One: Send + 'static;

    /// A connection that many callers share.
    type Many: Send + Sync + 'static;

    /// The error of a failed open, check or reset. Its text is shown, like that of [`Manager::Error`](crate::Manager::Error): it
    /// must not contain a secret.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Opens a connection for `key`. Bounded by `create_timeout`.
    ///
    /// The task that drives the connection should hold `gauge`. For a shared connection, the task reports how many calls may share
    /// it, whenever that changes, and when the connection takes no more calls, is suspect or is dead. Until `gauge` is told a
    /// capacity, the capacity is 1. For a connection of one caller at a time, [`Gauge::dead`] frees its place at once if it is idle,
    /// [`Gauge::drain`] closes it as soon as it is idle, and after [`Gauge::suspect`] it is checked before its next lease.
    fn create(
        &self,
        key: &K,
        gauge: Gauge,
    ) -> impl Future<Output = Result<Opened<Self::One, Self::Many>, Self::Error>> + Send;

    /// How many calls a connection of this key is expected to serve at once, if that is known before one is open. With it, the pool
    /// opens as many connections as the waiters need: otherwise, one for each 16 waiters, until the first is open. From then on,
    /// what the last connection could serve is what the next is expected to serve. Called when the key comes into use, with nothing
    /// locked. 0 is taken as 1.
    ///
    /// Returns `None` by default.
    fn expects(&self, key: &K) -> Option<u32> {
        let _ = key;
        None
    }

    /// Checks that the connection still works, like [`KeyedManager::check`](crate::KeyedManager::check).
    fn check(
        &self,
        one: &mut Self::One,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Whether [`reset`](Self::reset) must run before the next lease, like
    /// [`KeyedManager::needs_reset`](crate::KeyedManager::needs_reset). Returns false by default.
    fn needs_reset(&self, one: &mut Self::One, usage: &Usage) -> bool {
        let _ = (one, usage);
        false
    }

    /// Makes the connection clean for the next caller, like [`KeyedManager::reset`](crate::KeyedManager::reset).
    fn reset(
        &self,
        one: &mut Self::One,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let _ = (one, usage);
        async { Ok(()) }
    }

    /// Whether the connection is known to be broken, like [`KeyedManager::is_broken`](crate::KeyedManager::is_broken). Returns false
    /// by default.
    fn is_broken(&self, one: &mut Self::One) -> bool {
        let _ = one;
        false
    }

    /// Whether a call on the connection was dropped before it ended, like
    /// [`Manager::is_interrupted`](crate::Manager::is_interrupted). Returns false by default.
    fn is_interrupted(&self, one: &mut Self::One) -> bool {
        let _ = one;
        false
    }

    /// Closes a connection gracefully. Nobody uses it any more. Bounded by `close_timeout`. The default drops it. The pool drops it
    /// too if no runtime is left to run `close` on, and a shared connection that died while callers held shares of it.
    fn close(&self, connection: Opened<Self::One, Self::Many>) -> impl Future<Output = ()> + Send {
        async { drop(connection) }
    }
}
