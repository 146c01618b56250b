//! Addresses of databases, as users write them.

/// The address with its password hidden, fit for a log.
///
/// It hides rather too much than too little: whatever stands between `:` and the last `@`, however odd the rest is.
pub(crate) fn without_password(url: &str) -> String {
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

/// Resolves `%41` and the like; `None` when what comes out is not UTF-8 or a `%` is not followed by two hex digits.
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
            ("postgres://u@h/db", "postgres://u@h/db"),
            (
                "postgres://h/db?sslmode=require",
                "postgres://h/db?sslmode=require",
            ),
            ("postgres://u:se/cr@et?@h/db", "postgres://u:***@h/db"),
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
            assert_eq!(without_password(url), shown);
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
