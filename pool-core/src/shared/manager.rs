//! What a shared pool is told about its connections.

use std::error::Error;

use super::Gauge;

/// Opens and closes the connections of one [`SharedPool`](super::SharedPool).
///
/// Every future runs on a task of the pool's, bounded by a timeout of the pool's. An error, a panic or a timeout frees the place.
pub trait SharedManager: Send + Sync + 'static {
    /// What many use at the same time.
    type Connection: Send + Sync + 'static;

    /// Why one could not be opened.
    type Error: Error + Send + Sync + 'static;

    /// Opens one. Bounded by `create_timeout`.
    ///
    /// The manager keeps `gauge` with whatever drives the connection, and says there how many may share it, now and whenever that
    /// changes, and when it shall take no more, is suspect or is dead. Until it says otherwise, one may have it at a time.
    fn connect(
        &self,
        gauge: Gauge,
    ) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Says goodbye. Nobody shares it any more. Bounded by `close_timeout`. The default drops it.
    fn close(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send {
        async { drop(connection) }
    }
}
