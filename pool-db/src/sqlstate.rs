//! What PostgreSQL's error codes mean, whichever driver has received them.

use crate::{ConstraintKind, error::Condition};

/// What the code means, if that is anything that a caller acts on. `routine` is the place in the server that has sent it.
pub(crate) fn condition(code: &str, routine: Option<&str>) -> Option<Condition> {
    Some(match code {
        "40001" | "40P01" | "55P03" => Condition::Retryable,
        // The connection has dropped its statements. So the next attempt prepares them, for the tables as they are now.
        "26000" => Condition::Retryable,
        "0A000" if routine == Some("RevalidateCachedQuery") => Condition::Retryable,
        "57014" => Condition::Canceled,
        "25006" => Condition::ReadOnly,
        "53300" => Condition::TooMany,
        "08007" | "40003" => Condition::Unknown,
        "57P01" | "57P02" | "57P03" => Condition::Unavailable,
        code if code.starts_with("08") => Condition::Unavailable,
        code if code.starts_with("28") => Condition::Auth,
        _ => return None,
    })
}

/// What the violated constraint demands, if the code is about one.
pub(crate) fn constraint(code: &str) -> Option<ConstraintKind> {
    Some(match code.strip_prefix("23")? {
        "505" => ConstraintKind::Unique,
        "503" | "001" => ConstraintKind::ForeignKey,
        "514" => ConstraintKind::Check,
        "502" => ConstraintKind::NotNull,
        "P01" => ConstraintKind::Exclusion,
        _ => ConstraintKind::Other,
    })
}
