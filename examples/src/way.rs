//! What the service does, and the ways in which it can be done.

use std::fmt;

use serde::Serialize;

/// One of the three things that the service does for its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Path {
    /// `GET /users/{id}`: a query.
    Db,
    /// `GET /quote/{id}`: a call to an upstream over HTTPS.
    Http,
    /// `POST /login`: a password hash.
    Cpu,
}

/// How it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Way {
    /// As people first write it.
    Naive,
    /// With tokio's own `spawn_blocking`.
    SpawnBlocking,
    /// Through our pools.
    Pooled,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Db => "db",
            Self::Http => "http",
            Self::Cpu => "cpu",
        })
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Naive => "naive",
            Self::SpawnBlocking => "spawn_blocking",
            Self::Pooled => "pooled",
        })
    }
}
