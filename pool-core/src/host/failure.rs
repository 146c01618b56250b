//! Why a resource could not be opened.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use crate::config::ConfigError;

/// Why an attempt to open a resource failed. Shared by all whom it concerns.
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
/// // What to tell whoever is called in the night.
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
    /// The manager's own error.
    Manager(E),
    /// It took longer than `create_timeout`.
    TimedOut(Duration),
    /// The manager panicked, and what it said.
    Panicked(String),
    /// It was broken as soon as it was open: [`Manager::is_broken`](crate::Manager::is_broken).
    Broken,
    /// It died or took its leave before it was open: [`Gauge::dead`](crate::Gauge::dead), [`Gauge::drain`](crate::Gauge::drain).
    Gone,
    /// What [`limits_of`](crate::KeyedBuilder::limits_of) says of the key cannot be used.
    Limits(ConfigError),
}

/// How the kernel keeps one.
pub(crate) type Failure<E> = Arc<OpenError<E>>;

impl<E: fmt::Display> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manager(error) => write!(f, "{error:#}"),
            Self::TimedOut(after) => write!(f, "opening one took longer than {after:?}"),
            Self::Panicked(message) => {
                write!(f, "the manager panicked while opening one: {message}")
            }
            Self::Broken => f.write_str("it was broken as soon as it was open"),
            Self::Gone => f.write_str("it died or took its leave before it was open"),
            Self::Limits(error) => write!(f, "the limits of the key cannot be used: {error}"),
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
