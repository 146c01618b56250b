//! The placeholders `$1`, `$2` of a statement, found as each database would read its text.
//!
//! What stands in quotes and comments is text, and stays as it is:
//!
//! | | PostgreSQL | SQLite | MySQL, MariaDB |
//! |---|---|---|---|
//! | quotes | `'..'`, `".."` | and `` `..` ``, `[..]` | `'..'`, `".."`, `` `..` `` |
//! | a quote within | doubled | doubled; `]` never | doubled |
//! | `\` in quotes | only in `E'..'` | never | in `'..'` and `".."` |
//! | to the end of the line | `--` | `--` | `#`, and `--` before a space |
//! | `/* .. */` | nested | not nested | not nested |
//! | dollar quotes | `$$..$$`, `$tag$..$tag$` | none | as PostgreSQL (MySQL 9) |
//!
//! A `$` in a word (`a$1`) belongs to the word. Any other `$` that is not of a placeholder is refused, as are the databases' own
//! placeholders (`?`, `:name` and so on) where they would be taken for one. So a statement means the same everywhere, or is an error.
//!
//! The databases have modes in which they read texts otherwise: `standard_conforming_strings = off`, `NO_BACKSLASH_ESCAPES` and
//! `ANSI_QUOTES`. If a text is misread because of one, the database counts other parameters than this module, and that is an error.

use super::Value;
use crate::Error;

/// Whose text it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    #[cfg(any(test, feature = "sqlite"))]
    Sqlite,
    #[cfg(any(test, feature = "postgres"))]
    Postgres,
    #[cfg(any(test, feature = "mysql"))]
    MySql,
}

/// A statement whose placeholders were found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Placeholders {
    /// Where each is in the text, from its `$` to behind its number; and its number.
    found: Vec<(std::ops::Range<usize>, usize)>,
    /// How many parameters there are. All of them are used.
    count: usize,
}

impl Placeholders {
    /// Finds the placeholders of a statement, and checks that so many values are given.
    ///
    /// # Errors
    /// The text has something that is no placeholder here, or the numbers have a gap, or the values are too few, too many, or not
    /// numbers. Nothing was sent.
    pub(super) fn of(dialect: Dialect, sql: &str, values: &[Value]) -> Result<Self, Error> {
        let placeholders = Self::find(dialect, sql).map_err(Error::bad_statement)?;
        placeholders.check(values).map_err(Error::bad_statement)?;
        Ok(placeholders)
    }

    fn find(dialect: Dialect, sql: &str) -> Result<Self, String> {
        if sql.contains('\0') {
            return Err("the statement has a NUL character".to_owned());
        }
        let mut text = Text {
            dialect,
            sql,
            at: 0,
        };
        let (mut found, mut has_code, mut is_executable) = (Vec::new(), false, false);
        while let Some(token) = text.next()? {
            match token {
                Token::Placeholder(number) => found.push((number.0, number.1)),
                Token::Comment => continue,
                Token::Executable => is_executable = true,
                Token::Other => {}
            }
            has_code = true;
        }
        if !has_code {
            return Err("the statement is empty".to_owned());
        }
        if is_executable && !found.is_empty() {
            let why = "an executable comment (`/*!`), which not every server runs, cannot stand beside placeholders";
            return Err(why.to_owned());
        }
        let count = found.iter().map(|(_, number)| *number).max().unwrap_or(0);
        let mut used = vec![false; count];
        for (_, number) in &found {
            if let Some(used) = used.get_mut(number - 1) {
                *used = true;
            }
        }
        if let Some(gap) = used.iter().position(|used| !used) {
            return Err(format!(
                "the statement has a placeholder ${count}, but none ${}",
                gap + 1
            ));
        }
        Ok(Self { found, count })
    }

    fn check(&self, values: &[Value]) -> Result<(), String> {
        let (count, given) = (self.count, values.len());
        if count != given {
            let has = match count {
                0 => "the statement has no placeholder".to_owned(),
                1 => "the statement has the placeholder $1".to_owned(),
                _ => format!("the statement has the placeholders $1 to ${count}"),
            };
            let values = if given == 1 { "value" } else { "values" };
            return Err(format!("{has}, but was given {given} {values}"));
        }
        let is_odd = |value: &Value| matches!(value, Value::F64(number) if !number.is_finite());
        match values.iter().position(is_odd) {
            Some(at) => Err(format!(
                "${} is not a finite number, which not every database keeps",
                at + 1
            )),
            None => Ok(()),
        }
    }

    /// The text with `?1`, `?2`, which SQLite numbers as they say. (`$1` is a name for it, and `$1::text` is another one.)
    #[cfg(any(test, feature = "sqlite"))]
    pub(super) fn numbered(&self, sql: &str) -> String {
        self.written(sql, |number| format!("?{number}"))
    }

