//! The future of a get of a key.

use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    KeyedLease, KeyedManager, KeyedPool,
    inner::{Grant, Inner, Slot},
    kernel::{Asked, Kernel, Take},
};
#[cfg(feature = "tracing")]
use crate::host::trace::Outcome;
use crate::{
    engine::{Holder, Kept},
    host::{Ended, Error, Hosted, Kind, Limit, Queued, Wait, keeper, spend},
    moment::Moment,
    observe::Phase,
    rt::{Handle, Instant},
};

/// The future of [`KeyedPool::get`]. Its setters can be called until it is first polled.
#[must_use = "a get does nothing until it is awaited"]
pub struct GetKeyed<'a, K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> {
    pool: &'a KeyedPool<K, M>,
    key: &'a Q,
    place: &'static Location<'static>,
    label: &'static str,
    phase: Step,
    wait: Wait<Inner<K, M>>,
}

/// What the future does when it is polled next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It looks for an idle resource: it was not polled yet, or the resource that it received was broken.
    New,
    Waiting,
    Done,
}

impl<'a, K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> GetKeyed<'a, K, M, Q> {
    #[inline]
    pub(super) const fn new(
        pool: &'a KeyedPool<K, M>,
        key: &'a Q,
        place: &'static Location<'static>,
    ) -> Self {
        Self {
            pool,
            key,
            place,
            label: "",
            phase: Step::New,
            wait: Wait::new(),
        }
    }

    /// Sets the timeout of this get, instead of the `acquire_timeout` of its key. With a timeout of zero, the get takes a resource
    /// that is idle and known to be good, or fails at once; it opens nothing.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.wait.limit(Limit::Timeout(limit));
        self
    }

    /// Sets the deadline of this get, instead of the `acquire_timeout` of its key.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.wait.limit(Limit::Deadline(deadline));
        self
    }

    /// Names the holder of the lease, for [`KeyedPool::leases`] and leak reports.
    pub const fn label(mut self, label: &'static str) -> Self {
        self.label = label;
        self
    }

    const fn holder(&self, since: Moment) -> Holder {
        Holder {
            since,
            place: self.place,
            label: self.label,
        }
    }
}

