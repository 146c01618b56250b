//! A place in the log of writes.

use std::{fmt, str::FromStr};

/// A place in a server's log of writes (its WAL): a session token for reads that must see an earlier write.
///
/// Its text is that of PostgreSQL, `0/16B3748`: send it to the client in a cookie or a header, and parse it from there. With the
/// feature `serde` it is that text as well. It holds no secret. A client that makes one up can only make its own reads wait, or go
/// to the primary.
///
/// ```
/// use pool_db::postgres::Token;
///
/// let token: Token = "0/16B3748".parse()?;
/// assert_eq!(token.to_string(), "0/16B3748");
/// assert!(token < "1/0".parse()?);
/// # Ok::<(), pool_db::postgres::InvalidToken>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub(super) u64);

/// A text that is no [`Token`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidToken;

impl FromStr for Token {
    type Err = InvalidToken;

    fn from_str(text: &str) -> Result<Self, InvalidToken> {
        // The number's own parser takes a sign.
        let half = |text: &str| {
            let is_hex =
                (1..=8).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_hexdigit());
            is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
        };
        let (high, low) = text.split_once('/').ok_or(InvalidToken)?;
        let high = half(high).ok_or(InvalidToken)?;
        let low = half(low).ok_or(InvalidToken)?;
        Ok(Self(u64::from(high) << 32 | u64::from(low)))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token must be two hexadecimal numbers, as 0/16B3748")
    }
}

impl std::error::Error for InvalidToken {}

#[cfg(feature = "serde")]
impl serde::Serialize for Token {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Token {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_text_is_that_of_postgresql() {
        for (text, number) in [
            ("0/0", 0),
            ("0/16B3748", 0x16B_3748),
            ("1/0", 1 << 32),
            ("FFFFFFFF/FFFFFFFF", u64::MAX),
        ] {
            let token: Token = text.parse().unwrap();
            assert_eq!((token.0, token.to_string().as_str()), (number, text));
        }
        assert_eq!("a/0000000b".parse::<Token>().unwrap().to_string(), "A/B");
        for text in [
            "",
            "/",
            "1",
            "1/",
            "/1",
            "+1/1",
            "1/-1",
            "1/1/1",
            " 1/1",
            "123456789/1",
            "g/1",
        ] {
            assert_eq!(text.parse::<Token>(), Err(InvalidToken), "{text}");
        }
    }

    #[cfg(feature = "serde")]
    #[test]
    fn serde_has_the_same_text() {
        let token: Token = serde_json::from_str("\"0/16B3748\"").unwrap();
        assert_eq!(serde_json::to_string(&token).unwrap(), "\"0/16B3748\"");
        assert!(serde_json::from_str::<Token>("\"x\"").is_err());
    }
}
