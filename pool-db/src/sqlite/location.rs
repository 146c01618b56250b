//! The location of a SQLite database.

use std::{
    fmt,
    path::PathBuf,
    sync::atomic::{AtomicU64, Ordering},
};

use pool_core::ConfigError;
use rusqlite::OpenFlags;

use crate::address::{bad_address, percent_decoded};

/// A file, or a database in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Location {
    File(PathBuf),
    Memory,
}

/// How the file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    ReadOnly,
    ReadWrite,
    /// For reading and writing. The file is created if it is missing.
    Create,
}

impl Location {
    /// Parses `sqlite:app.db`, `sqlite://app.db`, `sqlite:///var/app.db` or `sqlite::memory:`, each with `?mode=ro`, `rw` or `rwc`.
    ///
    /// `setting` is the setting or variable that the address came from.
    pub(crate) fn parse(setting: &str, url: &str) -> Result<(Self, Option<Access>), ConfigError> {
        let bad = || bad_address(setting, url, EXPECTED);
        let rest = url.strip_prefix("sqlite:").ok_or_else(bad)?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = percent_decoded(path).ok_or_else(bad)?;
        let access = match query {
            "" => None,
            "mode=ro" => Some(Access::ReadOnly),
            "mode=rw" => Some(Access::ReadWrite),
            "mode=rwc" => Some(Access::Create),
            _ => return Err(bad()),
        };
        match path.as_str() {
            "" => Err(bad()),
            ":memory:" => Ok((Self::Memory, access)),
            path => Ok((Self::File(path.into()), access)),
        }
    }

    /// Returns the file name and the flags for SQLite. Each call for a database in memory names a new database.
    pub(crate) fn source(&self, access: Access) -> Source {
        // SQLite's own mutex is not needed: only one thread at a time has a connection.
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        flags |= match access {
            Access::ReadOnly => OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
            Access::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        };
        match self {
            Self::File(path) => Source {
                path: path.clone(),
                flags,
            },
            Self::Memory => {
                // The leading slash makes the connections of one process share the database. This file system uses file locks, so
                // `busy_timeout` works, which it does not with `cache=shared`.
                let number = MEMORY.fetch_add(1, Ordering::Relaxed);
                let path = format!("file:/pool-db-{number}?vfs=memdb").into();
                let flags = flags
                    | OpenFlags::SQLITE_OPEN_READ_WRITE
                    | OpenFlags::SQLITE_OPEN_CREATE
                    | OpenFlags::SQLITE_OPEN_URI;
                Source { path, flags }
            }
        }
    }
}

/// The file name and the flags that are passed to SQLite.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) flags: OpenFlags,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Memory => f.write_str(":memory:"),
        }
    }
}

pub(crate) const EXPECTED: &str =
    "`sqlite:PATH` or `sqlite::memory:`, with or without `?mode=ro`, `?mode=rw` or `?mode=rwc`";

/// Numbers the databases in memory, which share one namespace in a process.
static MEMORY: AtomicU64 = AtomicU64::new(0);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_as_people_write_them() {
        for (url, path, access) in [
            ("sqlite:app.db", "app.db", None),
            ("sqlite://app.db", "app.db", None),
            ("sqlite:///var/lib/app.db", "/var/lib/app.db", None),
            ("sqlite:/var/lib/app.db", "/var/lib/app.db", None),
            (
                "sqlite:my%20app.db?mode=ro",
                "my app.db",
                Some(Access::ReadOnly),
            ),
            ("sqlite:app.db?mode=rwc", "app.db", Some(Access::Create)),
        ] {
            assert_eq!(
                Location::parse("DATABASE_URL", url).unwrap(),
                (Location::File(path.into()), access)
            );
        }
        assert_eq!(
            Location::parse("DATABASE_URL", "sqlite::memory:").unwrap(),
            (Location::Memory, None)
        );
        assert_eq!(
            Location::parse("DATABASE_URL", "sqlite://:memory:").unwrap(),
            (Location::Memory, None)
        );
    }

    #[test]
    fn a_bad_address_is_shown_without_its_password() {
        for url in [
            "postgres://u:secret@h/db",
            "app.db",
            "sqlite:",
            "sqlite:a?mode=secret",
            "sqlite:%zz",
        ] {
            let error = Location::parse("DATABASE_URL", url)
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("DATABASE_URL") && error.contains("sqlite:PATH"),
                "{error}"
            );
            assert!(!error.contains("u:secret"), "{error}");
        }
    }
}
