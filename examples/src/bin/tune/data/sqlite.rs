//! The users in a SQLite file, made on the first run.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, Row, TransactionBehavior, params};

use crate::data::{USERS, User};
use crate::failure::{Failure, reason};

/// Asks for one user by id.
pub(crate) const FIND: &str = "SELECT id, name, email FROM users WHERE id = ?1";

/// Reads what [`FIND`] gives.
pub(crate) fn user(row: &Row<'_>) -> rusqlite::Result<User> {
    Ok(User {
        id: row.get(0)?,
        name: row.get(1)?,
        email: row.get(2)?,
    })
}

/// Where the file is, or is to be: in `folder`, or else in the program's own folder (cargo's target folder, which the
/// project cleans), or where that one cannot be written to, in the system's for temporary files.
pub(crate) fn place(folder: Option<&Path>) -> PathBuf {
    if let Some(folder) = folder {
        return folder.join(FILE);
    }
    let beside_us = std::env::current_exe()
        .ok()
        .map(|program| program.with_file_name(FILE));
    let is_writable = |file: &PathBuf| {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(file)
            .is_ok()
    };
    beside_us
        .filter(is_writable)
        .unwrap_or_else(|| std::env::temp_dir().join(FILE))
}

/// Makes the users, unless they are there.
///
/// # Errors
/// When they cannot be made, or the file is somebody else's.
pub(crate) fn prepare(file: &Path) -> Result<(), Failure> {
    let wrong = match fill(file) {
        Ok(USERS) => return Ok(()),
        Ok(users) => format!("it holds {users} users"),
        Err(error) => reason(error.as_ref()),
    };
    Err(Failure::Run(format!(
        "cannot keep the users in {} ({wrong}): if it is not the service's, name another folder with --data-dir, else remove it",
        file.display()
    )))
}

/// Returns how many users there are in the end. They come in one transaction, so that whatever ends the program
/// half-way, there are none or all, and of two programs that start at the same time one waits for the other.
fn fill(file: &Path) -> Result<i64, Box<dyn std::error::Error>> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut connection = Connection::open(file)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    if is_empty(&connection)? {
        // Readers and a writer do not block each other, as in any service. It stays with the file.
        use_wal(&connection)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        if is_empty(&transaction)? {
            transaction.execute_batch(
                "CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL, email TEXT NOT NULL)",
            )?;
            let mut insert =
                transaction.prepare("INSERT INTO users (id, name, email) VALUES (?1, ?2, ?3)")?;
            for id in 1..=USERS {
                insert.execute(params![
                    id,
                    format!("User {id}"),
                    format!("user{id}@example.com")
                ])?;
            }
        }
        transaction.commit()?;
    }
    Ok(connection.query_row("SELECT count(*) FROM users", [], |row| row.get(0))?)
}

/// Two programs that change the journal at once are told that it is busy at once, whatever the timeout, as neither could wait for
/// the other: so the one that was told tries again.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(10);
    const TRIES: u32 = 3_000;
    let mut tried = 1;
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && tried < TRIES =>
            {
                tried += 1;
                std::thread::sleep(PAUSE);
            }
            outcome => return outcome,
        }
    }
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
        row.get(0)
    })
}

const FILE: &str = "tune-users.sqlite";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_made_once_and_by_one_of_many() {
        let folder = tempfile::tempdir().unwrap();
        let file = place(Some(&folder.path().join("deeper")));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| prepare(&file).unwrap());
            }
        });
        let connection = Connection::open(&file).unwrap();
        let found = connection.query_row(FIND, [USERS], user).unwrap();
        let expected = User {
            id: USERS,
            name: "User 100000".into(),
            email: "user100000@example.com".into(),
        };
        assert_eq!(found, expected);
        connection
            .execute("UPDATE users SET name = 'Ada' WHERE id = 1", [])
            .unwrap();
        prepare(&file).unwrap();
        assert_eq!(connection.query_row(FIND, [1], user).unwrap().name, "Ada");
    }

    #[test]
    fn a_file_of_somebody_else_is_told_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, "a diary, and no database at all").unwrap();
        let error = prepare(&file).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.to_string().contains("file is not a database"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            "a diary, and no database at all"
        );

        std::fs::remove_file(&file).unwrap();
        Connection::open(&file)
            .unwrap()
            .execute_batch("CREATE TABLE users (id); INSERT INTO users VALUES (1)")
            .unwrap();
        assert!(
            prepare(&file)
                .unwrap_err()
                .to_string()
                .contains("it holds 1 users")
        );
    }
}
