//! What a caller may leave on a connection, and what becomes of it.
//!
//! | left | seen by | what is done |
//! |---|---|---|
//! | an open transaction | its state | rolled back |
//! | a pragma of [`PRAGMAS`], by statement or by a setting of rusqlite | the authorizer, the settings | set back |
//! | another pragma with a value (`locking_mode`, `case_sensitive_like`, ..) | the authorizer | closed |
//! | an attached database | the authorizer | detached |
//! | a temporary table, view, index, trigger or virtual table | the authorizer | dropped |
//! | a limit, a setting (`set_db_config`) | their values | set back |
//! | a progress handler, a busy handler or `busy_timeout`, the capacity of the statement cache | | set again before each call |
//! | hooks (commit, rollback, update), a trace | | removed after each call |
//! | a WAL hook | the value of `wal_autocheckpoint` | set back |
//! | another authorizer, another connection in its place | it is not asked | closed |
//! | a loaded extension | the authorizer | closed |
//! | a statement that was forgotten while it ran | the state of the transaction | closed |
//! | a function, a collation | only with [`Reset::Always`] | closed |
//! | `last_insert_rowid`, `changes`, `total_changes` | | numbers stay |
//!
//! The authorizer is asked by SQLite whenever a statement is prepared. A statement that the cache keeps is not prepared again, so
//! the cache is emptied whenever something was left. The pool's authorizer allows everything in `run` and `call`; in `read` and `write`
//! it denies what would end the mode ([`Mode`]).

use std::cell::Cell;

use rusqlite::{
    Connection, OptionalExtension as _, TransactionState,
    config::DbConfig,
    hooks::{Action, AuthAction, AuthContext, Authorization},
    limits::Limit,
    trace::{TraceEvent, TraceEventCodes},
    types::Value,
};

/// What the pool does about state that a caller left on a connection, before the next caller gets the connection.
///
/// An open transaction is rolled back, and handlers are set again, whatever the policy. After a panic the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Reset {
    /// What SQLite itself reports is undone: pragmas are set back, attached databases are detached, temporary tables are dropped,
    /// hooks are removed. If something cannot be undone, the connection is closed. Costs about a microsecond a call. Functions and
    /// collations that a closure adds are not seen, and `last_insert_rowid` and the like keep their numbers.
    #[default]
    Seen,
    /// As `Seen`, but everything is compared after each lease, functions and collations too. Costs some hundred microseconds a
    /// lease, on a worker.
    Always,
    /// The connection is closed after each lease in which a closure ran.
    DiscardAll,
    /// Nothing is undone. Every caller sees what others left. For code that sets up its connections itself.
    Nothing,
}

impl Reset {
    pub(super) const EXPECTED: &str = "`seen`, `always`, `discard-all` or `nothing`";

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "seen" => Self::Seen,
            "always" => Self::Always,
            "discard-all" => Self::DiscardAll,
            "nothing" => Self::Nothing,
            _ => return None,
        })
    }
}

/// What is on a connection after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) enum Left {
    #[default]
    Nothing,
    /// Something that [`Origin::restore`] may undo.
    Something,
    /// Something for which the connection must be closed.
    TooMuch,
}

/// The state of a connection when it was opened.
#[derive(Debug)]
pub(super) struct Origin {
    pragmas: Vec<Option<Value>>,
    checkpoint: i64,
    settings: [bool; SETTINGS.len()],
    limits: [i32; LIMITS.len()],
    /// The functions and collations. Only with [`Reset::Always`].
    extras: Option<Vec<Value>>,
}

impl Origin {
    /// Installs the authorizer, and reads the state of a new connection. [`Self::look`] must run where this ran: within one call.
    pub(super) fn of(connection: &Connection, policy: Reset) -> rusqlite::Result<Self> {
        connection.authorizer(Some(notice))?;
        let read = PRAGMAS.iter().map(|name| read(connection, name));
        let origin = Self {
            pragmas: read.collect::<rusqlite::Result<_>>()?,
            checkpoint: checkpoint(connection)?,
            settings: settings(connection)?,
            limits: limits(connection)?,
            extras: match policy {
                Reset::Always => Some(extras(connection)?),
                _ => None,
            },
        };
        NOTICED.set(Noticed::default());
        Ok(origin)
    }

