//! Addresses as URLs: `SCHEME://USER:PASSWORD@HOST:PORT/DATABASE?OPTION=VALUE`.

use crate::address::percent_decoded;

/// An option and its value, which need not be UTF-8.
pub(crate) type Pair = (String, Vec<u8>);

/// Reads what follows `SCHEME://`.
///
/// # Errors
/// What is wrong, without any part of the text.
pub(crate) fn read(text: &str) -> Result<Vec<Pair>, String> {
    let (credentials, rest) = split_credentials(text);
    let (base, query) = rest
        .split_once('?')
        .map_or((rest, ""), |(base, query)| (base, query));
    let (hosts, database) = base.split_once('/').unwrap_or((base, ""));
    // Only an address whose user or password was not encoded has these here: `postgres://u/password@h/db`. The same is true for
    // lists of other kinds: `postgres://h/db password=..`.
    let is_odd = |letter: char| letter.is_whitespace() || "@;='\"/#".contains(letter);
    if hosts.contains(is_odd) || database.contains(is_odd) {
        return Err(ODD.to_owned());
    }
    let mut pairs = Vec::new();
    if let Some(credentials) = credentials {
        let (user, password) = match credentials.split_once(':') {
            Some((user, password)) => (user, Some(password)),
            None => (credentials, None),
        };
        if user.contains(is_odd) {
            return Err(ODD.to_owned());
        }
        pairs.push(("user".to_owned(), decoded("user", user)?));
        if let Some(password) = password {
            pairs.push(("password".to_owned(), decoded("password", password)?));
        }
    }
    read_hosts(hosts, &mut pairs)?;
    if !database.is_empty() {
        pairs.push(("dbname".to_owned(), decoded("database", database)?));
    }
    let options = query.split('&').filter(|option| !option.is_empty());
    for (index, option) in options.enumerate() {
        let (key, value) = option
            .split_once('=')
            .ok_or_else(|| format!("option {} has no `=`", index + 1))?;
        let what = format!("option {}", index + 1);
        let key = String::from_utf8(decoded(&what, key)?)
            .map_err(|_| format!("the name of {what} is not UTF-8"))?;
        let value = decoded(&what, value)?;
        pairs.push(match (key.as_str(), value.as_slice()) {
            // As in libpq, for addresses that were written for JDBC.
            ("ssl", b"true") => ("sslmode".to_owned(), b"require".to_vec()),
            _ => (key, value),
        });
    }
    Ok(pairs)
}

/// Splits `user:password@` off. The password may hold characters that should have been encoded, but for `@`.
fn split_credentials(text: &str) -> (Option<&str>, &str) {
    let Some((before, after)) = text.split_once('@') else {
        return (None, text);
    };
    let base = before.split(['/', '?']).next().unwrap_or(before);
    // An `@` after the hosts belongs to the path or the options: `postgres://h:5432/db?user=a@b`.
    if base.len() < before.len() && looks_like_hosts(base) {
        return (None, text);
    }
    (Some(before), after)
}

fn looks_like_hosts(text: &str) -> bool {
    text.split(',').all(|host| {
        let port = match host.rsplit_once(']') {
            Some((_, port)) => port.strip_prefix(':').unwrap_or(port),
            None => host.split_once(':').map_or("", |(_, port)| port),
        };
        port.bytes().all(|digit| digit.is_ascii_digit())
    })
}

fn read_hosts(text: &str, pairs: &mut Vec<Pair>) -> Result<(), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for (index, part) in text.split(',').enumerate() {
        let (host, port) = if let Some(rest) = part.strip_prefix('[') {
            let (host, port) = rest
                .split_once(']')
                .ok_or_else(|| format!("host {} has no `]`", index + 1))?;
            let after = || {
                format!(
                    "host {} has something other than `:PORT` after `]`",
                    index + 1
                )
            };
            let port = match port {
                "" => "",
                port => port.strip_prefix(':').ok_or_else(after)?,
            };
            (host, port)
        } else {
            part.split_once(':').unwrap_or((part, ""))
        };
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(format!(
                "the port of host {} is not a number; is the `@` after the password missing?",
                index + 1
            ));
        }
        let what = format!("host {}", index + 1);
        let host = String::from_utf8(decoded(&what, host)?);
        hosts.push(host.map_err(|_| format!("{what} is not UTF-8"))?);
        ports.push(port);
    }
    for (key, parts) in [("host", hosts.join(",")), ("port", ports.join(","))] {
        // A list of nothing leaves the setting open.
        if parts.bytes().any(|letter| letter != b',') {
            pairs.push((key.to_owned(), parts.into_bytes()));
        }
    }
    Ok(())
}

