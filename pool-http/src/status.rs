//! What a client is doing, as plain data.

use pool_core::Status;

/// One look at a client: [`Client::status`](crate::Client::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientStatus {
    /// The origins with a pool, each a consistent snapshot of its own, in the order of their names.
    pub origins: Vec<OriginStatus>,
    /// Over all origins since the client was built, those that are gone included.
    pub totals: Totals,
}

/// The pool of one origin.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OriginStatus {
    /// Scheme, host and port: `https://example.com`.
    pub origin: String,
    /// Its connections and who waits for them.
    pub pool: Status,
}

/// Counts over all origins of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Sockets connected since the client was built.
    pub opened: u64,
    /// TLS handshakes that continued an earlier session instead of making a new one.
    pub resumed: u64,
    /// Kept-alive connections that were found dead and replaced under a request, unseen by its caller.
    pub renewed: u64,
    /// Sockets open now.
    pub open: usize,
    /// The most that were ever open at once.
    pub peak: usize,
}
