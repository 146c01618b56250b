//! The identity of the database file: whether the path still leads to the file that the connections have open.
//!
//! A file that is removed or replaced stays alive for the connections that have it open: their writes succeed, and are lost. And a
//! write-ahead log that stays beside a new file of the same name would be applied to that file. So the pool compares what the path
//! leads to (device and inode, on Unix) with what it opened, and refuses to open a second file while connections have the first.

use std::{
    fs::{self, Metadata},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use rusqlite::ffi;

/// The database file of one pool.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    /// The file that the pool has opened. `None` before the first open. A leaf lock: nothing is called under it but the file system.
    known: Mutex<Option<Known>>,
}

#[derive(Debug)]
struct Known {
    file: Identity,
    /// The write-ahead log that was seen beside the file.
    log: Option<Identity>,
    /// How many connections have the file open.
    open: usize,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// The number of a removed file is given to new files. The time tells them apart, where the file system knows it.
    created: Option<SystemTime>,
}

/// One connection that has the file open.
#[derive(Debug)]
pub(super) struct Opened {
    file: Arc<File>,
    identity: Identity,
}

/// Why the file is not the one that the pool has opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moved {
    Removed,
    Replaced,
    /// The log of the file before lies beside the new file.
    OldLog,
}

impl File {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            // The working directory of the process may change.
            path: std::path::absolute(path).unwrap_or_else(|_| path.to_owned()),
            known: Mutex::new(None),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether an open may create the file: only if the pool has not opened it before. A file that is removed later is not silently
    /// replaced by an empty database.
    ///
    /// # Errors
    /// The file was removed, or the connections have another one open.
    pub(super) fn may_be_created(&self) -> Result<bool, Moved> {
        let mut known = self.known();
        let Some(before) = known.as_ref() else {
            return Ok(true);
        };
        match identity(&self.path) {
            None if matches!(self.path.try_exists(), Ok(false)) => Err(Moved::Removed),
            // SQLite says what is wrong with it.
            None => Ok(false),
            Some(now) if now == before.file => Ok(false),
            Some(_) if before.open > 0 => Err(Moved::Replaced),
            Some(_) if before.log.is_some() && identity(&self.log()) == before.log => {
                Err(Moved::OldLog)
            }
            Some(_) => {
                *known = None;
                Ok(false)
            }
        }
    }

    /// A connection has opened the file, and read from it. Returns `None` where the file system has no identities.
    ///
    /// # Errors
    /// The file was removed or replaced meanwhile.
    pub(super) fn opened(self: &Arc<Self>) -> Result<Option<Opened>, Moved> {
        let mut known = self.known();
        if cfg!(not(unix)) {
            return Ok(None);
        }
        let now = identity(&self.path).ok_or(Moved::Removed)?;
        let known = known.get_or_insert(Known {
            file: now,
            log: None,
            open: 0,
        });
        if known.file != now {
            return Err(Moved::Replaced);
        }
        known.open += 1;
        known.log = identity(&self.log()).or(known.log);
        Ok(Some(Opened {
            file: Arc::clone(self),
            identity: now,
        }))
    }

    /// The path of the write-ahead log.
    fn log(&self) -> PathBuf {
        let mut log = self.path.clone().into_os_string();
        log.push("-wal");
        log.into()
    }

    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    /// Looks whether the path still leads to the file. One call of the file system. If it cannot tell, the file counts as there.
    ///
    /// # Errors
    /// The file was removed or replaced.
    pub(super) fn look(&self) -> Result<(), Moved> {
        match fs::metadata(&self.file.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Moved::Removed),
            Ok(now) if of(&now).is_some_and(|now| now != self.identity) => Err(Moved::Replaced),
            _ => Ok(()),
        }
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(known) = self.file.known().as_mut() {
            known.open -= 1;
        }
    }
}

impl Moved {
    /// Returns the error of SQLite that says so.
    pub(super) fn error(self) -> rusqlite::Error {
        let says = match self {
            Self::Removed => {
                "the database file was removed: put it back, or build a new pool, which creates an empty one"
            }
            Self::Replaced => {
                "the database file was replaced by another: this connection has the old one"
            }
            Self::OldLog => {
                "the database file was replaced by another, but the write-ahead log (-wal) of the file before lies beside it: remove the log"
            }
        };
        rusqlite::Error::SqliteFailure(
            ffi::Error::new(ffi::SQLITE_READONLY_DBMOVED),
            Some(says.to_owned()),
        )
    }
}

fn identity(path: &Path) -> Option<Identity> {
    of(&fs::metadata(path).ok()?)
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)]
fn of(metadata: &Metadata) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt as _;
    Some(Identity {
        device: metadata.dev(),
        inode: metadata.ino(),
        created: metadata.created().ok(),
    })
}

#[cfg(not(unix))]
fn of(_: &Metadata) -> Option<Identity> {
    None
}
