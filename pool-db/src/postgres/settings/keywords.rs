//! The address as libpq's list of options: `host=h user=u password='it''s'`.

use std::{iter::Peekable, str::Chars};

use super::known::is_known_in_any_case;
use crate::url::Pair;

/// Reads the options. Blanks separate them and may stand beside the `=`. A value with blanks is quoted by `'`. A backslash takes the
/// next character as it is, in quotes and outside.
///
/// # Errors
/// What is wrong, without any part of the text.
pub(super) fn read(text: &str) -> Result<Vec<Pair>, String> {
    let mut letters = text.chars().peekable();
    let mut pairs = Vec::new();
    loop {
        skip_blanks(&mut letters);
        if letters.peek().is_none() {
            return Ok(pairs);
        }
        let number = pairs.len() + 1;
        let mut key = String::new();
        while let Some(letter) = letters.next_if(|letter| *letter != '=' && !letter.is_whitespace())
        {
            key.push(letter);
        }
        skip_blanks(&mut letters);
        if letters.next_if_eq(&'=').is_none() {
            return Err(match pairs.len() {
                _ if text.contains(';') && text.contains('=') => ADO.to_owned(),
                0 => "it is neither a URL nor a list of options".to_owned(),
                _ => format!(
                    "option {number} has no `=`; a value with blanks is written 'in quotes'"
                ),
            });
        }
        skip_blanks(&mut letters);
        let is_quoted = letters.next_if_eq(&'\'').is_some();
        let value = value(&mut letters, is_quoted)
            .ok_or_else(|| format!("the quote of option {number} is not closed"))?;
        if !is_quoted && is_a_list_of_another_kind(&key, &value) {
            return Err(ADO.to_owned());
        }
        pairs.push((key, value.into_bytes()));
    }
}

fn value(letters: &mut Peekable<Chars<'_>>, is_quoted: bool) -> Option<String> {
    let mut value = String::new();
    loop {
        let ends = |letter: &char| {
            if is_quoted {
                *letter == '\''
            } else {
                letter.is_whitespace()
            }
        };
        if letters.peek().is_some_and(ends) {
            if is_quoted {
                letters.next();
            }
            return Some(value);
        }
        match letters.next() {
            Some('\\') => value.extend(letters.next()),
            Some(letter) => value.push(letter),
            None => return (!is_quoted).then_some(value),
        }
    }
}

fn skip_blanks(letters: &mut Peekable<Chars<'_>>) {
    while letters.next_if(|letter| letter.is_whitespace()).is_some() {}
}

/// Whether the text is `Host=h;Password=secret`, as for ADO.NET, ODBC or JDBC.
fn is_a_list_of_another_kind(key: &str, value: &str) -> bool {
    let next = value.split(';').skip(1);
    let mut keys = next.filter_map(|part| Some(part.split_once('=')?.0.trim()));
    keys.any(is_known_in_any_case) || (value.contains(';') && key.starts_with(char::is_uppercase))
}

const ADO: &str = "it is a list with `;` as for ADO.NET or ODBC; write it as `host=HOST user=USER password=PASSWORD dbname=DATABASE`, \
                   with blanks between the options, or as a URL";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn quotes_blanks_and_backslashes_are_read_as_libpq_reads_them() {
        for (text, parts) in [
            ("", &[][..]),
            ("host=h", &[("host", "h")]),
            ("  host = h\tuser\n=\nu ", &[("host", "h"), ("user", "u")]),
            (
                "password='a b' host=h",
                &[("password", "a b"), ("host", "h")],
            ),
            (
                r"password='it\'s \\' host=h",
                &[("password", r"it's \"), ("host", "h")],
            ),
            (
                r"password=it\'s\ a host=h",
                &[("password", "it's a"), ("host", "h")],
            ),
            ("password='' host=h", &[("password", ""), ("host", "h")]),
            ("password=", &[("password", "")]),
            ("password=a=b'c", &[("password", "a=b'c")]),
            ("password='a;host=b'", &[("password", "a;host=b")]),
            ("password=a;b host=h", &[("password", "a;b"), ("host", "h")]),
            (r"password=a\", &[("password", "a")]),
        ] {
            let text_of = |(key, value)| (key, String::from_utf8(value).unwrap());
            let read: Vec<_> = read(text).unwrap().into_iter().map(text_of).collect();
            let parts: Vec<_> = parts
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(read, parts, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_and_no_part_is_shown() {
        for (text, says) in [
            ("topsecret", "neither a URL nor a list"),
            ("host=h topsecret", "option 2 has no `=`"),
            (
                "host=h password='topsecret",
                "the quote of option 2 is not closed",
            ),
            ("Host=h;Password=topsecret", "as for ADO.NET"),
            ("Server=h;Pwd=topsecret", "as for ADO.NET"),
            ("password=topsecret;host=h", "as for ADO.NET"),
            (
                "Data Source=h;User Id=u;Password=topsecret",
                "as for ADO.NET",
            ),
            ("host=h;user id=u;password=topsecret", "as for ADO.NET"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
            assert!(!why.contains("secret"), "{why}");
        }
    }
}
