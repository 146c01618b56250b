//! How a statement is run.

use std::{future::Future, pin::pin, sync::Arc};

use futures_util::TryStreamExt as _;
use tokio_postgres::{Row, RowStream, Statement, error::SqlState, types::ToSql, types::WrongType};

use super::{
    Client, Unfit,
    length::{Fitting, TooLong, fits_in},
    session::{Lost, Status},
    statements::Slot,
};
use crate::{Error, bounded::bounded, operation::Verb};

/// The SQL to run: text, which is prepared once for each connection, or a prepared statement.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Query<'a> {
    /// One statement, with parameters as `$1`, `$2`.
    Sql(&'a str),
    /// A statement from [`Client::prepare_cached`] of the same connection.
    Prepared(&'a Statement),
}

/// The parameters of a statement.
pub(super) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

impl Client {
    /// Runs a statement and reads all of its rows.
    pub(super) async fn rows(
        &self,
        query: Query<'_>,
        params: Params<'_>,
    ) -> Result<(Vec<Row>, u64), Error> {
        fits(query, params)?;
        let answer = self.asked(async {
            let mut stream = pin!(self.start(query, params).await?);
            let mut rows = Vec::new();
            while let Some(row) = stream.try_next().await? {
                rows.push(row);
            }
            Ok((rows, stream.rows_affected().unwrap_or_default()))
        });
        self.operations
            .counting(Verb::Unnamed, answer, |(rows, _)| Some(rows.len()))
            .await
    }

    /// Sends a statement, and returns when the server has begun to run it.
    ///
    /// A statement that the server cannot run as it was prepared is prepared again. The server says so before it runs anything.
    pub(super) async fn start(
        &self,
        query: Query<'_>,
        params: Params<'_>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        let sql = match query {
            Query::Prepared(statement) => return self.run(statement, params).await,
            Query::Sql(sql) => sql,
        };
        let slot = self.slot(sql);
        let was_kept = slot.get().is_some();
        let statement = self.prepared(sql, &slot).await?;
        let error = match self.run_text(sql, &statement, params).await {
            Err(error) if was_kept => error,
            done => return done,
        };
        match Stale::of(&error, self.session.is_unnamed()) {
            None => return Err(error),
            Some(Stale::Statement) => self.statements.forget(sql, &slot),
            Some(Stale::All) => {
                // What happened to one statement has happened to others as well: they fail one after the other otherwise.
                self.statements.clear();
                self.driver.clear_type_cache();
            }
        }
        // After an error in a transaction the server takes nothing more.
        if error.as_db_error().is_some() && self.session.status() != Status::Idle {
            return Err(error);
        }
        let slot = self.slot(sql);
        let fresh = self.prepared(sql, &slot).await?;
        if self.session.is_unnamed()
            && error.as_db_error().is_some()
            && fresh.params() == statement.params()
        {
            // It fails again.
            return Err(error);
        }
        self.run_text(sql, &fresh, params).await
    }

    /// Runs a statement that was prepared from its text. An unnamed one is described anew with each run, because the server does not
    /// say that its columns are no longer those of the first description.
    async fn run_text(
        &self,
        sql: &str,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        let types = statement.params();
        // Another number of parameters is refused by the driver.
        if !self.session.is_unnamed() || types.len() != params.len() {
            return self.run(statement, params).await;
        }
        let typed = params.iter().copied().zip(types.iter().cloned());
        self.driver.query_typed_raw(sql, typed).await
    }

    /// Prepares a statement, or finds it among those that are kept.
    pub(super) async fn statement(&self, sql: &str) -> Result<Statement, tokio_postgres::Error> {
        self.prepared(sql, &self.slot(sql)).await
    }

    fn slot(&self, sql: &str) -> Arc<Slot<Statement>> {
        self.statements.slot(sql, self.session.epoch())
    }

    /// Prepares the statement of a slot, once for all who ask.
    async fn prepared(
        &self,
        sql: &str,
        slot: &Arc<Slot<Statement>>,
    ) -> Result<Statement, tokio_postgres::Error> {
        if let Some(statement) = slot.get() {
            return Ok(statement.clone());
        }
        // A prepare whose future is dropped would leave its statement on the server. So it has a task of its own.
        let (driver, slot, text) = (Arc::clone(&self.driver), Arc::clone(slot), sql.to_owned());
        let preparing = Arc::clone(&self.preparing).read_owned().await;
        let task = tokio::spawn(async move {
            let _preparing = preparing;
            slot.prepare(&driver, &text).await
        });
        match task.await {
            Ok(prepared) => prepared,
            // The runtime ends, and the connection with it: the driver says so.
            Err(_) => self.driver.prepare(sql).await,
        }
    }

    async fn run(
        &self,
        statement: &Statement,
        params: Params<'_>,
    ) -> Result<RowStream, tokio_postgres::Error> {
        self.driver
            .query_raw(statement, params.iter().copied().map(Fitting))
            .await
    }

    /// Sends a request and waits for its answer: an operation.
    pub(super) async fn request<T>(
        &self,
        verb: Verb,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        self.operations.around(verb, self.asked(work)).await
    }

    /// Sends a request and waits for its answer, as a part of an operation. Every request goes through this function or through
    /// [`send`](Self::send).
    pub(super) async fn asked<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Error> {
        let asked = self.ask().await;
        self.session.take_copy();
        let written = self.session.written();
        // Pinned here, so that it is not moved into the timeout, which costs more than the timeout.
        match bounded(self.query_timeout, pin!(work)).await? {
            Ok(value) => {
                asked.answered();
                Ok(value)
            }
            Err(error) => {
                // After any other error the server may still send more of the answer.
                let is_answered = error.as_db_error().is_some();
                if !is_answered && !error.is_closed() && self.session.take_copy() {
                    return Err(Error::copy());
                }
                let is_unsent = is_parameter(&error) || self.session.written() == written;
                if is_answered || is_unsent {
                    // There is no answer to wait for. A transaction goes on.
                    asked.answered();
                }
                let is_lost_name = error.code().is_some_and(|code| LOST_NAMES.contains(code));
                let error = self.explain(error);
                let error = if is_lost_name && !self.session.is_unnamed() {
                    error.hinted(BEHIND_A_PROXY)
                } else {
                    error
                };
                Err(if is_unsent { error.unsent() } else { error })
            }
        }
    }

    /// The error of a request, with what is known of the connection.
    pub(super) fn explain(&self, error: tokio_postgres::Error) -> Error {
        if error.is_closed() && self.session.lost.get().is_some() {
            Error::disconnected(Lost(Arc::clone(&self.session)))
        } else {
            error.into()
        }
    }
}

