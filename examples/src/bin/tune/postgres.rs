//! PostgreSQL.

use std::error::Error as StdError;
use std::sync::Arc;

use bytes::BytesMut;
use pool_db::postgres::tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};
use pool_db::postgres::{Builder, Connection, Pool, Postgres};
use pool_db::{ConfigError, Error};

use crate::target::Target;
use crate::values::Value;

/// The query on the PostgreSQL that the environment names.
#[derive(Clone, Debug)]
pub(crate) struct OnPostgres {
    builder: Builder,
    query: Arc<str>,
}

impl OnPostgres {
    /// # Errors
    /// When a setting of the environment is not valid.
    pub(crate) fn from_env(query: Arc<str>) -> Result<Self, ConfigError> {
        let builder = Builder::new().env("POOL_DB")?;
        Ok(Self { builder, query })
    }
}

impl Target for OnPostgres {
    type Driver = Postgres;

    fn describe(&self) -> String {
        "the PostgreSQL that DATABASE_URL names".to_owned()
    }

    fn pool(&self, size: u32, callers: u32) -> Result<Pool, ConfigError> {
        let builder = self.builder.clone().max_size(size).min_idle(0);
        builder.max_waiters(callers as usize).build()
    }

    async fn run(&self, connection: &mut Connection, values: &Arc<[Value]>) -> Result<(), Error> {
        let params: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value as _).collect();
        connection.query(&*self.query, &params).await.map(drop)
    }
}

/// As a text, which the server reads as whatever type its query asks for.
impl ToSql for Value {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => return Ok(IsNull::Yes),
            Self::Integer(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Real(value) => out.extend_from_slice(value.to_string().as_bytes()),
            Self::Text(value) => out.extend_from_slice(value.as_bytes()),
            Self::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        }
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}
