//! Which statements leave nothing on a session, by their text.
//!
//! The text is not parsed. Whatever is not plainly plain is taken for a statement that leaves something: then a lease costs a round
//! trip more, after its return.

/// Whether the text is a single statement that reads or writes rows, and calls none of the functions `leaving`.
pub(super) fn is_plain(sql: &str, leaving: &[&str]) -> bool {
    // A comment before the statement would have words of its own.
    let sql = sql.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == '(');
    let mut words = Words(sql.as_bytes());
    let Some(first) = words.next() else {
        return false;
    };
    if !sql.starts_with(|letter: char| letter.is_ascii_alphabetic()) || !is_in(first, &PLAIN) {
        return false;
    }
    let may_have_into = is_in(first, &INTO);
    words.all(|word| match word {
        b";" | b":=" => false,
        word if word.eq_ignore_ascii_case(b"into") => may_have_into,
        word => !is_in(word, leaving),
    })
}

fn is_in(word: &[u8], list: &[&str]) -> bool {
    list.iter()
        .any(|of| word.eq_ignore_ascii_case(of.as_bytes()))
}

/// The words of a text, `:=`, and a `;` that something follows.
struct Words<'a>(&'a [u8]);

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 128;
        loop {
            let at = self
                .0
                .iter()
                .position(|byte| is_letter(byte) || b";:".contains(byte))?;
            let rest = &self.0[at..];
            let length = match rest {
                [b';', after @ ..] if after.iter().all(u8::is_ascii_whitespace) => return None,
                [b';', ..] => 1,
                [b':', b'=', ..] => 2,
                [b':', ..] => 0,
                _ => rest.iter().take_while(|byte| is_letter(byte)).count(),
            };
            self.0 = &rest[length.max(1)..];
            if length > 0 {
                return Some(&rest[..length]);
            }
        }
    }
}

const PLAIN: [&str; 8] = [
    "select", "insert", "update", "delete", "with", "values", "merge", "replace",
];
/// Statements in which `INTO` is not where a result goes that the session keeps.
const INTO: [&str; 3] = ["insert", "merge", "replace"];

#[cfg(test)]
mod tests {
    use super::*;

    const LEAVING: [&str; 2] = ["set_config", "pg_advisory_lock"];

    #[test]
    fn a_single_statement_on_rows_is_plain() {
        for sql in [
            "SELECT 1",
            "  \n(select 1);  ",
            "insert INTO t (a) VALUES ($1) RETURNING a::text",
            "Update t SET a = $1",
            "DELETE FROM t",
            "VALUES (1)",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "MERGE INTO t USING s ON true WHEN MATCHED THEN DELETE",
            "REPLACE INTO t VALUES (?)",
            "SELECT my_set_config('a'), \u{e9}",
        ] {
            assert!(is_plain(sql, &LEAVING), "{sql}");
        }
    }

    #[test]
    fn what_may_leave_something_is_not() {
        for sql in [
            "",
            ";",
            "SET a = 1",
            "/* SELECT */ SET a = 1",
            "-- SELECT\nSET a = 1",
            "SELECT 1; SET a = 1",
            "SELECT 1;;",
            "SELECT * INTO TEMP t FROM s",
            "WITH a AS (SELECT 1) SELECT * INTO TEMP t FROM a",
            "SELECT 1 INTO @a",
            "SELECT @a := 1",
            "SELECT set_config('a', 'b', false)",
            "SELECT pg_catalog.PG_Advisory_Lock(1)",
            "BEGIN",
            "SAVEPOINT a",
            "CREATE TEMP TABLE t (a INT)",
            "EXPLAIN ANALYZE SELECT 1",
            "PRAGMA foreign_keys = 0",
            "\u{e9}",
            "\0SELECT",
        ] {
            assert!(!is_plain(sql, &LEAVING), "{sql}");
        }
    }
}
