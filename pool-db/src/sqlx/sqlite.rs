//! SQLite connections of sqlx, each with its thread.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, Row as _, SqlSafeStr as _, SqlStr, Sqlite,
    SqliteConnection,
    error::DatabaseError,
    sqlite::{SqliteConnectOptions, SqliteTransactionManager},
};

use sqlx_core::transaction::TransactionManager as _;

use super::{
    Database,
    database::{Cleaned, Sealed},
};
use crate::address::shown;

impl Sealed for Sqlite {}

/// How a statement is told to stop, and what the connection was like when it was new.
#[doc(hidden)]
#[derive(Debug)]
#[expect(unnameable_types, reason = "no other crate shall name it")]
pub struct Thread {
    // Ordering: `Relaxed` is enough. It publishes nothing else, and a statement that reads it late stops late.
    stop: Arc<AtomicBool>,
    state: String,
}

impl Database for Sqlite {
    const WORD: &'static str = "sqlite";
    const EXPECTED: &'static str = "`sqlite:PATH`, `sqlite://PATH` or `sqlite::memory:`";
    const SURVIVES_DROPS: bool = true;
    const COMMITS_FAILED: bool = false;
    const LOSES_TRANSACTION: bool = false;
    const HAS_SOCKET: bool = false;
    const LEAVING: &'static [&'static str] = &["load_extension"];

    type Known = Thread;

    fn target(options: &SqliteConnectOptions) -> String {
        format!(
            "sqlite {}",
            shown(&options.get_filename().to_string_lossy())
        )
    }

    fn with_cache(options: SqliteConnectOptions, capacity: usize) -> SqliteConnectOptions {
        options.statement_cache_capacity(capacity)
    }

    async fn is_volatile(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
        let row = connection.fetch_one(sqlx::raw_sql(FILE)).await?;
        Ok(row.try_get::<String, _>(0)?.is_empty())
    }

    async fn learn(connection: &mut SqliteConnection) -> Result<Thread, sqlx::Error> {
        let stop = Arc::new(AtomicBool::new(false));
        watch(connection, &stop).await?;
        Ok(Thread {
            stop,
            state: String::new(),
        })
    }

    async fn remember(
        connection: &mut SqliteConnection,
        known: &mut Thread,
    ) -> Result<(), sqlx::Error> {
        known.state = state(connection).await?;
        Ok(())
    }

    async fn run(connection: &mut SqliteConnection, sql: SqlStr) -> Result<(), sqlx::Error> {
        connection.execute(sqlx::raw_sql(sql)).await.map(drop)
    }

    async fn quiet(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        connection.ping().await
    }

    async fn cancel(_: &SqliteConnectOptions, known: &Thread) -> Result<(), sqlx::Error> {
        known.stop.store(true, Relaxed);
        Ok(())
    }

    fn cancelled(known: &Thread) {
        known.stop.store(false, Relaxed);
    }

    async fn clean(
        connection: &mut SqliteConnection,
        known: &Thread,
        cleans: bool,
        _: &str,
    ) -> Result<Cleaned, sqlx::Error> {
        // sqlx leaves out one rollback, whosever it is, after a commit whose future was dropped. This is the one.
        SqliteTransactionManager::start_rollback(connection);
        if Self::run(connection, "BEGIN; ROLLBACK".into_sql_str())
            .await
            .is_err()
        {
            // There is a transaction.
            Self::run(connection, "ROLLBACK".into_sql_str()).await?;
        }
        if cleans {
            watch(connection, &known.stop).await?;
            if state(connection).await? != known.state {
                return Err(sqlx::Error::Protocol(SPOILT.to_owned()));
            }
        }
        Ok(Cleaned::WithoutSetup)
    }

    fn is_fatal(_: &(dyn DatabaseError + 'static)) -> bool {
        false
    }
}

/// Removes all hooks, and has each statement look now and then whether it shall stop.
async fn watch(
    connection: &mut SqliteConnection,
    stop: &Arc<AtomicBool>,
) -> Result<(), sqlx::Error> {
    let stop = Arc::clone(stop);
    let mut handle = connection.lock_handle().await?;
    handle.remove_update_hook();
    handle.remove_commit_hook();
    handle.remove_rollback_hook();
    handle.set_progress_handler(STEPS, move || !stop.load(Relaxed));
    Ok(())
}

/// Returns what a connection may keep that others do not see.
async fn state(connection: &mut SqliteConnection) -> Result<String, sqlx::Error> {
    let mut parts: Vec<_> = PRAGMAS
        .iter()
        .map(|name| format!("coalesce((SELECT * FROM pragma_{name}), '')"))
        .collect();
    parts.extend(OTHERS.map(str::to_owned));
    let sql = format!("SELECT {}", parts.join(" || ',' || "));
    connection
        .fetch_one(sqlx::raw_sql(AssertSqlSafe(sql)))
        .await?
        .try_get(0)
}

/// The pragmas of a connection whose values can be read.
const PRAGMAS: [&str; 21] = [
    "analysis_limit",
    "automatic_index",
    "busy_timeout",
    "cache_size",
    "cell_size_check",
    "checkpoint_fullfsync",
    "count_changes",
    "defer_foreign_keys",
    "foreign_keys",
    "fullfsync",
    "ignore_check_constraints",
    "legacy_alter_table",
    "locking_mode",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "synchronous",
    "temp_store",
    "trusted_schema",
    "writable_schema",
];
/// `case_sensitive_like`, which cannot be read; what is attached; temporary tables, views and triggers.
const OTHERS: [&str; 3] = [
    "('a' LIKE 'A')",
    "coalesce((SELECT group_concat(name || '=' || file) FROM pragma_database_list WHERE name <> 'temp'), '')",
    "(SELECT count(*) FROM temp.sqlite_schema)",
];
/// Empty for a database in memory.
const FILE: &str = "SELECT coalesce(file, '') FROM pragma_database_list WHERE name = 'main'";
/// How many steps a statement takes between two looks.
const STEPS: i32 = 1000;
const SPOILT: &str = "the connection is not as it was when it was opened: a pragma, a temporary table or an attached file was left";
