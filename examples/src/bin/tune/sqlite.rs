//! SQLite.

use std::path::Path;
use std::sync::Arc;

use pool_db::sqlite::rusqlite::{self, ToSql, types::ToSqlOutput};
use pool_db::sqlite::{Builder, Connection, Pool, Sqlite};
use pool_db::{ConfigError, Error};

use crate::target::Target;
use crate::values::Value;

/// The query on a SQLite database.
#[derive(Clone, Debug)]
pub(crate) struct OnSqlite {
    builder: Builder,
    query: Arc<str>,
    describe: String,
}

impl OnSqlite {
    /// That which the environment names.
    ///
    /// # Errors
    /// When a setting of the environment is not valid.
    pub(crate) fn from_env(query: Arc<str>) -> Result<Self, ConfigError> {
        Ok(Self {
            builder: Builder::new().env("POOL_DB")?,
            query,
            describe: "the SQLite that DATABASE_URL names".to_owned(),
        })
    }

    /// The file, with the rest of its settings from the environment.
    ///
    /// # Errors
    /// When a setting of the environment is not valid.
    pub(crate) fn file(file: &Path, query: Arc<str>) -> Result<Self, ConfigError> {
        Ok(Self {
            builder: Builder::new().env("POOL_DB")?.path(file),
            query,
            describe: "the reference service's users in SQLite".to_owned(),
        })
    }
}

impl Target for OnSqlite {
    type Driver = Sqlite;

    fn describe(&self) -> String {
        self.describe.clone()
    }

    fn pool(&self, size: u32, callers: u32) -> Result<Pool, ConfigError> {
        let builder = self.builder.clone().max_size(size).min_idle(0);
        builder.max_waiters(callers as usize).build()
    }

    async fn run(&self, connection: &mut Connection, values: &Arc<[Value]>) -> Result<(), Error> {
        let (query, values) = (Arc::clone(&self.query), Arc::clone(values));
        connection
            .run(move |sqlite| {
                let mut statement = sqlite.prepare_cached(&query)?;
                let mut rows = statement.query(rusqlite::params_from_iter(values.iter()))?;
                while rows.next()?.is_some() {}
                Ok(())
            })
            .await
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        match self {
            Self::Null => Ok(ToSqlOutput::from(rusqlite::types::Null)),
            Self::Integer(value) => value.to_sql(),
            Self::Real(value) => value.to_sql(),
            Self::Text(value) => value.to_sql(),
            Self::Bool(value) => value.to_sql(),
        }
    }
}