impl<K, M, Q> GetKeyed<'_, K, M, Q>
where
    K: Borrow<Q> + Send + Sync + 'static,
    M: KeyedManager<K>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
{
    /// Takes an idle resource, or joins the queue of the key.
    ///
    /// Keys are compared with nothing locked. If keys have come or gone since the comparison, this looks again.
    #[cold]
    fn start(
        &mut self,
        hash: u64,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Grant<K, M>, Error<M::Error>>> {
        let inner = self.pool.inner();
        let holder = self.holder(now);
        let runtime = Handle::try_current();
        let mut made = None;
        loop {
            let (found, youngest) = inner.find(self.key);
            let asked = match found {
                Some(place) => Asked::Known(place),
                None => {
                    if made.is_none() {
                        let key = Arc::new(self.key.to_owned());
                        match inner.terms_of(&key) {
                            Ok(terms) => made = Some((key, terms)),
                            Err(error) => {
                                return Poll::Ready(Err(inner.unusable(self.key, error)));
                            }
                        }
                    }
                    let Some((key, terms)) = &made else { continue };
                    Asked::New {
                        hash,
                        youngest,
                        key,
                        terms,
                    }
                }
            };
            let idle = || found.and_then(|place| inner.kernel.take_of(place, now, holder));
            let limit = || match (&made, found) {
                (Some((_, terms)), _) => Some(terms.acquire_timeout),
                (None, Some(place)) => inner.kernel.acquire_timeout(place),
                (None, None) => None,
            };
            let limit = || limit().unwrap_or(inner.config.acquire_timeout);
            if self.wait.is_over(inner, limit) {
                return Poll::Ready(match idle() {
                    Some(slot) => Ok(self.taken(slot)),
                    None => Err(self.at_once()),
                });
            }
            let Ok(runtime) = &runtime else {
                return Poll::Ready(match idle() {
                    Some(slot) => Ok(self.taken(slot)),
                    None => Err(self.error(Kind::NoRuntime)),
                });
            };
            // A closed pool has no keeper and gets no new one.
            if !keeper::runs(&**inner) && !inner.kernel.is_closed() {
                keeper::ensure(inner, runtime);
            }
            let (waker, exact) = (context.waker().clone(), || inner.now());
            match Kernel::take_or_wait(&inner.kernel, asked, now, exact, holder, waker) {
                Take::Ready(slot) => return Poll::Ready(Ok(self.taken(slot))),
                Take::Refused(refusal, work) => {
                    inner.perform(work);
                    // A refused get does not wait, so it does not find out later whether the keeper still comes. Look now.
                    if keeper::is_elsewhere(&**inner) {
                        keeper::look_after(inner, inner.now());
                    }
                    let waited = self.waited();
                    return Poll::Ready(Err(inner.refused(self.key, refusal, waited)));
                }
                Take::Queued(queued) => {
                    let queued = Queued {
                        ticket: queued.ticket,
                        timed: queued.timed,
                        acquire_timeout: queued.acquire_timeout,
                        work: queued.work,
                    };
                    self.phase = Step::Waiting;
                    #[cfg(feature = "tracing")]
                    self.wait
                        .trace
                        .begin(&**inner, holder, || inner.key_name(&self.key.to_owned()));
                    let outcome = ready!(self.wait.begin(inner, queued, holder, context));
                    return Poll::Ready(self.ended(outcome));
                }
                Take::Changed => {}
            }
        }
    }

    /// Makes a grant of an idle slot that was taken.
    fn taken(&self, mut slot: Box<Slot<K, M>>) -> Grant<K, M> {
        let fit = self.pool.inner().is_fit(&mut slot);
        Grant { slot, fit }
    }

    /// Returns the error of a get that may not wait and found no idle resource.
    #[cold]
    fn at_once(&self) -> Error<M::Error> {
        let inner = self.pool.inner();
        let open = self
            .pool
            .status_of(self.key)
            .map_or(0, |status| status.open);
        let phase = if open > 0 { Phase::Wait } else { Phase::Create };
        if !inner.kernel.is_closed() {
            inner.kernel.count_timeout(inner.find(self.key).0, phase);
        }
        self.error(Kind::Timeout(phase))
    }

    /// Returns how long the get has waited so far.
    fn waited(&self) -> Duration {
        let began = self.wait.began();
        began.map_or(Duration::ZERO, |began| self.pool.inner().now() - began)
    }

    /// Returns the error of a get that cannot go on. If the pool is closed, the error says so.
    #[cold]
    fn error(&self, kind: Kind) -> Error<M::Error> {
        let inner = self.pool.inner();
        let closed = inner.kernel.is_closed();
        let kind = if closed { Kind::Closed } else { kind };
        inner.error_of(self.key, kind, self.waited(), None)
    }

    /// Maps the outcome of a wait that has ended.
    fn ended(
        &self,
        outcome: Result<Grant<K, M>, (Ended<M::Error>, Duration)>,
    ) -> Result<Grant<K, M>, Error<M::Error>> {
        let inner = self.pool.inner();
        outcome.map_err(|(ended, waited)| match ended {
            Ended::Refused(refusal) => inner.refused(self.key, refusal, waited),
            Ended::Late(phase) => inner.error_of(self.key, Kind::Timeout(phase), waited, None),
            Ended::NoRuntime => self.error(Kind::NoRuntime),
        })
    }
}

impl<K, M, Q> Future for GetKeyed<'_, K, M, Q>
where
    K: Borrow<Q> + Send + Sync + 'static,
    M: KeyedManager<K>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
{
    type Output = Result<KeyedLease<K, M>, Error<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let inner = this.pool.inner();
        if this.phase == Step::New {
            // Spend budget, so that a loop of gets that are ready at once does not starve its executor.
            ready!(spend(context));
        }
        loop {
            let now = inner.rough_now();
            let holder = this.holder(now);
            let answer = match this.phase {
                Step::New => {
                    let hash = inner.hash(this.key);
                    if let Some(slot) = inner.take_fit(this.key, hash, now, holder) {
                        let grant = Grant { slot, fit: true };
                        Poll::Ready(Ok(grant))
                    } else {
                        this.start(hash, now, context)
                    }
                }
                Step::Waiting => {
                    let outcome = ready!(this.wait.poll(inner, holder, context));
                    Poll::Ready(this.ended(outcome))
                }
                Step::Done => panic!("a get was polled after it had ended"),
            };
            // A get that waited until now is counted as one that waited.
            let waited = this.phase == Step::Waiting;
            match ready!(answer) {
                Err(error) => {
                    this.phase = Step::Done;
                    #[cfg(feature = "tracing")]
                    this.wait
                        .trace
                        .end(&**inner, holder, Outcome::Failed(error.kind()));
                    return Poll::Ready(Err(error));
                }
                Ok(Grant { slot, fit: true }) => {
                    this.phase = Step::Done;
                    if let Some(began) = this.wait.began() {
                        if !waited {
                            let lasted = this.wait.lasted(inner);
                            inner.kernel.count_wait(&slot, lasted);
                        }
                        inner.waited(slot.seat.key(), began);
                    }
                    #[cfg(feature = "tracing")]
                    this.wait.trace.end(&**inner, holder, Outcome::Got);
                    return Poll::Ready(Ok(KeyedLease::new(slot, Arc::clone(inner), now)));
                }
                Ok(Grant { slot, fit: false }) => {
                    // The resource broke before the get received it. Its close makes room, and the get starts again with the time
                    // that is left.
                    inner.never_had(slot, waited);
                    this.phase = Step::New;
                }
            }
        }
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> Drop for GetKeyed<'_, K, M, Q> {
    #[inline]
    fn drop(&mut self) {
        if self.wait.is_waiting() {
            let inner = self.pool.inner();
            self.wait.leave(inner);
            #[cfg(feature = "tracing")]
            {
                let holder = self.holder(inner.now());
                self.wait.trace.end(&**inner, holder, Outcome::Cancelled);
            }
        }
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> fmt::Debug for GetKeyed<'_, K, M, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GetKeyed")
            .field("pool", &self.pool.name())
            .field("state", &self.phase)
            .finish_non_exhaustive()
    }
}
