//! A spawned job that waits for its place without being polled by its caller.
//!
//! The thread that wakes the errand polls it: a thread that frees a place, the keeper at the job's deadline, or a shutdown. So the
//! errand is in the queue for a place from the call on, needs no runtime and no thread of its own, and continues when its handle is
//! dropped.

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

/// A job that waits for its place.
pub(crate) struct Errand<T> {
    core: Arc<Core>,
    label: &'static str,
    /// Only the slot of a job is locked under this lock, and no user code runs under it.
    inside: Mutex<Inside<T>>,
}

struct Inside<T> {
    stage: Stage<T>,
    /// The waker of the task that awaits the answer.
    waker: Option<Waker>,
    /// Whether the handle was dropped, so that the job continues alone.
    detached: bool,
    /// The job, once it has its place.
    job: Option<Arc<dyn Run>>,
}

enum Stage<T> {
    InLine(Way<T>),
    /// A thread is polling the future. `again` says whether the errand was woken meanwhile.
    Polled {
        again: bool,
    },
    /// The job has its place, or was refused.
    Answered(Result<JobHandle<T>, Error>),
    /// The job was aborted, or the answer was fetched.
    Gone,
}

/// The future that waits for the place.
pub(crate) type Way<T> = Pin<Box<dyn Future<Output = Result<JobHandle<T>, Error>> + Send>>;

impl<T: Send + 'static> Errand<T> {
    /// Starts to wait for a place.
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

    /// Polls the future, until it is pending or has its answer.
    fn go(self: &Arc<Self>) {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        while let Some(mut way) = self.begin() {
            let answer = match catch_unwind(AssertUnwindSafe(|| way.as_mut().poll(&mut cx))) {
                Ok(Poll::Ready(answer)) => answer,
                Ok(Poll::Pending) if self.pause(way) => continue,
                Ok(Poll::Pending) => return,
                Err(payload) => {
                    // The closure of a refused job panicked in its drop. The payload is leaked, because its drop might panic again.
                    mem::forget(payload);
                    Err(self.cancelled())
                }
            };
            self.finish(answer);
            return;
        }
    }

    /// Takes the future out, in order to poll it. Returns `None` if another thread has the future, which then polls it once more,
    /// or if the wait is over.
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

    /// Puts the future back. Returns whether the errand was woken meanwhile.
    fn pause(&self, way: Way<T>) -> bool {
        let mut inside = self.inside.lock();
        match inside.stage {
            Stage::Polled { again } => {
                inside.stage = Stage::InLine(way);
                again && !mutation::on(Mutation::ErrandForgetsCall)
            }
            // The job was aborted meanwhile.
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
                // The job was aborted meanwhile.
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
    /// Returns the answer, once there is one. A job of the same pool gets an error, because its wait might never end.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<JobHandle<T>, Error>> {
        // Cloning and dropping a waker is user code, so both happen without the lock.
        let waker = cx.waker().clone();
        let (answer, unused) = {
            let mut inside = self.inside.lock();
            match mem::replace(&mut inside.stage, Stage::Gone) {
                Stage::Answered(answer) => (Some(answer), Some(waker)),
                // The job was aborted, and its drop panicked.
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

    /// Aborts the job, in whatever stage it is. Returns `false` if it already has its answer.
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
        // Dropped last, because the drop may panic into the caller of `abort`.
        drop(way);
        true
    }

    /// The error of an aborted job.
    fn cancelled(&self) -> Error {
        self.core
            .error(self.label, Kind::Cancelled { began: false })
    }

    /// Lets the job continue without a caller that waits for its result.
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

    /// Whether the job has its result, or will have none.
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
        // This may be any thread, in the middle of any work, so a panic must not escape.
        contain(|| self.go());
    }
}
