//! The one task that a pool keeps: it comes by when something falls due.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll},
};

use super::{
    Manager,
    shared::{Shared, TICK, lease_info},
};
#[cfg(feature = "metrics")]
use crate::observe::Published;
use crate::{
    engine::{
        Kernel,
        mutation::{self, Mutation},
    },
    moment::Moment,
    rt::{Sleep, sleep_until},
};

/// Keeps the pool until it is closed and everything gone, or until another keeper has its place. Holds it weakly: a pool does not live
/// for its keeper, which is the one of this `number`.
pub(crate) fn keep<M: Manager>(
    shared: &Arc<Shared<M>>,
    number: u64,
) -> impl Future<Output = ()> + Send + use<M> {
    // Made here and not in the future: a runtime that ends before the first poll drops it all the same.
    let mut keeper = Keeper {
        shared: Arc::downgrade(shared),
        number,
        sleep: None,
        activity: 0,
    };
    async move { poll_fn(|context| keeper.poll(context)).await }
}

struct Keeper<M: Manager> {
    shared: Weak<Shared<M>>,
    number: u64,
    sleep: Option<Pin<Box<Sleep>>>,
    activity: u64,
}

impl<M: Manager> Keeper<M> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(shared) = self.shared.upgrade() else {
                return Poll::Ready(());
            };
            let Some(next) = self.round(&shared, context) else {
                #[cfg(feature = "metrics")]
                if shared.kernel.is_over() {
                    shared.publish();
                }
                return Poll::Ready(());
            };
            if next == Moment::NEVER {
                self.sleep = None;
                return Poll::Pending;
            }
            let at = shared.clock.instant(next);
            drop(shared);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }

    /// Does what is due; when to come by again. `None`: never.
    fn round(&mut self, shared: &Arc<Shared<M>>, context: &Context<'_>) -> Option<Moment> {
        let now = shared.clock.now();
        shared.clock.advance(now);
        let waker = context.waker().clone();
        let tick = Kernel::round(&shared.kernel, self.number, now, waker)?;
        for holder in tick.leaks {
            let lease = lease_info(holder, now);
            shared.leaked(&lease);
        }
        shared.perform(tick.work);
        let next = tick.next;
        #[cfg(feature = "metrics")]
        let next = next.min(shared.publish_if_due(now, tick.closed));
        if self.activity == tick.activity {
            // Nothing happened since the last round: let the tick stand, until somebody asks for the time.
            shared.clock.stop();
            return Some(next);
        }
        self.activity = tick.activity;
        shared.clock.start(now);
        Some(next.min(now + TICK))
    }
}

impl<M: Manager> Drop for Keeper<M> {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else {
            return;
        };
        if !mutation::on(Mutation::KeeperIsNotRestarted) {
            shared.kernel.keeper_left(self.number);
        }
        // After that: who starts the tick looks then whether there is a keeper.
        shared.clock.stop();
    }
}
