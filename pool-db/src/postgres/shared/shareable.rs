//! The statements that may share a connection.

use std::fmt;

use crate::Error;

/// A statement that may run on a connection that others use at the same time: a single `SELECT`, `INSERT`, `UPDATE`, `DELETE`,
/// `MERGE`, `VALUES`, `TABLE` or `WITH`.
///
/// Such a statement leaves nothing on the session: it opens no transaction, sets nothing, and makes no temporary table. The type
/// holds that for the whole text, so that a [`Shared`](super::Shared) pool takes nothing else. Make it as a `const`, and a statement
/// that is not shareable does not compile:
///
/// ```
/// use pool_db::postgres::Shareable;
///
/// const USER: Shareable = Shareable::new("SELECT name FROM users WHERE id = $1");
/// const VISIT: Shareable = Shareable::new("INSERT INTO visits (page) VALUES ($1); -- one statement");
/// # let _ = (USER, VISIT);
/// ```
///
/// ```compile_fail,E0080
/// # use pool_db::postgres::Shareable;
/// const SETS: Shareable = Shareable::new("SET search_path = tenant");
/// # let _ = SETS;
/// ```
///
/// ```compile_fail,E0080
/// # use pool_db::postgres::Shareable;
/// const TWO: Shareable = Shareable::new("SELECT 1; BEGIN");
/// # let _ = TWO;
/// ```
///
/// ```compile_fail,E0080
/// # use pool_db::postgres::Shareable;
/// const INTO: Shareable = Shareable::new("SELECT * INTO TEMP mine FROM users");
/// # let _ = INTO;
/// ```
///
/// A text that is made at run time is read by [`parse`](Self::parse).
///
/// # Limits
/// The text does not say what a function does that it calls. `SELECT set_config(..)`, `SELECT pg_advisory_lock(..)`, `nextval` with a
/// later `currval`, and functions of your own that do the like, must not be run on a shared connection: others would have the setting
/// or the lock, or lose it. Where the server reports such a change, the pool closes the connection.
///
/// `SELECT .. FOR UPDATE` is allowed. It locks nothing beyond its own end, as the statement is a transaction of its own.
///
/// The word `into` is refused as the name of a column as well, unless it is quoted. The text is read as with
/// `standard_conforming_strings = on`, which is PostgreSQL's default.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shareable<'a> {
    sql: &'a str,
}

impl<'a> Shareable<'a> {
    /// Takes a statement, when the program is compiled.
    ///
    /// # Panics
    /// The statement is not shareable. In a `const`, that is an error of the compiler. For a text that is made at run time, use
    /// [`parse`](Self::parse).
    #[must_use]
    #[track_caller]
    pub const fn new(sql: &'a str) -> Self {
        match examine(sql.as_bytes()) {
            Ok(()) => Self { sql },
            Err(why) => panic!("{}", why.text()),
        }
    }

    /// Takes a statement at run time.
    ///
    /// ```
    /// use pool_db::postgres::Shareable;
    ///
    /// let order = "name DESC";
    /// let sql = format!("SELECT name FROM users ORDER BY {order}");
    /// assert_eq!(Shareable::parse(&sql)?.as_str(), sql);
    /// assert!(Shareable::parse("DO $$ BEGIN END $$").is_err());
    /// # Ok::<(), pool_db::Error>(())
    /// ```
    ///
    /// # Errors
    /// The statement is not shareable, or its quotes and comments do not end. The error says which.
    pub fn parse(sql: &'a str) -> Result<Self, Error> {
        match examine(sql.as_bytes()) {
            Ok(()) => Ok(Self { sql }),
            Err(why) => Err(Error::not_shareable(why.text())),
        }
    }

    /// Takes any text. For the tests of what the pool does when the server reports what a shareable statement cannot do.
    #[doc(hidden)]
    #[must_use]
    pub const fn __unchecked(sql: &'a str) -> Self {
        Self { sql }
    }

