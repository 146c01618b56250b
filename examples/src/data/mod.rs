//! The 100,000 users that the service asks its database for.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::failure::Failure;

/// How many users there are; their ids are 1 to this.
pub(crate) const USERS: i64 = 100_000;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct User {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) email: String,
}

/// The database that holds them, and how its pool is built.
#[derive(Debug)]
pub(crate) enum Database {
    /// A SQLite file.
    Sqlite {
        file: PathBuf,
        pool: pool_db::sqlite::Builder,
    },
    /// The Postgres that the environment names.
    Postgres(pool_db::postgres::Builder),
}

impl Database {
    /// Makes the users if they are not there yet.
    ///
    /// # Errors
    /// When the file cannot be made, the server cannot be reached, or what is there is something else.
    pub(crate) async fn prepare(&self) -> Result<(), Failure> {
        match self {
            Self::Sqlite { file, .. } => sqlite::prepare(file),
            Self::Postgres(pool) => postgres::prepare(pool).await,
        }
    }
}

impl fmt::Display for Database {
    /// Which database. An address may hold a password and stays out of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { file, .. } => write!(f, "SQLite, {}", file.display()),
            Self::Postgres(_) => f.write_str("the Postgres that DATABASE_URL names"),
        }
    }
}
