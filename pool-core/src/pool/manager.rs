//! What a pool is told about its resources.

use std::{fmt, future::Future};

use crate::host::Usage;

/// Opens, checks, cleans and closes the resources of one pool.
///
/// Only [`create`](Self::create) and [`check`](Self::check) must be written. Every future runs on a task of the pool's, bounded
/// by a timeout of the pool's: a caller that gives up wastes nothing, and one that hangs stops nobody. An error, a panic or a
/// timeout in any of them closes the resource and frees its place.
///
/// ```
/// use pool_core::{Manager, Pool, Usage};
///
/// struct Sessions;
///
/// impl Manager for Sessions {
///     type Resource = String;
///     type Error = std::io::Error;
///
///     async fn create(&self) -> Result<String, Self::Error> {
///         Ok("a session".to_owned())
///     }
///
///     async fn check(&self, _: &mut String, _: &Usage) -> Result<(), Self::Error> {
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Sessions).max_size(4).build()?;
/// assert_eq!(pool.get().await?.as_str(), "a session");
/// # Ok(())
/// # }
/// ```
pub trait Manager: Send + Sync + 'static {
    /// What is pooled.
    type Resource: Send + 'static;

    /// Why one could not be opened, checked or reset. What a failed [`create`](Self::create) says comes back to the caller as
    /// it is ([`Error::connect_error`](crate::Error::connect_error)).
    ///
    /// Any error, also one that is none in the sense of `std`, as `anyhow::Error`.
    ///
    /// Its text is shown, with its causes if the alternate form (`{:#}`) has them: in [`Error`](crate::Error), in [`Status::last_error`](crate::Status::last_error), in warnings (feature
    /// `tracing`). So it must not hold a secret: no password, no token, no address that has one in it. The same goes for what
    /// a manager says when it panics.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Opens one. Bounded by `create_timeout`.
    fn create(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

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

    /// Makes it clean for the next user. Runs after a return for which [`needs_reset`](Self::needs_reset) said yes, bounded by
    /// `reset_timeout`; an error closes it.
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

    /// Was a call on it dropped half-way? Asked on every return, on the caller's thread: no I/O, no waiting. If so the resource is
    /// tainted: it is reset if [`needs_reset`](Self::needs_reset) says so then, or else closed, and never handed on as it is. So those
    /// who use the pool need not know of [`Lease::run`](crate::Lease::run). A resource that says itself whether a call on it is
    /// unfinished has it from its protocol, or from [`Calls`](crate::Calls). The default says no.
    fn is_interrupted(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Says goodbye. Bounded by `close_timeout`. The default drops it; so does the pool when no runtime is left to run this on.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(resource) }
    }
}
