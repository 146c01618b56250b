//! What a session must be able to do: libpq's `target_session_attrs`.

use pool_core::FromEnv;

/// Which of several servers is taken: libpq's `target_session_attrs`.
///
/// A server that does not fit is left, and the next host of the address is tried. If no host fits, the connection is not opened.
/// The texts in an address, in `PGTARGETSESSIONATTRS` and in `{PREFIX}_TARGET_SESSION_ATTRS` are those given here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionAttrs {
    /// `any`: every server fits.
    #[default]
    Any,
    /// `read-write`: sessions can write by default. The server is not a standby, and its `default_transaction_read_only` is off.
    ReadWrite,
    /// `read-only`: sessions cannot write by default. The server is a standby, or its `default_transaction_read_only` is on.
    ReadOnly,
    /// `primary`: the server is not a standby.
    Primary,
    /// `standby`: the server is a standby (in recovery).
    Standby,
    /// `prefer-standby`: a standby if one of the hosts is one, or else any of them. The hosts are tried twice: first for a standby,
    /// then for any server.
    PreferStandby,
}

impl SessionAttrs {
    /// Every value, in the order of the documentation.
    pub(super) const ALL: [Self; 6] = [
        Self::Any,
        Self::ReadWrite,
        Self::ReadOnly,
        Self::Primary,
        Self::Standby,
        Self::PreferStandby,
    ];

    /// Returns what the servers are tried for, round by round.
    pub(super) const fn rounds(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Returns what a server that does not say its role (before version 14) is asked. It suits if its answer is `t`.
    pub(super) const fn question(self) -> Option<&'static str> {
        match self {
            Self::Any | Self::PreferStandby => None,
            Self::ReadWrite => {
                Some("SELECT pg_catalog.current_setting('transaction_read_only') = 'off'")
            }
            Self::ReadOnly => {
                Some("SELECT pg_catalog.current_setting('transaction_read_only') = 'on'")
            }
            Self::Primary => Some("SELECT NOT pg_catalog.pg_is_in_recovery()"),
            Self::Standby => Some("SELECT pg_catalog.pg_is_in_recovery()"),
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attrs| attrs.as_str() == text)
    }

    /// Returns libpq's text for the value: `prefer-standby`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }
}

impl FromEnv for SessionAttrs {
    const EXPECTED: &'static str = "any, read-write, read-only, primary, standby or prefer-standby";

    fn from_env(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_the_text_that_libpq_gives_it_and_no_other() {
        let texts = SessionAttrs::ALL.map(SessionAttrs::as_str);
        assert_eq!(
            texts,
            [
                "any",
                "read-write",
                "read-only",
                "primary",
                "standby",
                "prefer-standby"
            ]
        );
        for (text, attrs) in texts.iter().zip(SessionAttrs::ALL) {
            assert_eq!(SessionAttrs::from_env(text), Some(attrs));
            assert!(SessionAttrs::EXPECTED.contains(text));
        }
        for attrs in SessionAttrs::ALL {
            let rounds: &[SessionAttrs] = match attrs {
                SessionAttrs::PreferStandby => &[SessionAttrs::Standby, SessionAttrs::Any],
                other => &[other],
            };
            assert_eq!(attrs.rounds(), rounds);
        }
        for other in ["", "Primary", "read_write", "master", "any "] {
            assert_eq!(SessionAttrs::parse(other), None, "{other}");
        }
    }
}