    /// Whether the connection only reads by the settings of the pool.
    pub(super) fn only_reads(&self) -> bool {
        let mut pragmas = PRAGMAS.iter().zip(&self.pragmas);
        pragmas.any(|(name, was)| *name == "query_only" && *was == Some(Value::Integer(1)))
    }

    /// Looks what a call has left. Does no I/O.
    pub(super) fn look(&self, connection: &Connection, policy: Reset) -> Left {
        match policy {
            Reset::Nothing => return Left::Nothing,
            Reset::DiscardAll => return Left::TooMuch,
            Reset::Seen | Reset::Always => {}
        }
        let left = self.compare(connection).unwrap_or(Left::TooMuch);
        if policy == Reset::Always {
            left.max(Left::Something)
        } else {
            left
        }
    }

    fn compare(&self, connection: &Connection) -> rusqlite::Result<Left> {
        connection.commit_hook(None::<fn() -> bool>)?;
        connection.rollback_hook(None::<fn()>)?;
        connection.update_hook(None::<fn(Action, &str, &str, i64)>)?;
        connection.trace_v2(TraceEventCodes::empty(), None::<fn(TraceEvent<'_>)>);
        if connection.is_autocommit() && is_reading(connection)? {
            return Ok(Left::TooMuch);
        }
        let noticed = NOTICED.take();
        let checkpoint = checkpoint(connection)?;
        let is_asked = NOTICED.take().asked;
        if noticed.unknown || !is_asked {
            return Ok(Left::TooMuch);
        }
        let is_clean = !noticed.stays
            && checkpoint == self.checkpoint
            && settings(connection)? == self.settings
            && limits(connection)? == self.limits;
        Ok(if is_clean {
            Left::Nothing
        } else {
            Left::Something
        })
    }

    /// Undoes what was left. No transaction may be open. Blocks.
    ///
    /// # Errors
    /// Something cannot be undone: the connection must be closed.
    pub(super) fn restore(&self, connection: &Connection) -> rusqlite::Result<()> {
        connection.flush_prepared_statement_cache();
        for (setting, was) in SETTINGS.iter().zip(self.settings) {
            if connection.db_config(*setting)? != was {
                connection.set_db_config(*setting, was)?;
            }
        }
        for (limit, was) in LIMITS.iter().zip(self.limits) {
            if connection.limit(*limit)? != was {
                connection.set_limit(*limit, was)?;
            }
        }
        let attached = "SELECT name FROM pragma_database_list WHERE name NOT IN ('main', 'temp')";
        for name in names(connection, attached)? {
            connection.execute("DETACH ?1", [name])?;
        }
        if !names(connection, TEMPORARY)?.is_empty() {
            drop_temporary(connection)?;
        }
        // Twice: some pragmas take others with them.
        for _ in 0..2 {
            for (name, was) in PRAGMAS.iter().zip(&self.pragmas) {
                match was {
                    Some(was) if read(connection, name)?.as_ref() != Some(was) => {
                        connection.pragma_update(None, name, was)?;
                    }
                    _ => {}
                }
            }
        }
        if checkpoint(connection)? != self.checkpoint {
            connection.pragma_update(None, "wal_autocheckpoint", self.checkpoint)?;
        }
        let is_as_it_was = PRAGMAS
            .iter()
            .zip(&self.pragmas)
            .map(|(name, was)| Ok(read(connection, name)? == *was))
            .collect::<rusqlite::Result<Vec<_>>>()?;
        let extras = match &self.extras {
            Some(was) => extras(connection)? == *was,
            None => true,
        };
        let is_restored = is_as_it_was.iter().all(|same| *same)
            && extras
            && checkpoint(connection)? == self.checkpoint
            && settings(connection)? == self.settings
            && limits(connection)? == self.limits
            && names(connection, TEMPORARY)?.is_empty()
            && names(connection, attached)?.is_empty();
        NOTICED.set(Noticed::default());
        if is_restored {
            Ok(())
        } else {
            Err(super::session::refused(
                "what a caller left on the connection cannot be undone".to_owned(),
            ))
        }
    }
}

/// Takes note of what stays on the connection, and denies what the mode of the call does not allow.
fn notice(context: AuthContext<'_>) -> Authorization {
    let is_denied = match (MODE.get(), &context.action) {
        (
            Mode::Read,
            AuthAction::Pragma {
                pragma_name,
                pragma_value: Some(_),
            },
        ) => pragma_name.eq_ignore_ascii_case("query_only"),
        (Mode::Write, AuthAction::Transaction { .. }) => true,
        (Mode::Write, AuthAction::Savepoint { savepoint_name, .. }) => {
            savepoint_name.eq_ignore_ascii_case(SAVEPOINT)
        }
        _ => false,
    };
    if is_denied {
        return Authorization::Deny;
    }
    let mut noticed = NOTICED.get();
    match context.action {
        AuthAction::Pragma {
            pragma_name,
            pragma_value,
        } => {
            noticed.asked = true;
            let is_one_of = |names: &[&str]| {
                names
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(pragma_name))
            };
            if pragma_value.is_some() && !is_one_of(HARMLESS) {
                if is_one_of(PRAGMAS) || is_one_of(&["busy_timeout", "wal_autocheckpoint"]) {
                    noticed.stays = true;
                } else {
                    noticed.unknown = true;
                }
            }
        }
        // Without the name of the file, an `ATTACH` is unknown to rusqlite.
        AuthAction::Attach { .. }
        | AuthAction::Unknown { .. }
        | AuthAction::CreateTempTable { .. }
        | AuthAction::CreateTempIndex { .. }
        | AuthAction::CreateTempTrigger { .. }
        | AuthAction::CreateTempView { .. } => noticed.stays = true,
        // SQLite calls them temporary only after the word TEMP.
        AuthAction::CreateTable { .. }
        | AuthAction::CreateIndex { .. }
        | AuthAction::CreateTrigger { .. }
        | AuthAction::CreateView { .. }
        | AuthAction::CreateVtable { .. }
        | AuthAction::Analyze { .. }
            if context.database_name == Some("temp") =>
        {
            noticed.stays = true;
        }
        AuthAction::Function { function_name }
            if function_name.eq_ignore_ascii_case("load_extension") =>
        {
            noticed.unknown = true;
        }
        _ => {}
    }
    NOTICED.set(noticed);
    Authorization::Allow
}

/// What a closure may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Any,
    /// It cannot write, and cannot switch that off.
    Read,
    /// Its transaction is the pool's: it cannot begin or end one.
    Write,
}

