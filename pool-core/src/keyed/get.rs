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
    KeyedLease, KeyedManager,
    drives::{Drives, Exclusive},
    inner::{Grant, Inner, Lent},
    kernel::{Asked, Kernel, Take},
    leased::Leased,
    shared::Shared,
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

/// The future of [`KeyedPool::get`](super::KeyedPool::get). Its setters can be called until it is first polled.
#[must_use = "a get does nothing until it is awaited"]
pub struct GetKeyed<'a, K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> {
    get: Get<'a, K, Exclusive<M>, Q>,
}

impl<'a, K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> GetKeyed<'a, K, M, Q> {
    #[inline]
    pub(super) const fn new(get: Get<'a, K, Exclusive<M>, Q>) -> Self {
        Self { get }
    }

    /// Sets the timeout of this get, instead of the `acquire_timeout` of its key. With a timeout of zero, the get takes a resource
    /// that is idle and known to be good, or fails at once; it opens nothing.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.get.limit(Limit::Timeout(limit));
        self
    }

    /// Sets the deadline of this get, instead of the `acquire_timeout` of its key.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.get.limit(Limit::Deadline(deadline));
        self
    }

    /// Names the holder of the lease, for [`KeyedPool::leases`](super::KeyedPool::leases) and leak reports.
    pub const fn label(mut self, label: &'static str) -> Self {
        self.get.label(label);
        self
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
        let got = ready!(self.get_mut().get.poll(context))?;
        Poll::Ready(Ok(KeyedLease::new(got.exclusive())))
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> fmt::Debug for GetKeyed<'_, K, M, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get.show("GetKeyed", f)
    }
}

/// A get of a key, of whichever pool.
pub(super) struct Get<'a, K: Send + Sync + 'static, D: Drives<K>, Q: ?Sized> {
    inner: &'a Arc<Inner<K, D>>,
    key: &'a Q,
    place: &'static Location<'static>,
    label: &'static str,
    phase: Step,
    wait: Wait<Inner<K, D>>,
}

/// What a get received.
pub(super) enum Got<K: Send + Sync + 'static, D: Drives<K>> {
    One(Leased<K, D>),
    Many(Shared<K, D>),
}

impl<K: Send + Sync + 'static, D: Drives<K>> Got<K, D> {
    #[inline]
    pub(super) fn new(lent: Lent<K, D>, inner: &Arc<Inner<K, D>>, now: Moment) -> Self {
        inner.handed_out(&lent);
        match lent {
            Lent::<K, D>::One(slot) => Self::One(Leased::new(slot, Arc::clone(inner), now)),
            Lent::<K, D>::Many(token) => Self::Many(Shared::new(token, Arc::clone(inner))),
        }
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>> Got<K, Exclusive<M>> {
    #[inline]
    pub(super) fn exclusive(self) -> Leased<K, Exclusive<M>> {
        match self {
            Self::One(leased) => leased,
            Self::Many(shared) => match *shared.get() {},
        }
    }
}

/// What the future does when it is polled next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It looks for an idle resource: it was not polled yet, or the resource that it received was broken.
    New,
    Waiting,
    Done,
}

impl<'a, K: Send + Sync + 'static, D: Drives<K>, Q: ?Sized> Get<'a, K, D, Q> {
    #[inline]
    pub(super) const fn new(
        inner: &'a Arc<Inner<K, D>>,
        key: &'a Q,
        place: &'static Location<'static>,
        label: &'static str,
    ) -> Self {
        Self {
            inner,
            key,
            place,
            label,
            phase: Step::New,
            wait: Wait::new(),
        }
    }

    pub(super) const fn limit(&mut self, limit: Limit) {
        self.wait.limit(limit);
    }

    pub(super) const fn label(&mut self, label: &'static str) {
        self.label = label;
    }

    pub(super) fn show(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("pool", &self.inner.host.name)
            .field("state", &self.phase)
            .finish_non_exhaustive()
    }

    const fn holder(&self, since: Moment) -> Holder {
        Holder {
            since,
            place: self.place,
            label: self.label,
        }
    }
}