    /// Returns the text.
    #[must_use]
    pub const fn as_str(&self) -> &'a str {
        self.sql
    }
}

impl fmt::Debug for Shareable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shareable").field(&self.sql).finish()
    }
}

impl fmt::Display for Shareable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sql)
    }
}

/// Why a text is not shareable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Verb,
    Into,
    Several,
    Unended,
    Nul,
}

impl Why {
    const fn text(self) -> &'static str {
        match self {
            Self::Verb => {
                "a shared connection only takes SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE and WITH"
            }
            Self::Into => {
                "a shared connection takes no INTO but that of INSERT and MERGE: it makes a table (quote a column of that name)"
            }
            Self::Several => "a shared connection takes one statement at a time",
            Self::Unended => "the statement ends within a quote or a comment",
            Self::Nul => "the statement contains the character NUL",
        }
    }
}

/// What the scanner found last, as far as it says what a following word means.
#[derive(Clone, Copy)]
enum Before {
    /// An opening parenthesis, or nothing.
    Open,
    Close,
    /// `INSERT` or `MERGE` where a statement begins.
    Inserts,
    Other,
}

/// Whether the verb of a statement that begins with `WITH` was found.
#[derive(Clone, Copy)]
enum Verb {
    Sought,
    Found,
}

/// Reads the whole text: the words outside of quotes and comments.
const fn examine(sql: &[u8]) -> Result<(), Why> {
    let mut at = 0;
    let mut depth = 0_usize;
    let mut before = Before::Open;
    let mut verb = Verb::Found;
    let (mut has_begun, mut has_ended) = (false, false);
    while at < sql.len() {
        let byte = sql[at];
        if byte == 0 {
            return Err(Why::Nul);
        }
        match after_gap(sql, at) {
            Err(why) => return Err(why),
            Ok(end) if end > at => {
                at = end;
                continue;
            }
            Ok(_) => {}
        }
        if has_ended && byte != b';' {
            return Err(Why::Several);
        }
        if is_word_start(byte) {
            let end = after_word(sql, at);
            let word = (at, end);
            let is_quoted_next = end < sql.len() && sql[end] == b'\'';
            if is_quoted_next && is(sql, word, b"e") {
                at = match after_escaped(sql, end) {
                    Ok(end) => end,
                    Err(why) => return Err(why),
                };
                before = Before::Other;
                continue;
            }
            if !has_begun {
                if !begins(sql, word) {
                    return Err(Why::Verb);
                }
                has_begun = true;
                if is(sql, word, b"with") {
                    verb = Verb::Sought;
                }
            }
            if is(sql, word, b"into") && !matches!(before, Before::Inserts) {
                return Err(Why::Into);
            }
            let inserts = is(sql, word, b"insert") || is(sql, word, b"merge");
            let is_verb = match (verb, before) {
                // `SELECT` and `TABLE` can be nothing else there. The other verbs may also be names.
                (Verb::Sought, _) if depth == 0 && is_reserved(sql, word) => true,
                (Verb::Sought, Before::Close) => depth == 0 && begins(sql, word),
                _ => false,
            };
            if is_verb {
                verb = Verb::Found;
            }
            before = if inserts && (is_verb || matches!(before, Before::Open)) {
                Before::Inserts
            } else {
                Before::Other
            };
            at = end;
            continue;
        }
        before = Before::Other;
        let end = match byte {
            b'\'' => after_quote(sql, at, b'\''),
            b'"' => after_quote(sql, at, b'"'),
            b'$' => after_dollar(sql, at),
            _ => Ok(at + 1),
        };
        match byte {
            b'(' => {
                depth += 1;
                before = Before::Open;
            }
            b')' => {
                depth = depth.saturating_sub(1);
                before = Before::Close;
            }
            b';' if has_begun => has_ended = true,
            _ if !has_begun => return Err(Why::Verb),
            _ => {}
        }
        at = match end {
            Ok(end) => end,
            Err(why) => return Err(why),
        };
    }
    if has_begun { Ok(()) } else { Err(Why::Verb) }
}

