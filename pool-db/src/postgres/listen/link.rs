//! The connection of a listener.

use std::{
    fmt,
    future::poll_fn,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::timeout;
use tokio_postgres::AsyncMessage;

use super::{
    super::{
        dial::Dialled,
        session::Session,
        socket::{Encrypted, Socket, Watched},
    },
    event::Notification,
};

/// A connection that whoever waits on it drives.
pub(super) struct Link {
    client: tokio_postgres::Client,
    connection: tokio_postgres::Connection<Watched<Socket>, Encrypted>,
    session: Arc<Session>,
}

impl Link {
    /// The next notification.
    ///
    /// # Cancel safety
    /// Dropping the future loses no notification.
    pub(super) async fn hear(&mut self) -> Result<Notification, Lost> {
        tokio::select! {
            // What was sent before the verdict is heard.
            biased;
            heard = poll_fn(|context| poll_notification(&mut self.connection, context)) => heard,
            () = self.session.condemned() => Err(Lost::Condemned),
        }
    }

    /// Runs statements. What is heard in the meantime goes to `hear`.
    ///
    /// # Errors
    /// The connection is lost after each error but [`Lost::Refused`].
    pub(super) async fn run(
        &mut self,
        sql: &str,
        limit: Duration,
        mut hear: impl FnMut(Notification),
    ) -> Result<(), Lost> {
        let Self {
            client, connection, ..
        } = self;
        let mut asked = pin!(client.batch_execute(sql));
        let done = poll_fn(|context| {
            loop {
                // The first poll sends the request.
                if let Poll::Ready(done) = asked.as_mut().poll(context) {
                    return Poll::Ready(done.map_err(Lost::of));
                }
                // Its answer wakes this task.
                match ready!(poll_notification(connection, context)) {
                    Ok(notification) => hear(notification),
                    Err(lost) => return Poll::Ready(Err(lost)),
                }
            }
        });
        match timeout(limit, done).await {
            Ok(done) => done,
            Err(_) => Err(Lost::Silent(limit)),
        }
    }

    /// Says goodbye, and waits until the server has closed the connection, but no longer than for `limit`.
    pub(super) async fn close(self, limit: Duration) {
        let Self {
            client,
            mut connection,
            ..
        } = self;
        // The connection ends when its client is gone.
        drop(client);
        let goodbye = poll_fn(|context| {
            while ready!(poll_notification(&mut connection, context)).is_ok() {}
            Poll::Ready(())
        });
        // A server that does not answer sees the end of the connection when it looks at it.
        drop(timeout(limit, goodbye).await);
    }
}

impl From<Dialled> for Link {
    fn from(dialled: Dialled) -> Self {
        Self {
            client: dialled.driver,
            connection: dialled.connection,
            session: dialled.session,
        }
    }
}

fn poll_notification(
    connection: &mut tokio_postgres::Connection<Watched<Socket>, Encrypted>,
    context: &mut Context<'_>,
) -> Poll<Result<Notification, Lost>> {
    loop {
        match ready!(connection.poll_message(context)) {
            Some(Ok(AsyncMessage::Notification(it))) => return Poll::Ready(Ok(it.into())),
            Some(Ok(_)) => {}
            Some(Err(error)) => return Poll::Ready(Err(Lost::Ended(Some(error)))),
            None => return Poll::Ready(Err(Lost::Ended(None))),
        }
    }
}

/// Why a connection is of no use any more.
#[derive(Debug)]
pub(super) enum Lost {
    Ended(Option<tokio_postgres::Error>),
    /// The server did not answer in time.
    Silent(Duration),
    /// The server did not do what it was asked for.
    Refused(tokio_postgres::Error),
    /// The server is no longer what the pool wants, or its name leads elsewhere.
    Condemned,
}

impl Lost {
    fn of(error: tokio_postgres::Error) -> Self {
        use tokio_postgres::error::Severity::{Fatal, Panic};
        let severity = error.as_db_error().map(|error| error.parsed_severity());
        match severity {
            None | Some(Some(Fatal | Panic)) => Self::Ended(Some(error)),
            Some(_) => Self::Refused(error),
        }
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ended(Some(error)) if error.is_closed() => f.write_str("the server hung up"),
            Self::Ended(Some(error)) | Self::Refused(error) => {
                f.write_str(&crate::error::reason(error))
            }
            Self::Ended(None) => f.write_str("the server hung up"),
            Self::Condemned => f.write_str("the server is no longer the one that is wanted"),
            Self::Silent(limit) => write!(f, "the server did not answer within {limit:?}"),
        }
    }
}

impl std::error::Error for Lost {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            // The text contains it. It is there to be looked at.
            Self::Ended(Some(error)) | Self::Refused(error) => Some(error),
            Self::Ended(None) | Self::Silent(_) | Self::Condemned => None,
        }
    }
}
