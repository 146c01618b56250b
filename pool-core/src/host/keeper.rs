//! The keeper: the one task of a pool, which runs when something falls due.
//!
//! It runs on a runtime on which a get waits. If that runtime ends, the keeper leaves its post, and the next get that is polled
//! starts another. If that runtime stands still, a waiter on another runtime replaces the keeper; such a waiter keeps its own time
//! meanwhile ([`look_after`]).

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker},
};

#[cfg(feature = "metrics")]
use super::Published;
use super::{Caught, Hosted, TICK};
use crate::{
    engine::{
        Kept,
        mutation::{self, Mutation},
    },
    moment::Moment,
    rt::{self, Handle, Sleep, sleep_until},
};

/// The result of a round of the keeper.
pub(crate) struct Round {
    /// When to come by again.
    pub(crate) next: Moment,
    /// Whether the pool was closed.
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "for publishing"))]
    pub(crate) closed: bool,
    /// Leases and returns so far. If this did not change, nothing happened since the last round.
    pub(crate) activity: u64,
}

#[inline]
pub(crate) fn runs<P: Hosted>(pool: &P) -> bool {
    pool.kernel().post().is_filled()
}

/// Makes sure that there is a keeper. Called by gets that have to wait, on their runtime.
pub(crate) fn ensure<P: Hosted>(pool: &Arc<P>, runtime: &Handle) {
    if let Some(number) = pool.kernel().post().enter() {
        start(pool, runtime, number);
    }
}

/// Whether the keeper is on another runtime than this thread, which may not be driven.
#[inline]
pub(crate) fn is_elsewhere<P: Hosted>(pool: &P) -> bool {
    let here = || Handle::try_current().ok().map(|here| here.id());
    pool.host().home.is_elsewhere(here)
}

/// Starts another keeper here, if the keeper elsewhere does not come by any more.
#[cold]
pub(crate) fn look_after<P: Hosted>(pool: &Arc<P>, now: Moment) {
    let Ok(here) = Handle::try_current() else {
        return;
    };
    let (host, kernel) = (pool.host(), pool.kernel());
    if host.home.is(here.id()) {
        return;
    }
    let stalled = host.clock.is_stalled(now);
    if let Some(number) = kernel.replace_keeper(now, stalled) {
        start(pool, &here, number);
        // The new keeper does not count as late before its first round.
        host.clock.advance(host.clock.read());
        // Waiters that relied on the last keeper look where this keeper is.
        kernel.all_in_line().into_iter().for_each(Waker::wake);
    }
}

#[cold]
fn start<P: Hosted>(pool: &Arc<P>, runtime: &Handle, number: u64) {
    {
        let host = pool.host();
        let mut kept = host.runtime.lock();
        // If another keeper has the post by now, it sets its own runtime after this or has set it already.
        if pool.kernel().post().is_held_by(number) {
            *kept = Some(runtime.clone());
            host.home.set(runtime.id(), rt::drives_itself(runtime));
        }
    }
    // Made here and not in the future: if a runtime ends before the first poll, it still drops the keeper.
    let mut keeper = Keeper {
        pool: Arc::downgrade(pool),
        number,
        sleep: None,
        activity: 0,
    };
    let keeps = async move { poll_fn(|context| keeper.poll(context)).await };
    drop(runtime.spawn(async move {
        // A panic in the kernel has poisoned the pool: nothing is left to do.
        drop(Caught::new(keeps).await);
    }));
}

/// Keeps the pool until it is closed and empty, or until another keeper has the post. Holds the pool weakly: a keeper does not keep
/// its pool alive. `number` is the number of this keeper.
struct Keeper<P: Hosted> {
    pool: Weak<P>,
    number: u64,
    sleep: Option<Pin<Box<Sleep>>>,
    activity: u64,
}

impl<P: Hosted> Keeper<P> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(pool) = self.pool.upgrade() else {
                return Poll::Ready(());
            };
            let Some(next) = self.round(&pool, context) else {
                #[cfg(feature = "metrics")]
                if pool.kernel().is_over() {
                    pool.publish();
                }
                return Poll::Ready(());
            };
            if next == Moment::NEVER {
                self.sleep = None;
                return Poll::Pending;
            }
            let at = pool.host().clock.instant(next);
            drop(pool);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Does what is due. Returns when to come by again; `None` means never.
    fn round(&mut self, pool: &Arc<P>, context: &Context<'_>) -> Option<Moment> {
        let clock = &pool.host().clock;
        let reading = clock.read();
        let now = reading.now;
        clock.advance(reading);
        let Round {
            next,
            #[cfg(feature = "metrics")]
            closed,
            activity,
            ..
        } = pool.round(self.number, now, context)?;
        #[cfg(feature = "metrics")]
        let next = next.min(pool.publish_if_due(now, closed));
        if self.activity == activity {
            // Nothing happened since the last round: the tick stands still until a reader asks for the time.
            clock.stop();
            return Some(next);
        }
        self.activity = activity;
        clock.start(reading);
        Some(next.min(now + TICK))
    }
}

impl<P: Hosted> Drop for Keeper<P> {
    fn drop(&mut self) {
        let Some(pool) = self.pool.upgrade() else {
            return;
        };
        if !mutation::on(Mutation::KeeperIsNotRestarted) {
            pool.kernel().keeper_left(self.number);
        }
        // The tick stops after the keeper left: a thread that starts the tick then looks whether there is a keeper.
        pool.host().clock.stop();
    }
}