/// Whether a statement that may be shared begins with this word.
const fn begins(sql: &[u8], word: (usize, usize)) -> bool {
    is_reserved(sql, word)
        || is(sql, word, b"with")
        || is(sql, word, b"insert")
        || is(sql, word, b"update")
        || is(sql, word, b"delete")
        || is(sql, word, b"merge")
        || is(sql, word, b"values")
}

/// Whether the word is a verb that is never a name.
const fn is_reserved(sql: &[u8], word: (usize, usize)) -> bool {
    is(sql, word, b"select") || is(sql, word, b"table")
}

/// Whether a part of the text is this word, in any case.
const fn is(sql: &[u8], (start, end): (usize, usize), word: &[u8]) -> bool {
    if end - start != word.len() {
        return false;
    }
    let mut at = 0;
    while at < word.len() {
        if !sql[start + at].eq_ignore_ascii_case(&word[at]) {
            return false;
        }
        at += 1;
    }
    true
}

const fn is_word_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// The end of a word, or of a number with what is behind it.
const fn after_word(sql: &[u8], mut at: usize) -> usize {
    while at < sql.len() {
        let byte = sql[at];
        if !(is_word_start(byte) || byte.is_ascii_digit() || byte == b'$') {
            break;
        }
        at += 1;
    }
    at
}

/// The end of white space or of a comment that begins here, or the place itself.
const fn after_gap(sql: &[u8], mut at: usize) -> Result<usize, Why> {
    let next = if at + 1 < sql.len() { sql[at + 1] } else { 0 };
    match (sql[at], next) {
        // The white space of PostgreSQL's scanner. 11 is the vertical tab.
        (b' ' | b'\t' | b'\n' | b'\r' | 11 | 12, _) => Ok(at + 1),
        (b'-', b'-') => {
            while at < sql.len() && sql[at] != b'\n' && sql[at] != b'\r' {
                at += 1;
            }
            Ok(at)
        }
        (b'/', b'*') => {
            let mut depth = 1;
            at += 2;
            while depth > 0 {
                if at + 1 >= sql.len() {
                    return Err(Why::Unended);
                }
                match (sql[at], sql[at + 1]) {
                    (b'/', b'*') => {
                        depth += 1;
                        at += 2;
                    }
                    (b'*', b'/') => {
                        depth -= 1;
                        at += 2;
                    }
                    _ => at += 1,
                }
            }
            Ok(at)
        }
        _ => Ok(at),
    }
}

/// The end of a quoted text or name, which begins here. A doubled quote does not end it: it begins the next part.
const fn after_quote(sql: &[u8], mut at: usize, quote: u8) -> Result<usize, Why> {
    at += 1;
    while at < sql.len() {
        if sql[at] == quote {
            return Ok(at + 1);
        }
        at += 1;
    }
    Err(Why::Unended)
}

/// The end of a text with escapes, whose first quote is here. A text that goes on in another line has escapes there as well.
const fn after_escaped(sql: &[u8], mut at: usize) -> Result<usize, Why> {
    at += 1;
    loop {
        if at >= sql.len() {
            return Err(Why::Unended);
        }
        match sql[at] {
            b'\\' => at += 2,
            b'\'' => {
                at += 1;
                let mut next = at;
                let mut has_line_end = false;
                while next < sql.len() {
                    let end = match (sql[next], after_gap(sql, next)) {
                        // A comment of this kind does not go between the parts of a text.
                        (b'/', _) | (_, Err(_)) => next,
                        (_, Ok(end)) => end,
                    };
                    if end == next {
                        break;
                    }
                    has_line_end |= sql[next] == b'\n' || sql[next] == b'\r';
                    next = end;
                }
                let goes_on =
                    next < sql.len() && sql[next] == b'\'' && (next == at || has_line_end);
                if !goes_on {
                    return Ok(at);
                }
                at = next + 1;
            }
            _ => at += 1,
        }
    }
}

