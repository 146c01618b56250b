//! A share of a connection.

use std::{fmt, time::Duration};

use tokio_postgres::Row;

use super::{
    Shareable,
    pipe::{Answer, Place},
};
use crate::{
    Error,
    bounded::bounded,
    one_row::{at_most_one, only},
    operation::Verb,
    postgres::query::Params,
};

/// A share of one connection of a [`Shared`](super::Shared) pool: others use the connection at the same time. Its drop gives the share
/// back.
///
/// Statements whose futures are polled together are sent in the order of their first poll, without waiting for the answers in between,
/// and the server runs them in that order, each as a transaction of its own. They count as one share, however many they are.
///
/// # Cancel safety
/// For every method: dropping its future does not take back a statement that was sent. The statement may or may not take effect. It is
/// not cancelled on the server, because that could hit the statement of another caller. The share is free when the answer has come.
pub struct SharedConnection {
    place: Place,
    query_timeout: Option<Duration>,
}

impl SharedConnection {
    pub(super) const fn new(place: Place, query_timeout: Option<Duration>) -> Self {
        Self {
            place,
            query_timeout,
        }
    }

    /// Runs a statement and returns its rows.
    ///
    /// # Errors
    /// - [`Error::is_database`] when the server rejects the statement, with its [`Error::as_sqlstate`]: `57014` after
    ///   `statement_timeout`.
    /// - [`Error::is_timeout`] after `query_timeout`.
    /// - [`Error::is_disconnected`] when the connection was lost.
    /// - Another error when a parameter has the wrong type, or when the answer has more than `max_rows` rows or `max_bytes` bytes.
    pub async fn query(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<Vec<Row>, Error> {
        Ok(self.answer(statement, params).await?.rows)
    }

    /// Runs a statement that returns exactly one row.
    ///
    /// # Errors
    /// As for [`query`](Self::query). Another number of rows is an error too.
    pub async fn query_one(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<Row, Error> {
        only(self.answer(statement, params).await?.rows)
    }

    /// Runs a statement that returns one row or none.
    ///
    /// # Errors
    /// As for [`query`](Self::query). More than one row is an error too.
    pub async fn query_opt(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<Option<Row>, Error> {
        at_most_one(self.answer(statement, params).await?.rows)
    }

    /// Runs a statement and returns how many rows it changed.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub async fn execute(
        &self,
        statement: Shareable<'_>,
        params: Params<'_>,
    ) -> Result<u64, Error> {
        Ok(self.answer(statement, params).await?.changed)
    }

    async fn answer(&self, statement: Shareable<'_>, params: Params<'_>) -> Result<Answer, Error> {
        let run = self.place.run(statement.as_str(), params);
        let answer = async {
            let answered = self.place.answered();
            let answer = bounded(self.query_timeout, run).await;
            answer.inspect_err(|_| self.place.gave_no_answer(self.query_timeout, answered))?
        };
        self.place
            .operations()
            .counting(Verb::Unnamed, answer, |answer| Some(answer.rows.len()))
            .await
    }
}

impl fmt::Debug for SharedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConnection")
            .field("query_timeout", &self.query_timeout)
            .finish_non_exhaustive()
    }
}
