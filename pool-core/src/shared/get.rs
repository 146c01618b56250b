//! Waiting for a share.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

#[cfg(feature = "tracing")]
use std::panic::Location;

use tokio::{runtime, time::Instant};

use super::{
    Share, SharedManager,
    handle::Handle,
    inner::Parts,
    links::{Take, Ticket},
    places,
};
use crate::{
    engine::Refusal,
    pool::{Error, Failure, Kind},
    timer::{NoRuntime, Timer},
};

#[cfg(feature = "tracing")]
use crate::{
    engine::Holder,
    moment::Moment,
    pool::trace::{GetTrace, Outcome},
};

/// The future of [`SharedPool::get`](super::SharedPool::get). Until it is first polled it can be told more.
///
/// It borrows nothing.
#[must_use = "a get does nothing until it is awaited"]
pub struct GetShare<M: SharedManager> {
    /// `None` once it has ended: the share took it.
    inner: Option<Arc<Handle<M>>>,
    limit: Limit,
    waiting: Option<Waiting<M::Error>>,
    #[cfg(feature = "tracing")]
    place: &'static Location<'static>,
    #[cfg(feature = "tracing")]
    trace: GetTrace,
}

#[derive(Clone, Copy)]
enum Limit {
    Timeout(Duration),
    Deadline(Instant),
}

struct Waiting<E> {
    id: Ticket<Failure<E>>,
    started: Instant,
    deadline: Option<Instant>,
    timer: Option<Timer>,
    /// What that is set to.
    rings_at: Option<Instant>,
}

/// How a wait ends.
type Answer<M> = Result<places::Share, Refusal<Failure<<M as SharedManager>::Error>>>;

impl<M: SharedManager> GetShare<M> {
    #[inline]
    #[cfg_attr(feature = "tracing", track_caller)]
    pub(super) fn new(inner: Arc<Handle<M>>) -> Self {
        Self {
            limit: Limit::Timeout(inner.config.acquire_timeout),
            inner: Some(inner),
            waiting: None,
            #[cfg(feature = "tracing")]
            place: Location::caller(),
            #[cfg(feature = "tracing")]
            trace: GetTrace::new(),
        }
    }