/// Runs a closure of the user under the rules of `mode`.
pub(super) fn during<T>(mode: Mode, f: impl FnOnce() -> T) -> T {
    struct Restore(Mode);
    impl Drop for Restore {
        fn drop(&mut self) {
            MODE.set(self.0);
        }
    }
    let _restore = Restore(MODE.replace(mode));
    f()
}

/// What the authorizer saw on this thread, since the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Noticed {
    /// A pragma was prepared.
    asked: bool,
    /// Something was prepared that stays and that can be undone.
    stays: bool,
    /// Something was prepared that may stay and that cannot be undone.
    unknown: bool,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Any) };
    static NOTICED: Cell<Noticed> = const {
        Cell::new(Noticed { asked: false, stays: false, unknown: false })
    };
}

/// Forgets what was prepared by the pool itself.
pub(super) fn was_ours() {
    NOTICED.set(Noticed::default());
}

/// Whether a read transaction is open. After a call and outside a transaction this is a statement that was never ended.
fn is_reading(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(connection.transaction_state(None::<&str>)? != TransactionState::None)
}

/// Reads after how many pages the log is written back. 0 if another hook is installed.
fn checkpoint(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA wal_autocheckpoint", [], |row| row.get(0))
}

fn read(connection: &Connection, pragma: &str) -> rusqlite::Result<Option<Value>> {
    let value = connection.pragma_query_value(None, pragma, |row| row.get(0));
    value.optional()
}

fn names(connection: &Connection, select: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(select)?;
    let names = statement.query_map([], |row| row.get(0))?;
    names.collect()
}

/// Drops the temporary database with all that is in it: SQLite does so when `temp_store` changes.
fn drop_temporary(connection: &Connection) -> rusqlite::Result<()> {
    let now: i64 = connection.pragma_query_value(None, "temp_store", |row| row.get(0))?;
    connection.pragma_update(None, "temp_store", if now == 1 { 2 } else { 1 })?;
    connection.pragma_update(None, "temp_store", now)
}

