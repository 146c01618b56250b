//! The task that takes back what nobody fetches.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Inner;

/// Keeps the time for a limiter until that is gone, on the runtime that has the number `home`. Holds it weakly: a limiter does not
/// live for its keeper.
pub(super) fn keep(
    inner: &Arc<Inner>,
    home: u64,
    after: Duration,
    driven: bool,
) -> impl Future<Output = ()> + Send + use<> {
    // Made here and not in the future: a runtime that ends before the first poll drops it all the same.
    let mut keeper = Keeper {
        inner: Arc::downgrade(inner),
        home,
        after,
        driven,
        sleep: None,
    };
    async move { poll_fn(|context| keeper.poll(context)).await }
}

struct Keeper {
    inner: Weak<Inner>,
    home: u64,
    after: Duration,
    /// Does its runtime drive itself?
    driven: bool,
    /// Until the next tick; none while there is nothing to wait for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Keeper {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let tick = TICK.min(self.after);
            let mut passed = Duration::ZERO;
            if let Some(sleep) = &mut self.sleep {
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                passed = tick;
            }
            let Some(inner) = self.inner.upgrade() else {
                return Poll::Ready(());
            };
            let (permits, keeper) = (&inner.permits, context.waker());
            if !permits.tick(self.home, passed, self.after, keeper) {
                self.sleep = None;
                return Poll::Pending;
            }
            drop(inner);
            let at = Instant::now() + tick;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(at),
                none => *none = Some(Box::pin(sleep_until(at))),
            }
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            // A runtime without a timer: another keeper would fare no better.
            let again = !std::thread::panicking();
            if self.driven {
                // Ordering: Relaxed, as where it is read. Those in line are woken after this.
                inner.driven.store(false, Ordering::Relaxed);
            }
            inner.permits.keeper_left(self.home, again);
        }
    }
}

/// How often it looks, while a grant is on its way.
const TICK: Duration = Duration::from_millis(10);
