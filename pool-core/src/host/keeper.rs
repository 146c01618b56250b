//! The one task that a pool keeps: it comes by when something falls due.
//!
//! It runs where somebody waits. A keeper whose runtime ends leaves its post, and whoever is polled next starts another; one whose runtime
//! stands still is replaced by a waiter elsewhere that keeps its own time meanwhile ([`look_after`]).

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

/// What a round of the keeper came to.
pub(crate) struct Round {
    /// When to come by again.
    pub(crate) next: Moment,
    /// Was the pool closed?
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "for publishing"))]
    pub(crate) closed: bool,
    /// Leases and returns so far: has anything happened since the last round?
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

/// Starts another keeper here if the one elsewhere does not come by any more.
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
        // It is not late before it had its turn.
        host.clock.advance(host.clock.read());
        // Those who relied on the last one look where this one is.
        kernel.all_in_line().into_iter().for_each(Waker::wake);
    }
}

#[cold]
fn start<P: Hosted>(pool: &Arc<P>, runtime: &Handle, number: u64) {
    {
        let host = pool.host();
        let mut kept = host.runtime.lock();
        // Whoever has passed it on meanwhile comes after this, or has been here.
        if pool.kernel().post().is_held_by(number) {
            *kept = Some(runtime.clone());
            host.home.set(runtime.id(), rt::drives_itself(runtime));
        }
    }
    // Made here and not in the future: a runtime that ends before the first poll drops it all the same.
    let mut keeper = Keeper {
        pool: Arc::downgrade(pool),
        number,
        sleep: None,
        activity: 0,
    };
    let keeps = async move { poll_fn(|context| keeper.poll(context)).await };
    drop(runtime.spawn(async move {
        // A panic of the kernel's has poisoned the pool: there is nothing left to keep.
        drop(Caught::new(keeps).await);
    }));
}

/// Keeps the pool until it is closed and everything gone, or until another keeper has its place. Holds it weakly: a pool does not live
/// for its keeper, which is the one of this `number`.
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

    /// Does what is due; when to come by again. `None`: never.
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
            // Nothing happened since the last round: let the tick stand, until somebody asks for the time.
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
        // After that: who starts the tick looks then whether there is a keeper.
        pool.host().clock.stop();
    }
}
