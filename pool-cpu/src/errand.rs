//! A job that waits for its place although nobody polls it.
//!
//! Whoever wakes it polls it: who gave a place back, the keeper when its time to wait is over, a shutdown. So it stands in line from the
//! call on, needs no runtime and no thread of its own, and goes on when its handle is dropped.

use std::{
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, Wake, Waker},
};

use crate::{
    Error, JobHandle,
    abort::Abort,
    engine::Core,
    error::Kind,
    job::Run,
    mutation::{self, Mutation},
    quiet::{contain, drop_quietly, wake_quietly},
    sync::{Arc, Mutex},
    worker,
};

/// A job on its way to its place.
pub(crate) struct Errand<T> {
    core: Arc<Core>,
    label: &'static str,
    /// Only a job's slot is locked under it, and no code of users runs.
    inside: Mutex<Inside<T>>,
}

struct Inside<T> {
    stage: Stage<T>,
    /// Who waits for the answer.
    waker: Option<Waker>,
    /// The handle was dropped: the job goes on alone.
    detached: bool,
    /// The job, once it has its place.
    job: Option<Arc<dyn Run>>,
}

enum Stage<T> {
    InLine(Way<T>),
    /// Somebody polls it. Was it woken meanwhile?
    Polled {
        again: bool,
    },
    /// It has its place, or was refused.
    Answered(Result<JobHandle<T>, Error>),
    /// Given up, or the answer was fetched.
    Gone,
}

/// The future of a place.
pub(crate) type Way<T> = Pin<Box<dyn Future<Output = Result<JobHandle<T>, Error>> + Send>>;

impl<T: Send + 'static> Errand<T> {
    /// Joins the line.
    pub(crate) fn start(core: &Arc<Core>, label: &'static str, way: Way<T>) -> Arc<Self> {
        let errand = Arc::new(Self {
            core: Arc::clone(core),
            label,
            inside: Mutex::new(Inside {
                stage: Stage::InLine(way),
                waker: None,
                detached: false,
                job: None,
            }),
        });
        errand.go();
        errand
    }

    /// Goes on as far as it can.
    fn go(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        while let Some(mut way) = self.begin() {
            let answer = match catch_unwind(AssertUnwindSafe(|| way.as_mut().poll(&mut cx))) {
                Ok(Poll::Ready(answer)) => answer,
                Ok(Poll::Pending) if self.pause(way) => continue,
                Ok(Poll::Pending) => return,
                Err(payload) => {
                    // The closure of a job that was refused has panicked in its drop. Dropping the payload might panic again.
                    mem::forget(payload);
                    Err(self.cancelled())
                }
            };
            self.finish(answer);
            return;
        }
    }

    /// Takes the future out of the line. `None` if somebody else has it, who then polls once more, or if it is over.
    fn begin(&self) -> Option<Way<T>> {
        let mut inside = self.inside.lock();
        match mem::replace(&mut inside.stage, Stage::Polled { again: false }) {
            Stage::InLine(way) => Some(way),
            Stage::Polled { .. } => {
                inside.stage = Stage::Polled { again: true };
                None
            }
            over => {
                inside.stage = over;
                None
            }
        }
    }

    /// Back in line. Was it woken meanwhile?
    fn pause(&self, way: Way<T>) -> bool {
        let mut inside = self.inside.lock();
        match inside.stage {
            Stage::Polled { again } => {
                inside.stage = Stage::InLine(way);
                again && !mutation::on(Mutation::ErrandForgetsCall)
            }
            // Given up meanwhile.
            _ => {
                drop(inside);
                drop_quietly(way);
                false
            }
        }
    }

    fn finish(&self, answer: Result<JobHandle<T>, Error>) {
        let (unwanted, waker) = {
            let mut inside = self.inside.lock();
            if let (Stage::Polled { .. }, Ok(job)) = (&inside.stage, &answer) {
                inside.job = job.job();
            }
            match inside.stage {
                Stage::Polled { .. } if inside.detached => {
                    inside.stage = Stage::Gone;
                    (Some((answer, true)), None)
                }
                Stage::Polled { .. } => {
                    inside.stage = Stage::Answered(answer);
                    (None, inside.waker.take())
                }
                // Given up meanwhile.
                _ => (Some((answer, false)), None),
            }
        };
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        match unwanted {
            Some((Ok(job), true)) => job.detach(),
            unwanted => drop_quietly(unwanted),
        }
    }
}

impl<T> Errand<T> {
    /// The answer, once there is one. A job of the pool itself gets an error: its wait may have no end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<JobHandle<T>, Error>> {
        // Cloning a waker is user code, as dropping one is: not under the lock.
        let waker = cx.waker().clone();
        let (answer, unused) = {
            let mut inside = self.inside.lock();
            match mem::replace(&mut inside.stage, Stage::Gone) {
                Stage::Answered(answer) => (Some(answer), Some(waker)),
                // It was given up, and dropping it panicked.
                Stage::Gone => (Some(Err(self.cancelled())), Some(waker)),
                other => {
                    inside.stage = other;
                    (None, inside.waker.replace(waker))
                }
            }
        };
        drop(unused);
        if let Some(answer) = answer {
            return Poll::Ready(answer);
        }
        if worker::is_worker_of(&self.core) {
            self.abort();
            return Poll::Ready(Err(self.core.error(self.label, Kind::SelfWait)));
        }
        Poll::Pending
    }

    /// Gives it up, wherever it is by now. `false` if it has its answer already.
    pub(crate) fn abort(&self) -> bool {
        let (way, waker) = {
            let mut inside = self.inside.lock();
            if let Some(job) = inside.job.clone() {
                drop(inside);
                return job.abort(&self.core);
            }
            match inside.stage {
                Stage::InLine(_) | Stage::Polled { .. } => {}
                Stage::Answered(_) | Stage::Gone => return false,
            }
            let way = mem::replace(&mut inside.stage, Stage::Gone);
            (way, inside.waker.take())
        };
        if let Some(waker) = waker {
            wake_quietly(waker);
        }
        // Last, since it may panic, and then into the caller who gives it up.
        drop(way);
        true
    }

    /// Why a job that was given up has no result.
    fn cancelled(&self) -> Error {
        self.core
            .error(self.label, Kind::Cancelled { began: false })
    }

    /// Nobody wants the result; the job is to run all the same.
    pub(crate) fn detach(&self) {
        let (answer, waker) = {
            let mut inside = self.inside.lock();
            inside.detached = true;
            let answer = match inside.stage {
                Stage::Answered(_) => Some(mem::replace(&mut inside.stage, Stage::Gone)),
                _ => None,
            };
            (answer, inside.waker.take())
        };
        drop(waker);
        if let Some(Stage::Answered(Ok(job))) = answer {
            job.detach();
        }
    }

    /// Is there a result, or will there be none?
    pub(crate) fn is_finished(&self) -> bool {
        let inside = self.inside.lock();
        match &inside.stage {
            Stage::InLine(_) | Stage::Polled { .. } => false,
            Stage::Answered(Ok(job)) => job.is_finished(),
            Stage::Answered(Err(_)) => true,
            Stage::Gone => inside.job.as_ref().is_none_or(|job| job.is_finished()),
        }
    }
}

impl<T: Send + 'static> Abort for Errand<T> {
    fn abort(&self) -> bool {
        Self::abort(self)
    }

    fn is_finished(&self) -> bool {
        Self::is_finished(self)
    }
}

impl<T: Send + 'static> Wake for Errand<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // It may be the thread of anybody, in the middle of anything.
        contain(|| self.go());
    }
}
