//! The errors of JSON on a pool.

use std::fmt;

use crate::Error;

/// Why encoding or decoding failed.
#[derive(Debug)]
pub struct JsonError(Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Job(Error),
    Json(serde_json::Error),
    Row(Box<dyn std::error::Error + Send + Sync>),
}

impl JsonError {
    /// Whether the value could not be encoded, or the text could not be decoded.
    pub fn is_json(&self) -> bool {
        matches!(self.0, Kind::Json(_))
    }

    /// Whether the stream of rows failed.
    pub fn is_row(&self) -> bool {
        matches!(self.0, Kind::Row(_))
    }

    /// Returns the error of the job, if the job failed: the pool is full or closed, or the job panicked.
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
            Kind::Row(error) => write!(f, "the stream of rows failed: {error}"),
        }
    }
}

impl std::error::Error for JsonError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            // This error's text contains their texts, so its source is their source.
            Kind::Job(error) => error.source(),
            Kind::Json(error) => error.source(),
            Kind::Row(error) => Some(&**error),
        }
    }
}
