//! The name of a channel.

use crate::Error;

/// The name of a channel, which the server takes as it is: it would cut off a longer one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Channel(String);

impl Channel {
    pub(super) fn new(name: impl Into<String>) -> Result<Self, Error> {
        let name = name.into();
        let (length, has_nul) = (name.len(), name.contains('\0'));
        if (1..=LONGEST).contains(&length) && !has_nul {
            return Ok(Self(name));
        }
        let what = if has_nul {
            "contains a NUL".to_owned()
        } else {
            format!("has {length} bytes")
        };
        Err(Error::other(format!(
            "the name of a channel must have 1 to {LONGEST} bytes without a NUL, but {name:?} {what}"
        )))
    }

    pub(super) fn name(&self) -> &str {
        &self.0
    }

    /// The statement that begins to listen.
    pub(super) fn listen(&self) -> String {
        format!("LISTEN {};", self.quoted())
    }

    /// The statement that ends to listen.
    pub(super) fn unlisten(&self) -> String {
        format!("UNLISTEN {};", self.quoted())
    }

    fn quoted(&self) -> String {
        format!("\"{}\"", self.0.replace('"', "\"\""))
    }
}

/// The longest name that PostgreSQL has (`NAMEDATALEN`), in bytes.
const LONGEST: usize = 63;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn any_text_is_quoted() {
        let channel = Channel::new("a\"; DROP TABLE t; --").unwrap();
        assert_eq!(channel.listen(), "LISTEN \"a\"\"; DROP TABLE t; --\";");
        let channel = Channel::new("Straße").unwrap();
        assert_eq!(channel.unlisten(), "UNLISTEN \"Straße\";");
    }

    #[test]
    fn what_the_server_would_cut_off_or_refuse_is_refused() {
        assert!(Channel::new("ä".repeat(31)).is_ok());
        for (name, says) in [
            ("ä".repeat(32), "has 64 bytes"),
            (String::new(), "\"\" has 0 bytes"),
            ("a\0b".to_owned(), "\"a\\0b\" contains a NUL"),
        ] {
            let error = Channel::new(name).unwrap_err().to_string();
            assert!(error.ends_with(says), "{error}");
        }
    }
}
