//! The timer of a wait.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use crate::{
    engine::mutation::{self, Mutation},
    rt::{Handle, Id, Instant, JoinHandle, Sleep, now, sleep_until},
};

/// A point in time that can be awaited on any runtime, or on none.
///
/// A tokio timer belongs to the runtime that made it, and panics when it is polled after that runtime has ended. So the timer is
/// made when it is first polled, which for a wait is when the wait is no longer short. It is made anew when it is polled on another
/// runtime.
pub(crate) struct Timer(Option<Made>);

enum Made {
    /// Made by the runtime on which it is polled, for this time.
    Here(Id, Instant, Pin<Box<Sleep>>),
    /// For a thread without a runtime: a task on another runtime. Polling a tokio timer from such a thread would race the end of
    /// its runtime, after which the poll panics. A task can be polled at any time.
    Elsewhere(Instant, Alarm),
    /// Must be made again, by a runtime that still runs.
    Lost,
}

/// A task that ends at the deadline, or with its runtime.
struct Alarm(JoinHandle<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The timer was polled outside of tokio, where nothing keeps the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRuntime;

impl Timer {
    pub(crate) const fn new() -> Self {
        Self(None)
    }

    pub(crate) const fn is_made(&self) -> bool {
        self.0.is_some()
    }

    /// When the timer fires, if it was made by a runtime on which it was polled.
    pub(crate) const fn rings_at(&self) -> Option<Instant> {
        match &self.0 {
            Some(Made::Here(_, at, _)) => Some(*at),
            _ => None,
        }
    }

    /// Polls whether the time is `at`. On a thread without a runtime, the runtime that `runtime` returns keeps the time.
    ///
    /// # Panics
    /// Panics on a runtime that was built without a timer.
    pub(crate) fn poll(
        &mut self,
        at: Instant,
        runtime: impl FnOnce() -> Option<Handle>,
        context: &mut Context<'_>,
    ) -> Poll<Result<(), NoRuntime>> {
        match Handle::try_current() {
            Ok(here) => match &mut self.0 {
                Some(Made::Here(by, rings, sleep)) if *by == here.id() => {
                    if *rings != at {
                        *rings = at;
                        sleep.as_mut().reset(at);
                    }
                }
                _ => self.0 = Some(Made::Here(here.id(), at, Box::pin(sleep_until(at)))),
            },
            Err(_) if mutation::on(Mutation::TimerIsPolledElsewhere) => {
                if self.0.is_none()
                    && let Some(runtime) = runtime()
                {
                    let _entered = runtime.enter();
                    let sleep = Box::pin(sleep_until(at));
                    self.0 = Some(Made::Here(runtime.id(), at, sleep));
                }
            }
            Err(_) if !matches!(&self.0, Some(Made::Elsewhere(rings, _)) if *rings == at) => {
                let Some(runtime) = runtime() else {
                    self.0 = None;
                    return Poll::Ready(Err(NoRuntime));
                };
                let alarm = Alarm(runtime.spawn(async move { sleep_until(at).await }));
                self.0 = Some(Made::Elsewhere(at, alarm));
            }
            Err(_) => {}
        }
        match &mut self.0 {
            Some(Made::Here(.., sleep)) => sleep.as_mut().poll(context).map(Ok),
            Some(Made::Elsewhere(_, alarm)) => {
                if Pin::new(&mut alarm.0).poll(context).is_pending() {
                    return Poll::Pending;
                }
                if now() >= at {
                    return Poll::Ready(Ok(()));
                }
                // The runtime is ending. Its keeper soon goes too, and the waiters here are woken.
                self.0 = Some(Made::Lost);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Made::Lost) | None => Poll::Pending,
        }
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
        let entered = first.enter();
        let at = Instant::now() + Duration::from_millis(20);
        let mut timer = Timer::new();
        let mut context = Context::from_waker(Waker::noop());
        assert!(timer.poll(at, || None, &mut context).is_pending());
        drop(entered);
        drop(first);
        let lost = timer.poll(at, || None, &mut context);
        assert_eq!(lost, Poll::Ready(Err(NoRuntime)));
        let rung = runtime().block_on(poll_fn(|context| timer.poll(at, || None, context)));
        assert_eq!(rung, Ok(()));
    }

    #[test]
    fn it_can_be_set_again() {
        runtime().block_on(async {
            let start = Instant::now();
            let mut timer = Timer::new();
            for ms in [0, 5, 30] {
                let at = start + Duration::from_millis(ms);
                let rung = poll_fn(|context| timer.poll(at, || None, context)).await;
                assert_eq!(rung, Ok(()));
                assert!(Instant::now() >= at);
            }
        });
    }

    #[test]
    fn a_thread_without_a_runtime_has_another_keep_the_time() {
        let runtime = runtime();
        let at = {
            let _entered = runtime.enter();
            Instant::now() + Duration::from_millis(20)
        };
        let mut timer = Timer::new();
        let mut context = Context::from_waker(Waker::noop());
        let elsewhere = || Some(runtime.handle().clone());
        assert!(timer.poll(at, elsewhere, &mut context).is_pending());
        assert_eq!(timer.rings_at(), None);
        runtime.block_on(async { tokio::time::sleep(Duration::from_millis(30)).await });
        let _entered = runtime.enter();
        assert!(Instant::now() >= at);
        let rung = timer.poll(at, elsewhere, &mut context);
        assert_eq!(rung, Poll::Ready(Ok(())));
    }
}