fn settings(connection: &Connection) -> rusqlite::Result<[bool; SETTINGS.len()]> {
    let mut settings = [false; SETTINGS.len()];
    for (value, setting) in settings.iter_mut().zip(SETTINGS) {
        *value = connection.db_config(setting)?;
    }
    Ok(settings)
}

fn limits(connection: &Connection) -> rusqlite::Result<[i32; LIMITS.len()]> {
    let mut limits = [0; LIMITS.len()];
    for (value, limit) in limits.iter_mut().zip(LIMITS) {
        *value = connection.limit(limit)?;
    }
    Ok(limits)
}

fn extras(connection: &Connection) -> rusqlite::Result<Vec<Value>> {
    let mut extras = Vec::new();
    for list in [
        "SELECT name || '/' || narg || '/' || builtin || '/' || type || '/' || flags FROM pragma_function_list ORDER BY 1",
        "SELECT name FROM pragma_collation_list ORDER BY 1",
    ] {
        extras.extend(names(connection, list)?.into_iter().map(Value::Text));
    }
    Ok(extras)
}

/// The savepoint of one write in a group.
pub(super) const SAVEPOINT: &str = "pool_db_write";

const TEMPORARY: &str = "SELECT name FROM temp.sqlite_schema";

/// The pragmas that change a connection, and that can be read and set back.
const PRAGMAS: &[&str] = &[
    "temp_store",
    "analysis_limit",
    "automatic_index",
    "cache_size",
    "cache_spill",
    "cell_size_check",
    "checkpoint_fullfsync",
    "count_changes",
    "defer_foreign_keys",
    "empty_result_callbacks",
    "foreign_keys",
    "full_column_names",
    "fullfsync",
    "ignore_check_constraints",
    "journal_mode",
    "journal_size_limit",
    "legacy_alter_table",
    "max_page_count",
    "mmap_size",
    "query_only",
    "read_uncommitted",
    "recursive_triggers",
    "reverse_unordered_selects",
    "secure_delete",
    "short_column_names",
    "synchronous",
    "threads",
    "trusted_schema",
    "writable_schema",
];

/// The pragmas whose value is an argument, or is stored in the file.
const HARMLESS: &[&str] = &[
    "application_id",
    "auto_vacuum",
    "foreign_key_check",
    "foreign_key_list",
    "incremental_vacuum",
    "index_info",
    "index_list",
    "index_xinfo",
    "integrity_check",
    "optimize",
    "quick_check",
    "table_info",
    "table_list",
    "table_xinfo",
    "user_version",
    "wal_checkpoint",
];

const SETTINGS: [DbConfig; 15] = [
    DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY,
    DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER,
    DbConfig::SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER,
    DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
    DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG,
    DbConfig::SQLITE_DBCONFIG_TRIGGER_EQP,
    DbConfig::SQLITE_DBCONFIG_RESET_DATABASE,
    DbConfig::SQLITE_DBCONFIG_DEFENSIVE,
    DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA,
    DbConfig::SQLITE_DBCONFIG_LEGACY_ALTER_TABLE,
    DbConfig::SQLITE_DBCONFIG_DQS_DML,
    DbConfig::SQLITE_DBCONFIG_DQS_DDL,
    DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW,
    DbConfig::SQLITE_DBCONFIG_LEGACY_FILE_FORMAT,
    DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA,
];

const LIMITS: [Limit; 12] = [
    Limit::SQLITE_LIMIT_LENGTH,
    Limit::SQLITE_LIMIT_SQL_LENGTH,
    Limit::SQLITE_LIMIT_COLUMN,
    Limit::SQLITE_LIMIT_EXPR_DEPTH,
    Limit::SQLITE_LIMIT_COMPOUND_SELECT,
    Limit::SQLITE_LIMIT_VDBE_OP,
    Limit::SQLITE_LIMIT_FUNCTION_ARG,
    Limit::SQLITE_LIMIT_ATTACHED,
    Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH,
    Limit::SQLITE_LIMIT_VARIABLE_NUMBER,
    Limit::SQLITE_LIMIT_TRIGGER_DEPTH,
    Limit::SQLITE_LIMIT_WORKER_THREADS,
];
