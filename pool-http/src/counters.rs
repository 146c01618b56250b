//! What one client has done, over all its origins.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use crate::status::Totals;

/// The counts behind [`Totals`]. Each is only ever read to be shown, so `Relaxed` will do.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: AtomicU64,
    resumed: AtomicU64,
    renewed: AtomicU64,
    open: AtomicUsize,
    peak: AtomicUsize,
}

/// One open socket: whoever holds this is counted.
#[derive(Debug)]
pub(crate) struct Open(Arc<Counters>);

impl Counters {
    /// A socket was connected.
    pub(crate) fn opened(self: &Arc<Self>) -> Open {
        self.opened.fetch_add(1, Relaxed);
        let open = self.open.fetch_add(1, Relaxed) + 1;
        self.peak.fetch_max(open, Relaxed);
        Open(Arc::clone(self))
    }

    /// A TLS handshake continued an earlier session.
    #[cfg(feature = "tls")]
    pub(crate) fn resumed(&self) {
        self.resumed.fetch_add(1, Relaxed);
    }

    /// A kept-alive connection was found dead and replaced under a request.
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
