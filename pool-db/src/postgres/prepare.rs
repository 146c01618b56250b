//! Whether statements are prepared by name on the server.

use pool_core::FromEnv;

/// Whether a connection keeps its prepared statements on the server. A proxy that lends a server's connection for one transaction at
/// a time, as PgBouncer does with `pool_mode = transaction`, does not keep them: see
/// [behind PgBouncer](super#behind-pgbouncer-and-other-proxies).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prepare {
    /// `auto`: `named` on a server, `unnamed` behind a proxy. Each new connection asks for that, in one round trip: the process id of
    /// `pg_backend_pid()` is another one than the server has said at the start, if a proxy has answered in its place.
    #[default]
    Auto,
    /// `named`: the server keeps the statements. A statement that is run again is neither sent nor parsed again.
    Named,
    /// `unnamed`: the server keeps nothing. Each run of a statement sends its text, in the same round trip.
    Unnamed,
}

impl FromEnv for Prepare {
    const EXPECTED: &'static str = "auto, named or unnamed";

    fn from_env(text: &str) -> Option<Self> {
        match text {
            "auto" => Some(Self::Auto),
            "named" => Some(Self::Named),
            "unnamed" => Some(Self::Unnamed),
            _ => None,
        }
    }
}
