//! The texts of SQLite's errors: which error it is, and what to do.

use rusqlite::ffi;

/// Returns the text of an error. It names the extended result code where SQLite's own text does not tell it, and says what to do.
pub(crate) fn explain(error: &rusqlite::Error) -> String {
    let text = error.to_string();
    let rusqlite::Error::SqliteFailure(code, _) = error else {
        return text;
    };
    // An error that was made by the pool, or by a closure, may say it itself.
    match CODES
        .iter()
        .find(|(number, ..)| *number == code.extended_code)
    {
        Some((number, name, advice)) if !text.contains(advice) => {
            format!("{text} ({name}, {number}): {advice}")
        }
        _ => text,
    }
}

/// The codes whose text does not say what is wrong, with what can be done.
const CODES: &[(i32, &str, &str)] = &[
    (
        ffi::SQLITE_BUSY,
        "SQLITE_BUSY",
        "another connection held the lock for longer than busy_timeout, or a transaction that has read wants to write: begin it with BEGIN IMMEDIATE",
    ),
    (
        ffi::SQLITE_BUSY_SNAPSHOT,
        "SQLITE_BUSY_SNAPSHOT",
        "another connection has written since this transaction has read: begin a transaction that writes with BEGIN IMMEDIATE, and run this one again",
    ),
    (
        ffi::SQLITE_BUSY_RECOVERY,
        "SQLITE_BUSY_RECOVERY",
        "another process recovers the write-ahead log after a crash: try again",
    ),
    (
        ffi::SQLITE_BUSY_TIMEOUT,
        "SQLITE_BUSY_TIMEOUT",
        "another connection held the lock for too long: try again",
    ),
    (
        ffi::SQLITE_LOCKED,
        "SQLITE_LOCKED",
        "a statement of the same connection still uses the table: end it first",
    ),
    (
        ffi::SQLITE_LOCKED_SHAREDCACHE,
        "SQLITE_LOCKED_SHAREDCACHE",
        "a connection with the same shared cache has the table: do not share caches",
    ),
    (
        ffi::SQLITE_INTERRUPT,
        "SQLITE_INTERRUPT",
        "the call was abandoned or timed out",
    ),
    (
        ffi::SQLITE_CANTOPEN,
        "SQLITE_CANTOPEN",
        "is there such a file or folder, and may this process read it, and write into the folder?",
    ),
    (
        ffi::SQLITE_CANTOPEN_ISDIR,
        "SQLITE_CANTOPEN_ISDIR",
        "the path is a folder",
    ),
    (
        ffi::SQLITE_READONLY,
        "SQLITE_READONLY",
        "a closure of `read` cannot write (`write` and `run` can), nor can one of a pool that is read-only by a setting or by the rights of its file",
    ),
    (
        ffi::SQLITE_READONLY_DIRECTORY,
        "SQLITE_READONLY_DIRECTORY",
        "the journal cannot be created: this process must be able to write into the folder",
    ),
    (
        ffi::SQLITE_READONLY_CANTINIT,
        "SQLITE_READONLY_CANTINIT",
        "the index of the write-ahead log cannot be created: this process must be able to write into the folder, or the database needs journal_mode=delete",
    ),
    (
        ffi::SQLITE_READONLY_RECOVERY,
        "SQLITE_READONLY_RECOVERY",
        "the write-ahead log must be recovered after a crash: open the file once for writing",
    ),
    (
        ffi::SQLITE_READONLY_ROLLBACK,
        "SQLITE_READONLY_ROLLBACK",
        "a journal must be rolled back after a crash: open the file once for writing",
    ),
    (
        ffi::SQLITE_READONLY_DBMOVED,
        "SQLITE_READONLY_DBMOVED",
        "the database file was removed or replaced",
    ),
    (
        ffi::SQLITE_AUTH,
        "SQLITE_AUTH",
        "a closure of `write` cannot begin or end a transaction: it ends with what the closure returns; one of `read` cannot switch query_only",
    ),
    (
        ffi::SQLITE_ABORT_ROLLBACK,
        "SQLITE_ABORT_ROLLBACK",
        "the transaction was rolled back, with all that was in it: run it again",
    ),
    (
        ffi::SQLITE_FULL,
        "SQLITE_FULL",
        "there is no room on the disk, or max_page_count is reached",
    ),
    (
        ffi::SQLITE_IOERR_SHORT_READ,
        "SQLITE_IOERR_SHORT_READ",
        "the file is shorter than it was: it was truncated or replaced",
    ),
    (
        ffi::SQLITE_IOERR_FSYNC,
        "SQLITE_IOERR_FSYNC",
        "the disk did not store what was written: look at the disk",
    ),
    (
        ffi::SQLITE_CORRUPT,
        "SQLITE_CORRUPT",
        "run `PRAGMA integrity_check`, and restore a backup",
    ),
    (
        ffi::SQLITE_NOTADB,
        "SQLITE_NOTADB",
        "the file is no database, or it is encrypted",
    ),
    (
        ffi::SQLITE_TOOBIG,
        "SQLITE_TOOBIG",
        "a value may have at most 1,000,000,000 bytes",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32, text: Option<&str>) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), text.map(str::to_owned))
    }

    #[test]
    fn a_code_is_named_once_with_what_to_do() {
        let text = explain(&failure(
            ffi::SQLITE_BUSY_SNAPSHOT,
            Some("database is locked"),
        ));
        assert!(
            text.starts_with("database is locked (SQLITE_BUSY_SNAPSHOT, 517): another connection")
                && text.contains("BEGIN IMMEDIATE"),
            "{text}"
        );
        let own = "the database file was removed or replaced";
        assert_eq!(
            explain(&failure(ffi::SQLITE_READONLY_DBMOVED, Some(own))),
            own
        );
        let unknown = "UNIQUE constraint failed: t.n";
        let error = failure(ffi::SQLITE_CONSTRAINT_UNIQUE, Some(unknown));
        assert_eq!(explain(&error), unknown);
        assert_eq!(
            explain(&rusqlite::Error::QueryReturnedNoRows),
            "Query returned no rows"
        );
    }

    #[test]
    fn each_code_stands_once() {
        let mut numbers: Vec<_> = CODES.iter().map(|(number, ..)| number).collect();
        numbers.sort();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
