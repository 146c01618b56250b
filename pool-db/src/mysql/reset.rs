//! What is cleaned between two callers.

use pool_core::FromEnv;

/// When a session is cleaned between two callers: what one caller may leave to the next.
///
/// Whatever the policy, a transaction that was left open is rolled back before another caller gets the connection, and a connection
/// on which a call was not answered is closed. What is done is done after the connection was returned, not while its caller waits.
///
/// Cleaning is the protocol's `COM_RESET_CONNECTION` and one query. It restores the session's variables, the character set, the
/// database and the role, and ends user variables, temporary tables, locks of tables and of `GET_LOCK`, handlers, and all prepared
/// statements. `on_connect` and `after_connect` run again.
///
/// It also empties the connection's cache of prepared statements, because the server drops them all: the next lease prepares
/// again what it runs, which costs one round trip for each statement. [`Seen`](Self::Seen) keeps them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reset {
    /// `always`: after each lease that ran anything. The server does not say what a statement has left on the session, so this is
    /// the only policy that is sure.
    #[default]
    Always,
    /// `seen`: after a lease that ran anything but plain statements, as their text shows. A plain statement is one `SELECT`,
    /// `INSERT`, `UPDATE`, `DELETE`, `REPLACE`, `WITH` or `VALUES` that has no `@`, no comment, no further statement, and no
    /// call of `GET_LOCK`, `LAST_INSERT_ID`, a sequence or the like; and the transactions that the pool itself begins and ends.
    ///
    /// The text does not show what a stored function, a procedure or a trigger does: a user variable that it sets, a lock that it
    /// takes. Nor are the answers of `LAST_INSERT_ID()`, `FOUND_ROWS()` and `ROW_COUNT()` forgotten after plain statements. Follow
    /// those by [`Client::clean_on_return`](super::Client::clean_on_return), or choose `Always`.
    Seen,
    /// `nothing`: never. Variables, locks and temporary tables stay for the next caller.
    Nothing,
}

impl FromEnv for Reset {
    const EXPECTED: &'static str = "always, seen or nothing";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "always" => Some(Self::Always),
            "seen" => Some(Self::Seen),
            "nothing" => Some(Self::Nothing),
            _ => None,
        }
    }
}

/// Whether the text is that of one statement that leaves nothing on the session, as far as a text can show.
pub(super) fn is_plain(sql: &str) -> bool {
    let sql = sql.trim().trim_end_matches(';');
    let verb = sql
        .split(|letter: char| !letter.is_ascii_alphabetic())
        .find(|word| !word.is_empty());
    let is_verb =
        verb.is_some_and(|verb| PLAIN.iter().any(|plain| plain.eq_ignore_ascii_case(verb)));
    // Comments can hold code. What is in quotes is looked at as well: at worst a session is cleaned for nothing.
    let is_odd = sql.contains(['@', ';', '#', '\0']) || sql.contains("/*") || sql.contains("--");
    is_verb && !is_odd && {
        let text = sql.to_ascii_uppercase();
        !LEAVING.iter().any(|leaving| text.contains(leaving))
    }
}

const PLAIN: [&str; 7] = [
    "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES",
];
/// What leaves something on the session although its statement is plain.
const LEAVING: [&str; 9] = [
    "LOCK",
    "LAST_INSERT_ID",
    "LASTVAL",
    "NEXTVAL",
    "SETVAL",
    "VALUE FOR",
    "FOUND_ROWS",
    "SESSION",
    "PROCEDURE",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_tells_plain_statements_from_all_others() {
        for plain in [
            "SELECT 1",
            " select name FROM users WHERE id = ? ; ",
            "(SELECT 1) UNION (SELECT 2)",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "UPDATE t SET n = n + 1 WHERE id = ?",
            "DELETE FROM t",
            "INSERT INTO t (n) VALUES (?)",
            "VALUES (1), (2)",
        ] {
            assert!(is_plain(plain), "{plain}");
        }
        for other in [
            "",
            ";",
            "SET @x = 1",
            "SELECT @x := 1",
            "SELECT GET_LOCK('a', 1)",
            "select get_lock('a', 1)",
            "SELECT /*! GET_*/ 1",
            "SELECT 1 -- x",
            "SELECT 1 # x",
            "SELECT 1; SET autocommit = 0",
            "SELECT nextval(s)",
            "SELECT NEXT VALUE FOR s",
            "CALL p()",
            "DO 1",
            "BEGIN",
            "CREATE TEMPORARY TABLE t (n INT)",
            "SELECTED",
            "HANDLER t OPEN",
            "PREPARE s FROM 'SELECT 1'",
            "USE other",
            "LOCK TABLES t READ",
        ] {
            assert!(!is_plain(other), "{other}");
        }
    }
}
