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
        let bad = |why: &str| bad_address(setting, url, format!("{EXPECTED} ({why})"));
        let rest = url
            .strip_prefix("sqlite:")
            .ok_or_else(|| bad("it does not begin with `sqlite:`"))?;
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let (raw, query) = rest.split_once('?').unwrap_or((rest, ""));
        if is_of_a_server(raw) {
            return Err(bad(
                "a file has no user, password, host or port; in a path, `@` is written %40, `:` %3A and `=` %3D",
            ));
        }
        let path = percent_decoded(raw).ok_or_else(|| {
            bad("a `%` is not followed by two hexadecimal digits; a `%` itself is written %25")
        })?;
        let path = String::from_utf8(path).map_err(|_| bad("the path is not UTF-8"))?;
        let access = match query {
            "" => None,
            "mode=ro" => Some(Access::ReadOnly),
            "mode=rw" => Some(Access::ReadWrite),
            "mode=rwc" => Some(Access::Create),
            _ => return Err(bad("after the `?` is something else")),
        };
        if raw.starts_with('~') || raw.starts_with("/~/") {
            return Err(bad(
                "`~` is not expanded: write the whole path of the home directory, or %7E for a file with that name",
            ));
        }
        match path.as_str() {
            "" => Err(bad("the path is missing")),
            path if path.contains('\0') => Err(bad("the path has a NUL byte")),
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

/// Whether the path looks as if user, password, host or port of a server were in it: `u:password@h/d`.
fn is_of_a_server(path: &str) -> bool {
    let first = path.split('/').next().unwrap_or(path);
    let is_drive = || matches!(first.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic());
    let has_colon = first.contains(':') && first != ":memory:" && !is_drive();
    let has_user = first.contains('@') && first.len() < path.len();
    let rest = path.to_ascii_lowercase();
    let has_list = ["password=", "passwd=", "pwd="]
        .iter()
        .any(|key| rest.contains(key));
    has_colon || has_user || has_list
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
    fn what_is_wrong_is_said_and_the_address_is_not_shown() {
        for (url, says) in [
            (
                "postgres://u:topsecret@h/db",
                "does not begin with `sqlite:`",
            ),
            ("topsecret.db", "does not begin with `sqlite:`"),
            ("sqlite://u:topsecret@h/d", "has no user, password"),
            ("sqlite:u:topsecret@h/d", "has no user, password"),
            ("sqlite://u:top/secret@h/d", "has no user, password"),
            ("sqlite://topsecret@h/d", "has no user, password"),
            ("sqlite://h:5432/topsecret", "has no user, password"),
            ("sqlite:a.db;Password=topsecret", "has no user, password"),
            ("sqlite:~/topsecret.db", "`~` is not expanded"),
            ("sqlite:///~/topsecret.db", "`~` is not expanded"),
            ("sqlite://~topsecret/a.db", "`~` is not expanded"),
            ("sqlite:", "the path is missing"),
            ("sqlite://", "the path is missing"),
            ("sqlite:a?mode=topsecret", "after the `?`"),
            ("sqlite:a?mode=ro&key=topsecret", "after the `?`"),
            ("sqlite:topsecret%zz", "two hexadecimal digits"),
            ("sqlite:topsecret%ff", "not UTF-8"),
            ("sqlite:topsecret%00", "NUL byte"),
        ] {
            let error = Location::parse("DATABASE_URL", url)
                .unwrap_err()
                .to_string();
            assert!(
                error.starts_with("DATABASE_URL is a") && error.contains("sqlite:PATH"),
                "{error}"
            );
            assert!(error.contains(says), "{url}: {error}");
            assert!(
                !error.contains("top") && !error.contains("secret"),
                "{error}"
            );
        }
    }

    #[test]
    fn odd_names_of_files_are_files() {
        for (url, path) in [
            ("sqlite:C:/data/app.db", "C:/data/app.db"),
            ("sqlite:me@home.db", "me@home.db"),
            ("sqlite:dir/me@home.db", "dir/me@home.db"),
            ("sqlite:u%3Ax%40h/d", "u:x@h/d"),
            ("sqlite:%7E/a.db", "~/a.db"),
            ("sqlite:a~.db", "a~.db"),
            ("sqlite:/var/12:30.db", "/var/12:30.db"),
        ] {
            let location = Location::parse("url", url).unwrap().0;
            assert_eq!(location, Location::File(path.into()), "{url}");
        }
    }
}