/// Whether a parameter could not be encoded: then nothing of the statement was sent, though it may have been prepared.
fn is_parameter(error: &tokio_postgres::Error) -> bool {
    cause::<WrongType>(error).is_some()
        || cause::<TooLong>(error).is_some()
        || cause::<Unfit>(error).is_some()
}

fn cause<T: std::error::Error + 'static>(error: &tokio_postgres::Error) -> Option<&T> {
    std::error::Error::source(error)?.downcast_ref()
}

/// What the server, or the driver, no longer has as it was when the statement was prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    Statement,
    All,
}

impl Stale {
    /// What an error that came before the statement was run says.
    pub(super) fn of(error: &tokio_postgres::Error, is_unnamed: bool) -> Option<Self> {
        let Some(said) = error.as_db_error() else {
            // The type of a parameter has changed on the server, or it never fitted. Nothing was sent.
            let is_type = cause::<WrongType>(error).is_some();
            return is_type.then_some(Self::Statement);
        };
        let code = said.code();
        if is_unnamed {
            // The types of the parameters, which are sent along, may no longer be those that the text asks for.
            let is_type = code.code().starts_with("42") || *code == SqlState::INTERNAL_ERROR;
            return is_type.then_some(Self::Statement);
        }
        if *code == SqlState::INVALID_SQL_STATEMENT_NAME {
            return Some(Self::All);
        }
        // Only the routine ("cached plan must not change result type") tells this error from others with the same code.
        let is_plan = *code == SqlState::FEATURE_NOT_SUPPORTED
            && said.routine() == Some("RevalidateCachedQuery");
        is_plan.then_some(Self::All)
    }
}

impl<'a> From<&'a str> for Query<'a> {
    fn from(sql: &'a str) -> Self {
        Self::Sql(sql)
    }
}

impl<'a> From<&'a String> for Query<'a> {
    fn from(sql: &'a String) -> Self {
        Self::Sql(sql)
    }
}

impl<'a> From<&'a Statement> for Query<'a> {
    fn from(statement: &'a Statement) -> Self {
        Self::Prepared(statement)
    }
}

/// Whether the statement can be sent, and the protocol can count the parameters.
pub(super) fn fits(query: Query<'_>, params: Params<'_>) -> Result<(), Error> {
    if let Query::Sql(sql) = query {
        fits_in(sql.len())?;
    }
    if params.len() > MAX_PARAMS {
        return Err(Error::too_many_params(params.len(), MAX_PARAMS));
    }
    Ok(())
}

/// What the server says of a name that another connection of a proxy knows, or this one already.
const LOST_NAMES: [SqlState; 2] = [
    SqlState::INVALID_SQL_STATEMENT_NAME,
    SqlState::DUPLICATE_PSTATEMENT,
];
const BEHIND_A_PROXY: &str = "a proxy that lends connections for one transaction, as PgBouncer does, loses prepared \
                              statements: the setting prepare must be unnamed behind it";
/// How many parameters a statement may have: the protocol counts them in 16 bits.
const MAX_PARAMS: usize = 65_535;
