//! The SQLite file of the bench.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::failure::Failure;
use super::peer::{ROWS, value_of};

/// A file with the table in it and a log of writes, in a folder that goes when this is dropped.
#[derive(Debug)]
pub(super) struct File {
    folder: TempDir,
}

impl File {
    /// Makes it, in WAL mode.
    pub(super) fn create() -> Result<Self, Failure> {
        let folder = tempfile::Builder::new().prefix("pool-benches-").tempdir()?;
        let file = Self { folder };
        let mut sqlite = Connection::open(file.path())?;
        sqlite.pragma_update(None, "journal_mode", "wal")?;
        sqlite.execute_batch(
            "CREATE TABLE items (id INTEGER PRIMARY KEY, value INTEGER NOT NULL); \
             CREATE TABLE log (id INTEGER PRIMARY KEY, value INTEGER NOT NULL)",
        )?;
        let all = sqlite.transaction()?;
        {
            let mut insert = all.prepare("INSERT INTO items VALUES (?1, ?2)")?;
            for id in 0..ROWS {
                insert.execute([id, value_of(id)])?;
            }
        }
        all.commit()?;
        Ok(file)
    }

    /// Makes it with a table of so many events beside.
    pub(super) fn create_events(rows: u32) -> Result<Self, Failure> {
        let file = Self::create()?;
        let sqlite = Connection::open(file.path())?;
        sqlite.execute_batch(&format!(
            "CREATE TABLE events (id INTEGER PRIMARY KEY, name TEXT NOT NULL, value INTEGER NOT NULL); \
             INSERT INTO events WITH RECURSIVE ids(id) AS \
             (SELECT 0 UNION ALL SELECT id + 1 FROM ids LIMIT {rows}) \
             SELECT id, 'event ' || id, 3 * id + 1 FROM ids"
        ))?;
        Ok(file)
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.path().join("bench.db")
    }

    /// How many rows were written to the log, as a reader of its own sees it.
    pub(super) fn logged(path: &Path) -> Result<usize, Failure> {
        let sqlite = Connection::open(path)?;
        let count: i64 = sqlite.query_row("SELECT count(*) FROM log", [], |row| row.get(0))?;
        Ok(usize::try_from(count)?)
    }
}

/// How long a peer waits for a lock. There is one writer, so none should have to.
pub(super) const BUSY: std::time::Duration = std::time::Duration::from_secs(5);
