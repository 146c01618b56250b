//! The rows of a statement, one after the other.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{FutureExt as _, Stream, future::BoxFuture};
use mysql_async::{BinaryProtocol, Params, QueryResult, Row, prelude::Queryable as _};

use super::{
    Client, Connection,
    call::{Failure, prepare},
};
use crate::{Error, bounded::bounded};

/// The rows of a running statement, as a [`Stream`]. It holds the connection meanwhile: [`Pool::stream`](super::Pool#method.stream)
/// returns a stream that owns it.
///
/// The end of the stream returns the connection. Only a few rows are in memory at a time. The server sends more when these are
/// taken: a slow reader holds the statement back, and the connection with it.
///
/// # Errors
/// As for [`Client::query`]. `query_timeout` bounds the wait for each row.
///
/// # Cancel safety
/// Dropping the stream before its end gives up the connection: the server is told to end the statement, and another connection is
/// opened when one is needed. Add a `LIMIT` if only the first rows are wanted.
#[must_use = "the statement goes no further than its rows are read"]
pub struct Rows<'a> {
    state: State<'a>,
    affected: Option<u64>,
}

enum State<'a> {
    Idle(Holder<'a>),
    Next(BoxFuture<'a, (Holder<'a>, Result<Option<Row>, Error>)>),
    Ended,
}

/// What holds the connection.
pub(super) enum Holder<'a> {
    Lease(Connection),
    Client(&'a mut Client),
}

impl<'a> Rows<'a> {
    pub(super) async fn start(
        mut holder: Holder<'a>,
        sql: &str,
        params: Params,
    ) -> Result<Self, Error> {
        let client = holder.client();
        client.ready().await?;
        client.state.has_left |= !super::reset::is_plain(sql);
        client.begin()?;
        let limit = client.query_timeout;
        let done = bounded(limit, client.start(sql, params)).await?;
        // The connection stays busy until the last row is read.
        if let Err(failure) = done {
            client.end(Err::<(), _>(failure))?;
        }
        Ok(Self {
            state: State::Idle(holder),
            affected: None,
        })
    }

    /// How many rows the statement has changed. `None` before the end of the stream.
    pub const fn rows_affected(&self) -> Option<u64> {
        self.affected
    }
}

impl Holder<'_> {
    fn client(&mut self) -> &mut Client {
        match self {
            Self::Lease(connection) => connection,
            Self::Client(client) => client,
        }
    }

    /// Reads the next row. After the last one the connection is no longer busy.
    async fn next(mut self) -> (Self, Result<Option<Row>, Error>) {
        let client = self.client();
        let limit = client.query_timeout;
        let next = match bounded(limit, client.row()).await {
            Err(late) => Err(late),
            Ok(Ok(Some(row))) => Ok(Some(row)),
            Ok(done) => client.end(done),
        };
        (self, next)
    }
}

impl Client {
    /// Sends a statement, and returns when the server has begun to run it.
    async fn start(&mut self, sql: &str, params: Params) -> Result<(), Failure> {
        self.fits(sql, &params)?;
        let undo = self.state.undo.take();
        let keeps = self.statement_cache > 0;
        let Some(conn) = self.conn.as_mut() else {
            return Err(closed());
        };
        if let Some(undo) = undo {
            conn.query_drop(undo).await?;
        }
        let statement = prepare(conn, sql, &params, keeps).await?;
        let started = conn.exec_iter(&statement, params).await.map(drop);
        if keeps {
            return Ok(started?);
        }
        if started.is_ok() {
            self.streamed = Some(statement);
        } else if !conn.is_disconnected() {
            conn.close(statement).await?;
        }
        Ok(started?)
    }

    async fn row(&mut self) -> Result<Option<Row>, Failure> {
        let Some(conn) = self.conn.as_mut() else {
            return Err(closed());
        };
        let mut result = QueryResult::<'_, '_, BinaryProtocol>::new(&mut *conn);
        let ended = match result.next().await {
            Ok(Some(row)) => return Ok(Some(row)),
            Ok(None) => result.drop_result().await,
            Err(error) => Err(error),
        };
        if let Some(statement) = self.streamed.take()
            && !conn.is_disconnected()
        {
            conn.close(statement).await?;
        }
        ended?;
        Ok(None)
    }
}

fn closed() -> Failure {
    mysql_async::Error::from(mysql_async::DriverError::ConnectionClosed).into()
}

impl Stream for Rows<'_> {
    type Item = Result<Row, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut next = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::Idle(holder) => holder.next().boxed(),
            State::Next(next) => next,
        };
        let Poll::Ready((mut holder, row)) = next.as_mut().poll(context) else {
            self.state = State::Next(next);
            return Poll::Pending;
        };
        Poll::Ready(match row {
            Ok(Some(row)) => {
                self.state = State::Idle(holder);
                Some(Ok(row))
            }
            Ok(None) => {
                let conn = holder.client().conn.as_ref();
                self.affected = conn.map(mysql_async::Conn::affected_rows);
                None
            }
            Err(error) => Some(Err(error)),
        })
    }
}

impl<'a> From<&'a mut Client> for Holder<'a> {
    fn from(client: &'a mut Client) -> Self {
        Self::Client(client)
    }
}

impl From<Connection> for Holder<'_> {
    fn from(connection: Connection) -> Self {
        Self::Lease(connection)
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows")
            .field("has_ended", &matches!(self.state, State::Ended))
            .finish_non_exhaustive()
    }
}
