//! The trait that opens and closes the connections of a shared pool.

use std::fmt;

use crate::Gauge;

/// Opens and closes the connections of one [`SharedPool`](super::SharedPool).
///
/// Every future runs on a task of the pool, under a timeout of the pool. If a future returns an error, panics or times out, the
/// place of the connection is freed.
///
/// A connection that carries many calls on one socket has a task that reads the socket. That task knows the state of the
/// connection, so it should hold the gauge:
///
/// ```
/// use std::io;
/// use pool_core::{Gauge, SharedManager, SharedPool};
/// use tokio::sync::{mpsc, oneshot};
///
/// /// A client of a server that answers in order, like a multiplexed Redis.
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
///         gauge.set_capacity(64); // calls in flight at once
///         tokio::spawn(async move {
///             // Stands for a socket: answers each call.
///             while let Some((key, answer)) = queue.recv().await {
///                 drop(answer.send(format!("value of {key}")));
///             }
///             gauge.dead(); // the socket was closed, and this task ends
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
    /// The type of the shared connection.
    type Resource: Send + Sync + 'static;

    /// The error of a failed open.
    type Error: fmt::Debug + fmt::Display + Send + Sync + 'static;

    /// Opens a connection. Bounded by `create_timeout`.
    ///
    /// The task that drives the connection should hold `gauge`. With it, the task reports how many calls may share the connection,
    /// whenever that changes, and when the connection takes no more calls, is suspect or is dead. Until `gauge` is told a capacity,
    /// the capacity is 1.
    fn create(
        &self,
        gauge: Gauge,
    ) -> impl Future<Output = Result<Self::Resource, Self::Error>> + Send;

    /// Closes a connection gracefully. No caller shares it any more. Bounded by `close_timeout`. The default drops the connection.
    fn close(&self, connection: Self::Resource) -> impl Future<Output = ()> + Send {
        async { drop(connection) }
    }
}
