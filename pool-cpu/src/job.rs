//! One job: a closure and its result, in one allocation.
//!
//! The queue and the handle share one `Arc<Job>`. Its slot goes through these stages. Each step happens under the slot's lock:
//!
//! | stage | what is in the slot | what ends the stage |
//! |---|---|---|
//! | queued | the closure and its place | a worker (`run`), the handle (`cancel`), the pool (`end`) |
//! | running | nothing: the worker has both | the worker when the job ends, the keeper (`overrun`), the handle (`cancel`) |
//! | done | the result | the handle fetches the result |
//! | gone | nothing | nothing |
//!
//! A closure leaves the slot in exactly one way, so it runs at most once. Whatever takes out a closure without running it drops it.
//! The lock only guards the slot, and no other lock is taken under it. Closures, results, places and wakers are called and dropped
//! after the lock is released.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use crate::{
    Ctx,
    clock::Hold,
    engine::Core,
    error::{Error, Kind},
    mutation::{self, Mutation},
    places::{Kept, Place},
    quiet::{contain, drop_quietly, wake_quietly},
    sync::{Arc, AtomicBool, Mutex, Ordering},
};

/// A closure and its result.
pub(crate) struct Job<F, T> {
    head: Head,
    slot: Mutex<Slot<F, T>>,
}

/// The part of a job that any thread may read.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) label: &'static str,
    pub(crate) background: bool,
    /// When the job was requested, before it waited for a place.
    pub(crate) asked_at: Instant,
    /// From this time on, the job must not begin.
    pub(crate) deadline: Option<Instant>,
    /// How long the job may run before its caller gets an error.
    pub(crate) budget: Option<Duration>,
    cancelled: AtomicBool,
}

struct Slot<F, T> {
    stage: Stage<F, T>,
    waker: Option<Waker>,
    /// Whether a caller wants the result.
    awaited: bool,
    /// Holds the caller's clock, if that clock is paused. The hold is dropped when the job has ended or its caller has an answer,
    /// after the waker was woken. Otherwise the clock could advance in between.
    hold: Option<Hold>,
}

enum Stage<F, T> {
    Queued(F, Kept),
    Running,
    Done(Result<T, Error>),
    Gone,
}

/// A job as the queue sees it.
pub(crate) trait Run: Send + Sync {
    fn head(&self) -> &Head;

    /// Whether the job still waits for a worker.
    fn is_queued(&self) -> bool;

    /// Runs the job on this worker, at time `now`. Returns when the job ended, or `None` if it had been ended before.
    fn run(&self, core: &Core, worker: usize, now: Instant) -> Option<Instant>;

    /// Ends the job without running it. Returns `false` if it no longer waits.
    fn end(&self, core: &Core, why: Error) -> bool;

    /// Returns an error to the caller because the job takes too long. The job continues, and its result is dropped.
    fn overrun(&self, why: Error) -> bool;

    /// Aborts the job. A waiting job is dropped, a running job is marked as cancelled, and the caller gets an error. Returns
    /// `false` if the job already has its result.
    fn abort(&self, core: &Core) -> bool;

    /// Whether the job has its result, or the result was fetched.
    fn is_finished(&self) -> bool;

    /// Holds a paused clock until the job has ended.
    fn hold(&self, clock: Hold);
}

/// A job as its handle sees it.
pub(crate) trait Outcome<T>: Run {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, Error>>;

    /// Lets the job run without a caller that wants the result.
    fn detach(&self);

    /// Cancels the job. A waiting job is dropped, and a running job is marked as cancelled.
    fn cancel(&self, core: &Core);
}

impl Head {
    pub(crate) fn new(
        label: &'static str,
        background: bool,
        asked_at: Instant,
        deadline: Option<Instant>,
        budget: Option<Duration>,
    ) -> Self {
        Self {
            label,
            background,
            asked_at,
            deadline,
            budget,
            cancelled: AtomicBool::new(false),
        }
    }

    /// Whether the job was cancelled while it ran.
    pub(crate) fn is_cancelled(&self) -> bool {
        // Ordering: Relaxed is enough, because the flag is a hint and publishes no data.
        self.cancelled.load(Ordering::Relaxed)
    }

