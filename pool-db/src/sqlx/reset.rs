//! What one caller may leave to the next.

use pool_core::FromEnv;

/// When a session is cleaned between two callers.
///
/// Whatever the policy, a transaction that was left open is rolled back, and a statement that is still running has ended, before
/// another caller gets the connection. What is done is done after the connection was returned, not while its caller waits.
///
/// | | what cleaning does | what it does not find |
/// |---|---|---|
/// | PostgreSQL | restores settings and the role, ends cursors, session locks, `LISTEN`, temporary tables, sequence values, the statements that SQL has prepared; sqlx's own stay. One round trip | what PostgreSQL itself ends only with the session, such as a library that was loaded |
/// | MySQL, MariaDB | unlocks tables and releases `GET_LOCK`. One round trip. After `SET`, `CREATE TEMPORARY TABLE`, `USE`, `PREPARE`, `CALL` and the like, which no SQL undoes, the connection is closed | user variables that a `SELECT` has assigned |
/// | SQLite | removes hooks. After a pragma, a temporary table or an attached file, the connection is closed | functions and collations of your own; pragmas that SQLite does not tell |
///
/// [`on_connect`](super::Builder::on_connect) and [`after_connect`](super::Builder::after_connect) run again where cleaning has
/// undone them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// `seen`: after the lease gave out its connection (`&mut *lease`), after a call that was dropped, and after a statement that is
    /// not plain. After a lease, or a use of the pool itself, whose calls were all plain and ended, nothing is asked.
    ///
    /// Plain is a single `SELECT`, `INSERT`, `UPDATE`, `DELETE`, `VALUES`, `WITH`, `MERGE` or `REPLACE`, without `INTO` (but that of
    /// an `INSERT`), and without the functions of the database that are known to leave something, such as `set_config` and
    /// `pg_advisory_lock`. What a function of your own leaves is not seen: follow it by
    /// [`Connection::clean_on_return`](super::Connection::clean_on_return), or choose `Always`.
    #[default]
    Seen,
    /// `always`: after each lease.
    Always,
    /// `nothing`: never. Settings, locks and temporary tables stay for the next caller. Transactions do not.
    Nothing,
}

impl FromEnv for Reset {
    const EXPECTED: &'static str = "seen, always or nothing";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "seen" => Some(Self::Seen),
            "always" => Some(Self::Always),
            "nothing" => Some(Self::Nothing),
            _ => None,
        }
    }
}
