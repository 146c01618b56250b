//! Runs managers that were written for other pools on this engine, unchanged (features `deadpool` and `bb8`).
//!
//! The managers of both crates have the same operations under other names. A newtype for each crate maps them:
//!
//! | [`Manager`](crate::Manager) | `Deadpool<M>` | `Bb8<M>` |
//! |---|---|---|
//! | `create` | `create` | `connect` |
//! | `check`, after some idleness | `recycle` | `is_valid` |
//! | `reset`, on return | `recycle`, always | `is_valid`, when `check_after` has passed since the last time |
//! | `is_broken`, on every return and get | nothing | `has_broken` |
//! | `close` | `detach`, then dropped | dropped |
//!
//! The lease derefs to the manager's own type, like the guard of the other pool. When you migrate, the types of the guard and of
//! the error change. The hooks or the customizer of the other pool's builder are on the adapter. Its sizes and timeouts are on
//! [`Builder`](crate::Builder).
//!
//! Neither kind of manager can be told that a resource is tainted ([`Lease::taint`](crate::Lease::taint)). So a tainted resource is
//! closed, and never handed on.

use std::{error::Error as StdError, fmt};

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;

#[cfg(feature = "bb8")]
pub use self::bb8::Bb8;
#[cfg(feature = "deadpool")]
pub use self::deadpool::Deadpool;

/// The error of a manager from another crate, whatever its type.
///
/// Other pools demand less of an error than [`Manager::Error`](crate::Manager::Error) does: it need not implement
/// `std::error::Error`, and it need not be shareable. This error does both. It has the same text and the same source, and contains
/// the original error.
///
/// ```
/// # #[cfg(feature = "bb8")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::io::{Error, ErrorKind};
/// # use pool_core::{Pool, adapt::Bb8};
/// # struct Redis;
/// # impl bb8::ManageConnection for Redis {
/// #     type Connection = ();
/// #     type Error = Error;
/// #     async fn connect(&self) -> Result<(), Error> { Err(ErrorKind::ConnectionRefused.into()) }
/// #     async fn is_valid(&self, _: &mut ()) -> Result<(), Error> { Ok(()) }
/// #     fn has_broken(&self, _: &mut ()) -> bool { false }
/// # }
/// let pool = Pool::builder(Bb8::new(Redis)).build()?;
/// let error = pool.get().await.unwrap_err();
/// let foreign = error.connect_error().ok_or("it did not try")?;
/// // The original error, of the manager's own type.
/// let own = foreign.downcast_ref::<Error>().ok_or("it is another's")?;
/// assert_eq!(own.kind(), ErrorKind::ConnectionRefused);
/// assert_eq!(foreign.to_string(), own.to_string());
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "bb8"))]
/// # fn main() {}
/// ```
pub struct ForeignError(BoxError);

type BoxError = Box<dyn StdError + Send + Sync>;

impl ForeignError {
    /// Returns the manager's own error, if it is an `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// Returns the manager's own error, for code that does not know its type.
    pub fn get_ref(&self) -> &(dyn StdError + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for ForeignError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl StdError for ForeignError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}
