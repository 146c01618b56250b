//! What a shared pool is told about its connections.

use std::fmt;

use super::Gauge;

/// Opens and closes the connections of one [`SharedPool`](super::SharedPool).
///
/// Every future runs on a task of the pool's, bounded by a timeout of the pool's. An error, a panic or a timeout frees the place.
///
/// A connection that answers many on one socket has a task that reads it. That task knows best how the connection is, so it has the
/// gauge:
///
/// ```
/// use std::io;
/// use pool_core::{Gauge, SharedManager, SharedPool};
/// use tokio::sync::{mpsc, oneshot};
///
/// /// A client of a server that answers in order, as a multiplexed Redis does.
/// struct Redis;
///
/// type Call = (String, oneshot::Sender<String>);
///
/// struct Multiplexed {
///     calls: mpsc::Sender<Call>,
/// }
///
/// impl Multiplexed {
///     async fn get(&self, key: &str) -> io::Result<String> {
///         let (answer, answered) = oneshot::channel();
///         let gone = |_| io::Error::from(io::ErrorKind::ConnectionReset);
///         self.calls.send((key.to_owned(), answer)).await.map_err(|_| gone(()))?;
///         answered.await.map_err(|_| gone(()))
///     }
/// }
///
/// impl SharedManager for Redis {
///     type Resource = Multiplexed;
///     type Error = io::Error;
///
///     async fn create(&self, gauge: Gauge) -> io::Result<Multiplexed> {
///         let (calls, mut queue) = mpsc::channel::<Call>(64);
///         gauge.set_capacity(64); // as many as may be on their way at once
///         tokio::spawn(async move {
///             // In place of a socket: an answer to each call.
///             while let Some((key, answer)) = queue.recv().await {
///                 drop(answer.send(format!("value of {key}")));
///             }
///             gauge.dead(); // the socket has ended, and this task with it
///         });
///         Ok(Multiplexed { calls })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let redis = SharedPool::builder(Redis).name("redis").max_size(2).build()?;
/// assert_eq!(redis.get().await?.get("user:0").await?, "value of user:0");
/// let answers = futures_util::future::join_all((0..50).map(|n| {
///     let redis = &redis;
///     async move { redis.get().await.unwrap().get(&format!("user:{n}")).await }
/// }));
/// assert_eq!(answers.await[49].as_ref().unwrap(), "value of user:49");
/// assert_eq!(redis.status().opened, 1, "fifty calls at once, one connection");
/// # Ok(())
/// # }
/// ```
pub trait SharedManager: Send + Sync + 'static {
    /// What many use at the same time.
    type Resource: Send + Sync + 'static;

    /// Why one could not be opened.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Opens one. Bounded by `create_timeout`.
    ///
    /// The manager keeps `gauge` with whatever drives the connection, and says there how many may share it, now and whenever that
    /// changes, and when it shall take no more, is suspect or is dead. Until it says otherwise, one may have it at a time.
    fn create(
        &self,
        gauge: Gauge,
    ) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Says goodbye. Nobody shares it any more. Bounded by `close_timeout`. The default drops it.
    fn close(&self, connection: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(connection) }
    }
}
