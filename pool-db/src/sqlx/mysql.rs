//! MySQL and MariaDB sessions of sqlx.

use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, MySql, MySqlConnection,
    Row as _, SqlSafeStr as _, SqlStr,
    error::DatabaseError,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlRow},
};

use super::{
    Database,
    database::{Cleaned, Sealed},
};
use crate::address::shown;

impl Sealed for MySql {}

/// A session as its server knows it, and how often it had run what leaves something behind when it was new.
#[doc(hidden)]
#[derive(Debug)]
#[expect(unnameable_types, reason = "no other crate shall name it")]
pub struct Thread {
    id: String,
    is_mariadb: bool,
    counts: String,
}

impl Database for MySql {
    const WORD: &'static str = "mysql";
    const EXPECTED: &'static str = "`mysql://USER:PASSWORD@HOST:PORT/DATABASE`";
    // A header may have been read without its packet, and the answer to a prepare is taken for that to a query.
    const SURVIVES_DROPS: bool = false;
    const COMMITS_FAILED: bool = false;
    const LOSES_TRANSACTION: bool = true;
    const HAS_SOCKET: bool = true;
    const LEAVING: &'static [&'static str] = &["get_lock"];

    type Known = Thread;

    fn target(options: &MySqlConnectOptions) -> String {
        let host = options.get_socket().map_or_else(
            || shown(options.get_host()),
            |socket| shown(&socket.to_string_lossy()),
        );
        let database = options
            .get_database()
            .map(|database| format!("/{}", shown(database)));
        format!(
            "mysql at {host}:{}{} as {}",
            options.get_port(),
            database.unwrap_or_default(),
            shown(options.get_username())
        )
    }

    fn with_cache(options: MySqlConnectOptions, capacity: usize) -> MySqlConnectOptions {
        options.statement_cache_capacity(capacity)
    }

    async fn learn(connection: &mut MySqlConnection) -> Result<Thread, sqlx::Error> {
        let sql = "SELECT CAST(CONNECTION_ID() AS CHAR), VERSION()";
        let row = connection.fetch_one(sqlx::raw_sql(sql)).await?;
        let version: String = row.try_get(1)?;
        Ok(Thread {
            id: row.try_get(0)?,
            is_mariadb: version.contains("MariaDB"),
            counts: String::new(),
        })
    }

    async fn remember(
        connection: &mut MySqlConnection,
        known: &mut Thread,
    ) -> Result<(), sqlx::Error> {
        let rows = connection
            .fetch_all(sqlx::raw_sql(AssertSqlSafe(known.count())))
            .await?;
        known.counts = counts(&rows)?;
        Ok(())
    }

    async fn run(connection: &mut MySqlConnection, sql: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(sql)).await.map(drop)
    }

    async fn quiet(connection: &mut MySqlConnection) -> Result<(), sqlx::Error> {
        connection.flush().await
    }

    async fn cancel(options: &MySqlConnectOptions, known: &Thread) -> Result<(), sqlx::Error> {
        let options = options.clone().disable_statement_logging();
        let mut beside = MySqlConnection::connect_with(&options).await?;
        let sql = AssertSqlSafe(format!("KILL QUERY {}", known.id));
        Self::run(&mut beside, sql.into_sql_str()).await?;
        beside.close().await
    }

    async fn clean(
        connection: &mut MySqlConnection,
        known: &Thread,
        cleans: bool,
        _: &str,
    ) -> Result<Cleaned, sqlx::Error> {
        // An answer that was left unread is not taken for that of the cleaning: it does not have the number.
        let number = fastrand::u64(..).to_string();
        let mut sql = format!("ROLLBACK; SELECT '{number}' AS pool_db_number");
        if cleans {
            sql = format!(
                "ROLLBACK; UNLOCK TABLES; DO RELEASE_ALL_LOCKS(); SELECT '{number}' AS pool_db_number; {}",
                known.count()
            );
        }
        let rows = connection
            .fetch_all(sqlx::raw_sql(AssertSqlSafe(sql)))
            .await?;
        let (first, rest) = rows.split_first().ok_or_else(spoilt)?;
        if first.try_get::<String, _>("pool_db_number")? != number {
            return Err(spoilt());
        }
        if cleans && counts(rest)? != known.counts {
            return Err(spoilt());
        }
        Ok(Cleaned::WithoutSetup)
    }

    fn is_fatal(error: &(dyn DatabaseError + 'static)) -> bool {
        let error = error.try_downcast_ref::<MySqlDatabaseError>();
        // Shut down, killed, gone, and aborted.
        error.is_some_and(|error| {
            matches!(
                error.number(),
                1053 | 1927 | 2006 | 2013 | 1152 | 1184 | 4031
            )
        })
    }
}

impl Thread {
    /// How often the session has run each of the statements that leave something behind.
    fn count(&self) -> String {
        // MySQL counts a temporary table as a table.
        let (schema, table) = if self.is_mariadb {
            ("information_schema", "Com_create_temporary_table")
        } else {
            ("performance_schema", "Com_create_table")
        };
        format!(
            "SELECT CAST(VARIABLE_NAME AS CHAR) AS name, CAST(VARIABLE_VALUE AS CHAR) AS value FROM {schema}.session_status \
             WHERE VARIABLE_NAME IN ({LEAVE}, '{table}') ORDER BY VARIABLE_NAME"
        )
    }
}

fn counts(rows: &[MySqlRow]) -> Result<String, sqlx::Error> {
    let mut all = String::new();
    for row in rows {
        let (name, value): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        all.push_str(&format!("{name}={value},"));
    }
    Ok(all)
}

fn spoilt() -> sqlx::Error {
    sqlx::Error::Protocol(SPOILT.to_owned())
}

/// The server's counters of what SQL cannot undo.
const LEAVE: &str = "'Com_set_option', 'Com_prepare_sql', 'Com_change_db', \
                     'Com_ha_open', 'Com_call_procedure', 'Com_execute_immediate', 'Com_compound_sql', 'Com_xa_start'";
const SPOILT: &str = "the session is not as it was when it was opened: a variable, a temporary table or a statement was left";
