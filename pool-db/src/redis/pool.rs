//! What only a pool of Redis connections has: connections for messages.

use redis::aio::PubSub;
use tokio::time::timeout;

use super::Pool;
use crate::Error;

impl Pool {
    /// Opens a connection of the driver for messages, with the pool's address and settings. It is not one of the pool's connections: a
    /// subscription lasts, and `max_size` does not count it.
    ///
    /// ```no_run
    /// use futures_util::StreamExt as _;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_db::Error> {
    /// let pool = pool_db::redis::Pool::from_env()?;
    /// let mut subscriber = pool.subscriber().await?;
    /// subscriber.subscribe("orders").await?;
    /// let mut messages = subscriber.on_message();
    /// while let Some(message) = messages.next().await {
    ///     println!("{}", message.get_payload::<String>()?);
    /// }
    /// // The connection was lost, and messages with it: subscribe again, and read what may have changed.
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::is_connect`] when the server cannot be reached, or refuses the connection, or after `create_timeout`.
    ///
    /// # Cancel safety
    /// Dropping the future drops the connection.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn subscriber(&self) -> Result<PubSub, Error> {
        let manager = self.manager();
        let limit = manager.create_timeout;
        match timeout(limit, manager.dial.subscriber()).await {
            Ok(opened) => opened,
            Err(late) => Err(Error::connect(&manager.dial.target, late)),
        }
    }
}