impl<K, D, Q> Get<'_, K, D, Q>
where
    K: Borrow<Q> + Send + Sync + 'static,
    D: Drives<K>,
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
    ) -> Poll<Result<Grant<K, D>, Error<D::Error>>> {
        let inner = self.inner;
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
                    Some(lent) => Ok(self.taken(lent)),
                    None => Err(self.at_once()),
                });
            }
            let Ok(runtime) = &runtime else {
                return Poll::Ready(match idle() {
                    Some(lent) => Ok(self.taken(lent)),
                    None => Err(self.error(Kind::NoRuntime)),
                });
            };
            // A closed pool has no keeper and gets no new one.
            if !keeper::runs(&**inner) && !inner.kernel.is_closed() {
                keeper::ensure(inner, runtime);
            }
            let (waker, exact) = (context.waker().clone(), || inner.now());
            match Kernel::take_or_wait(&inner.kernel, asked, now, exact, holder, waker) {
                Take::Ready(lent) => return Poll::Ready(Ok(self.taken(lent))),
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

    /// Makes a grant of what was idle, or had a free share, and was taken.
    fn taken(&self, mut lent: Lent<K, D>) -> Grant<K, D> {
        let fit = self.inner.is_fit(&mut lent);
        Grant { lent, fit }
    }

    /// Returns the error of a get that may not wait and found no idle resource.
    #[cold]
    fn at_once(&self) -> Error<D::Error> {
        let inner = self.inner;
        let open = inner.status_of(self.key).map_or(0, |status| status.open);
        let phase = if open > 0 { Phase::Wait } else { Phase::Create };
        if !inner.kernel.is_closed() {
            inner.kernel.count_timeout(inner.find(self.key).0, phase);
        }
        self.error(Kind::Timeout(phase))
    }

    /// Returns how long the get has waited so far.
    fn waited(&self) -> Duration {
        let began = self.wait.began();
        began.map_or(Duration::ZERO, |began| self.inner.now() - began)
    }

    /// Returns the error of a get that cannot go on. If the pool is closed, the error says so.
    #[cold]
    fn error(&self, kind: Kind) -> Error<D::Error> {
        let inner = self.inner;
        let closed = inner.kernel.is_closed();
        let kind = if closed { Kind::Closed } else { kind };
        inner.error_of(self.key, kind, self.waited(), None)
    }

    /// Maps the outcome of a wait that has ended.
    fn ended(
        &self,
        outcome: Result<Grant<K, D>, (Ended<D::Error>, Duration)>,
    ) -> Result<Grant<K, D>, Error<D::Error>> {
        let inner = self.inner;
        outcome.map_err(|(ended, waited)| match ended {
            Ended::Refused(refusal) => inner.refused(self.key, refusal, waited),
            Ended::Late(phase) => inner.error_of(self.key, Kind::Timeout(phase), waited, None),
            Ended::NoRuntime => self.error(Kind::NoRuntime),
        })
    }
}

impl<K, D, Q> Get<'_, K, D, Q>
where
    K: Borrow<Q> + Send + Sync + 'static,
    D: Drives<K>,
    Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
{
    /// Polls the get. The future of the pool does it.
    #[inline]
    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Got<K, D>, Error<D::Error>>> {
        let this = self;
        let inner = this.inner;
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
                    if let Some(lent) = inner.take_fit(this.key, hash, now, holder) {
                        let grant = Grant { lent, fit: true };
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
                Ok(Grant { lent, fit: true }) => {
                    this.phase = Step::Done;
                    if let Some(began) = this.wait.began() {
                        if !waited {
                            let lasted = this.wait.lasted(inner);
                            inner.kernel.count_wait(inner.link_of(&lent), lasted);
                        }
                        inner.waited(Inner::<K, D>::key_of_lent(&lent), began);
                    }
                    #[cfg(feature = "tracing")]
                    this.wait.trace.end(&**inner, holder, Outcome::Got);
                    return Poll::Ready(Ok(Got::new(lent, inner, now)));
                }
                Ok(Grant { lent, fit: false }) => {
                    // The resource broke before the get received it. Its close makes room, and the get starts again with the time
                    // that is left.
                    inner.never_had(lent, waited);
                    this.phase = Step::New;
                }
            }
        }
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>, Q: ?Sized> Drop for Get<'_, K, D, Q> {
    #[inline]
    fn drop(&mut self) {
        if self.wait.is_waiting() {
            let inner = self.inner;
            self.wait.leave(inner);
            #[cfg(feature = "tracing")]
            {
                let holder = self.holder(inner.now());
                self.wait.trace.end(&**inner, holder, Outcome::Cancelled);
            }
        }
    }
}