/// The end of a text between dollars that begins here, or of the dollar of a parameter.
const fn after_dollar(sql: &[u8], start: usize) -> Result<usize, Why> {
    let mut at = start + 1;
    if at < sql.len() && is_word_start(sql[at]) {
        while at < sql.len() && (is_word_start(sql[at]) || sql[at].is_ascii_digit()) {
            at += 1;
        }
    }
    if at >= sql.len() || sql[at] != b'$' {
        return Ok(start + 1);
    }
    let tag = at + 1 - start;
    at += 1;
    while at + tag <= sql.len() {
        let mut same = 0;
        while same < tag && sql[at + same] == sql[start + same] {
            same += 1;
        }
        if same == tag {
            return Ok(at + tag);
        }
        at += 1;
    }
    Err(Why::Unended)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examined(sql: &str) -> Result<(), Why> {
        examine(sql.as_bytes())
    }

    #[test]
    fn what_leaves_nothing_may_be_shared() {
        for sql in [
            "SELECT 1",
            "select 1;",
            "SELECT 1 ; ; -- the end",
            "\n\t/* a /* nested */ comment; SET x */ -- and one; more\r SELECT 1",
            "(SELECT 1) UNION (SELECT 2)",
            "VALUES (1), (2)",
            "TABLE users",
            "INSERT INTO t VALUES (1) ON CONFLICT DO NOTHING RETURNING id",
            "insert /* here */ into t values (1)",
            "UPDATE t SET a = 1",
            "DELETE FROM t",
            "MERGE INTO t USING s ON t.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
            "SELECT * FROM t FOR UPDATE SKIP LOCKED",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "WITH RECURSIVE a (n) AS (SELECT 1 UNION ALL SELECT n FROM a) INSERT INTO t SELECT * FROM a",
            "WITH gone AS (DELETE FROM t RETURNING *), kept AS (INSERT INTO old SELECT * FROM gone RETURNING *) TABLE kept",
            "WITH a AS MATERIALIZED (SELECT 1) MERGE INTO t USING a ON true WHEN MATCHED THEN DO NOTHING",
            "SELECT 'SET; into', \"into\", $$ ; into $$, $x$ ; $$ into $x$, e'\\'; into', 'it''s; into'",
            "SELECT $1, $2::text, a$b$c, 1.5e3, 'a' ';' FROM t",
            "SELECT E'a'\n 'b\\'; into'",
            "SELECT E'a'\n -- more\n 'b\\'; into'",
            "SELECT E'a''\\'; into'",
            "SELECT U&'d\\0061t; into', B'01', x'1F', n'; into'",
            "SELECT \"a\"\"; into\", note FROM e WHERE e = 'into'",
            "SELECT größe, 数 FROM t",
            "SELECT 8/2*3 - -1",
        ] {
            assert_eq!(examined(sql), Ok(()), "{sql}");
        }
    }

    #[test]
    fn what_may_leave_something_is_refused() {
        for (sql, why) in [
            ("", Why::Verb),
            (" -- SELECT 1", Why::Verb),
            (";", Why::Verb),
            ("; SELECT 1", Why::Verb),
            ("'SELECT' SELECT", Why::Verb),
            ("1 SELECT", Why::Verb),
            ("\"select\" 1", Why::Verb),
            ("SELECTED", Why::Verb),
            ("SET a = 1", Why::Verb),
            ("BEGIN", Why::Verb),
            ("DO $$ BEGIN END $$", Why::Verb),
            ("CALL f()", Why::Verb),
            ("COPY t FROM STDIN", Why::Verb),
            ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", Why::Verb),
            ("CREATE TABLE t AS SELECT 1", Why::Verb),
            ("PREPARE s AS SELECT 1", Why::Verb),
            ("LISTEN c", Why::Verb),
            ("DECLARE c CURSOR FOR SELECT 1", Why::Verb),
            ("/* SELECT */ SET a = 1", Why::Verb),
            ("SELECT 1; SET a = 1", Why::Several),
            ("SELECT 1;SELECT 2", Why::Several),
            ("SELECT '\\'; SET a = 1 --'", Why::Several),
            ("SELECT 1 /* ; */; SET a = 1", Why::Several),
            ("SELECT $a$ $b$ $a$; SET a = 1 -- $b$", Why::Several),
            ("SELECT a$b$; SET a = 1 -- $b$", Why::Several),
            ("SELECT $1$2; SET a = 1 -- $", Why::Several),
            ("SELECT one'e'; SET a = 1 --\\''", Why::Several),
            ("SELECT E'a' 'b\\'; SET a = 1 --'", Why::Several),
            ("SELECT 1 INTO t", Why::Into),
            ("SELECT 1 into temp t", Why::Into),
            ("SELECT 1.INTO t", Why::Into),
            ("SELECT 1/**/INTO/**/t", Why::Into),
            ("SELECT 'a'INTO t", Why::Into),
            ("(SELECT 1 INTO t)", Why::Into),
            ("SELECT insert INTO t FROM s", Why::Into),
            ("SELECT (1) insert INTO t", Why::Into),
            ("SELECT (1) merge INTO t", Why::Into),
            ("WITH a AS (SELECT 1) SELECT * INTO t FROM a", Why::Into),
            (
                "WITH a AS (SELECT 1) SELECT (1) insert INTO t FROM a",
                Why::Into,
            ),
            (
                "WITH a AS (SELECT 1) TABLE a UNION SELECT (1) insert INTO t",
                Why::Into,
            ),
            (
                "WITH a AS (SELECT 1) SEARCH DEPTH FIRST BY x SET y SELECT (1) insert INTO t",
                Why::Into,
            ),
            ("INSERT INTO t SELECT 1 INTO s", Why::Into),
            ("INSERT INTO t VALUES (1) RETURNING id INTO x", Why::Into),
            ("SELECT 'open", Why::Unended),
            ("SELECT \"open", Why::Unended),
            ("SELECT e'open\\'", Why::Unended),
            ("SELECT e'open\\", Why::Unended),
            ("SELECT $x$ open $y$", Why::Unended),
            ("SELECT /* open /* */", Why::Unended),
            ("SELECT /*", Why::Unended),
            ("SELECT 1\0", Why::Nul),
        ] {
            assert_eq!(examined(sql), Err(why), "{sql}");
        }
    }

    #[test]
    fn any_bytes_have_a_verdict() {
        let pieces = [
            "'", "\"", "$", "$a$", "e'", "\\", "/*", "*/", "--", "\n", ";", "(", ")", "into",
            "insert", " ", "é", "1",
        ];
        let mut state = 7_usize;
        for _ in 0..20_000 {
            let mut sql = String::from("SELECT ");
            for _ in 0..8 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                sql.push_str(pieces[(state >> 33) % pieces.len()]);
            }
            // Neither panics nor goes on for ever.
            let verdict = Shareable::parse(&sql);
            assert_eq!(verdict.is_ok(), examined(&sql).is_ok());
        }
    }

    #[test]
    fn the_error_says_what_is_wrong() {
        let error = Shareable::parse("SELECT 1; DROP TABLE t").unwrap_err();
        assert_eq!(error.to_string(), Why::Several.text());
        assert!(!error.is_database() && !error.is_timeout());
    }

    #[test]
    #[should_panic(expected = "only takes SELECT")]
    fn a_text_of_the_run_time_panics_like_a_const() {
        let _ = Shareable::new(&String::from("SET x = 1"));
    }
}
