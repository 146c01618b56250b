//! PostgreSQL sessions of sqlx.

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, Postgres,
    Row as _, SqlSafeStr as _, SqlStr,
    error::DatabaseError,
    postgres::{PgConnectOptions, PgDatabaseError, PgSeverity},
};

use super::{
    Database,
    database::{Cleaned, Sealed},
};
use crate::{address::shown, clean::clean};

impl Sealed for Postgres {}

/// A session as its server knows it. The time of its start tells it from one that later has the same number.
#[doc(hidden)]
#[derive(Debug)]
#[expect(unnameable_types, reason = "no other crate shall name it")]
pub struct Backend {
    pid: String,
    started: String,
}

impl Database for Postgres {
    const WORD: &'static str = "postgres";
    const EXPECTED: &'static str = "`postgres://USER:PASSWORD@HOST:PORT/DATABASE`";
    const SURVIVES_DROPS: bool = true;
    const COMMITS_FAILED: bool = true;
    const LOSES_TRANSACTION: bool = false;
    const HAS_SOCKET: bool = true;
    const LEAVING: &'static [&'static str] = &[
        "set_config",
        "setseed",
        "nextval",
        "setval",
        "pg_advisory_lock",
        "pg_advisory_lock_shared",
        "pg_try_advisory_lock",
        "pg_try_advisory_lock_shared",
    ];

    type Known = Backend;

    fn target(options: &PgConnectOptions) -> String {
        let host = options.get_socket().map_or_else(
            || shown(options.get_host()),
            |socket| shown(&socket.to_string_lossy()),
        );
        let database = options
            .get_database()
            .map(|database| format!("/{}", shown(database)));
        format!(
            "postgres at {host}:{}{} as {}",
            options.get_port(),
            database.unwrap_or_default(),
            shown(options.get_username())
        )
    }

    fn with_cache(options: PgConnectOptions, capacity: usize) -> PgConnectOptions {
        options.statement_cache_capacity(capacity)
    }

    async fn learn(connection: &mut PgConnection) -> Result<Backend, sqlx::Error> {
        let row = connection.fetch_one(sqlx::raw_sql(WHO)).await?;
        Ok(Backend {
            pid: row.try_get(0)?,
            started: row.try_get(1)?,
        })
    }

    async fn remember(_: &mut PgConnection, _: &mut Backend) -> Result<(), sqlx::Error> {
        Ok(())
    }

    async fn run(connection: &mut PgConnection, sql: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(sql)).await.map(drop)
    }

    async fn quiet(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.flush().await
    }

    async fn cancel(options: &PgConnectOptions, known: &Backend) -> Result<(), sqlx::Error> {
        let options = options.clone().disable_statement_logging();
        let mut beside = PgConnection::connect_with(&options).await?;
        // The server has said both: a number and a time.
        let Backend { pid, started } = known;
        let sql = format!(
            "SELECT pg_catalog.pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity \
             WHERE pid = {pid} AND {STARTED} = '{started}'"
        );
        Self::run(&mut beside, AssertSqlSafe(sql).into_sql_str()).await?;
        beside.close().await
    }

    async fn clean(
        connection: &mut PgConnection,
        _: &Backend,
        cleans: bool,
        setup: &str,
    ) -> Result<Cleaned, sqlx::Error> {
        // The server says nothing if there is no transaction, and a warning if there is one. In one that has failed, only ROLLBACK
        // is heeded.
        let rest = if cleans {
            format!("{} {LEFT}; {setup}", clean())
        } else {
            String::new()
        };
        let ended = fetch(connection, format!("BEGIN; ROLLBACK; {rest}")).await;
        let rows = match ended {
            Err(error) if is(&error, "25P02") => {
                fetch(connection, format!("ROLLBACK; {rest}")).await?
            }
            ended => ended?,
        };
        if !cleans {
            return Ok(Cleaned::WithoutSetup);
        }
        let left = rows
            .iter()
            .find(|row| row.try_column("pool_db_kept").is_ok())
            .ok_or_else(|| {
                sqlx::Error::Protocol("the answer is not that of the cleaning".to_owned())
            })?;
        let kept: &str = left.try_get("pool_db_kept")?;
        let of_sql: &str = left.try_get("pool_db_of_sql")?;
        if kept != connection.cached_statements_size().to_string() {
            // A DISCARD ALL or DEALLOCATE ALL has dropped those that sqlx believes to have, or a call that was dropped has left one
            // of which sqlx does not know.
            connection.clear_cached_statements().await?;
            Self::run(connection, format_sql(format!("DEALLOCATE ALL; {setup}"))).await?;
        } else if !of_sql.is_empty() {
            Self::run(connection, format_sql(format!("{of_sql}; {setup}"))).await?;
        }
        Ok(Cleaned::WithSetup)
    }

    async fn has_failed(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        match Self::run(connection, "SELECT".into_sql_str()).await {
            Err(error) if is(&error, "25P02") => Ok(true),
            done => done.map(|()| false),
        }
    }

    fn is_fatal(error: &(dyn DatabaseError + 'static)) -> bool {
        let error = error.try_downcast_ref::<PgDatabaseError>();
        error.is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
    }
}

async fn fetch(
    connection: &mut PgConnection,
    sql: String,
) -> Result<Vec<sqlx::postgres::PgRow>, sqlx::Error> {
    connection
        .fetch_all(sqlx::raw_sql(AssertSqlSafe(sql)))
        .await
}

fn format_sql(sql: String) -> SqlStr {
    AssertSqlSafe(sql).into_sql_str()
}

fn is(error: &sqlx::Error, code: &str) -> bool {
    let error = error.as_database_error();
    error.is_some_and(|error| error.code().as_deref() == Some(code))
}

const STARTED: &str = "pg_catalog.date_part('epoch', backend_start)::text";
/// The own session, by its server.
const WHO: &str = "SELECT pid::text, pg_catalog.date_part('epoch', backend_start)::text \
                   FROM pg_catalog.pg_stat_activity WHERE pid = pg_catalog.pg_backend_pid()";
/// The statements that the server keeps for sqlx, and what drops those that SQL has prepared.
const LEFT: &str = "SELECT (pg_catalog.count(*) FILTER (WHERE NOT from_sql))::text AS pool_db_kept, \
                    coalesce(pg_catalog.string_agg('DEALLOCATE ' || pg_catalog.quote_ident(name), '; ') \
                    FILTER (WHERE from_sql), '') AS pool_db_of_sql FROM pg_catalog.pg_prepared_statements";