    /// Gives up after so long, not after the pool's `acquire_timeout`. Zero: takes what is there at once, or fails.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Limit::Timeout(limit);
        self
    }

    /// Gives up at `deadline`, not after the pool's `acquire_timeout`.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// Joins the line.
    #[cold]
    fn start(
        &mut self,
        inner: &Arc<Handle<M>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Share<M>, Error<M::Error>>> {
        let Ok(runtime) = runtime::Handle::try_current() else {
            // It may be there all the same, to be had under the lock alone.
            let (share, work) = inner.links.try_take(inner.now());
            inner.perform(work);
            if let Some(share) = share {
                return Poll::Ready(Ok(Share::new(share, Arc::clone(inner))));
            }
            let closed = inner.links.is_closed();
            let kind = if closed {
                Kind::Closed
            } else {
                Kind::NoRuntime
            };
            return Poll::Ready(Err(inner.error(kind, Duration::ZERO, None)));
        };
        let (take, work) = inner
            .links
            .take_or_wait(context.waker().clone(), inner.now());
        inner.perform(work);
        match take {
            Take::Ready(share) => Poll::Ready(Ok(Share::new(share, Arc::clone(inner)))),
            Take::Refused(refusal) => Poll::Ready(Err(inner.refused(refusal, Duration::ZERO))),
            Take::Queued(id, work) => {
                let started = Instant::now();
                let deadline = match self.limit {
                    Limit::Timeout(limit) => started.checked_add(limit),
                    Limit::Deadline(at) => Some(at),
                };
                let short = deadline.is_some_and(|at| at <= started + SHORT);
                let waiting = Waiting {
                    id,
                    started,
                    deadline,
                    timer: None,
                    rings_at: None,
                };
                self.waiting = Some(waiting);
                #[cfg(feature = "tracing")]
                self.trace.begin(&***inner, self.holder(inner.now()));
                inner.ensure_keeper(&runtime);
                inner.perform(work);
                self.watch_deadline(inner, short, context)
            }
        }
    }

    /// Has the wait an end?
    fn wait(
        &mut self,
        inner: &Arc<Handle<M>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Share<M>, Error<M::Error>>> {
        let Some(waiting) = &self.waiting else {
            return Poll::Pending;
        };
        let (answer, work) = inner.links.poll(&waiting.id, context.waker(), inner.now());
        let answer = match answer {
            Poll::Pending => {
                let armed = inner.links.is_armed(&waiting.id);
                let runtime = runtime::Handle::try_current();
                if let Ok(runtime) = &runtime {
                    inner.ensure_keeper(runtime);
                }
                inner.perform(work);
                if runtime.is_err() && !inner.keeper_runs() {
                    return self.abandon(inner);
                }
                return self.watch_deadline(inner, armed, context);
            }
            Poll::Ready(answer) => answer,
        };
        self.answered(inner, answer, work)
    }

    /// The wait has ended.
    fn answered(
        &mut self,
        inner: &Arc<Handle<M>>,
        answer: Answer<M>,
        work: Parts<M>,
    ) -> Poll<Result<Share<M>, Error<M::Error>>> {
        let started = self.waiting.take().map(|waiting| waiting.started);
        let waited = started.map_or(Duration::ZERO, |started| started.elapsed());
        inner.perform(work);
        Poll::Ready(match answer {
            Ok(share) => Ok(self.got(inner, share, waited)),
            Err(refusal) => Err(self.failed(inner, inner.refused(refusal, waited))),
        })
    }

    /// It has a share, after a wait.
    fn got(&mut self, inner: &Arc<Handle<M>>, share: places::Share, waited: Duration) -> Share<M> {
        #[cfg(feature = "tracing")]
        self.trace
            .end(&***inner, self.holder(inner.now()), Outcome::Got);
        inner.tell(|observer, pool| observer.waited(pool, waited));
        Share::new(share, Arc::clone(inner))
    }

    /// It has none, after a wait.
    #[cfg_attr(
        not(feature = "tracing"),
        allow(clippy::unused_self, reason = "only the trace is its own")
    )]
    fn failed(&mut self, inner: &Arc<Handle<M>>, error: Error<M::Error>) -> Error<M::Error> {
        #[cfg(feature = "tracing")]
        self.trace.end(
            &***inner,
            self.holder(inner.now()),
            Outcome::Failed(error.kind()),
        );
        #[cfg(not(feature = "tracing"))]
        let _ = inner;
        error
    }

    #[cfg(feature = "tracing")]
    const fn holder(&self, since: Moment) -> Holder {
        Holder {
            since,
            place: self.place,
            label: "",
        }
    }

    /// Leaves the line, for want of a runtime.
    #[cold]
    fn abandon(&mut self, inner: &Arc<Handle<M>>) -> Poll<Result<Share<M>, Error<M::Error>>> {
        let Some(waiting) = self.waiting.take() else {
            return Poll::Pending;
        };
        let waited = waiting.started.elapsed();
        inner.perform(inner.links.cancel(waiting.id, inner.now()));
        let error = inner.error(Kind::NoRuntime, waited, None);
        Poll::Ready(Err(self.failed(inner, error)))
    }

    /// Ends the wait at its deadline. Short waits never touch the timer: the keeper tells those that turn out to be long. But for those
    /// on another runtime than the keeper's, which may be blocked, or driven by nobody: they keep time themselves, and look now and
    /// then after what the keeper would do.
    fn watch_deadline(
        &mut self,
        inner: &Arc<Handle<M>>,
        armed: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Share<M>, Error<M::Error>>> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Pending;
        };
        let away = inner.keeper_is_elsewhere();
        if !armed && !away && waiting.timer.is_none() {
            return Poll::Pending;
        }
        loop {
            let until = match (waiting.rings_at, waiting.deadline) {
                (Some(at), _) => Some(at),
                (None, Some(deadline)) if !away => Some(deadline),
                (None, None) if !away => None,
                (None, deadline) => {
                    let soon = Instant::now() + LOOK_AFTER;
                    Some(deadline.map_or(soon, |deadline| deadline.min(soon)))
                }
            };
            let Some(until) = until else {
                return Poll::Pending;
            };
            waiting.rings_at = Some(until);
            let timer = waiting.timer.get_or_insert_with(|| Timer::new(until));
            match timer.poll(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(NoRuntime)) => return self.abandon(inner),
                Poll::Ready(Ok(())) => {}
            }
            if waiting.deadline.is_some_and(|deadline| until >= deadline) {
                break;
            }
            (waiting.timer, waiting.rings_at) = (None, None);
            inner.perform(inner.links.look_after(inner.now()));
            let (answer, work) = inner.links.poll(&waiting.id, context.waker(), inner.now());
            if let Poll::Ready(answer) = answer {
                return self.answered(inner, answer, work);
            }
            inner.perform(work);
        }
        let Some(waiting) = self.waiting.take() else {
            return Poll::Pending;
        };
        let waited = waiting.started.elapsed();
        Poll::Ready(match inner.links.time_out(waiting.id, inner.now()) {
            Ok(Ok(share)) => Ok(self.got(inner, share, waited)),
            Ok(Err(refusal)) => Err(self.failed(inner, inner.refused(refusal, waited))),
            Err(phase) => {
                let error = inner.error(Kind::Timeout(phase), waited, None);
                Err(self.failed(inner, error))
            }
        })
    }
}

/// How often one on another runtime than the keeper's looks after the pool.
const LOOK_AFTER: Duration = Duration::from_millis(500);

/// A wait that may not last longer than this keeps a timer from the start.
const SHORT: Duration = Duration::from_millis(30);

// Nothing in here is pinned but the timer, which has a box of its own.
impl<M: SharedManager> Unpin for GetShare<M> {}

impl<M: SharedManager> Future for GetShare<M> {
    type Output = Result<Share<M>, Error<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(inner) = this.inner.take() else {
            panic!("a get was polled after it had ended");
        };
        if this.waiting.is_none()
            && let Some(share) = inner.links.take()
        {
            return Poll::Ready(Ok(Share::new(share, inner)));
        }
        let answer = if this.waiting.is_some() {
            this.wait(&inner, context)
        } else {
            this.start(&inner, context)
        };
        if answer.is_pending() {
            this.inner = Some(inner);
        }
        answer
    }
}

impl<M: SharedManager> Drop for GetShare<M> {
    #[inline]
    fn drop(&mut self) {
        if let (Some(inner), Some(waiting)) = (&self.inner, self.waiting.take()) {
            inner.perform(inner.links.cancel(waiting.id, inner.now()));
            #[cfg(feature = "tracing")]
            {
                let holder = self.holder(inner.now());
                self.trace.end(&***inner, holder, Outcome::Cancelled);
            }
        }
    }
}

impl<M: SharedManager> fmt::Debug for GetShare<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetShare")
            .field("waiting", &self.waiting.is_some())
            .finish_non_exhaustive()
    }
}
