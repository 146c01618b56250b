//! One open database.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OptionalExtension as _};

use super::{location::Source, stop::Stop};

/// What the pool holds: a connection of SQLite's, unless a worker has it.
///
/// It has no methods of its own: [`Connection`](super::Connection) is the way to it.
pub struct Session {
    /// `None` while a worker has it, and for good when the worker never gave it back.
    pub(super) open: Option<Open>,
}

pub(super) struct Open {
    /// Behind a lock that is never taken, so that what holds it can be shared although SQLite's connection cannot.
    connection: Mutex<Connection>,
    pub(super) stop: Arc<Stop>,
    /// Stays set when a closure panics half-way.
    pub(super) in_closure: bool,
}

/// How each connection of a pool is opened.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) source: Source,
    pub(super) busy_timeout: Duration,
    pub(super) statement_cache: usize,
    pub(super) pragmas: Vec<(String, String)>,
}

impl Session {
    /// Opens one. Blocks.
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

    /// Is it unfit for anybody?
    pub(super) fn is_broken(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.in_closure)
    }

    /// Did somebody leave a transaction open?
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

    /// SQLite's connection.
    pub(super) fn into_connection(self) -> Connection {
        let connection = self.connection.into_inner();
        connection.unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs a closure of the user's.
    pub(super) fn run<T>(&mut self, f: impl FnOnce(&mut Connection) -> T) -> T {
        self.in_closure = true;
        let result = f(self.connection());
        self.in_closure = false;
        result
    }

    /// Ends a transaction that was left open. Blocks.
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

/// Sets one, and waits where SQLite does not wait by itself: who changes the journal's mode while another does so is told that the
/// database is busy at once, since both have read it and neither could go on.
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

/// Sets one, and sees to it that SQLite knows it: by itself it ignores an unknown name.
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
        // The one that SQLite declines without an error, as on a file system that cannot do it.
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

/// Some microseconds of SQLite's time: short enough to stop soon, long enough to cost nothing that can be measured.
const OPS_BETWEEN_QUESTIONS: i32 = 1000;
