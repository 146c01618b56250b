//! The future of one job.

use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use crate::{
    ConfigError, Ctx, JobHandle,
    clock::{self, Clock, Hold},
    engine::Core,
    error::{Error, Kind},
    job::{self, Head, Outcome},
    keeper::Timer,
    places::{Place, Waiting},
    sync::{Arc, torn_down},
    worker,
};

/// The future of a job. It waits for a place, then for the result.
///
/// [`Workers::run`](crate::Workers::run) returns it. It needs no runtime: any executor can poll it. On tokio, if a place was handed
/// to a future that is not polled, the place goes to the next waiter after 50 ms, and the unpolled future keeps its turn.
///
/// # Cancel safety
/// Dropping the future while the job waits drops the closure without running it, and frees its place at once. If the future is
/// dropped while the job runs, [`Ctx::is_cancelled`] returns true in the job, which keeps its place until it ends.
#[must_use = "a job is not submitted before its future is polled"]
pub struct Run<'p, F, T> {
    core: &'p Arc<Core>,
    options: Options,
    stage: Stage<'p, F, T>,
}

/// The settings of a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) label: &'static str,
    pub(crate) background: bool,
    pub(crate) tenant: Option<u64>,
    pub(crate) queue_timeout: Option<Duration>,
    pub(crate) budget: Option<Duration>,
}

enum Stage<'p, F, T> {
    New(F),
    InLine(Box<InLine<'p, F>>),
    Submitted(Arc<dyn Outcome<T>>, Seen),
    Spent,
}

/// What was learnt when the job was submitted.
#[derive(Clone, Copy)]
struct Seen {
    /// Whether this poll may look for the result for a short time before it returns.
    looks: bool,
    /// Whether the check for a paused clock is done.
    clock: bool,
}

/// A job that waits for a place.
struct InLine<'p, F> {
    f: F,
    head: Head,
    place: Waiting,
    timer: Option<(Timer<'p>, Waker)>,
    hold: Option<Hold>,
}

impl Options {
    /// # Errors
    /// A setting is invalid, so the job could not run.
    pub(crate) fn check(&self, core: &Core) -> Result<(), Error> {
        for (setting, value) in [
            ("queue_timeout", self.queue_timeout),
            ("budget", self.budget),
        ] {
            if value.is_some_and(|time| time.is_zero()) {
                let error = ConfigError::new(setting, "0s", "longer than nothing");
                return Err(core.error(self.label, Kind::Invalid(error)));
            }
        }
        Ok(())
    }

    pub(crate) fn head(&self, now: Instant) -> Head {
        // A deadline that overflows the clock is no deadline.
        let deadline = self
            .queue_timeout
            .and_then(|timeout| now.checked_add(timeout));
        Head::new(self.label, self.background, now, deadline, self.budget)
    }
}

