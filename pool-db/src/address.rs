//! Addresses of databases, as users write them.
//!
//! An address may hold a password, and in a malformed one the password may stand anywhere. So the text of an address is never
//! shown: an error says how long it is and what is wrong with it. What an address names (host, database, user, file) is shown once
//! the address is understood, and only if it looks like a name (`shown`).

use std::fmt;
use std::path::Path;

use pool_core::ConfigError;

/// An address, which may hold a password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&measured(&self.0))
    }
}

/// The error for an address that is not `expected`. It does not show the address.
pub(crate) fn bad_address(
    setting: &str,
    address: &str,
    expected: impl Into<String>,
) -> ConfigError {
    ConfigError::new(setting, measured(address), expected)
}

/// Describes an address without its text: by its length, and by its scheme if that is a well-known one.
pub(crate) fn measured(address: &str) -> String {
    let length = address.chars().count();
    match scheme(address) {
        _ if length == 0 => "empty".to_owned(),
        Some(scheme) => format!("an address of {length} characters that begins with `{scheme}:`"),
        None => format!("a text of {length} characters"),
    }
}

/// Returns the scheme of the address, if it is one that people use for databases and servers.
pub(crate) fn scheme(address: &str) -> Option<&'static str> {
    let (scheme, _) = address.split_once(':')?;
    let is_same = |known: &&&str| known.eq_ignore_ascii_case(scheme);
    SCHEMES.iter().find(is_same).copied()
}

/// Returns the text if it looks like a name, a number or a path, or else only its length: `h;password=secret` is not a host, and
/// `u/secret@h` is not a user.
pub(crate) fn shown(text: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-.,/:%~+".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("a text of {} characters", text.chars().count())
    }
}

/// Returns the path as [`shown`].
pub(crate) fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy())
}

/// Decodes `%41` and the like. Returns `None` if a `%` is not followed by two hexadecimal digits.
pub(crate) fn percent_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            byte => byte,
        });
    }
    Some(decoded)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

const SCHEMES: [&str; 23] = [
    "postgres",
    "postgresql",
    "sqlite",
    "sqlite3",
    "file",
    "mysql",
    "mariadb",
    "redis",
    "rediss",
    "redis+unix",
    "redis+sentinel",
    "rediss+sentinel",
    "valkey",
    "valkeys",
    "valkey+unix",
    "unix",
    "mongodb",
    "sqlserver",
    "mssql",
    "cockroachdb",
    "jdbc",
    "http",
    "https",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_described_and_never_shown() {
        for (address, said) in [
            ("", "empty"),
            ("host=h password=topsecret", "a text of 25 characters"),
            ("topsecret://h", "a text of 13 characters"),
            ("u:topsecret@h", "a text of 13 characters"),
            (
                "MySQL://u:topsecret@h/db",
                "an address of 24 characters that begins with `mysql:`",
            ),
            (
                "sqlite:é",
                "an address of 8 characters that begins with `sqlite:`",
            ),
        ] {
            assert_eq!(measured(address), said);
            assert_eq!(format!("{:?}", Address(address.to_owned())), said);
            let error = bad_address("DATABASE_URL", address, "an address").to_string();
            assert_eq!(
                error,
                format!("DATABASE_URL is {said}, but must be an address")
            );
        }
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn names_are_shown_and_what_may_hold_a_password_is_not() {
        for name in [
            "db.example",
            "10.0.0.1:5432",
            "::1",
            "/etc/ca_1.pem",
            "a,b",
            "café",
        ] {
            assert_eq!(shown(name), name);
        }
        for odd in [
            "",
            "h;password=x",
            "u/x@h",
            "a b",
            "a=b",
            "'a'",
            "a&b",
            "a?b",
            "a\nb",
        ] {
            let length = odd.len();
            assert_eq!(shown(odd), format!("a text of {length} characters"));
        }
    }

    #[test]
    fn percent_signs_are_resolved_or_refused() {
        assert_eq!(percent_decoded("a%20b%2Fc").as_deref(), Some(&b"a b/c"[..]));
        assert_eq!(
            percent_decoded("caf%C3%A9").as_deref(),
            Some("café".as_bytes())
        );
        assert_eq!(percent_decoded("%ff").as_deref(), Some(&[255][..]));
        for bad in ["%", "%4", "%zz"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }
}
