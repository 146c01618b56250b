//! What can go wrong with JSON on a pool.

use std::fmt;

use crate::Error;

/// Why there is no JSON.
#[derive(Debug)]
pub struct JsonError(Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Job(Error),
    Json(serde_json::Error),
    Row(Box<dyn std::error::Error + Send + Sync>),
}

impl JsonError {
    /// Could the value not be encoded, or the text not be decoded?
    pub fn is_json(&self) -> bool {
        matches!(self.0, Kind::Json(_))
    }

    /// Did the stream of rows fail?
    pub fn is_row(&self) -> bool {
        matches!(self.0, Kind::Row(_))
    }

    /// What became of the job, where that is what went wrong: a full or closed pool, a panic.
    pub fn job_error(&self) -> Option<&Error> {
        match &self.0 {
            Kind::Job(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Kind> for JsonError {
    fn from(kind: Kind) -> Self {
        Self(kind)
    }
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Job(error) => error.fmt(f),
            Kind::Json(error) => write!(f, "json: {error}"),
            Kind::Row(error) => write!(f, "a row could not be had: {error}"),
        }
    }
}

impl std::error::Error for JsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            // Their texts are part of ours; what is below them is not.
            Kind::Job(error) => error.source(),
            Kind::Json(error) => error.source(),
            Kind::Row(error) => Some(&**error),
        }
    }
}
