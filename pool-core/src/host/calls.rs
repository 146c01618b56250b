//! Tracks whether a call on a resource was dropped before it ended.

/// Tracks whether a call on a resource was dropped before it ended. A resource has `Calls` as a field, and its manager reads it.
///
/// If a future is dropped between a request and its reply, the reply is still to come on the connection, and the next caller would
/// read it. A resource that runs its calls with [`run`](Self::run) can tell its manager so when it is returned
/// ([`Manager::is_interrupted`](crate::Manager::is_interrupted)). The pool then closes the resource, or resets it if the manager
/// can. Callers need not do anything: they may put any call in a `timeout` or a `select!`.
///
/// A call that ends with an error did end, and is not interrupted. Where the resource is of no use after that, as a stream that failed,
/// it remembers the error itself, and its manager says so in [`Manager::is_broken`](crate::Manager::is_broken).
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
///     /// Sends one byte and waits for the reply.
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
/// // The server does not answer in time. The next caller must not read this answer.
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
    /// Returns a new tracker: no call has begun.
    pub const fn new() -> Self {
        Self { running: false }
    }

    /// Runs a call. A call that ends, also with an error, leaves the resource uninterrupted.
    ///
    /// # Cancel safety
    /// Dropping the future drops the call and leaves the resource [interrupted](Self::is_interrupted). A panic in the call does the
    /// same.
    pub async fn run<T>(&mut self, call: impl Future<Output = T>) -> T {
        let was = std::mem::replace(&mut self.running, true);
        let value = call.await;
        self.running = was;
        value
    }

    /// Whether a call began that did not end.
    pub const fn is_interrupted(&self) -> bool {
        self.running
    }

    /// Records that the resource is clean again. For a [`reset`](crate::Manager::reset) that reads or discards what an interrupted
    /// call left.
    pub const fn clear(&mut self) {
        self.running = false;
    }
}
