//! The alarm that tells the holders of shares that their connection died.

use std::sync::atomic::{AtomicBool, Ordering};

use super::caught;
use crate::rt::Notify;

/// Rings once, for all who wait and all who ask later.
#[derive(Debug)]
pub(crate) struct Alarm {
    rang: AtomicBool,
    bell: Notify,
}

impl Alarm {
    pub(crate) fn new() -> Self {
        Self {
            rang: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }

    pub(crate) fn ring(&self) {
        // Ordering: Release pairs with the Acquire in `has_rung`.
        self.rang.store(true, Ordering::Release);
        drop(caught(|| self.bell.notify_waiters()));
    }

    #[inline]
    pub(crate) fn has_rung(&self) -> bool {
        // Ordering: Acquire pairs with the Release in `ring`.
        self.rang.load(Ordering::Acquire)
    }

    /// Waits until the alarm rings.
    pub(crate) async fn rings(&self) {
        loop {
            let bell = self.bell.notified();
            // Look after `notified` was called, so that no alarm between the two is missed.
            if self.has_rung() {
                return;
            }
            bell.await;
        }
    }
}
