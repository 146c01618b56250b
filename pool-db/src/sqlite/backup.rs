//! Copies a database while it is in use.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{
    Connection, ErrorCode,
    backup::{Backup, StepResult},
    ffi,
};

use super::{Pool, residue::Mode, stop};
use crate::Error;

impl Pool {
    /// Copies the database into the file `path`, while others read and write.
    ///
    /// The copy is made on a worker thread, beside `path` under a name of its own that ends in `.partial`, and is then renamed. So
    /// `path` is a complete copy or what it was before. A file at `path` is replaced: no process may have it open as a database. The
    /// copy has the state of one moment. In write-ahead log mode (the default) writes go on meanwhile, and the log grows until the
    /// backup has ended; else the backup begins again after each write. It takes one of the `max_size` connections. `query_timeout`
    /// does not apply.
    ///
    /// # Errors
    /// - As for [`get`](Self::get).
    /// - The copy cannot be written (no such folder, no room, no rights), or `path` is the database itself.
    ///
    /// # Cancel safety
    /// If the future is dropped, the backup stops and its file is removed. `path` stays as it was, unless the copy had just been
    /// renamed.
    pub async fn backup(&self, path: impl Into<PathBuf>) -> Result<(), Error> {
        let path = path.into();
        let own = self.manager().plan.path().map(Path::to_owned);
        let patience = self.manager().plan.busy_timeout;
        let mut connection = self.get().await?;
        connection.set_query_timeout(None);
        let copied = connection.on_worker(Mode::Any, move |sqlite| {
            if let Some(own) = own
                && is_same(&own, &path)
            {
                return Err(Error::other(format!(
                    "cannot back up to {}: it is the database itself",
                    path.display()
                )));
            }
            copy(sqlite, &path, patience)
        });
        copied.await?
    }
}

/// A file that is removed unless it was kept, with what SQLite puts beside it.
struct Partial {
    path: PathBuf,
    is_kept: bool,
}

impl Partial {
    fn beside(path: &Path) -> Option<Self> {
        static COPIES: AtomicU64 = AtomicU64::new(0);
        let mut name = path.file_name()?.to_owned();
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        name.push(format!(".{}-{number}.partial", std::process::id()));
        Some(Self {
            path: path.with_file_name(name),
            is_kept: false,
        })
    }

    /// Gives the file its name, and stores that on the disk.
    fn keep(mut self, path: &Path) -> io::Result<()> {
        fs::rename(&self.path, path)?;
        self.is_kept = true;
        match path.parent() {
            Some(folder) if cfg!(unix) && !folder.as_os_str().is_empty() => {
                File::open(folder)?.sync_all()
            }
            _ => Ok(()),
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if self.is_kept {
            return;
        }
        for end in ["", "-journal", "-wal", "-shm"] {
            let mut path = self.path.clone().into_os_string();
            path.push(end);
            // Most of them do not exist.
            drop(fs::remove_file(path));
        }
    }
}

fn copy(source: &Connection, path: &Path, patience: Duration) -> Result<(), Error> {
    let says = |why: &dyn std::fmt::Display| {
        Error::other(format!("cannot back up to {}: {why}", path.display()))
    };
    let partial = Partial::beside(path).ok_or_else(|| says(&"it names no file"))?;
    let mut target =
        Connection::open(&partial.path).map_err(|error| says(&super::explain(&error)))?;
    copy_pages(source, &mut target, patience).map_err(|error| says(&super::explain(&error)))?;
    target
        .close()
        .map_err(|(_, error)| says(&super::explain(&error)))?;
    partial.keep(path).map_err(|error| says(&error))
}

fn copy_pages(
    source: &Connection,
    target: &mut Connection,
    patience: Duration,
) -> rusqlite::Result<()> {
    let mode: String = source.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    // With a log, a read transaction holds the moment, and blocks nobody. Without, it would block the writers: so each write of
    // another connection makes SQLite begin again.
    let moment = if mode.eq_ignore_ascii_case("wal") {
        let moment = source.unchecked_transaction()?;
        moment.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Some(moment)
    } else {
        None
    };
    let backup = Backup::new(source, target)?;
    let mut blocked: Option<Instant> = None;
    loop {
        if stop::is_given_up() {
            return Err(failure(ffi::SQLITE_INTERRUPT));
        }
        match backup.step(PAGES)? {
            StepResult::Done => break,
            StepResult::Busy | StepResult::Locked => {
                if blocked.get_or_insert_with(Instant::now).elapsed() >= patience {
                    return Err(failure(ffi::SQLITE_BUSY));
                }
                thread::sleep(PAUSE);
            }
            // `StepResult::More`: without a log, a writer gets a chance.
            _ => {
                blocked = None;
                if moment.is_none() {
                    thread::sleep(PAUSE);
                }
            }
        }
    }
    drop(backup);
    moment.map_or(Ok(()), rusqlite::Transaction::commit)
}

fn failure(code: i32) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), None)
}

/// Whether both paths lead to one file.
fn is_same(one: &Path, other: &Path) -> bool {
    match (fs::canonicalize(one), fs::canonicalize(other)) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}

/// Runs `PRAGMA optimize`, which keeps the statistics of the query planner. It waits for no lock, and a busy database is no error.
pub(super) fn optimize(connection: &Connection) -> rusqlite::Result<()> {
    match connection.execute_batch("PRAGMA optimize") {
        Err(error)
            if matches!(
                error.sqlite_error_code(),
                Some(
                    ErrorCode::DatabaseBusy | ErrorCode::OperationInterrupted | ErrorCode::ReadOnly
                )
            ) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// How many pages are copied between two looks whether the backup is still wanted.
const PAGES: i32 = 256;

/// How long the backup leaves the database to others.
const PAUSE: Duration = Duration::from_millis(1);