    fn set_cancelled(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

impl<F, T> Job<F, T>
where
    F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    pub(crate) fn new(
        head: Head,
        f: F,
        place: Place<'_>,
        waker: Option<Waker>,
        hold: Option<Hold>,
    ) -> Self {
        Self {
            head,
            slot: Mutex::new(Slot {
                stage: Stage::Queued(f, place.keep()),
                waker,
                awaited: true,
                hold,
            }),
        }
    }

    /// Restores the place that was kept in the slot.
    #[inline]
    fn place<'a>(&self, core: &'a Core, kept: Kept) -> Place<'a> {
        core.places(self.head.background).resume(kept)
    }

    fn begin(&self) -> Option<(F, Kept)> {
        if mutation::on(Mutation::BeginLooksTooEarly) && !self.is_queued() {
            return None;
        }
        let mut slot = self.slot.lock();
        match mem::replace(&mut slot.stage, Stage::Running) {
            Stage::Queued(f, kept) => Some((f, kept)),
            _ if mutation::on(Mutation::BeginLooksTooEarly) => None,
            other => {
                slot.stage = other;
                None
            }
        }
    }

    /// Takes out what is in the slot, and leaves the error `why` for the caller that awaits the job. Returns `false` if there
    /// already was an answer.
    fn give_up(&self, core: &Core, why: Option<Error>) -> bool {
        let awaited = why.is_some();
        let (stage, waker, _hold) = {
            let mut slot = self.slot.lock();
            slot.awaited &= awaited;
            if awaited && matches!(slot.stage, Stage::Done(_) | Stage::Gone) {
                return false;
            }
            if mutation::on(Mutation::CancelledJobRuns) && matches!(slot.stage, Stage::Queued(..)) {
                return true;
            }
            let runs = matches!(slot.stage, Stage::Running);
            let left = match why {
                Some(why) if runs => Stage::Done(Err(why.begun())),
                Some(why) => Stage::Done(Err(why)),
                None => Stage::Gone,
            };
            let stage = mem::replace(&mut slot.stage, left);
            (stage, slot.waker.take(), slot.hold.take())
        };
        match stage {
            Stage::Queued(f, kept) => {
                let place = self.place(core, kept);
                if mutation::on(Mutation::CancelKeepsPlace) {
                    mem::forget(place);
                } else {
                    drop(place);
                }
                core.was_cancelled();
                wake_or_drop(waker, awaited);
                // Dropped last, because the drop may panic, and must then panic into the caller that owns the closure.
                drop(f);
                true
            }
            Stage::Running => {
                self.head.set_cancelled();
                core.counters().given_up.add();
                wake_or_drop(waker, awaited);
                true
            }
            // Drops a result that was not fetched.
            Stage::Done(_) | Stage::Gone => false,
        }
    }

    fn finish(&self, result: Result<T, Error>) {
        let (unwanted, waker, _hold) = {
            let mut slot = self.slot.lock();
            let hold = slot.hold.take();
            let (unwanted, waker) = match slot.stage {
                Stage::Running if slot.awaited => {
                    slot.stage = Stage::Done(result);
                    (None, slot.waker.take())
                }
                Stage::Running => {
                    slot.stage = Stage::Gone;
                    (Some(result), slot.waker.take())
                }
                Stage::Done(_) if mutation::on(Mutation::LateResultWins) => {
                    slot.stage = Stage::Done(result);
                    (None, slot.waker.take())
                }
                // The job had exceeded its budget, or was cancelled, while it ran.
                _ => (Some(result), None),
            };
            (unwanted, waker, hold)
        };
        if mutation::on(Mutation::FinishWakesNobody) {
            return;
        }
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        if unwanted.is_some() {
            drop_quietly(unwanted);
        }
    }
}

