//! What drives a connection, cancels what it runs, and ends it.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::CancelToken;

use super::{
    dial::{Dial, Dialled, Server},
    session::Session,
    socket::Socket,
};

/// The task that drives a connection, and the means to end what the connection does.
pub(super) struct Line {
    session: Arc<Session>,
    socket: Socket,
    cancels: Arc<Cancels>,
    task: Task,
}

/// What it takes to cancel what a connection runs.
pub(super) struct Cancels {
    dial: Arc<Dial>,
    server: Server,
    token: CancelToken,
}

impl Cancels {
    /// As [`Line::cancel`].
    pub(super) async fn cancel(&self) {
        // A server that does not take the request is asked again, or the connection ends.
        drop(self.dial.cancel(&self.server, &self.token).await);
    }
}

impl Line {
    /// Begins to drive a connection.
    pub(super) fn new(
        dial: &Arc<Dial>,
        dialled: Dialled,
    ) -> (tokio_postgres::Client, Arc<Session>, Self) {
        let Dialled {
            driver,
            mut connection,
            session,
            socket,
            server,
        } = dialled;
        let said = Arc::clone(&session);
        let task = tokio::spawn(async move {
            if let Err(error) = (&mut connection).await {
                // This cannot fail: only this line sets the error.
                drop(said.lost.set(error));
                said.is_gone();
            }
            // Only this drop tells the waiting requests, which then read the error.
            drop(connection);
            said.ended();
        });
        let line = Self {
            session: Arc::clone(&session),
            socket,
            cancels: Arc::new(Cancels {
                dial: Arc::clone(dial),
                server,
                token: driver.cancel_token(),
            }),
            task: Task(task),
        };
        (driver, session, line)
    }

    /// Asks the server to cancel what it works on. It does so within an instant, or it was not working.
    ///
    /// Once this has returned, the server has told its process. So a statement that is sent afterwards is not cancelled, if a round
    /// trip lies between.
    pub(super) async fn cancel(&self) {
        self.cancels.cancel().await;
    }

    /// What it takes to [`cancel`](Self::cancel) without the line.
    pub(super) fn cancels(&self) -> Arc<Cancels> {
        Arc::clone(&self.cancels)
    }

    /// Ends the connection, and waits until the server has ended it. What the server works on is cancelled before.
    ///
    /// The driver's client must be gone.
    pub(super) async fn close(mut self) {
        if self.session.may_be_busy() && !self.task.0.is_finished() {
            self.cancel().await;
        }
        // The driver says goodbye when it has read all answers, and its task ends when the server has closed the socket.
        if timeout(AGAIN, &mut self.task.0).await.is_err() {
            self.hang_up().await;
        }
    }

    /// Ends a connection whose answers nobody reads.
    async fn hang_up(mut self) {
        self.task.0.abort();
        drop((&mut self.task.0).await);
        let mut goodbye = std::pin::pin!(self.socket.clone().goodbye());
        // The server notices only when it writes or reads: it is told until it has.
        while timeout(AGAIN, &mut goodbye).await.is_err() {
            self.cancel().await;
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line")
            .field("server", &self.cancels.server)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// The task that reads and writes the socket. Its drop ends the task.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long a server may take to end a connection, or what it was asked to cancel, before it is asked again.
const AGAIN: Duration = Duration::from_millis(200);
