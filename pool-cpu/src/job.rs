//! One job: a closure that becomes a result, in one allocation.
//!
//! The queue and the handle share one `Arc<Job>`. Its slot goes through these stages, each step under the slot's lock:
//!
//! | stage | what is in the slot | who moves it on |
//! |---|---|---|
//! | queued | the closure and its place | a worker (`run`), the handle (`cancel`), the pool (`end`) |
//! | running | nothing: the worker has both | the worker when it is done, the keeper (`overrun`), the handle (`cancel`) |
//! | done | the result | the handle fetches it |
//! | gone | nothing | nobody |
//!
//! A closure leaves the slot in exactly one way, so it runs at most once, and what never ran was dropped by whoever took it
//! out. The lock guards the slot alone and no other is taken under it; closures, results, places and wakers are called and
//! dropped after it is released.

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

/// A closure, and what becomes of it.
pub(crate) struct Job<F, T> {
    head: Head,
    slot: Mutex<Slot<F, T>>,
}

/// What everybody may read about a job.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) label: &'static str,
    pub(crate) background: bool,
    /// When it was asked for: before it waited for a place.
    pub(crate) asked_at: Instant,
    /// Not to be begun from here on.
    pub(crate) deadline: Option<Instant>,
    /// How long it may run before its caller is told that it takes too long.
    pub(crate) budget: Option<Duration>,
    cancelled: AtomicBool,
}

struct Slot<F, T> {
    stage: Stage<F, T>,
    waker: Option<Waker>,
    /// Does anybody want the result?
    awaited: bool,
    /// Holds the clock of whoever asked for it, if that is paused. Let go of when the job has ended, or its caller has an answer, and
    /// after the waker was woken: else the clock could leap in between.
    hold: Option<Hold>,
}

enum Stage<F, T> {
    Queued(F, Kept),
    Running,
    Done(Result<T, Error>),
    Gone,
}

/// What the queue knows of a job.
pub(crate) trait Run: Send + Sync {
    fn head(&self) -> &Head;

    /// Is it still waiting for a worker?
    fn is_queued(&self) -> bool;

    /// Runs it on this worker, where it is `now`. Says when it ended; `None` if somebody had ended it before.
    fn run(&self, core: &Core, worker: usize, now: Instant) -> Option<Instant>;

    /// Ends it unrun. `false` if it is not waiting any more.
    fn end(&self, core: &Core, why: Error) -> bool;

    /// Tells its caller that it takes too long. It goes on; what it returns is dropped.
    fn overrun(&self, why: Error) -> bool;

    /// Gives it up: one that waits is dropped, one that runs is told, and so is whoever awaits it. `false` if it has its answer already.
    fn abort(&self, core: &Core) -> bool;

    /// Is there a result, or was it fetched?
    fn is_finished(&self) -> bool;

    /// Holds a paused clock until it has ended.
    fn hold(&self, clock: Hold);
}

/// What the handle knows of a job.
pub(crate) trait Outcome<T>: Run {
    fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, Error>>;

    /// Nobody wants the result; the job is to run all the same.
    fn detach(&self);

    /// Nobody wants the result: a job that waits is dropped, one that runs is told.
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

    /// Was it given up while it ran?
    pub(crate) fn is_cancelled(&self) -> bool {
        // Ordering: a hint that carries no data.
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

    /// The place that was kept in the slot.
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

    /// Takes out what is in the slot, and leaves `why` for whoever awaits it. `false` if there was an
    /// answer already.
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
                // Last, since it may panic, and then into the caller whose closure it is.
                drop(f);
                true
            }
            Stage::Running => {
                self.head.set_cancelled();
                core.counters().given_up.add();
                wake_or_drop(waker, awaited);
                true
            }
            // A result that nobody fetched goes here.
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
                // Overrun, or given up, while it ran.
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
        // The place is free before anybody can see the result: who awaits one job and then tries the next finds room.
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
            // Cloning a waker is user code: not under the lock. The result may come meanwhile, so look again.
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
        // Nobody wants it, whether it came a moment before or comes later, on the worker: a panic in its drop is nobody's either.
        contain(|| drop(result));
        drop(waker);
    }

    fn cancel(&self, core: &Core) {
        self.give_up(core, None);
    }
}

/// Puts a job into the queue, and gives it for its handle. A large closure is boxed: it would be moved through every frame of a worker on its way out of the
/// slot, and a stack has room for few of its size.
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

/// More bytes than that are boxed. Most closures have some dozens.
const LARGE: usize = 4096;

fn wake_or_drop(waker: Option<Waker>, wake: bool) {
    match waker {
        Some(waker) if wake => waker.wake(),
        waker => drop(waker),
    }
}
