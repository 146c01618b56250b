//! The versions of the protocol.

use pool_core::FromEnv;

/// The version of the protocol that connections speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// `resp2`: every server has it.
    #[default]
    Resp2,
    /// `resp3`: since Redis 6. Answers have more types: maps, sets, doubles, booleans.
    Resp3,
}

impl Protocol {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "resp2" | "2" => Some(Self::Resp2),
            "resp3" | "3" => Some(Self::Resp3),
            _ => None,
        }
    }
}

impl FromEnv for Protocol {
    const EXPECTED: &'static str = "resp2 or resp3";

    fn from_env(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}
