//! What runs on the pool's own tasks: opening, checking, resetting, closing.
//!
//! Each task owns what it works on. However it ends (an error, a panic, a timeout, a runtime that goes away), the slot or the
//! seat is handed on or dropped, and a dropped one frees its place.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

#[cfg(feature = "tracing")]
use super::trace::{self, OpenTrace};
use super::{
    Manager,
    caught::{Caught, caught},
    failure::OpenError,
    shared::{Held, Seat, Shared, Slot, usage_of},
};
use crate::{
    engine::{
        Kernel, Opened,
        mutation::{self, Mutation},
    },
    moment::Moment,
    observe::CloseReason,
    rt,
};

/// Opens one on `seat`.
pub(crate) async fn open<M: Manager>(shared: Arc<Shared<M>>, seat: Seat<M>) {
    let closing = shared.closing.notified();
    let started = shared.clock.now();
    // Whoever wanted it may have gone before this had its turn.
    if !shared.kernel.begin_open(&seat, started) {
        return;
    }
    let limit = shared.config.create_timeout;
    let create = Caught::new(async { shared.manager.create().await });
    #[cfg(feature = "tracing")]
    let (trace, create) = OpenTrace::around(&shared.name, create);
    // `None`: nobody wants it any more, and what was half open is dropped.
    let Some(outcome) = unless(closing, rt::timeout(limit, create)).await else {
        return;
    };
    let now = shared.clock.now();
    let error = match outcome {
        Ok(Ok(Ok(resource))) => {
            let took = now - started;
            let expires_at = lifetime_end(
                now,
                shared.config.max_lifetime,
                shared.config.lifetime_jitter,
            );
            let (put, work) = Kernel::opened(
                &shared.kernel,
                seat,
                Opened {
                    item: Held {
                        resource,
                        home: Arc::new(Arc::clone(&shared)),
                    },
                    expires_at,
                    took,
                },
                now,
            );
            shared.settle(put);
            shared.perform(work);
            #[cfg(feature = "tracing")]
            trace::opened(&shared, trace, took);
            return shared.tell(|observer, pool| observer.opened(pool, took));
        }
        Ok(Ok(Err(error))) => OpenError::Manager(error),
        Ok(Err(_)) if mutation::on(Mutation::PanickedOpenKeepsSeat) => {
            return std::mem::forget(seat);
        }
        Ok(Err(panic)) => OpenError::Panicked(panic),
        Err(_) => OpenError::TimedOut(limit),
    };
    let error = Arc::new(error);
    let work = Kernel::open_failed(
        &shared.kernel,
        seat,
        Arc::clone(&error),
        now,
        fastrand::f64(),
    );
    shared.perform(work);
    #[cfg(feature = "tracing")]
    trace::failed(&shared, trace, now - started, &error);
    shared.tell(|observer, pool| observer.open_failed(pool, &*error));
}

/// Checks one before somebody gets it, or for its own good.
pub(crate) async fn check<M: Manager>(shared: Arc<Shared<M>>, mut slot: Box<Slot<M>>) {
    let started = shared.clock.now();
    let usage = usage_of(&slot, started);
    let passed = match caught(|| shared.manager.is_broken(&mut slot.item.resource)) {
        Ok(false) => {
            bounded(shared.config.check_timeout, async {
                shared.manager.check(&mut slot.item.resource, &usage).await
            })
            .await
        }
        Ok(true) | Err(_) => false,
    };
    finish(&shared, slot, passed, started, CloseReason::CheckFailed);
}

/// Makes one clean for the next user.
pub(crate) async fn reset<M: Manager>(shared: Arc<Shared<M>>, mut slot: Box<Slot<M>>) {
    let started = shared.clock.now();
    let usage = usage_of(&slot, started);
    let passed = bounded(shared.config.reset_timeout, async {
        shared.manager.reset(&mut slot.item.resource, &usage).await
    })
    .await;
    let passed = passed || mutation::on(Mutation::FailedResetIsHandedOn);
    slot.tainted = false;
    slot.idle_since = started;
    finish(&shared, slot, passed, started, CloseReason::ResetFailed);
}

/// Closes one, and only then frees its seat.
pub(crate) async fn close<M: Manager>(shared: Arc<Shared<M>>, slot: Box<Slot<M>>) {
    let Slot::<M> { item, seat, .. } = *slot;
    let goodbye = Caught::new(async { shared.manager.close(item.resource).await });
    if mutation::on(Mutation::CloseHasNoEnd) {
        drop(goodbye.await);
        return drop(seat);
    }
    // However that ended, there is nothing left to close.
    drop(rt::timeout(shared.config.close_timeout, goodbye).await);
    drop(seat);
}

fn finish<M: Manager>(
    shared: &Arc<Shared<M>>,
    slot: Box<Slot<M>>,
    passed: bool,
    started: Moment,
    otherwise: CloseReason,
) {
    let now = shared.clock.now();
    if passed {
        shared.settle(shared.kernel.put_clean(slot, now, now - started));
    } else {
        shared.discard(slot, otherwise);
    }
}

/// What `work` comes to; `None` if `stop` comes first.
pub(crate) async fn unless<T>(
    stop: impl Future<Output = ()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let (mut stop, mut work) = (pin!(stop), pin!(work));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => stop.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Did it succeed, in time and without a panic?
pub(crate) async fn bounded<E>(limit: Duration, work: impl Future<Output = Result<(), E>>) -> bool {
    matches!(rt::timeout(limit, Caught::new(work)).await, Ok(Ok(Ok(()))))
}

/// When the lifetime of what was opened `now` ends: shortened at random, by up to the share `jitter`.
pub(crate) fn lifetime_end(now: Moment, lifetime: Option<Duration>, jitter: f64) -> Moment {
    match lifetime {
        None => Moment::NEVER,
        Some(lifetime) => now + lifetime.mul_f64(1.0 - jitter * fastrand::f64()),
    }
}
