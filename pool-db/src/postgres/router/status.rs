//! What a router knows, for people.

use std::time::Duration;

use pool_core::Status;

/// What a [`Router`](super::Router) knows at a moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RouterStatus {
    /// The hosts, in the order of the address.
    pub hosts: Vec<HostStatus>,
    /// The pool of the primary.
    pub write: Status,
    /// How many reads went to the primary because no replica would do.
    pub fallbacks: u64,
}

/// What a [`Router`](super::Router) knows of one host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HostStatus {
    /// The host and port of the address.
    pub host: String,
    /// What the host is.
    pub role: Role,
    /// Whether reads go to the host now.
    pub is_read: bool,
    /// How long ago something was written at the latest that the replica does not show. `None` for a host that is no replica, or
    /// that is farther behind than is known.
    pub lag: Option<Duration>,
    /// How many bytes of the primary's log the replica has not replayed.
    pub lag_bytes: Option<u64>,
    /// How long ago the host was asked, if it has answered.
    pub measured: Option<Duration>,
    /// Why the host did not answer.
    pub error: Option<String>,
    /// How many reads the host was chosen for.
    pub chosen: u64,
    /// The pool of reads at the host.
    pub pool: Status,
}

/// What a host is, as it says itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Role {
    /// The primary.
    Primary,
    /// A replica: a server in recovery.
    Replica,
    /// A server that takes writes beside the primary, such as a former primary that was not told. It is not read from.
    Stray,
    /// The host does not answer, or was not asked yet.
    Unknown,
}
