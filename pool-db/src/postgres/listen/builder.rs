//! The settings of a listener.

use std::{collections::BTreeSet, fmt, sync::Arc, time::Duration};

use pool_core::{__checks::no_zeros, ConfigError};
use tokio::sync::{mpsc, oneshot};

use super::{
    super::Manager,
    buffer::{Buffer, Feed},
    channel::Channel,
    listener::{Channels, Listener},
    task::{Task, Terms},
};
use crate::Error;

/// Builds a [`Listener`]. Made by [`Pool::listener`](crate::Pool::listener).
///
/// ```no_run
/// use std::time::Duration;
///
/// # async fn example(pool: &pool_db::postgres::Pool) -> Result<(), pool_db::Error> {
/// let listener = pool
///     .listener()
///     .channels(["prices", "stock"])
///     .buffer(10_000)
///     .check_after(Duration::from_secs(10))
///     .start()
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "`start` makes the listener"]
pub struct ListenerBuilder {
    terms: Terms,
    query_timeout: Option<Duration>,
    channels: Vec<String>,
    buffer: usize,
}

impl ListenerBuilder {
    pub(super) fn new(manager: &Manager) -> Self {
        Self {
            terms: Terms {
                dial: Arc::clone(&manager.dial),
                target: manager.target.clone(),
                create_timeout: manager.create_timeout,
                check_after: Duration::from_secs(30),
                check_timeout: Duration::from_secs(5),
            },
            query_timeout: manager.query_timeout,
            channels: Vec::new(),
            buffer: 1024,
        }
    }

    /// Adds channels to listen to. The names are taken as they are: `LISTEN Prices` in SQL listens to `prices`.
    pub fn channels<C: Into<String>>(mut self, channels: impl IntoIterator<Item = C>) -> Self {
        self.channels.extend(channels.into_iter().map(Into::into));
        self
    }

    /// How many events may wait for the consumer. At least 1. Notifications beyond that are dropped, and one
    /// [`Event::Gap`](super::Event::Gap) is yielded in their place. A notification has up to 8 KB. Default: 1024.
    pub const fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// How long nothing may come before the server is asked for an answer. Not zero. Default: 30 s.
    ///
    /// So a server that is gone without a word is noticed after `check_after` and `check_timeout` together.
    pub const fn check_after(mut self, time: Duration) -> Self {
        self.terms.check_after = time;
        self
    }

    /// How long the server may take to answer that, or a `LISTEN`, before the connection counts as lost. Not zero. Default: 5 s.
    pub const fn check_timeout(mut self, limit: Duration) -> Self {
        self.terms.check_timeout = limit;
        self
    }

    /// Opens the connection, and returns when the server has confirmed that it listens.
    ///
    /// # Errors
    /// As for [`Pool::listen`](crate::Pool::listen). Another error when a setting is out of its range.
    ///
    /// # Cancel safety
    /// Dropping the future ends the connection that it has begun to open.
    ///
    /// # Panics
    /// Panics if it is not called on a tokio runtime with a timer and I/O.
    pub async fn start(self) -> Result<Listener, Error> {
        let Self {
            terms,
            query_timeout,
            channels,
            buffer,
        } = self;
        no_zeros([
            ("check_after", terms.check_after.into()),
            ("check_timeout", terms.check_timeout.into()),
        ])?;
        if buffer == 0 {
            return Err(ConfigError::new("buffer", "0", "at least 1").into());
        }
        let channels = channels.into_iter().map(Channel::new);
        let channels = channels.collect::<Result<BTreeSet<_>, _>>()?;
        let link = terms.open(&channels).await?;
        let buffer = Arc::new(Buffer::new(buffer));
        buffer.listens(false);
        let (sender, commands) = mpsc::channel(1);
        let (here, gone) = oneshot::channel();
        let task = Task {
            terms,
            buffer: Feed(Arc::clone(&buffer)),
            commands,
            channels,
            link: Some(link),
            pending: None,
        };
        let channels = Channels::new(sender, query_timeout);
        let task = tokio::spawn(task.run(gone));
        Ok(Listener::new(buffer, channels, here, task))
    }
}

impl fmt::Debug for ListenerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListenerBuilder")
            .field("target", &self.terms.target)
            .field("channels", &self.channels)
            .field("buffer", &self.buffer)
            .field("check_after", &self.terms.check_after)
            .field("check_timeout", &self.terms.check_timeout)
            .finish_non_exhaustive()
    }
}
