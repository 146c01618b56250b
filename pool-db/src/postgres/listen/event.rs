//! What a listener tells.

use crate::Error;

/// What a [`Listener`](super::Listener) yields.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A notification.
    Notification(Notification),
    /// Notifications may be missing here: the connection was lost, or this program did not take its events as fast as they came.
    ///
    /// The listener listens again: what happens from now on is told by further events. So read the state now, and nothing is missed.
    Gap,
    /// The connection was lost, and the server now refuses this user, password or database (SQLSTATE 28xxx, 3D000 or 42501). It is
    /// told once for each loss of a connection.
    ///
    /// The listener goes on trying, up to 30 s apart, and yields [`Gap`](Self::Gap) when it listens again.
    Refused(Error),
}

/// A notification from the server.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// The channel to which it was sent.
    pub channel: String,
    /// What was sent. It is empty if the sender gave no payload.
    pub payload: String,
    /// The server's process that sent it.
    pub process_id: i32,
}

impl From<tokio_postgres::Notification> for Notification {
    fn from(notification: tokio_postgres::Notification) -> Self {
        Self {
            channel: notification.channel().to_owned(),
            payload: notification.payload().to_owned(),
            process_id: notification.process_id(),
        }
    }
}