    /// The text with `?` for each placeholder, as MySQL has them.
    #[cfg(any(test, feature = "mysql"))]
    pub(super) fn unnumbered(&self, sql: &str) -> String {
        self.written(sql, |_| "?".to_owned())
    }

    /// The values for [`unnumbered`](Self::unnumbered): a value that is used twice is there twice.
    #[cfg(any(test, feature = "mysql"))]
    pub(super) fn in_order<'v>(&self, values: &'v [Value]) -> Vec<&'v Value> {
        let numbers = self.found.iter().map(|(_, number)| number - 1);
        numbers.filter_map(|number| values.get(number)).collect()
    }

    #[cfg(any(test, feature = "sqlite", feature = "mysql"))]
    fn written(&self, sql: &str, placeholder: impl Fn(usize) -> String) -> String {
        let mut written = String::with_capacity(sql.len());
        let mut end = 0;
        for (range, number) in &self.found {
            written.push_str(&sql[end..range.start]);
            written.push_str(&placeholder(*number));
            end = range.end;
        }
        written.push_str(&sql[end..]);
        written
    }
}

/// A text that is read from left to right. All that separates is ASCII, so it is read as bytes.
struct Text<'s> {
    dialect: Dialect,
    sql: &'s str,
    at: usize,
}

enum Token {
    Placeholder((std::ops::Range<usize>, usize)),
    /// A comment, space or `;`.
    Comment,
    /// A comment that some servers run.
    Executable,
    Other,
}

