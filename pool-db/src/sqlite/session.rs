//! One open SQLite connection.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{location::Source, stop::Stop};

/// The resource of the pool: a SQLite connection, unless a worker has it.
///
/// It has no public methods. Use it through [`Connection`](super::Connection).
pub struct Session {
    /// `None` while a worker has the connection, and for good if the worker never returns it.
    pub(super) open: Option<Open>,
}

pub(super) struct Open {
    /// SQLite's connection is not `Sync`. The mutex makes the session `Sync`, and is never locked.
    connection: Mutex<Connection>,
    pub(super) stop: Arc<Stop>,
    /// Stays set if a closure panics.
    pub(super) in_closure: bool,
}

/// How the connections of a pool are opened.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) busy_timeout: Duration,
    pub(super) statement_cache: usize,
    pub(super) pragmas: Vec<(String, String)>,
}

impl Session {
    /// Opens a connection. Blocks.
    pub(super) fn open(plan: &Plan) -> rusqlite::Result<Self> {
        let connection = Connection::open_with_flags(&plan.source.path, plan.source.flags)?;
        connection.busy_timeout(plan.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(plan.statement_cache);
        for (name, value) in &plan.pragmas {
            set_patiently(&connection, name, value, plan.busy_timeout)?;
        }
        let stop = Arc::new(Stop::default());
        let asked = Arc::clone(&stop);
        connection.progress_handler(OPS_BETWEEN_QUESTIONS, Some(move || !asked.is_wanted()))?;
        Ok(Self {
            open: Some(Open {
                connection: Mutex::new(connection),
                stop,
                in_closure: false,
            }),
        })
    }

    /// Whether the connection cannot be used again.
    pub(super) fn is_broken(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.in_closure)
    }

    /// Whether a transaction was left open.
    pub(super) fn is_in_transaction(&mut self) -> bool {
        self.open
            .as_mut()
            .is_some_and(|open| !open.connection().is_autocommit())
    }
}

impl Open {
    fn connection(&mut self) -> &mut Connection {
        let connection = self.connection.get_mut();
        connection.unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns SQLite's connection.
    pub(super) fn into_connection(self) -> Connection {
        let connection = self.connection.into_inner();
        connection.unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a closure of the user.
    pub(super) fn run<T>(&mut self, f: impl FnOnce(&mut Connection) -> T) -> T {
        self.in_closure = true;
        let result = f(self.connection());
        self.in_closure = false;
        result
    }

    /// Rolls back a transaction that was left open. Blocks.
    pub(super) fn roll_back(&mut self) -> rusqlite::Result<()> {
        self.connection().execute_batch("ROLLBACK")
    }

    /// Reads a page of the file. Blocks.
    pub(super) fn check(&mut self) -> rusqlite::Result<()> {
        self.connection()
            .prepare_cached("SELECT 1 FROM sqlite_schema LIMIT 1")?
            .query_row([], |_| Ok(()))
            .optional()?;
        Ok(())
    }
}

/// Sets a pragma, and retries while the database is busy. SQLite's busy timeout does not cover a change of the journal mode: if two
/// connections change it at once, one of them fails at once, because both hold a read lock.
fn set_patiently(
    connection: &Connection,
    name: &str,
    value: &str,
    limit: Duration,
) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match set(connection, name, value) {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && start.elapsed() < limit =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done,
        }
    }
}

/// Sets a pragma, and checks that SQLite knows its name. SQLite itself ignores an unknown name.
fn set(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    let known = "SELECT 1 FROM pragma_pragma_list WHERE name = ?1";
    if connection
        .query_row(known, [name], |_| Ok(()))
        .optional()?
        .is_none()
    {
        return Err(refused(format!("there is no pragma `{name}`")));
    }
    connection.pragma_update(None, name, value)?;
    if name == "journal_mode" {
        // SQLite declines a journal mode without an error, for example on a file system that does not support it.
        let mode: String = connection.pragma_query_value(None, name, |row| row.get(0))?;
        if !mode.eq_ignore_ascii_case(value) {
            return Err(refused(format!(
                "journal_mode cannot be `{value}` here: it stays `{mode}`"
            )));
        }
    }
    Ok(())
}

fn refused(why: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_MISUSE);
    rusqlite::Error::SqliteFailure(code, Some(why))
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("open", &self.open.is_some())
            .finish_non_exhaustive()
    }
}

/// How many operations SQLite runs between two calls of the progress handler. They take some microseconds, so SQLite stops soon,
/// and the calls have no measurable cost.
const OPS_BETWEEN_QUESTIONS: i32 = 1000;