impl<F, T> Run for Job<F, T>
where
    F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    fn head(&self) -> &Head {
        &self.head
    }

    fn is_queued(&self) -> bool {
        matches!(self.slot.lock().stage, Stage::Queued(..))
    }

    fn run(&self, core: &Core, worker: usize, now: Instant) -> Option<Instant> {
        let (f, kept) = self.begin()?;
        let place = self.place(core, kept);
        core.began(worker, &self.head, now);
        let ctx = Ctx::new(core, &self.head, worker);
        let result = catch_unwind(AssertUnwindSafe(|| f(&ctx)));
        let ended = core.ended(worker, &self.head, result.is_err());
        // The place is freed before the result is visible, so a caller that awaits one job and then tries the next finds a place.
        if mutation::on(Mutation::PanicKeepsPlace) && result.is_err() {
            mem::forget(place);
        } else {
            contain(|| drop(place));
        }
        self.finish(result.map_err(|payload| {
            Error::panicked(core.name(), self.head.label, Some(worker), payload)
        }));
        Some(ended)
    }

    fn end(&self, core: &Core, why: Error) -> bool {
        let (dropped, waker, _hold) = {
            let mut slot = self.slot.lock();
            let Stage::Queued(..) = slot.stage else {
                return false;
            };
            let stage = if slot.awaited {
                Stage::Done(Err(why))
            } else {
                Stage::Gone
            };
            let dropped = mem::replace(&mut slot.stage, stage);
            (dropped, slot.waker.take(), slot.hold.take())
        };
        if let Stage::Queued(f, kept) = dropped {
            let place = self.place(core, kept);
            if mutation::on(Mutation::EndKeepsPlace) {
                mem::forget((f, place));
            } else {
                drop_quietly((f, place));
            }
        }
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        true
    }

    fn overrun(&self, why: Error) -> bool {
        let (waker, _hold) = {
            let mut slot = self.slot.lock();
            let Stage::Running = slot.stage else {
                return false;
            };
            slot.stage = if slot.awaited {
                Stage::Done(Err(why))
            } else {
                Stage::Gone
            };
            (slot.waker.take(), slot.hold.take())
        };
        self.head.set_cancelled();
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        true
    }

    fn abort(&self, core: &Core) -> bool {
        let why = core.error(self.head.label, Kind::Cancelled { began: false });
        self.give_up(core, Some(why))
    }

    fn hold(&self, clock: Hold) {
        let mut slot = self.slot.lock();
        let unused = match slot.stage {
            Stage::Queued(..) | Stage::Running => slot.hold.replace(clock),
            Stage::Done(_) | Stage::Gone => Some(clock),
        };
        drop(slot);
        drop(unused);
    }

    fn is_finished(&self) -> bool {
        matches!(self.slot.lock().stage, Stage::Done(_) | Stage::Gone)
    }
}

impl<F, T> Outcome<T> for Job<F, T>
where
    F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, Error>> {
        let mut fresh = None;
        loop {
            let mut slot = self.slot.lock();
            if let Stage::Done(_) = slot.stage {
                let Stage::Done(result) = mem::replace(&mut slot.stage, Stage::Gone) else {
                    continue;
                };
                drop(slot);
                return Poll::Ready(result);
            }
            if slot
                .waker
                .as_ref()
                .is_some_and(|waker| waker.will_wake(cx.waker()))
            {
                return Poll::Pending;
            }
            if mutation::on(Mutation::PollKeepsOldWaker) {
                return Poll::Pending;
            }
            if let Some(waker) = fresh.take() {
                let old = slot.waker.replace(waker);
                drop(slot);
                drop(old);
                return Poll::Pending;
            }
            drop(slot);
            // Cloning a waker is user code, so it happens without the lock. The result may arrive meanwhile, so the loop looks
            // again.
            fresh = Some(cx.waker().clone());
        }
    }

    fn detach(&self) {
        let left = {
            let mut slot = self.slot.lock();
            slot.awaited = false;
            let result = match &slot.stage {
                Stage::Done(_) => Some(mem::replace(&mut slot.stage, Stage::Gone)),
                _ => None,
            };
            (result, slot.waker.take())
        };
        if mutation::on(Mutation::DetachLosesResult) {
            mem::forget(left);
            return;
        }
        let (result, waker) = left;
        // No caller wants the result. A panic in its drop is contained here, as it is on the worker if the result comes later.
        contain(|| drop(result));
        drop(waker);
    }

    fn cancel(&self, core: &Core) {
        self.give_up(core, None);
    }
}

/// Puts a job into the queue, and returns it for its handle. A large closure is boxed, because it would be moved through every
/// stack frame of a worker on its way out of the slot, and a stack has room for only a few closures of that size.
pub(crate) fn submit<F, T>(
    core: &Arc<Core>,
    head: Head,
    f: F,
    place: Place<'_>,
    waker: Option<Waker>,
    hold: Option<Hold>,
) -> Arc<dyn Outcome<T>>
where
    F: FnOnce(&Ctx<'_>) -> T + Send + 'static,
    T: Send + 'static,
{
    if mem::size_of::<F>() > LARGE {
        let f = Box::new(f);
        let job = Arc::new(Job::new(
            head,
            move |ctx: &Ctx<'_>| f(ctx),
            place,
            waker,
            hold,
        ));
        core.submit(&job);
        return job;
    }
    let job = Arc::new(Job::new(head, f, place, waker, hold));
    core.submit(&job);
    job
}

/// Closures with more bytes than this are boxed. Most closures have some dozens of bytes.
const LARGE: usize = 4096;

fn wake_or_drop(waker: Option<Waker>, wake: bool) {
    match waker {
        Some(waker) if wake => waker.wake(),
        waker => drop(waker),
    }
}