impl Text<'_> {
    fn next(&mut self) -> Result<Option<Token>, String> {
        let start = self.at;
        let Some(byte) = self.byte(start) else {
            return Ok(None);
        };
        let rest = &self.bytes()[start..];
        let mut token = Token::Other;
        self.at = match byte {
            b'\'' => self.quoted(start, b'\'', self.escapes()),
            b'"' => self.quoted(start, b'"', self.escapes()),
            b'`' if !self.is_postgres() => self.quoted(start, b'`', false),
            b'[' if self.is_sqlite() => self.behind(start, b"]"),
            b'-' if rest.starts_with(b"--") && self.begins_comment(rest) => {
                token = Token::Comment;
                self.line(start)
            }
            b'#' if self.is_mysql() => {
                token = Token::Comment;
                self.line(start)
            }
            b'/' if rest.starts_with(b"/*") => {
                token = Token::Comment;
                if self.is_mysql() && (rest.starts_with(b"/*!") || rest.starts_with(b"/*M!")) {
                    token = Token::Executable;
                }
                self.comment(start)
            }
            b'$' => {
                let (end, found) = self.dollar(start)?;
                token = found;
                end
            }
            b'?' if !self.is_postgres() => return Err(NO_MARK.to_owned()),
            b':' | b'@' | b'#'
                if self.is_sqlite() && self.byte(start + 1).is_some_and(is_of_word) =>
            {
                return Err(NO_NAME.to_owned());
            }
            _ if is_of_word(byte) => self.word(start),
            b';' | 0..=b' ' => {
                token = Token::Comment;
                start + 1
            }
            _ => start + 1,
        };
        Ok(Some(token))
    }

    /// Reads a placeholder or a dollar quote.
    fn dollar(&self, start: usize) -> Result<(usize, Token), String> {
        let digits = self.bytes()[start + 1..].iter();
        let digits = digits.take_while(|byte| byte.is_ascii_digit()).count();
        let end = start + 1 + digits;
        if digits == 0 {
            return match self.dollar_quoted(start) {
                Some(end) => Ok((end, Token::Other)),
                None => Err(NO_DOLLAR.to_owned()),
            };
        }
        if self.byte(end).is_some_and(is_of_word) {
            return Err(NO_DOLLAR.to_owned());
        }
        let number = &self.sql[start + 1..end];
        if number.starts_with('0') {
            return Err(format!(
                "${:.8} is no placeholder: they begin with $1",
                number
            ));
        }
        match number.parse() {
            Ok(number) if number <= MOST => Ok((end, Token::Placeholder((start..end, number)))),
            _ => Err(format!(
                "${number:.8} is more than the {MOST} placeholders that a statement may have"
            )),
        }
    }

    /// The end of a dollar quote.
    fn dollar_quoted(&self, start: usize) -> Option<usize> {
        if self.is_sqlite() {
            return None;
        }
        let is_of_tag = |byte: &&u8| is_of_word(**byte) && **byte != b'$';
        let tag = self.bytes()[start + 1..]
            .iter()
            .take_while(is_of_tag)
            .count();
        let body = start + tag + 2;
        if self.byte(body - 1) != Some(b'$') {
            return None;
        }
        let tag = &self.bytes()[start..body];
        match find(&self.bytes()[body..], tag) {
            Some(at) => Some(body + at + tag.len()),
            // PostgreSQL says that it does not end. For MariaDB it is the name of something.
            None => self.is_postgres().then_some(self.bytes().len()),
        }
    }

    /// The end of a word, or of a text that is quoted behind it: `E'..'`.
    fn word(&self, start: usize) -> usize {
        let word = self.bytes()[start..].iter();
        let end = start + word.take_while(|byte| is_of_word(**byte)).count();
        let is_escaped = self.is_postgres()
            && self.byte(end) == Some(b'\'')
            && self.sql[start..end].eq_ignore_ascii_case("e");
        if !is_escaped {
            return end;
        }
        let mut end = self.quoted(end, b'\'', true);
        // Such a text goes on in the next line.
        while let Some(next) = self.continued(end) {
            end = self.quoted(next, b'\'', true);
        }
        end
    }

    /// Where a quoted text goes on, if it does: behind white space (and `--` comments) with the end of a line in it.
    fn continued(&self, mut at: usize) -> Option<usize> {
        let mut has_line = false;
        loop {
            match self.byte(at)? {
                b'\n' | b'\r' => {
                    has_line = true;
                    at += 1;
                }
                b' ' | b'\t' | b'\x0b' | b'\x0c' => at += 1,
                b'-' if self.byte(at + 1) == Some(b'-') => at = self.line(at),
                b'\'' if has_line => return Some(at),
                _ => return None,
            }
        }
    }

    /// The end of a quoted text.
    fn quoted(&self, start: usize, quote: u8, has_escapes: bool) -> usize {
        let mut at = start + 1;
        while let Some(byte) = self.byte(at) {
            at += 1;
            if byte == b'\\' && has_escapes {
                at += 1;
            } else if byte == quote {
                if self.byte(at) != Some(quote) {
                    return at;
                }
                at += 1;
            }
        }
        // A `\` may be the last character.
        self.bytes().len()
    }

    /// The end of a comment of one line.
    fn line(&self, start: usize) -> usize {
        let is_end = |byte: &u8| *byte == b'\n' || (*byte == b'\r' && self.is_postgres());
        let end = self.bytes()[start..].iter().position(is_end);
        end.map_or(self.bytes().len(), |end| start + end)
    }

    /// The end of a comment.
    fn comment(&self, start: usize) -> usize {
        if !self.is_postgres() {
            return self.behind(start + 2, b"*/");
        }
        let (mut depth, mut at) = (1_usize, start + 2);
        while at < self.bytes().len() {
            match &self.bytes()[at..] {
                [b'*', b'/', ..] => {
                    depth -= 1;
                    at += 2;
                    if depth == 0 {
                        break;
                    }
                }
                [b'/', b'*', ..] => {
                    depth += 1;
                    at += 2;
                }
                _ => at += 1,
            }
        }
        at
    }

    /// The end of the next `end` at `from` or later.
    fn behind(&self, from: usize, end: &[u8]) -> usize {
        let at = self.bytes().get(from..).and_then(|rest| find(rest, end));
        at.map_or(self.bytes().len(), |at| from + at + end.len())
    }

    fn begins_comment(&self, rest: &[u8]) -> bool {
        let is_blank = |byte: &u8| *byte <= b' ' || *byte == 0x7f;
        !self.is_mysql() || rest.get(2).is_none_or(is_blank)
    }

    const fn bytes(&self) -> &[u8] {
        self.sql.as_bytes()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes().get(at).copied()
    }

    const fn escapes(&self) -> bool {
        self.is_mysql()
    }

    const fn is_sqlite(&self) -> bool {
        match self.dialect {
            #[cfg(any(test, feature = "sqlite"))]
            Dialect::Sqlite => true,
            #[allow(unreachable_patterns, reason = "there may be one dialect only")]
            _ => false,
        }
    }

    const fn is_postgres(&self) -> bool {
        match self.dialect {
            #[cfg(any(test, feature = "postgres"))]
            Dialect::Postgres => true,
            #[allow(unreachable_patterns, reason = "there may be one dialect only")]
            _ => false,
        }
    }

    const fn is_mysql(&self) -> bool {
        !self.is_sqlite() && !self.is_postgres()
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

/// Whether the byte may be of a name, a keyword or a number. Bytes beyond ASCII are letters for all databases.
const fn is_of_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// How many parameters the protocols can count. SQLite takes 32,766 and says so.
const MOST: usize = 65_535;
const NO_MARK: &str = "`?` is no placeholder of a `Database`: write $1, $2";
const NO_NAME: &str =
    "`:name`, `@name` and `#name` are no placeholders of a `Database`: write $1, $2";
const NO_DOLLAR: &str = "a `$` outside of quotes must begin a placeholder: $1, $2";

#[cfg(test)]
mod tests;
