//! The one task that a keyed pool keeps, for all its keys: it comes by when something falls due.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use tokio::time::{Sleep, sleep_until};

use super::{KeyedManager, inner::Inner, kernel::Kernel};
#[cfg(feature = "metrics")]
use crate::observe::Published;
use crate::{
    moment::Moment,
    pool::{TICK, lease_info},
};

/// Keeps the pool until it is closed and everything gone. Holds it weakly: a pool does not live for its keeper.
pub(super) fn keep<K: Send + Sync + 'static, M: KeyedManager<K>>(
    inner: &Arc<Inner<K, M>>,
) -> impl Future<Output = ()> + Send + use<K, M> {
    // Made here and not in the future: a runtime that ends before the first poll drops it all the same.
    let mut keeper = Keeper {
        inner: Arc::downgrade(inner),
        sleep: None,
        activity: 0,
    };
    async move { poll_fn(|context| keeper.poll(context)).await }
}

struct Keeper<K: Send + Sync + 'static, M: KeyedManager<K>> {
    inner: Weak<Inner<K, M>>,
    sleep: Option<Pin<Box<Sleep>>>,
    activity: u64,
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Keeper<K, M> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(inner) = self.inner.upgrade() else {
                return Poll::Ready(());
            };
            if inner.kernel.is_drained() {
                #[cfg(feature = "metrics")]
                inner.publish();
                return Poll::Ready(());
            }
            let next = self.round(&inner, context);
            if next == Moment::NEVER {
                self.sleep = None;
                return Poll::Pending;
            }
            let at = inner.clock.instant(next);
            drop(inner);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Does what is due; when to come by again.
    fn round(&mut self, inner: &Arc<Inner<K, M>>, context: &Context<'_>) -> Moment {
        let now = inner.clock.now();
        inner.clock.advance(now);
        let tick = Kernel::tick(&inner.kernel, now, context.waker().clone());
        for (key, holder) in tick.leaks {
            inner.leaked(&key, &lease_info(holder, now));
        }
        inner.perform(tick.work);
        let next = tick.next;
        #[cfg(feature = "metrics")]
        let next = next.min(inner.publish_if_due(now, inner.kernel.is_closed()));
        if self.activity == tick.activity {
            // Nothing happened since the last round: let the tick stand, until somebody asks for the time.
            inner.clock.stop();
            return next;
        }
        self.activity = tick.activity;
        inner.clock.start(now);
        next.min(now + TICK)
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Drop for Keeper<K, M> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.upgrade() else {
            return;
        };
        inner.kernel.keeper_left();
        // After that: who starts the tick looks then whether there is a keeper.
        inner.clock.stop();
    }
}
