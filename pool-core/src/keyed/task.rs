//! What runs on the pool's own tasks: opening, checking, resetting, closing.
//!
//! Each task owns what it works on. However it ends (an error, a panic, a timeout, a runtime that goes away), the slot or the
//! seat is handed on or dropped, and a dropped one frees its place.

use std::{pin::pin, sync::Arc};

#[cfg(feature = "tracing")]
use super::trace;
use super::{
    KeyedManager,
    inner::{Inner, Seat, Slot, usage_of},
    kernel::{Kernel, Opened},
    limits::Terms,
};
use crate::{
    moment::Moment,
    observe::CloseReason,
    pool::{Caught, OpenError, bounded, caught, lifetime_end, unless},
};

/// Opens one on `seat`, for its key.
pub(super) async fn open<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: Arc<Inner<K, M>>,
    seat: Seat<K, M>,
    terms: Arc<Terms>,
) {
    let key = Arc::clone(seat.key());
    let (started, limit) = (inner.clock.now(), terms.create_timeout);
    let create = Caught::new(async { inner.manager.create(&key).await });
    #[cfg(feature = "tracing")]
    let (trace, create) = trace::open(&inner, &key, create);
    let outcome = {
        let mut open = pin!(tokio::time::timeout(limit, create));
        loop {
            // Before it looks: so it is called if it is not wanted after that.
            let called = inner.calls.notified();
            if !inner.kernel.is_wanted(&seat) {
                break None;
            }
            if let Some(outcome) = unless(called, open.as_mut()).await {
                break Some(outcome);
            }
        }
    };
    let Some(outcome) = outcome else {
        // What was half open is dropped: now its place is free.
        let now = inner.clock.now();
        return inner.perform(Kernel::closed(&inner.kernel, seat, now));
    };
    let now = inner.clock.now();
    let took = now - started;
    let error = match outcome {
        Ok(Ok(Ok(item))) => {
            let jitter = inner.config.lifetime_jitter;
            let expires_at = lifetime_end(now, terms.max_lifetime, jitter);
            let opened = Opened {
                item,
                expires_at,
                took,
            };
            #[cfg(feature = "tracing")]
            drop(trace.opened(took));
            inner.perform(Kernel::opened(&inner.kernel, seat, opened, now));
            return inner.tell(&key, |observer, pool| observer.opened(pool, took));
        }
        Ok(Ok(Err(error))) => OpenError::Manager(error),
        Ok(Err(panic)) => OpenError::Panicked(panic),
        Err(_) => OpenError::TimedOut(limit),
    };
    #[cfg(feature = "tracing")]
    drop(trace.failed(took, &error));
    let error = Arc::new(error);
    let (kept, jitter) = (Arc::clone(&error), fastrand::f64());
    inner.perform(Kernel::open_failed(&inner.kernel, seat, kept, now, jitter));
    inner.tell(&key, |observer, pool| observer.open_failed(pool, &*error));
}

/// Checks one before somebody gets it, or for its own good.
pub(super) async fn check<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: Arc<Inner<K, M>>,
    mut slot: Box<Slot<K, M>>,
) {
    let started = inner.clock.now();
    let usage = usage_of(&slot, started);
    let passed = match caught(|| inner.manager.is_broken(&mut slot.item)) {
        Ok(false) => {
            bounded(inner.config.check_timeout, async {
                inner.manager.check(&mut slot.item, &usage).await
            })
            .await
        }
        Ok(true) | Err(_) => false,
    };
    finish(&inner, slot, passed, started, CloseReason::CheckFailed);
}

/// Makes one clean for the next user.
pub(super) async fn reset<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: Arc<Inner<K, M>>,
    mut slot: Box<Slot<K, M>>,
) {
    let started = inner.clock.now();
    let usage = usage_of(&slot, started);
    let passed = bounded(inner.config.reset_timeout, async {
        inner.manager.reset(&mut slot.item, &usage).await
    })
    .await;
    slot.tainted = false;
    slot.idle_since = started;
    finish(&inner, slot, passed, started, CloseReason::ResetFailed);
}

/// Closes one, and only then gives its seat to the key whose turn it is.
pub(super) async fn close<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: Arc<Inner<K, M>>,
    slot: Box<Slot<K, M>>,
) {
    let Slot::<K, M> { item, seat, .. } = *slot;
    let goodbye = Caught::new(async { inner.manager.close(item).await });
    // However that ended, there is nothing left to close.
    drop(tokio::time::timeout(inner.config.close_timeout, goodbye).await);
    let now = inner.clock.now();
    inner.perform(Kernel::closed(&inner.kernel, seat, now));
}

fn finish<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: &Arc<Inner<K, M>>,
    slot: Box<Slot<K, M>>,
    passed: bool,
    started: Moment,
    otherwise: CloseReason,
) {
    let now = inner.clock.now();
    if passed {
        inner.perform(Kernel::put_clean(&inner.kernel, slot, now, now - started));
    } else {
        inner.discard(slot, otherwise);
    }
}
