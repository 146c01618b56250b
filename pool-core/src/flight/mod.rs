//! One computation, however many ask for it.

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
pub use run::Run;
pub use status::FlightStatus;

use crate::config::ConfigError;

/// One computation a key, however many ask for it meanwhile: all of them get its value.
///
/// A cheap handle: clones share the same flights. It keeps nothing: who asks after the value was given starts anew. Put a cache in
/// front of it, or behind it, and a hot key that expires costs one query and not a thousand.
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
///     /// The page of a product that everybody looks at, rendered once for all who ask at the same time.
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
/// # Whose computation it is
/// The flight's: it runs on a task of its own, on the runtime of the first who asked. It goes on when that one goes away, as long as
/// anybody waits, and stops when nobody does. Who comes while it is being stopped waits for the end of that and starts anew: there
/// are never two at once for one key. If its runtime ends, the next in line starts it again on theirs.
///
/// # Errors of the computation
/// All who wait get the same one; with [`retry_errors`](FlightConfig::retry_errors) only the one whose computation it was, and the next in
/// line tries its own. A panic counts as an error, and poisons nothing.
///
/// # Cycles
/// A computation that asks for its own key, itself or by way of another key of the same flight, would wait for itself for ever: the
/// call that closes the circle gets an error ([`FlightError::is_reentrant`]). Calls that it makes from tasks that it spawned are not
/// recognised, nor circles through another flight; they end by their deadlines.
///
/// # Limits
/// The keys' `Hash` and `Eq` run under a lock, as in every map that is shared: they must not use the flight.
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
    /// A flight with the defaults of [`builder`](Self::builder).
    pub fn new() -> Self {
        FlightBuilder::new().finish()
    }

    /// A flight with the defaults, overridden by what the environment holds under `prefix`: `{PREFIX}_TIMEOUT` and the other settings of
    /// [`FlightConfig`].
    ///
    /// # Errors
    /// A value that its setting cannot have, or a name under the prefix that no setting has.
    pub fn from_env(prefix: &str) -> Result<Self, ConfigError> {
        FlightBuilder::new().env(prefix)?.build()
    }

    /// Begins a flight.
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

    /// The value that `compute` gives for `key`, or that another call's gives which is under way.
    ///
    /// `compute` is called only if nothing is under way, when the future is first polled, or when it is the next to try.
    ///
    /// # Errors
    /// [`FlightError::error`] when the computation failed, [`FlightError::is_panic`] when it panicked;
    /// [`FlightError::is_timeout`] after [`timeout`](FlightConfig::timeout); [`FlightError::is_overloaded`] when too many wait;
    /// [`FlightError::is_reentrant`] when a computation asks for its own key; [`FlightError::is_no_runtime`] when it does not run on
    /// tokio, or the runtime that computed for it ended.
    ///
    /// # Cancel safety
    /// Dropping the future stops the computation if nobody else waits for it.
    ///
    /// # Panics
    /// When it runs on a tokio runtime that was built without a timer.
    pub fn run<F, R>(&self, key: K, compute: F) -> Run<K, V, E, F>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<V, E>> + Send + 'static,
    {
        Run::new(Arc::clone(&self.inner), key, compute)
    }
}

impl<K, V, E> Flight<K, V, E> {
    /// All counts, as they are at this moment.
    pub fn status(&self) -> FlightStatus {
        self.inner.board.status()
    }

    /// Its name, for messages.
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
