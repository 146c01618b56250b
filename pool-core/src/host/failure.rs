//! The error of an open that failed.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::config::ConfigError;

/// Why an open failed. All gets that the failure concerns share this error.
///
/// ```
/// # use pool_core::{Manager, OpenError, Pool, Usage};
/// # struct Db;
/// # impl Manager for Db {
/// #     type Resource = ();
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<(), Self::Error> { Err(std::io::ErrorKind::ConnectionRefused.into()) }
/// #     async fn check(&self, _: &mut (), _: &Usage) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Db).build()?;
/// let error = pool.get().await.unwrap_err();
/// // What to tell the engineer on call.
/// let advice = match error.open_error() {
///     Some(OpenError::Manager(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => "is it running?",
///     Some(OpenError::Manager(_)) => "see what it says",
///     Some(OpenError::TimedOut(_)) => "is there a firewall on the way?",
///     _ => "that is a bug",
/// };
/// assert_eq!(advice, "is it running?");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The manager returned this error.
    Manager(E),
    /// The open took longer than `create_timeout`.
    TimedOut(Duration),
    /// The manager panicked with this message.
    Panicked(String),
    /// The resource was broken as soon as it was open: [`Manager::is_broken`](crate::Manager::is_broken), or
    /// [`Gauge::dead`](crate::Gauge::dead) just after the open.
    Broken,
    /// The connection died before it was open, or was drained before anybody could use it: [`Gauge::dead`](crate::Gauge::dead),
    /// [`Gauge::drain`](crate::Gauge::drain).
    Gone,
    /// The limits that [`limits_of`](crate::KeyedBuilder::limits_of) returned for the key are invalid.
    Limits(ConfigError),
}

/// An open error as the kernel stores it.
pub(crate) type Failure<E> = Arc<OpenError<E>>;

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(error) => write!(f, "{error:#}"),
            Self::TimedOut(after) => write!(f, "the open took longer than {after:?}"),
            Self::Panicked(message) => {
                write!(
                    f,
                    "the manager panicked while it opened a resource: {message}"
                )
            }
            Self::Broken => f.write_str("the resource was broken as soon as it was open"),
            Self::Gone => {
                f.write_str("the connection died or was drained before anybody could use it")
            }
            Self::Limits(error) => write!(f, "the limits of the key are invalid: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for OpenError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Manager(error) => error.source(),
            Self::TimedOut(_) | Self::Panicked(_) | Self::Broken | Self::Gone | Self::Limits(_) => {
                None
            }
        }
    }
}
