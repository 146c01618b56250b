//! LISTEN and NOTIFY.

mod backoff;
mod buffer;
mod builder;
mod channel;
mod event;
mod link;
mod listener;
mod task;

pub use builder::ListenerBuilder;
pub use event::{Event, Notification};
pub use listener::{Channels, Listener};

use super::Pool;
use crate::Error;
use channel::Channel;

impl Pool {
    /// Listens for the notifications of some channels. The [`Listener`] has a connection of its own.
    ///
    /// ```no_run
    /// use pool_db::postgres::{Event, Pool};
    ///
    /// # async fn reload() {}
    /// # async fn example(pool: &Pool) -> Result<(), pool_db::Error> {
    /// let mut prices = pool.listen(["prices"]).await?;
    /// reload().await; // what was there before
    /// while let Some(event) = prices.recv().await {
    ///     match event {
    ///         Event::Notification(notification) => println!("{} has a new price", notification.payload),
    ///         Event::Gap => reload().await, // some notifications may be missing
    ///         Event::Refused(error) => eprintln!("nothing is heard until this is mended: {error}"),
    ///         _ => {}
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// - [`Error::is_connect`] when the server cannot be reached, refuses the connection or, as a standby does, the `LISTEN`, or has
    ///   not answered within the pool's `create_timeout`.
    /// - Another error when the name of a channel is empty, longer than 63 bytes, or contains a NUL.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection that it has begun to open.
    ///
    /// # Panics
    /// Panics if it is not called on a tokio runtime with a timer and I/O.
    pub async fn listen<C: Into<String>>(
        &self,
        channels: impl IntoIterator<Item = C>,
    ) -> Result<Listener, Error> {
        self.listener().channels(channels).start().await
    }

    /// Creates a builder for a [`Listener`], which has its settings.
    pub fn listener(&self) -> ListenerBuilder {
        ListenerBuilder::new(self.manager())
    }

    /// Sends a notification to all who listen to a channel. A `payload` may have up to 7,999 bytes.
    ///
    /// It is sent by a connection of the pool, in no transaction. To send it together with a transaction's commit, run `SELECT
    /// pg_notify($1, $2)` in that transaction.
    ///
    /// The server delivers the notifications of one connection in their order, but the pool has several connections.
    ///
    /// # Errors
    /// As for [`get`](crate::Pool::get) and [`Client::query`](super::Client::query). Another error when the name of the channel is
    /// empty, longer than 63 bytes, or contains a NUL.
    ///
    /// # Cancel safety
    /// Dropping the future does not take back a notification that was sent.
    pub async fn notify(&self, channel: &str, payload: &str) -> Result<(), Error> {
        let channel = Channel::new(channel)?;
        let connection = self.get().await?;
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&channel.name(), &payload];
        connection
            .execute("SELECT pg_notify($1, $2)", &params)
            .await?;
        Ok(())
    }
}
