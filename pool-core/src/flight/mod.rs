//! One computation for all callers that ask for the same key.

mod board;
mod builder;
mod config;
mod error;
mod run;
mod status;
mod task;
#[cfg(test)]
mod tests;
mod ticket;
mod work;

use std::{convert::Infallible, fmt, hash::Hash, sync::Arc};

use tokio::{task::AbortHandle, time::Instant};

use board::Board;
pub use builder::FlightBuilder;
pub use config::FlightConfig;
pub use error::FlightError;
use error::Kind;
pub use run::Run;
pub use status::FlightStatus;

use crate::config::ConfigError;

/// Runs one computation for each key, however many callers ask for the key at the same time: all of them get its value.
///
/// A `Flight` is a cheap handle: clones share the same computations. It stores no values: a call after the end of a computation
/// starts a new one. Combine it with a cache; then a popular key that expires costs one query, not a thousand.
///
/// ```
/// use std::sync::Arc;
/// use pool_core::{Flight, FlightError};
///
/// struct Prices {
///     flight: Flight<u32, Arc<str>, std::io::Error>,
/// }
///
/// impl Prices {
///     /// Renders a popular page once for all callers that ask for it at the same time.
///     async fn page(&self, product: u32) -> Result<Arc<str>, FlightError<std::io::Error>> {
///         let render = move || async move { Ok(format!("<h1>product {product}</h1>").into()) };
///         self.flight.run(product, render).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let prices = Prices { flight: Flight::new() };
/// let (one, other) = tokio::join!(prices.page(7), prices.page(7));
/// assert!(Arc::ptr_eq(&one?, &other?));
/// assert_eq!(prices.flight.status().started, 1);
/// # Ok(())
/// # }
/// ```
///
/// # Who runs the computation
/// The flight runs the computation on a task of its own, on the runtime of the first caller. If that caller goes away, the
/// computation goes on as long as any caller waits, and stops when none does. A call that comes while the computation is being
/// stopped waits for its end and then starts a new one: a key never has two computations at once. If the runtime of the computation
/// ends, the next waiter starts it again on its own runtime.
///
/// # Errors of the computation
/// All callers get the same error. With [`retry_errors`](FlightConfig::retry_errors), only the caller whose computation failed gets
/// the error, and the next waiter tries its own computation. A panic counts as an error, and poisons nothing.
///
/// # Cycles
/// A computation that asks for its own key, directly or through another key of the same flight, would wait for itself forever. The
/// call that closes the cycle fails with [`FlightError::is_reentrant`]. The flight does not detect calls from tasks that the
/// computation spawned, or cycles through another flight; these end at their deadlines.
///
/// # Limits
/// `Hash` and `Eq` of the keys run under a lock, as in any shared map: they must not use the flight.
pub struct Flight<K, V, E = Infallible> {
    inner: Arc<Inner<K, V, E>>,
}

pub(crate) struct Inner<K, V, E> {
    board: Board<K, V, E, AbortHandle>,
    name: Arc<str>,
    config: FlightConfig,
    epoch: Instant,
}

impl<K, V, E> Flight<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Makes a flight with the defaults of [`builder`](Self::builder).
    pub fn new() -> Self {
        FlightBuilder::new().finish()
    }

    /// Makes a flight with the default settings, overridden by the environment variables under `prefix`: `{PREFIX}_TIMEOUT` and the
    /// other settings of [`FlightConfig`].
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        FlightBuilder::new().env(prefix)?.build()
    }

    /// Creates a builder for a flight.
    ///
    /// ```
    /// use pool_core::Flight;
    ///
    /// async fn read(replica: u32) -> Result<&'static str, String> {
    ///     if replica == 1 { Err("replica 1 is down".to_owned()) } else { Ok("the text") }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let documents: Flight<u32, &str, String> = Flight::builder().retry_errors(true).build()?;
    /// let (one, other) = tokio::join!(
    ///     documents.run(7, || read(1)),
    ///     documents.run(7, || read(2)),
    /// );
    /// assert_eq!(one.unwrap_err().error().unwrap(), "replica 1 is down");
    /// assert_eq!(other.unwrap(), "the text", "that error was the other one's");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> FlightBuilder<K, V, E> {
        FlightBuilder::new()
    }

    fn with(name: Arc<str>, config: FlightConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                board: Board::new(config.waiters(), config.retry_errors),
                name,
                config,
                epoch: Instant::now(),
            }),
        }
    }

    /// Returns the value that `compute` returns for `key`, or the value of a computation of `key` that another call has started.
    ///
    /// `compute` is called only if no computation of the key runs when the future is first polled, or if this call is the next to
    /// try.
    ///
    /// # Errors
    /// - [`FlightError::error`] when the computation failed; [`FlightError::is_panic`] when it panicked.
    /// - [`FlightError::is_timeout`] after [`timeout`](FlightConfig::timeout).
    /// - [`FlightError::is_overloaded`] when too many calls wait.
    /// - [`FlightError::is_reentrant`] when a computation asks for its own key.
    /// - [`FlightError::is_no_runtime`] when the call does not run on tokio, or the runtime of its computation ended.
    ///
    /// # Cancel safety
    /// Dropping the future stops the computation if no other caller waits for it.
    ///
    /// # Panics
    /// Panics on a tokio runtime that was built without a timer.
    pub fn run<F, R>(&self, key: K, compute: F) -> Run<K, V, E, F>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<V, E>> + Send + 'static,
    {
        Run::new(Arc::clone(&self.inner), key, compute)
    }
}

impl<K, V, E> Inner<K, V, E> {
    fn error(&self, kind: Kind<E>) -> FlightError<E> {
        FlightError::new(Arc::clone(&self.name), kind)
    }
}

impl<K, V, E> Flight<K, V, E> {
    /// Returns all counts of this moment.
    pub fn status(&self) -> FlightStatus {
        self.inner.board.status()
    }

    /// Returns the name of the flight, as used in messages.
    pub fn name(&self) -> &str {
        &self.inner.name
    }
}

impl<K, V, E> Default for Flight<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn default() -> Self {
        Self::new()
    }
}

impl<K, V, E> Clone for Flight<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K, V, E> fmt::Debug for Flight<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("config", &self.inner.config)
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
