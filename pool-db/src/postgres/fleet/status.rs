//! What a process knows of its fleet.

use std::fmt;

/// What this process has of the server's connections: [`Pool::fleet`](crate::Pool::fleet). All counts are those of the last look at
/// the server, which is about a second old at most while the process is joined.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FleetStatus {
    /// What the processes that share have in common.
    pub name: String,
    /// Whether this process takes part.
    pub state: FleetState,
    /// How many processes share, this one included. 0 before the first look.
    pub processes: u32,
    /// How many connections all of them may have, with one for each process that looks at the server.
    pub connections: u32,
    /// What that number comes from.
    pub limited_by: FleetLimit,
    /// How many of these are for pooled connections: what is left after the processes' own and those of
    /// processes that may [join](super::Fleet::processes).
    pub seats: u32,
    /// How many pooled connections all processes have now, or are opening.
    pub taken: u32,
    /// How many of them this process may have: the size of the pool.
    pub share: u32,
    /// How many of them this process has, or is opening. Connections that were [detached](super::super::Connection::detach) count.
    pub held: u32,
    /// Why the process is not joined, if it was tried.
    pub reason: Option<String>,
}

/// Whether a process takes part in a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetState {
    /// Not yet: the first get joins. Also after the pool was closed.
    #[default]
    NotJoined,
    /// It looks at the server, and opens connections.
    Joined,
    /// The connection that looks at the server was lost. Nothing is opened until it is back. What is open stays.
    Lost,
    /// A proxy stands before the server, so the server's connections cannot be counted. The pool has its `max_size`.
    Proxied,
}

/// What limits the connections of a fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetLimit {
    /// The server was not asked yet.
    #[default]
    Unknown,
    /// The [`fraction`](super::Fleet::fraction) of the server's `max_connections`, without what is reserved.
    Server,
    /// The role's `CONNECTION LIMIT`.
    Role,
    /// The database's `CONNECTION LIMIT`.
    Database,
    /// [`Fleet::max_connections`](super::Fleet::max_connections).
    Setting,
}

impl fmt::Display for FleetLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "no limit that is known",
            Self::Server => "the fraction of the server's max_connections",
            Self::Role => "the role's CONNECTION LIMIT",
            Self::Database => "the database's CONNECTION LIMIT",
            Self::Setting => "fleet_max_connections",
        })
    }
}
