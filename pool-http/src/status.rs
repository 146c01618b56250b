//! The status of a client, as plain data.

use pool_core::Status;

/// A snapshot of a client. See [`Client::status`](crate::Client::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientStatus {
    /// The origins that have a pool, sorted by name. Each entry is consistent in itself.
    pub origins: Vec<OriginStatus>,
    /// Counts over all origins since the client was built, including origins that were evicted.
    pub totals: Totals,
}

/// The status of one origin.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OriginStatus {
    /// The scheme, host and port, as in `https://example.com`.
    pub origin: String,
    /// The status of the origin's pool: its connections and waiters.
    pub pool: Status,
}

/// Counts over all origins of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// How many sockets were connected since the client was built.
    pub opened: u64,
    /// How many TLS handshakes resumed an earlier session.
    pub resumed: u64,
    /// How many kept-alive connections turned out to be dead when a request was sent, and were replaced without an error for the
    /// caller.
    pub renewed: u64,
    /// How many sockets are open now.
    pub open: usize,
    /// The largest number of sockets that were open at once.
    pub peak: usize,
}
