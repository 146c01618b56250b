//! Waiting for a share.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

#[cfg(feature = "tracing")]
use std::panic::Location;

use super::{Share, SharedManager, handle::Handle, inner::Inner, links::Take, places};
#[cfg(feature = "tracing")]
use crate::host::trace::Outcome;
use crate::{
    engine::{Holder, Kept},
    host::{Ended, Error, Hosted, Kind, Limit, Queued, Wait, keeper, spend},
    moment::Moment,
    observe::Phase,
    rt::{self, Instant},
};

/// The future of [`SharedPool::get`](super::SharedPool::get). Its setters can be called until it is first polled.
///
/// The future borrows nothing.
#[must_use = "a get does nothing until it is awaited"]
pub struct GetShare<M: SharedManager> {
    /// `None` once the get has ended, since the share took it.
    inner: Option<Arc<Handle<M>>>,
    wait: Wait<Inner<M>>,
    #[cfg(feature = "tracing")]
    place: &'static Location<'static>,
}

impl<M: SharedManager> GetShare<M> {
    #[inline]
    #[cfg_attr(feature = "tracing", track_caller)]
    pub(super) const fn new(inner: Arc<Handle<M>>) -> Self {
        Self {
            inner: Some(inner),
            wait: Wait::new(),
            #[cfg(feature = "tracing")]
            place: Location::caller(),
        }
    }

    /// Sets the timeout of this get, instead of the pool's `acquire_timeout`. With a timeout of zero, the get takes a free share or
    /// fails at once; it opens nothing.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.wait.limit(Limit::Timeout(limit));
        self
    }

    /// Sets the deadline of this get, instead of the pool's `acquire_timeout`.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.wait.limit(Limit::Deadline(deadline));
        self
    }

    const fn holder(&self, since: Moment) -> Holder {
        Holder {
            since,
            #[cfg(feature = "tracing")]
            place: self.place,
            #[cfg(not(feature = "tracing"))]
            place: HERE,
            label: "",
        }
    }

    /// Takes a share under the lock, or joins the queue.
    #[cold]
    fn start(
        &mut self,
        inner: &Arc<Handle<M>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Share<M>, Error<M::Error>>> {
        let over = self.wait.is_over(inner, || inner.config.acquire_timeout);
        let runtime = rt::Handle::try_current();
        let runtime = match (over, runtime) {
            (false, Ok(runtime)) => runtime,
            (over, _) => {
                // A share may be free all the same, but only under the lock.
                let (share, work) = inner.links.try_take(inner.now());
                inner.perform(work);
                return Poll::Ready(match share {
                    Some(share) => Ok(Share::new(share, Arc::clone(inner))),
                    None => Err(cannot_wait(inner, over)),
                });
            }
        };
        let now = inner.now();
        let (take, work) = inner.links.take_or_wait(context.waker().clone(), now);
        inner.perform(work);
        match take {
            Take::Ready(share) => Poll::Ready(Ok(Share::new(share, Arc::clone(inner)))),
            Take::Refused(refusal) => {
                // A refused get does not wait, so it does not find out later whether the keeper still comes. Look now.
                if keeper::is_elsewhere(&****inner) {
                    keeper::look_after(&***inner, now);
                }
                Poll::Ready(Err(inner.refused(refusal, Duration::ZERO)))
            }
            Take::Queued(ticket, work) => {
                let holder = self.holder(now);
                #[cfg(feature = "tracing")]
                self.wait.trace.begin(&****inner, holder, || None);
                keeper::ensure(&***inner, &runtime);
                let queued = Queued {
                    ticket,
                    timed: true,
                    acquire_timeout: inner.config.acquire_timeout,
                    work,
                };
                let outcome = ready!(self.wait.begin(inner, queued, holder, context));
                Poll::Ready(self.ended(inner, outcome))
            }
        }
    }

    /// Maps the outcome of a wait that has ended.
    fn ended(
        &mut self,
        inner: &Arc<Handle<M>>,
        outcome: Result<places::Share, (Ended<M::Error>, Duration)>,
    ) -> Result<Share<M>, Error<M::Error>> {
        let answer = match outcome {
            Ok(share) => {
                if let Some(began) = self.wait.began() {
                    inner.waited(&(), began);
                }
                Ok(Share::new(share, Arc::clone(inner)))
            }
            Err((ended, waited)) => Err(match ended {
                Ended::Refused(refusal) => inner.refused(refusal, waited),
                Ended::Late(phase) => inner.error_of(Kind::Timeout(phase), waited, None),
                Ended::NoRuntime => inner.error_of(Kind::NoRuntime, waited, None),
            }),
        };
        #[cfg(feature = "tracing")]
        {
            let outcome = match &answer {
                Ok(_) => Outcome::Got,
                Err(error) => Outcome::Failed(error.kind()),
            };
            let holder = self.holder(inner.now());
            self.wait.trace.end(&****inner, holder, outcome);
        }
        answer
    }
}

/// Returns the error of a get that finds no share and cannot wait, because its time is `over` or because there is no runtime.
#[cold]
fn cannot_wait<M: SharedManager>(inner: &Arc<Handle<M>>, over: bool) -> Error<M::Error> {
    let kind = if inner.links.is_closed() {
        Kind::Closed
    } else if over {
        let open = inner.shared_status().open > 0;
        let phase = if open { Phase::Wait } else { Phase::Create };
        inner.links.count_timeout(phase);
        Kind::Timeout(phase)
    } else {
        Kind::NoRuntime
    };
    inner.error_of(kind, Duration::ZERO, None)
}

/// The line of a get without the feature `tracing`, where nothing reports it.
#[cfg(not(feature = "tracing"))]
const HERE: &std::panic::Location<'static> = std::panic::Location::caller();

// Only the timer has to be pinned, and it has a box of its own.
impl<M: SharedManager> Unpin for GetShare<M> {}

impl<M: SharedManager> Future for GetShare<M> {
    type Output = Result<Share<M>, Error<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.inner.is_some() && !this.wait.is_waiting() {
            // Spend budget, so that a loop of gets that are ready at once does not starve its executor.
            ready!(spend(context));
        }
        let Some(inner) = this.inner.take() else {
            panic!("a get was polled after it had ended");
        };
        let answer = if this.wait.is_waiting() {
            let holder = this.holder(inner.now());
            let outcome = this.wait.poll(&inner, holder, context);
            outcome.map(|outcome| this.ended(&inner, outcome))
        } else if let Some(share) = inner.links.take() {
            return Poll::Ready(Ok(Share::new(share, inner)));
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
        if let Some(inner) = self.inner.take()
            && self.wait.leave(&inner)
        {
            #[cfg(feature = "tracing")]
            {
                let holder = self.holder(inner.now());
                self.wait.trace.end(&***inner, holder, Outcome::Cancelled);
            }
        }
    }
}

impl<M: SharedManager> fmt::Debug for GetShare<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetShare")
            .field("waiting", &self.wait.is_waiting())
            .finish_non_exhaustive()
    }
}
