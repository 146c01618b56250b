//! Whether a call on a resource was dropped half-way.

/// Whether a call on a resource was dropped half-way: a field of the resource, by which its manager knows.
///
/// A future that is dropped between a request and its reply leaves the reply on the wire, for the next user. A resource whose methods
/// run their calls by [`run`](Self::run) says so when it comes back ([`Manager::is_interrupted`](crate::Manager::is_interrupted)), and
/// the pool closes it, or resets it if the manager can. Callers write nothing for it: they may put any call in a `timeout` or a `select!`.
///
/// ```
/// use std::{io, time::Duration};
/// use pool_core::{Calls, Manager, Pool, Usage};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
///
/// struct Connection {
///     stream: DuplexStream,
///     calls: Calls,
/// }
///
/// impl Connection {
///     /// Sends one byte and waits for the one that answers it.
///     async fn ask(&mut self, what: u8) -> io::Result<u8> {
///         let Self { stream, calls } = self;
///         calls
///             .run(async {
///                 stream.write_u8(what).await?;
///                 stream.read_u8().await
///             })
///             .await
///     }
/// }
///
/// struct Servers;
///
/// impl Manager for Servers {
///     type Resource = Connection;
///     type Error = io::Error;
///
///     async fn create(&self) -> io::Result<Connection> {
///         let (stream, _server) = tokio::io::duplex(64);
/// #       tokio::spawn(async move { tokio::time::sleep(Duration::from_secs(60)).await; drop(_server) });
///         Ok(Connection { stream, calls: Calls::new() })
///     }
///
///     async fn check(&self, _: &mut Connection, _: &Usage) -> io::Result<()> {
///         Ok(())
///     }
///
///     fn is_interrupted(&self, connection: &mut Connection) -> bool {
///         connection.calls.is_interrupted()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Servers).max_size(1).build()?;
/// let mut connection = pool.get().await?;
/// // The server does not answer in time. Nobody is to get that answer for another question.
/// let answer = tokio::time::timeout(Duration::from_millis(10), connection.ask(7)).await;
/// assert!(answer.is_err());
/// drop(connection);
/// tokio::task::yield_now().await;
/// assert_eq!(pool.status().closed.by(pool_core::observe::CloseReason::Tainted), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Calls {
    running: bool,
}

impl Calls {
    /// No call has begun.
    pub const fn new() -> Self {
        Self { running: false }
    }

    /// Runs a call. One that ends, also with an error, leaves nothing behind.
    ///
    /// # Cancel safety
    /// Dropping the future drops the call, and leaves its resource [interrupted](Self::is_interrupted); so does a panic in it.
    pub async fn run<T>(&mut self, call: impl Future<Output = T>) -> T {
        let was = std::mem::replace(&mut self.running, true);
        let value = call.await;
        self.running = was;
        value
    }

    /// Did a call begin that did not end?
    pub const fn is_interrupted(&self) -> bool {
        self.running
    }

    /// What was left behind was cleaned up: for a [`reset`](crate::Manager::reset) that reads or discards what is left.
    pub const fn clear(&mut self) {
        self.running = false;
    }
}
