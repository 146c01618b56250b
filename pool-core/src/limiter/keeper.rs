//! The task that takes back unfetched grants.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, Weak, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::Inner;

/// Keeps the time for a limiter, on the runtime with the number `home`, until the limiter is gone. Holds the limiter weakly: a
/// keeper does not keep it alive.
pub(super) fn keep(
    inner: &Arc<Inner>,
    home: u64,
    after: Duration,
    driven: bool,
) -> impl Future<Output = ()> + Send + use<> {
    // Made here and not in the future: if a runtime ends before the first poll, it still drops the keeper.
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
    /// Whether the runtime drives itself.
    driven: bool,
    /// Sleeps until the next tick; `None` while no grant is unfetched.
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
            // The runtime has no timer: another keeper would fail as well.
            let again = !std::thread::panicking();
            if self.driven {
                // Ordering: Relaxed, as where it is read. The waiters in the queue are woken after this.
                inner.driven.store(false, Ordering::Relaxed);
            }
            inner.permits.keeper_left(self.home, again);
        }
    }
}

/// How often the keeper looks, while a grant is unfetched.
const TICK: Duration = Duration::from_millis(10);
