//! The trait that opens, checks, resets and closes the resources of a pool.

use std::{fmt, future::Future};

use crate::host::Usage;

/// Opens, checks, resets and closes the resources of one pool.
///
/// Only [`create`](Self::create) and [`check`](Self::check) must be written. Every future runs on a task of the pool, under a
/// timeout of the pool. So a caller that gives up does not waste an open, and a future that hangs blocks no caller. If a future
/// returns an error, panics or times out, the pool closes the resource and frees its place.
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
    /// The type of the pooled resource.
    type Resource: Send + 'static;

    /// The error of a failed open, check or reset. A caller gets the error of a failed [`create`](Self::create) unchanged
    /// ([`Error::connect_error`](crate::Error::connect_error)).
    ///
    /// The type need not implement `std::error::Error`: `anyhow::Error` will do.
    ///
    /// The text of the error is shown in [`Error`](crate::Error), in [`Status::last_error`](crate::Status::last_error), and in
    /// warnings (feature `tracing`). It includes the causes if the alternate form (`{:#}`) has them. So the text must not contain a
    /// secret: no password, no token, and no address that contains one. The same holds for the message of a panic in the manager.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Opens a resource. Bounded by `create_timeout`.
    fn create(&self) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

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

    /// Makes the resource clean for the next caller. Runs after a return for which [`needs_reset`](Self::needs_reset) returned
    /// true. Bounded by `reset_timeout`. On an error the pool closes the resource.
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

    /// Whether a call on the resource was dropped before it ended. Called on every return, on the caller's thread: it must not do
    /// I/O or block.
    ///
    /// If it returns true, the resource is tainted: the pool resets it if [`needs_reset`](Self::needs_reset) then returns true, and
    /// closes it otherwise. The next caller never gets it as it is. So callers need not use [`Lease::run`](crate::Lease::run). A
    /// resource can learn from its protocol or from [`Calls`](crate::Calls) whether a call is unfinished. Returns false by default.
    fn is_interrupted(&self, resource: &mut Self::Resource) -> bool {
        let _ = resource;
        false
    }

    /// Whether an error of [`create`](Self::create) says that the backend answers, but has no room for another resource. Then nobody
    /// who waits is refused. For the pools of other crates of this workspace.
    #[doc(hidden)]
    fn __is_full(&self, error: &Self::Error) -> bool {
        let _ = error;
        false
    }

    /// Closes the resource gracefully. Bounded by `close_timeout`. The default drops the resource. The pool drops it too if no
    /// runtime is left to run `close` on.
    fn close(&self, resource: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(resource) }
    }
}
