//! A statement, taken apart.

use sqlx::{Execute, SqlStr, error::BoxDynError};

use super::{Database, plain::is_plain};

/// A statement whose text was looked at. sqlx gives it away together with the statement only.
pub(super) struct Asked<DB: Database> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Option<Result<Option<DB::Arguments>, BoxDynError>>,
    persistent: bool,
}

impl<DB: Database> Asked<DB> {
    pub(super) fn new<'q>(mut query: impl Execute<'q, DB>) -> Self {
        let arguments = Some(query.take_arguments());
        Self {
            statement: query.statement().cloned(),
            persistent: query.persistent(),
            sql: query.sql(),
            arguments,
        }
    }

    /// Whether the statement leaves nothing on its session, as far as its text tells.
    pub(super) fn is_plain(&self) -> bool {
        is_plain(self.sql.as_str(), DB::LEAVING)
    }

    /// The server shall not keep the statement under a name that sqlx does not keep.
    pub(super) fn kept(mut self, keeps: bool) -> Self {
        self.persistent &= keeps;
        self
    }
}

impl<'q, DB: Database> Execute<'q, DB> for Asked<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
