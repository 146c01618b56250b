//! How a call is made on a connection.

use mysql_async::{
    Conn, Error as DriverError, Params, Row, Statement, Value, prelude::Queryable as _,
};

use super::Client;
use crate::{Error, bounded::bounded, error::Condition};

/// A call whose answer is read to its end.
pub(super) enum Call<'a> {
    /// A prepared statement.
    Statement(&'a str, Params),
    /// Statements as text.
    Text(&'a str),
    Ping,
}

/// The answer to a [`Call`].
#[derive(Default)]
pub(super) struct Answer {
    /// Those of the first result.
    pub(super) rows: Vec<Row>,
    /// As of the last result.
    pub(super) affected: u64,
    pub(super) last_id: u64,
}

/// Why a call failed.
pub(super) enum Failure {
    /// The driver or the server says so.
    Driver(DriverError),
    /// The same, before anything was run.
    Unrun(DriverError),
    /// Nothing was run, and the connection is as good as before.
    Params { given: usize, expected: usize },
    /// The same.
    TooLong { length: usize, longest: usize },
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl Client {
    /// Makes a call and reads its answer.
    pub(super) async fn call(&mut self, call: Call<'_>) -> Result<Answer, Error> {
        self.begin()?;
        let limit = self.query_timeout;
        // After a timeout, and where this future is dropped, the connection stays busy.
        let done = bounded(limit, self.perform(call)).await?;
        self.end(done)
    }

    /// A call begins. Unless it [ends](Self::end), the connection takes no more.
    pub(super) fn begin(&mut self) -> Result<(), Error> {
        if self.state.is_busy {
            return Err(Error::unanswered());
        }
        if self.is_closed() {
            return Err(Error::gone());
        }
        (self.state.is_busy, self.state.was_used) = (true, true);
        Ok(())
    }

    /// The answer to a call was read, or will not come.
    pub(super) fn end<T>(&mut self, done: Result<T, Failure>) -> Result<T, Error> {
        match done {
            Ok(answer) => {
                self.state.is_busy = false;
                self.heed_answer();
                Ok(answer)
            }
            Err(Failure::Params { given, expected }) => {
                self.state.is_busy = false;
                Err(Error::param_count(given, expected))
            }
            Err(Failure::TooLong { length, longest }) => {
                self.state.is_busy = false;
                Err(Error::longer_than_taken(length, longest))
            }
            Err(Failure::Driver(error)) => Err(self.failed(error)),
            Err(Failure::Unrun(error)) => Err(self.failed(error).unsent()),
        }
    }

    fn failed(&mut self, error: DriverError) -> Error {
        // Otherwise the connection is lost, and the server may still work.
        if let DriverError::Server(said) = &error {
            self.state.is_busy = false;
            self.state.is_unsure = true;
            self.state.is_ended |= super::error::ends_the_session(said.code);
            if let Some(open) = &mut self.state.open {
                let condition = super::error::condition(said.code);
                open.has_lost = condition == Some(Condition::Retryable);
                open.has_failed = true;
            }
        }
        error.into()
    }

    /// Whether the server takes a statement as long as this. Otherwise the driver, or the server, would end the connection.
    pub(super) fn fits(&self, sql: &str, params: &Params) -> Result<(), Failure> {
        let of = |value: &Value| match value {
            Value::Bytes(bytes) => bytes.len() + 9,
            _ => 16,
        };
        let params: usize = match params {
            Params::Empty => 0,
            Params::Positional(values) => values.iter().map(of).sum(),
            Params::Named(values) => values.values().map(of).sum(),
        };
        // The text and the parameters are sent apart, each with something around it.
        let (length, longest) = (sql.len().max(params) + AROUND, self.identity.longest);
        if length > longest {
            return Err(Failure::TooLong { length, longest });
        }
        Ok(())
    }

    async fn perform(&mut self, call: Call<'_>) -> Result<Answer, Failure> {
        match &call {
            Call::Statement(sql, params) => self.fits(sql, params)?,
            Call::Text(sql) => self.fits(sql, &Params::Empty)?,
            Call::Ping => {}
        }
        let undo = self.state.undo.take();
        let keeps = self.statement_cache > 0;
        let Some(conn) = self.conn.as_mut() else {
            return Err(DriverError::from(mysql_async::DriverError::ConnectionClosed).into());
        };
        if let Some(undo) = undo {
            conn.query_drop(undo).await?;
        }
        match call {
            Call::Ping => {
                conn.ping().await?;
                Ok(Answer::default())
            }
            Call::Text(sql) => text(conn, sql).await,
            Call::Statement(sql, params) => {
                let has_params = params != Params::Empty;
                let statement = match prepare(conn, sql, &params, keeps).await {
                    // The server cannot prepare everything that it can run.
                    Err(Failure::Unrun(DriverError::Server(said)))
                        if said.code == UNPREPARABLE && !has_params =>
                    {
                        return text(conn, sql).await;
                    }
                    prepared => prepared?,
                };
                let done = run(conn, &statement, params).await;
                // Without a cache nobody else would (https://github.com/blackbeam/mysql_async/issues/158).
                if !keeps && !conn.is_disconnected() {
                    conn.close(statement).await?;
                }
                done
            }
        }
    }
}

/// Prepares a statement, unless it is in the cache, and counts its parameters: the driver gives up the connection if their number
/// is wrong.
pub(super) async fn prepare(
    conn: &mut Conn,
    sql: &str,
    params: &Params,
    keeps: bool,
) -> Result<Statement, Failure> {
    let statement = conn.prep(sql).await.map_err(Failure::Unrun)?;
    let expected = usize::from(statement.num_params());
    let given = match params {
        Params::Empty => 0,
        Params::Positional(values) => values.len(),
        // By name: one may be used several times.
        Params::Named(_) => expected,
    };
    if given == expected {
        return Ok(statement);
    }
    if !keeps {
        conn.close(statement).await?;
    }
    Err(Failure::Params { given, expected })
}

async fn run(conn: &mut Conn, statement: &Statement, params: Params) -> Result<Answer, Failure> {
    let mut result = conn.exec_iter(statement, params).await?;
    let rows = result.collect::<Row>().await?;
    result.drop_result().await?;
    Ok(answer(conn, rows))
}

async fn text(conn: &mut Conn, sql: &str) -> Result<Answer, Failure> {
    let mut result = conn.query_iter(sql).await?;
    let rows = result.collect::<Row>().await?;
    result.drop_result().await?;
    Ok(answer(conn, rows))
}

fn answer(conn: &Conn, rows: Vec<Row>) -> Answer {
    Answer {
        rows,
        affected: conn.affected_rows(),
        last_id: conn.last_insert_id().unwrap_or_default(),
    }
}

/// `ER_UNSUPPORTED_PS`: the statement is not one for prepared statements.
const UNPREPARABLE: u16 = 1295;
/// At least what is around a statement or its parameters in a packet.
const AROUND: usize = 64;
