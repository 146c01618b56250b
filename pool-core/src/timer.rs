//! A deadline that any runtime can keep.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    runtime::{self, Handle},
    time::{Instant, Sleep, sleep_until},
};

/// A point in time that is waited for on whichever tokio runtime polls it.
///
/// A timer of tokio's own belongs to the runtime that made it, and panics when it is polled after the end of that. So it is made
/// when it is first polled, and made anew when it is polled on another runtime.
#[derive(Debug)]
pub(crate) struct Timer {
    at: Instant,
    sleep: Option<(runtime::Id, Pin<Box<Sleep>>)>,
}

/// It was polled outside of tokio, where nobody keeps the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRuntime;

impl Timer {
    pub(crate) const fn new(at: Instant) -> Self {
        Self { at, sleep: None }
    }

    /// Another point in time, with the same memory.
    pub(crate) fn reset(&mut self, at: Instant) {
        self.at = at;
        let here = Handle::try_current().map(|runtime| runtime.id());
        match &mut self.sleep {
            Some((id, sleep)) if here.is_ok_and(|here| here == *id) => sleep.as_mut().reset(at),
            elsewhere => *elsewhere = None,
        }
    }

    /// Has it come?
    ///
    /// # Panics
    /// On a runtime that was built without a timer.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), NoRuntime>> {
        let Ok(here) = Handle::try_current().map(|runtime| runtime.id()) else {
            return Poll::Ready(Err(NoRuntime));
        };
        let sleep = match &mut self.sleep {
            Some((id, sleep)) if *id == here => sleep,
            elsewhere => &mut elsewhere.insert((here, Box::pin(sleep_until(self.at)))).1,
        };
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Ok(()))
    }
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{future::poll_fn, task::Waker, time::Duration};

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    fn runtime() -> Runtime {
        let mut builder = Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    }

    #[test]
    fn it_outlives_the_runtime_that_polled_it_first() {
        let first = runtime();
        let _entered = first.enter();
        let mut timer = Timer::new(Instant::now() + Duration::from_millis(20));
        let mut context = Context::from_waker(Waker::noop());
        assert!(timer.poll(&mut context).is_pending());
        drop(_entered);
        drop(first);
        assert_eq!(timer.poll(&mut context), Poll::Ready(Err(NoRuntime)));
        assert_eq!(
            runtime().block_on(poll_fn(|context| timer.poll(context))),
            Ok(())
        );
    }

    #[test]
    fn it_can_be_set_again() {
        runtime().block_on(async {
            let start = Instant::now();
            let mut timer = Timer::new(start);
            for ms in [0, 5, 30] {
                let at = start + Duration::from_millis(ms);
                timer.reset(at);
                assert_eq!(poll_fn(|context| timer.poll(context)).await, Ok(()));
                assert!(Instant::now() >= at);
            }
        });
    }
}
