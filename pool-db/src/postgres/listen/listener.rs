//! The handles of a listener.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

use super::{buffer::Buffer, channel::Channel, event::Event, task::Command};
use crate::{Error, bounded::bounded};

/// Listens for notifications on a connection of its own. A stream of [`Event`]s. Made by [`Pool::listen`](crate::Pool::listen).
///
/// # The connection
/// It is opened as the pool's are: with the same hosts, credentials and TLS. It is not one of the pool's: it does not count towards
/// `max_size`, but the server counts it. `on_connect` and `after_connect` do not run on it, and it does not end with the pool. A proxy that
/// pools transactions (`PgBouncer`) takes a `LISTEN` and delivers nothing: give the listener a pool with the server's own address.
///
/// # What is lost is told
/// When the connection is lost, the listener connects again (after 50 to 100 ms, then after pauses that double up to 1 s, or up to
/// 30 s while the server refuses the login), listens to all its channels, and then yields one [`Event::Gap`]. So who reads the state
/// at each gap misses nothing. A server that is gone without a word is found by a question after `check_after` without a message.
///
/// A consumer that is too slow loses notifications too, which is told by a gap in their place. The connection is always read, since
/// notifications that nobody reads would fill the server's queue, and stop its commits in the end.
///
/// # Its end
/// Its drop ends the connection at once. [`close`](Self::close) waits until the server has ended it. The stream ends only if the
/// runtime ends on which the listener was started.
#[must_use = "a listener ends when it is dropped"]
pub struct Listener {
    buffer: Arc<Buffer>,
    channels: Channels,
    /// Its drop ends the task.
    here: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// Changes what a [`Listener`] listens to, while another task takes its events. A cheap handle, made by [`Listener::channels`].
#[derive(Clone)]
pub struct Channels {
    commands: mpsc::Sender<Command>,
    query_timeout: Option<Duration>,
}

impl Listener {
    pub(super) const fn new(
        buffer: Arc<Buffer>,
        channels: Channels,
        here: oneshot::Sender<()>,
        task: JoinHandle<()>,
    ) -> Self {
        Self {
            buffer,
            channels,
            here,
            task,
        }
    }

    /// Waits for the next event. `None` if the runtime has ended on which the listener was started.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn recv(&mut self) -> Option<Event> {
        poll_fn(|context| self.buffer.poll(context)).await
    }

    /// Listens to another channel: see [`Channels::listen`].
    ///
    /// # Errors
    /// As for [`Channels::listen`].
    ///
    /// # Cancel safety
    /// As for [`Channels::listen`].
    pub async fn listen(&self, channel: impl Into<String>) -> Result<(), Error> {
        self.channels.listen(channel).await
    }

    /// Listens to a channel no longer: see [`Channels::unlisten`].
    ///
    /// # Errors
    /// As for [`Channels::unlisten`].
    ///
    /// # Cancel safety
    /// As for [`Channels::unlisten`].
    pub async fn unlisten(&self, channel: impl Into<String>) -> Result<(), Error> {
        self.channels.unlisten(channel).await
    }

    /// Returns a handle that changes the channels from another task.
    pub fn channels(&self) -> Channels {
        self.channels.clone()
    }

    /// Whether the listener has a connection that listens, as far as it knows.
    pub fn is_listening(&self) -> bool {
        self.buffer.is_listening()
    }

    /// Returns why the connection was lost or cannot be opened again. `None` while the listener listens.
    pub fn trouble(&self) -> Option<String> {
        self.buffer.trouble()
    }

    /// Returns how many notifications were dropped because the consumer was too slow.
    pub fn dropped(&self) -> u64 {
        self.buffer.dropped()
    }

    /// Ends the connection, and waits until the server has ended it, for up to 1 s.
    ///
    /// # Cancel safety
    /// Dropping the future stops the wait only.
    pub async fn close(self) {
        let Self { here, task, .. } = self;
        drop(here);
        // If the runtime has ended, so has the connection.
        drop(task.await);
    }
}

impl Stream for Listener {
    type Item = Event;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        self.buffer.poll(context)
    }
}

impl Channels {
    pub(super) const fn new(
        commands: mpsc::Sender<Command>,
        query_timeout: Option<Duration>,
    ) -> Self {
        Self {
            commands,
            query_timeout,
        }
    }

    /// Listens to another channel, and returns when the server has confirmed that: what is sent from now on is heard. While the
    /// connection is lost, it waits until the listener listens again.
    ///
    /// # Errors
    /// - [`Error::is_timeout`] after the pool's `query_timeout`. The channel may or may not be listened to.
    /// - [`Error::is_database`] when the server refuses it.
    /// - [`Error::is_closed`] when the listener is gone.
    /// - Another error when the name of the channel is empty, longer than 63 bytes, or contains a NUL.
    ///
    /// # Cancel safety
    /// When the future is dropped, the channel may or may not be listened to.
    pub async fn listen(&self, channel: impl Into<String>) -> Result<(), Error> {
        let channel = Channel::new(channel)?;
        self.ask(channel, true).await
    }

    /// Listens to a channel no longer, and returns when the server has confirmed that. Notifications that came before may still be
    /// among the next events.
    ///
    /// # Errors
    /// As for [`listen`](Self::listen).
    ///
    /// # Cancel safety
    /// As for [`listen`](Self::listen).
    pub async fn unlisten(&self, channel: impl Into<String>) -> Result<(), Error> {
        let channel = Channel::new(channel)?;
        self.ask(channel, false).await
    }

    async fn ask(&self, channel: Channel, listens: bool) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let command = Command {
            channel,
            listens,
            reply,
        };
        let asked = async {
            let sent = self.commands.send(command).await;
            sent.map_err(|_| Error::listener_ended())?;
            answer.await.map_err(|_| Error::listener_ended())?
        };
        bounded(self.query_timeout, asked).await?
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("is_listening", &self.is_listening())
            .field("trouble", &self.trouble())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spawnable(_: impl Send) {}

    /// Only has to compile.
    fn every_future_can_be_spawned(pool: &super::super::Pool, mut listener: Listener) {
        spawnable(pool.listen(["a"]));
        spawnable(pool.notify("a", ""));
        spawnable(listener.recv());
        spawnable(listener.listen("a"));
        spawnable(listener.channels().unlisten("a"));
        spawnable(listener.close());
    }

    #[test]
    fn futures_can_be_spawned() {
        let _: fn(&super::super::Pool, Listener) = every_future_can_be_spawned;
    }
}