impl<'p, F, T> Run<'p, F, T>
where
    F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    pub(crate) const fn new(core: &'p Arc<Core>, options: Options, f: F) -> Self {
        Self {
            core,
            options,
            stage: Stage::New(f),
        }
    }

    /// Waits for a place. When it returns, the job is in the queue.
    fn poll_place(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        match mem::replace(&mut self.stage, Stage::Spent) {
            Stage::New(f) => self.begin(f, cx),
            Stage::InLine(line) => self.poll_line(line, cx),
            submitted => {
                self.stage = submitted;
                Poll::Ready(Ok(()))
            }
        }
    }

    fn begin(&mut self, f: F, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        let head = self.options.head(Instant::now());
        let places = self.core.places(head.background);
        match places.try_take() {
            Some(place) => self.submit(f, head, place, None, cx),
            None => {
                let place = places.wait(self.options.tenant);
                let line = InLine {
                    f,
                    head,
                    place,
                    timer: None,
                    hold: match clock::hold() {
                        Clock::Held(hold) => Some(hold),
                        Clock::Runs | Clock::None => None,
                    },
                };
                self.poll_line(Box::new(line), cx)
            }
        }
    }

    fn poll_line(
        &mut self,
        mut line: Box<InLine<'p, F>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let places = self.core.places(line.head.background);
        match line.place.poll(places, cx) {
            Poll::Ready(Ok(place)) => {
                let InLine { f, head, hold, .. } = *line;
                self.submit(f, head, place, hold, cx)
            }
            Poll::Ready(Err(refused)) => {
                Poll::Ready(Err(self.core.refused(self.options.label, &refused)))
            }
            Poll::Pending => {
                if let Some(error) = self.watch_deadline(&mut line, cx) {
                    return Poll::Ready(Err(error));
                }
                self.stage = Stage::InLine(line);
                Poll::Pending
            }
        }
    }

    /// Arms a timer for the deadline. Returns the error if the deadline has passed.
    fn watch_deadline(&self, line: &mut InLine<'p, F>, cx: &mut Context<'_>) -> Option<Error> {
        let deadline = line.head.deadline?;
        let now = Instant::now();
        if now >= deadline {
            self.core.counters().expired.add();
            return Some(self.core.queue_timed_out(&line.head, now));
        }
        let armed = line
            .timer
            .as_ref()
            .is_some_and(|(_, waker)| waker.will_wake(cx.waker()));
        if !armed {
            let waker = cx.waker().clone();
            line.timer = Some((self.core.keeper().timer(deadline, waker.clone()), waker));
        }
        None
    }

    fn submit(
        &mut self,
        f: F,
        head: Head,
        place: Place<'_>,
        hold: Option<Hold>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        let mut clock = hold.is_some();
        // A pool that starts threads on demand would start a thread for a job that is submitted before the worker has returned from
        // the last job.
        let resident = self.core.crew().idle_timeout().is_none();
        let looks = resident && self.core.patience().may_look(cx.waker());
        let waker = Some(cx.waker().clone());
        let job = job::submit(self.core, head, f, place, waker, hold);
        // The clock is checked while a worker is already on its way to the job.
        if !clock {
            clock = clock::hold_for(&*job);
        }
        self.stage = Stage::Submitted(job, Seen { looks, clock });
        Poll::Ready(Ok(()))
    }

    /// Checks a job before its first step: a worker of the pool must not wait for it, and its settings must be valid.
    fn check(&self) -> Result<(), Error> {
        match self.stage {
            Stage::New(_) if worker::is_worker_of(self.core) => {
                Err(self.core.error(self.options.label, Kind::SelfWait))
            }
            Stage::New(_) => self.options.check(self.core),
            Stage::Spent => Err(self.core.error(self.options.label, Kind::Fetched)),
            Stage::InLine(_) | Stage::Submitted(..) => Ok(()),
        }
    }

    /// Waits until the job has a place.
    pub(crate) async fn submitted(self) -> Result<JobHandle<T>, Error> {
        self.check()?;
        self.sent().await
    }

    /// Like `submitted`, without the check, for code that does not block on the job.
    pub(crate) async fn sent(mut self) -> Result<JobHandle<T>, Error> {
        std::future::poll_fn(|cx| self.poll_place(cx)).await?;
        match mem::replace(&mut self.stage, Stage::Spent) {
            Stage::Submitted(job, seen) => {
                Ok(JobHandle::new(Arc::clone(self.core), job, seen.clock))
            }
            // Unreachable: `poll_place` has submitted the job.
            _ => Err(self.core.error(self.options.label, Kind::Fetched)),
        }
    }
}

impl<F, T> Future for Run<'_, F, T>
where
    F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Stage::Submitted(job, _) = &this.stage {
            let result = ready!(job.poll(cx));
            this.stage = Stage::Spent;
            return Poll::Ready(result);
        }
        if let Err(error) = this.check() {
            this.stage = Stage::Spent;
            return Poll::Ready(Err(error));
        }
        ready!(this.poll_place(cx))?;
        // The job was submitted with this waker, so the waker is woken when the job is done.
        let Stage::Submitted(job, Seen { looks: true, .. }) = &this.stage else {
            return Poll::Pending;
        };
        let patience = this.core.patience();
        let result = ready!(patience.look(cx, || job.is_finished(), |cx| job.poll(cx)));
        this.stage = Stage::Spent;
        Poll::Ready(result)
    }
}

// No field is ever pinned: closures and results are moved, and never polled.
impl<F, T> Unpin for Run<'_, F, T> {}

impl<F, T> Drop for Run<'_, F, T> {
    fn drop(&mut self) {
        match &self.stage {
            _ if torn_down() => {}
            Stage::Submitted(job, _) => job.cancel(self.core),
            Stage::InLine(_) => self.core.counters().cancelled.add(),
            Stage::New(_) | Stage::Spent => {}
        }
    }
}

impl<F, T> fmt::Debug for Run<'_, F, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = match self.stage {
            Stage::New(_) => "new",
            Stage::InLine(_) => "waits for a place",
            Stage::Submitted(..) => "submitted",
            Stage::Spent => "spent",
        };
        f.debug_struct("Run")
            .field("pool", self.core.name())
            .field("label", &self.options.label)
            .field("stage", &stage)
            .finish()
    }
}
