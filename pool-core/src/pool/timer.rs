//! The end of a wait.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use super::{
    Manager,
    shared::{ARM_AFTER, Shared},
};
use crate::{
    engine::mutation::{self, Mutation},
    moment::Moment,
    rt::{Handle, Id, JoinHandle, Sleep, sleep_until},
};

/// Ends a wait at its deadline. Made when it is first polled, which is when the wait is no longer a short one.
pub(super) struct Timer(Option<Made>);

enum Made {
    /// By the runtime on which it is polled, for that time. One that is polled elsewhere is made anew.
    Here(Id, Moment, Pin<Box<Sleep>>),
    /// For a thread that has no runtime, by a task of the pool's. To poll a timer from there is to race the end of its runtime,
    /// after which that panics; a task of it may be asked at any time.
    Elsewhere(Alarm),
    /// To be made again, by a runtime that is there.
    Lost,
}

/// A task that ends at the deadline, or with its runtime.
struct Alarm(JoinHandle<()>);

impl Drop for Alarm {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Timer {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    pub(super) const fn is_made(&self) -> bool {
        self.0.is_some()
    }

    /// Is it `deadline`? While the keeper is `away`, on another runtime, it is looked after on the way there.
    pub(super) fn poll_watching<M: Manager>(
        &mut self,
        shared: &Arc<Shared<M>>,
        deadline: Moment,
        away: bool,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        loop {
            let until = match self.rings_at() {
                Some(at) => at,
                None if away => deadline.min(shared.clock.now() + ARM_AFTER),
                None => deadline,
            };
            if self.poll(shared, until, context).is_pending() {
                return Poll::Pending;
            }
            if until >= deadline {
                return Poll::Ready(());
            }
            *self = Self::new();
            shared.look_after_keeper(shared.clock.now());
        }
    }

    /// When it rings, if it was made by a runtime on which it was polled.
    const fn rings_at(&self) -> Option<Moment> {
        match &self.0 {
            Some(Made::Here(_, at, _)) => Some(*at),
            _ => None,
        }
    }

    fn poll<M: Manager>(
        &mut self,
        shared: &Shared<M>,
        deadline: Moment,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let at = shared.clock.instant(deadline);
        if let Ok(here) = Handle::try_current() {
            if !matches!(&self.0, Some(Made::Here(made_by, ..)) if *made_by == here.id()) {
                let sleep = Box::pin(sleep_until(at));
                self.0 = Some(Made::Here(here.id(), deadline, sleep));
            }
        } else if mutation::on(Mutation::TimerIsPolledElsewhere) {
            if let Some(runtime) = shared.runtime()
                && self.0.is_none()
            {
                let _entered = runtime.enter();
                let sleep = Box::pin(sleep_until(at));
                self.0 = Some(Made::Here(runtime.id(), deadline, sleep));
            }
        } else if !matches!(&self.0, Some(Made::Elsewhere(_))) {
            let alarm =
                |runtime: Handle| Alarm(runtime.spawn(async move { sleep_until(at).await }));
            self.0 = shared.runtime().map(alarm).map(Made::Elsewhere);
            // None: no keeper was ever started, and without one nobody waits here.
        }
        match &mut self.0 {
            Some(Made::Here(.., sleep)) => sleep.as_mut().poll(context),
            Some(Made::Elsewhere(alarm)) => {
                if Pin::new(&mut alarm.0).poll(context).is_pending() {
                    return Poll::Pending;
                }
                if shared.clock.now() >= deadline {
                    return Poll::Ready(());
                }
                // Its runtime is ending. Soon the keeper has gone with it, and whoever waits here is told.
                self.0 = Some(Made::Lost);
                context.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Made::Lost) | None => Poll::Pending,
        }
    }
}
