//! Addresses of databases, as users write them.

use std::fmt;

use pool_core::ConfigError;

/// An address, which may hold a password.
#[derive(Clone)]
pub(crate) struct Address(pub(crate) String);

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match without_password(&self.0) {
            Some(shown) => shown.fmt(f),
            None => f.write_str("***"),
        }
    }
}

/// The error for an address that is not `expected`. It shows the address only if the password can be removed for certain.
pub(crate) fn bad_address(setting: &str, url: &str, expected: impl Into<String>) -> ConfigError {
    match without_password(url) {
        Some(shown) => ConfigError::new(setting, shown, expected),
        None => ConfigError::secret(setting, expected),
    }
}

/// Returns the address with its password hidden, for logs. Returns `None` if the text is not an address, because then the password
/// may be anywhere in it: `host=h user=u password=secret`.
///
/// It rather hides too much than too little: it hides everything between `:` and the last `@`, even if the rest is not a valid
/// address.
pub(crate) fn without_password(url: &str) -> Option<String> {
    let shown = masked(url);
    let rest = shown.to_ascii_lowercase().replace("password=***", "");
    let is_odd = |letter: char| letter.is_whitespace() || letter == ';';
    let (base, _) = url.split_once('?').unwrap_or((url, ""));
    let may_be_a_list = rest.contains(is_odd) || (base.contains('=') && !base.contains('@'));
    let has_one = ["passw", "pwd", "secret"]
        .iter()
        .any(|word| rest.contains(word));
    (!may_be_a_list && !has_one).then_some(shown)
}

fn masked(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let credentials = match credentials.map(|credentials| credentials.split_once(':')) {
        Some(Some((user, _))) => format!("{user}:***@"),
        Some(None) => format!("{}@", credentials.unwrap_or_default()),
        None => String::new(),
    };
    let (rest, query) = match rest.split_once('?') {
        Some((rest, query)) => (rest, format!("?{}", without_secrets(query))),
        None => (rest, String::new()),
    };
    format!("{scheme}{credentials}{rest}{query}")
}

fn without_secrets(query: &str) -> String {
    let hide = |pair: &str| match pair.split_once('=') {
        Some((key, _)) if key.to_ascii_lowercase().contains("password") => format!("{key}=***"),
        _ => pair.to_owned(),
    };
    query.split('&').map(hide).collect::<Vec<_>>().join("&")
}

/// Decodes `%41` and the like. Returns `None` if the result is not UTF-8, or if a `%` is not followed by two hex digits.
pub(crate) fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => hex(bytes.next()?)? << 4 | hex(bytes.next()?)?,
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_password_is_shown_however_odd_the_address() {
        for (url, shown) in [
            ("postgres://u:secret@h:5/db", "postgres://u:***@h:5/db"),
            ("postgres://u:half@se?cret=1@h/db", "postgres://u:***@h/db"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            (
                "postgres://h/db?sslmode=require",
                "postgres://h/db?sslmode=require",
            ),
            ("postgres://u:pa/ss@wo?@h/db", "postgres://u:***@h/db"),
            (
                "postgres://h/db?password=secret&user=u",
                "postgres://h/db?password=***&user=u",
            ),
            (
                "postgres://h/db?PassWord=secret",
                "postgres://h/db?PassWord=***",
            ),
            ("u:secret@h", "u:***@h"),
            ("sqlite:app.db", "sqlite:app.db"),
        ] {
            assert_eq!(without_password(url).as_deref(), Some(shown));
        }
    }

    #[test]
    fn what_is_not_written_as_an_address_is_not_shown() {
        for url in [
            "host=h user=u password=topsecret",
            "host=h\tpassword=topsecret",
            "password=topsecret",
            "topsecret=x",
            "postgres://h/db password=topsecret",
            "postgres://h/db;password=topsecret",
            "host=h password=topsecret sslmode=x://y",
            "Server=h;Pwd=topsecret",
            "postgres://h/db?sslpassword=x&PWD=topsecret",
        ] {
            assert_eq!(without_password(url), None, "{url}");
            assert_eq!(format!("{:?}", Address(url.to_owned())), "***");
            let error = bad_address("DATABASE_URL", url, "an address").to_string();
            assert_eq!(error, "DATABASE_URL must be an address");
        }
    }

    #[test]
    fn percent_signs_are_resolved_or_refused() {
        assert_eq!(percent_decoded("a%20b%2Fc").as_deref(), Some("a b/c"));
        assert_eq!(percent_decoded("caf%C3%A9").as_deref(), Some("café"));
        for bad in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decoded(bad), None, "{bad}");
        }
    }
}
