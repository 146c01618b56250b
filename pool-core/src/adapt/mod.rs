//! Managers that were written for other pools, on this engine, unchanged (features `deadpool` and `bb8`).
//!
//! Both ecosystems' managers do the same three things under other names. A newtype around each kind says which is which:
//!
//! | [`Manager`](crate::Manager) | `Deadpool<M>` | `Bb8<M>` |
//! |---|---|---|
//! | `create` | `create` | `connect` |
//! | `check`, after some idleness | `recycle` | `is_valid` |
//! | `reset`, on return | `recycle`, always | `is_valid`, when `check_after` has passed since the last time |
//! | `is_broken`, on every return and get | nothing | `has_broken` |
//! | `close` | `detach`, then dropped | dropped |
//!
//! The lease derefs to the manager's own type, as the other pool's guard does. What changes in a move is the name of the guard
//! and of the error. What the other pool's builder had as hooks or as a customizer, the adapter has; what it had as sizes and
//! timeouts is in [`Builder`](crate::Builder).
//!
//! Neither kind of manager can be told that a resource is tainted ([`Lease::taint`](crate::Lease::taint)), so one that is gets
//! closed: never handed on as it is.

use std::{error::Error as StdError, fmt};

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool")]
mod deadpool;

#[cfg(feature = "bb8")]
pub use self::bb8::Bb8;
#[cfg(feature = "deadpool")]
pub use self::deadpool::Deadpool;

/// What a manager of another ecosystem said: its own error, whatever its type.
///
/// Other pools ask less of an error than [`Manager::Error`](crate::Manager::Error) does: it need not be an error in the sense of
/// `std`, nor shareable. This one is both, shows the same text, and has the same source; the original is inside.
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
/// // Of the type that the manager gave it.
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
    /// The manager's own error, if it is of the type `E`.
    pub fn downcast_ref<E: StdError + 'static>(&self) -> Option<&E> {
        self.0.downcast_ref()
    }

    /// The manager's own error, for whoever does not know its type.
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
