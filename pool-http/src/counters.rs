//! The counters of a client, over all its origins.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crate::status::Totals;

/// The counters behind [`Totals`]. They are read for display only, so `Relaxed` is enough.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: AtomicU64,
    resumed: AtomicU64,
    renewed: AtomicU64,
    open: AtomicUsize,
    peak: AtomicUsize,
}

/// Counts one open socket. Its drop ends the count.
#[derive(Debug)]
pub(crate) struct Open(Arc<Counters>);

impl Counters {
    /// Counts a socket that was connected.
    pub(crate) fn opened(self: &Arc<Self>) -> Open {
        self.opened.fetch_add(1, Relaxed);
        let open = self.open.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(open, Relaxed);
        Open(Arc::clone(self))
    }

    /// Counts a TLS handshake that resumed an earlier session.
    #[cfg(feature = "tls")]
    pub(crate) fn resumed(&self) {
        self.resumed.fetch_add(1, Relaxed);
    }

    /// Counts a dead kept-alive connection that was replaced when a request was sent.
    pub(crate) fn renewed(&self) {
        self.renewed.fetch_add(1, Relaxed);
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            opened: self.opened.load(Relaxed),
            resumed: self.resumed.load(Relaxed),
            renewed: self.renewed.load(Relaxed),
            open: self.open.load(Relaxed),
            peak: self.peak.load(Relaxed),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}
