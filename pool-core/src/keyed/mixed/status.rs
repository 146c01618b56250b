//! The counts of a mixed pool.

use crate::{
    keyed::{inner::status_of, keep::Snapshot},
    observe::Status,
};

/// All counts of a [`MixedPool`](super::MixedPool), or of one of its keys, taken together at one moment.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct MixedStatus {
    /// The counts of connections and gets. A shared connection is leased while a share of it is out. Leases and shares that were
    /// handed out are counted together in `gets`.
    pub connections: Status,
    /// Open connections that are shared.
    pub shared: u32,
    /// Shared connections that take no more shares, and close with their last share.
    pub draining: u32,
    /// Shared connections that are suspect.
    pub suspect: u32,
    /// Shares that are out, including shares that were handed to a get that has not fetched them yet.
    pub shares: u32,
    /// Shares that are free now.
    pub available: u32,
}

impl MixedStatus {
    pub(super) fn new<E: std::fmt::Display>(of: &Snapshot<E>) -> Self {
        let links = of.links;
        Self {
            connections: status_of(of),
            shared: links.open,
            draining: links.draining,
            suspect: links.suspect,
            shares: links.used,
            available: links.free,
        }
    }
}
