//! The guard of a share of a connection.

use std::{error::Error, fmt, ops::Deref, sync::Arc};

use super::{SharedManager, handle::Handle, inner::Wired, places};
use crate::{
    host::{Hosted, unless},
    observe::CloseReason,
};

/// A share of a connection. Dropping it returns the share, on any thread, with or without a runtime.
///
/// A share borrows nothing. The functions of a share are associated functions, called as `Share::taint(&share)`, so that they hide
/// no method of the connection.
///
/// ```
/// use std::{io, sync::Mutex, time::Duration};
/// use pool_core::{ConnectionDied, Gauge, Share, SharedManager, SharedPool};
///
/// struct Connection;
///
/// impl Connection {
///     async fn call(&self) -> io::Result<&'static str> { Ok("answer") }
///     async fn next_event(&self) -> io::Result<&'static str> { std::future::pending().await }
/// }
///
/// # #[derive(Default)]
/// # struct Events(Mutex<Vec<Gauge>>);
/// # impl SharedManager for Events {
/// #     type Resource = Connection;
/// #     type Error = io::Error;
/// #     async fn create(&self, gauge: Gauge) -> io::Result<Connection> {
/// #         gauge.set_capacity(100);
/// #         self.0.lock().unwrap().push(gauge);
/// #         Ok(Connection)
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = SharedPool::builder(Events::default()).max_size(2).build()?;
/// let share = pool.get().await?;
/// match Share::run(&share, async |connection| connection.call().await).await {
///     Ok(Ok(answer)) => assert_eq!(answer, "answer"),
///     // A protocol error: the connection gets no new shares, and its other calls may finish.
///     Ok(Err(_)) => Share::taint(&share),
///     // The connection died meanwhile. A call that is safe to repeat is repeated on another connection.
///     Err(ConnectionDied) => {}
/// }
///
/// // Beside other work: ends with whatever comes first.
/// # let gauge = pool.manager().0.lock().unwrap()[0].clone();
/// # let cut = tokio::spawn(async move { gauge.dead() });
/// let event = tokio::select! {
///     event = share.next_event() => Some(event),
///     () = Share::died(&share) => None,
///     () = tokio::time::sleep(Duration::from_secs(30)) => None,
/// };
/// assert!(event.is_none() && Share::is_dead(&share), "the server was restarted");
/// # cut.await?;
/// # Ok(())
/// # }
/// ```
pub struct Share<M: SharedManager> {
    /// `None` only while the share is being dropped.
    share: Option<places::Share>,
    inner: Arc<Handle<M>>,
}

/// The error of a call whose connection died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionDied;

impl fmt::Display for ConnectionDied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection died while it was used")
    }
}

impl Error for ConnectionDied {}

impl<M: SharedManager> Share<M> {
    #[inline]
    pub(super) const fn new(share: places::Share, inner: Arc<Handle<M>>) -> Self {
        Self {
            share: Some(share),
            inner,
        }
    }

    /// Retires the connection: it takes no more shares, and closes when its last share ends.
    pub fn taint(share: &Self) {
        let (inner, link) = (&share.inner, share.held().link());
        inner.perform(inner.links.drain(link, CloseReason::Tainted, inner.now()));
    }

    /// Whether the connection is dead.
    pub fn is_dead(share: &Self) -> bool {
        share.wired().death.has_rung()
    }

    /// Waits until the connection dies, without a timeout. For a `select!` beside other work.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the wait.
    pub async fn died(share: &Self) {
        share.wired().death.rings().await;
    }

    /// Runs an operation, but no longer than the connection lives.
    ///
    /// # Errors
    /// The connection died before the operation ended; the operation was dropped.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation.
    pub async fn run<T>(
        share: &Self,
        operation: impl AsyncFnOnce(&M::Resource) -> T,
    ) -> Result<T, ConnectionDied> {
        let operation = operation(&share.wired().connection);
        unless(Self::died(share), operation)
            .await
            .ok_or(ConnectionDied)
    }

    #[inline]
    fn held(&self) -> &places::Share {
        self.share.as_ref().expect(HELD)
    }

    #[inline]
    fn wired(&self) -> &Wired<M::Resource> {
        let connection = self.inner.links.connection(self.held());
        connection.expect("it is open as long as somebody has a share")
    }
}

const HELD: &str = "a share is there until it is dropped";

impl<M: SharedManager> Deref for Share<M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        &self.wired().connection
    }
}

impl<M: SharedManager> Drop for Share<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(share) = self.share.take()
            && let Some(work) = self.inner.links.put(share, || self.inner.now())
        {
            self.inner.perform(work);
        }
    }
}

impl<M: SharedManager> fmt::Debug for Share<M>
where
    M::Resource: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&**self).finish()
    }
}