fn decoded(what: &str, text: &str) -> Result<Vec<u8>, String> {
    percent_decoded(text).ok_or_else(|| {
        format!("the {what} has a `%` without two hexadecimal digits; a `%` itself is written %25")
    })
}

const ODD: &str = "a part of it has a blank or one of @ / ; = # ' \" where no such character can be: in users, passwords and names \
                   write them as %20, %40, %2F, %3B, %3D, %23, %27, %22";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let text_of = |(key, value)| (key, String::from_utf8(value).unwrap());
        read(text).unwrap().into_iter().map(text_of).collect()
    }

    #[test]
    fn every_part_is_found_and_decoded() {
        for (text, parts) in [
            ("", &[][..]),
            ("h", &[("host", "h")]),
            ("/db", &[("dbname", "db")]),
            (":5433/", &[("port", "5433")]),
            ("me@h/", &[("user", "me"), ("host", "h")]),
            (
                "m%65:pa%20ss@h:5/d%2Fb?a=%3D&b=",
                &[
                    ("user", "me"),
                    ("password", "pa ss"),
                    ("host", "h"),
                    ("port", "5"),
                    ("dbname", "d/b"),
                    ("a", "="),
                    ("b", ""),
                ],
            ),
            ("u:@h", &[("user", "u"), ("password", ""), ("host", "h")]),
            (
                "u:half?secret=1@h/db",
                &[
                    ("user", "u"),
                    ("password", "half?secret=1"),
                    ("host", "h"),
                    ("dbname", "db"),
                ],
            ),
            (
                "u:a/b@h",
                &[("user", "u"), ("password", "a/b"), ("host", "h")],
            ),
            ("a:1,b,[::1]:3/", &[("host", "a,b,::1"), ("port", "1,,3")]),
            ("a,b/", &[("host", "a,b")]),
            ("[::1]", &[("host", "::1")]),
            ("%2Frun%2Fpg/db", &[("host", "/run/pg"), ("dbname", "db")]),
            (
                "h:5432/db?user=a@b",
                &[
                    ("host", "h"),
                    ("port", "5432"),
                    ("dbname", "db"),
                    ("user", "a@b"),
                ],
            ),
            ("h?user=a@b", &[("host", "h"), ("user", "a@b")]),
            (
                "[::1]:5/db?user=a@b",
                &[
                    ("host", "::1"),
                    ("port", "5"),
                    ("dbname", "db"),
                    ("user", "a@b"),
                ],
            ),
            ("h?ssl=true", &[("host", "h"), ("sslmode", "require")]),
            ("h?ssl=1&&x=y", &[("host", "h"), ("ssl", "1"), ("x", "y")]),
        ] {
            let parts: Vec<_> = parts
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(pairs(text), parts, "{text}");
        }
        assert_eq!(read("u:%ff@h").unwrap()[1].1, [255]);
    }

    #[test]
    fn what_is_wrong_is_said_and_no_part_is_shown() {
        for (text, says) in [
            (
                "u:topsecret",
                "the port of host 1 is not a number; is the `@`",
            ),
            ("u:topsecret/db", "the port of host 1"),
            ("a:1,b:topsecret", "the port of host 2"),
            ("u/topsecret@h/db", "a blank or one of @"),
            ("u:12/topsecret@h/db", "a blank or one of @"),
            ("u:top@secret@h/db", "a blank or one of @"),
            ("h/db password=topsecret", "a blank or one of @"),
            ("h;password=topsecret", "a blank or one of @"),
            ("h/db;password=topsecret", "a blank or one of @"),
            ("u topsecret@h", "a blank or one of @"),
            ("u:top%secret@h", "the password has a `%`"),
            ("h/%zz", "the database has a `%`"),
            ("h?x=%zz", "the option 1 has a `%`"),
            ("h?topsecret", "option 1 has no `=`"),
            ("h?a=b&topsecret", "option 2 has no `=`"),
            ("[::1/db", "host 1 has no `]`"),
            ("[::1]topsecret", "host 1 has something other"),
            ("%ff", "host 1 is not UTF-8"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
            assert!(!why.contains("secret") && !why.contains("top"), "{why}");
        }
    }
}
