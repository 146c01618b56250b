//! Waiting for a resource of a key.

use std::{
    borrow::Borrow,
    fmt,
    future::Future,
    hash::Hash,
    mem,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::{self, Handle},
    time::{Instant, Sleep},
};

#[cfg(feature = "tracing")]
use super::trace::GetTrace;
use super::{
    KeyedLease, KeyedManager, KeyedPool,
    inner::{Inner, Slot},
    kernel::{Asked, Kernel, Polled, Queued, Take, Ticket, TimedOut},
};
#[cfg(feature = "tracing")]
use crate::pool::trace::Outcome;
use crate::{
    engine::Holder,
    moment::Moment,
    observe::CloseReason,
    pool::{ARM_AFTER, Error, Failure, Kind, TICK},
};

/// The future of [`KeyedPool::get`]. Until it is first polled it can be told more.
#[must_use = "a get does nothing until it is awaited"]
pub struct GetKeyed<'a, K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> {
    pool: &'a KeyedPool<K, M>,
    key: &'a Q,
    place: &'static Location<'static>,
    label: &'static str,
    limit: Limit,
    state: State<K, M>,
    #[cfg(feature = "tracing")]
    trace: GetTrace,
}

#[derive(Clone, Copy)]
enum Limit {
    /// What holds for the key.
    Key,
    Timeout(Duration),
    Deadline(Instant),
    /// Worked out, when the get first had to wait.
    Until(Moment),
}

enum State<K: Send + Sync + 'static, M: KeyedManager<K>> {
    New,
    Waiting(Waiting<K, M>),
    Done,
}

struct Waiting<K: Send + Sync + 'static, M: KeyedManager<K>> {
    ticket: Ticket<K, M::Resource, Failure<M::Error>>,
    /// Is it known exactly when it began?
    timed: bool,
    deadline: Moment,
    /// Made when the wait is no longer a short one, and which runtime keeps it.
    sleep: Option<(Option<runtime::Id>, Pin<Box<Sleep>>)>,
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
            limit: Limit::Key,
            state: State::New,
            #[cfg(feature = "tracing")]
            trace: GetTrace::new(),
        }
    }

    /// Gives up after so long, not after the `acquire_timeout` of its key. Zero: takes what is there at once, or fails.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Limit::Timeout(limit);
        self
    }

    /// Gives up at `deadline`, not after the `acquire_timeout` of its key.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// Says who will hold it, for [`KeyedPool::leases`] and the report of leaks.
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
    /// Takes an idle one, or joins the line.
    ///
    /// Keys are compared with nothing locked: if keys have come or gone meanwhile, it looks again.
    #[cold]
    fn start(
        &mut self,
        hash: u64,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<K, M>>, Error<M::Error>>> {
        let inner = self.pool.inner();
        let holder = self.holder(now);
        let runtime = Handle::try_current();
        let mut made = None;
        loop {
            let (found, youngest) = inner.find(self.key);
            let Ok(runtime) = &runtime else {
                let idle = found.and_then(|place| inner.kernel.take_of(place, now, holder));
                return Poll::Ready(idle.ok_or_else(|| self.without_runtime(Duration::ZERO)));
            };
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
            // A closed pool has no keeper, and gets none.
            if !inner.keeper_runs() && !inner.kernel.is_closed() {
                inner.ensure_keeper(runtime);
            }
            let (waker, exact) = (context.waker().clone(), || inner.clock.now());
            match Kernel::take_or_wait(&inner.kernel, asked, now, exact, holder, waker) {
                Take::Ready(slot) => return Poll::Ready(Ok(slot)),
                Take::Refused(refusal, work) => {
                    inner.perform(work);
                    return Poll::Ready(Err(inner.refused(self.key, refusal, Duration::ZERO)));
                }
                Take::Queued(queued) => return self.queued(queued, context),
                Take::Changed => {}
            }
        }
    }

    #[cold]
    fn without_runtime(&self, waited: Duration) -> Error<M::Error> {
        let inner = self.pool.inner();
        let kind = if inner.kernel.is_closed() {
            Kind::Closed
        } else {
            Kind::NoRuntime
        };
        inner.error(self.key, kind, waited, None)
    }

    fn queued(
        &mut self,
        queued: Queued<K, M::Resource, Failure<M::Error>>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<K, M>>, Error<M::Error>>> {
        let inner = self.pool.inner();
        let Queued {
            ticket,
            timed,
            acquire_timeout,
            work,
        } = queued;
        let since = ticket.since();
        let after = |limit: Duration| {
            if timed {
                since + limit
            } else if limit <= PRECISE {
                inner.clock.now() + limit
            } else {
                // The tick may lag by its length: rather late by that much than early.
                since + TICK + limit
            }
        };
        let deadline = match self.limit {
            Limit::Key => after(acquire_timeout),
            Limit::Timeout(limit) => after(limit),
            Limit::Deadline(at) => inner.clock.moment(at),
            Limit::Until(deadline) => deadline,
        };
        let short = deadline - since <= ARM_AFTER + 3 * TICK;
        self.limit = Limit::Until(deadline);
        #[cfg(feature = "tracing")]
        self.trace.begin(inner, self.label, || self.key.to_owned());
        self.state = State::Waiting(Waiting {
            ticket,
            timed,
            deadline,
            sleep: None,
        });
        inner.perform(work);
        // Was there a keeper when it was looked for, and had it gone before this was in line? Then nobody told this one.
        if !inner.keeper_runs() {
            match Handle::try_current() {
                Ok(runtime) => inner.ensure_keeper(&runtime),
                Err(_) => return self.abandon(),
            }
        }
        self.watch_deadline(short, context)
    }

    /// Has the wait an end?
    fn wait(
        &mut self,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<K, M>>, Error<M::Error>>> {
        let State::Waiting(Waiting { ticket, timed, .. }) = &self.state else {
            return Poll::Pending;
        };
        let inner = self.pool.inner();
        let since = ticket.since();
        let lasted = || {
            if *timed {
                Some(inner.clock.now() - since)
            } else {
                Some(now - since).filter(|it| *it >= TICK)
            }
        };
        let (waker, holder) = (context.waker(), self.holder(now));
        let (polled, work) = Kernel::poll(&inner.kernel, ticket, waker, holder, lasted);
        match polled {
            Polled::Granted(slot) => {
                self.state = State::Done;
                inner.perform(work);
                inner.waited(slot.seat.key(), since);
                Poll::Ready(Ok(slot))
            }
            Polled::Refused(refusal) => {
                self.state = State::Done;
                inner.perform(work);
                let waited = inner.clock.now() - since;
                Poll::Ready(Err(inner.refused(self.key, refusal, waited)))
            }
            Polled::Pending { armed } => {
                match Handle::try_current() {
                    Ok(runtime) => inner.ensure_keeper(&runtime),
                    // Its runtime ended and here is none: nobody could open one, or tell when the time is over.
                    Err(_) if !inner.keeper_runs() => {
                        inner.perform(work);
                        return self.abandon();
                    }
                    Err(_) => {}
                }
                inner.perform(work);
                self.watch_deadline(armed, context)
            }
        }
    }

    /// Leaves the line, for want of a runtime.
    #[cold]
    fn abandon(&mut self) -> Poll<Result<Box<Slot<K, M>>, Error<M::Error>>> {
        let inner = self.pool.inner();
        let State::Waiting(waiting) = mem::replace(&mut self.state, State::Done) else {
            return Poll::Pending;
        };
        let now = inner.clock.now();
        let waited = now - waiting.ticket.since();
        inner.perform(Kernel::cancel(&inner.kernel, waiting.ticket, now));
        Poll::Ready(Err(self.without_runtime(waited)))
    }

    /// Ends the wait at its deadline. Short waits never get here with `armed` set, and so never touch the timer.
    fn watch_deadline(
        &mut self,
        armed: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<K, M>>, Error<M::Error>>> {
        let inner = self.pool.inner();
        let State::Waiting(waiting) = &mut self.state else {
            return Poll::Pending;
        };
        // One on another runtime than the keeper's does not rely on that one being driven.
        if !armed && waiting.sleep.is_none() && !inner.keeper_is_elsewhere() {
            return Poll::Pending;
        }
        let at = inner.clock.instant(waiting.deadline);
        // A timer of a runtime that has ended panics when it is polled: one that is polled elsewhere is made anew.
        let here = inner.runtime().map(|runtime| runtime.id());
        let made_here = |sleep: &(Option<runtime::Id>, _)| sleep.0 == here;
        if !waiting.sleep.as_ref().is_some_and(made_here) {
            waiting.sleep = Some((here, inner.sleep_until(at)));
        }
        let Some((_, sleep)) = &mut waiting.sleep else {
            return Poll::Pending;
        };
        if sleep.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        let State::Waiting(waiting) = mem::replace(&mut self.state, State::Done) else {
            return Poll::Pending;
        };
        let now = inner.clock.now();
        let waited = now - waiting.ticket.since();
        let holder = self.holder(now);
        let (outcome, work) = inner.kernel.time_out(waiting.ticket, holder, waited);
        inner.perform(work);
        Poll::Ready(match outcome {
            TimedOut::Granted(slot) => Ok(slot),
            TimedOut::Refused(refusal) => Err(inner.refused(self.key, refusal, waited)),
            TimedOut::Late(phase) => Err(inner.error(self.key, Kind::Timeout(phase), waited, None)),
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
        loop {
            let now = inner.rough_now();
            let answer = match this.state {
                State::New => {
                    let hash = inner.hash(this.key);
                    let holder = this.holder(now);
                    if let Some(slot) = inner.take_fit(this.key, hash, now, holder) {
                        this.state = State::Done;
                        // It may have waited before, and been handed a broken one.
                        #[cfg(feature = "tracing")]
                        this.trace.end(inner, Outcome::Got);
                        return Poll::Ready(Ok(KeyedLease::new(slot, Arc::clone(inner), now)));
                    }
                    this.start(hash, now, context)
                }
                State::Waiting(_) => this.wait(now, context),
                State::Done => panic!("a get was polled after it had ended"),
            };
            match answer {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => {
                    this.state = State::Done;
                    #[cfg(feature = "tracing")]
                    this.trace.end(inner, Outcome::Failed(error.kind()));
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(Ok(mut slot)) => {
                    if inner.is_fit(&mut slot) {
                        this.state = State::Done;
                        #[cfg(feature = "tracing")]
                        this.trace.end(inner, Outcome::Got);
                        return Poll::Ready(Ok(KeyedLease::new(slot, Arc::clone(inner), now)));
                    }
                    // It broke while it was handed over. Its close makes room; the search starts again, with what is left of
                    // the time.
                    Inner::discard(inner, slot, CloseReason::Broken);
                    this.state = State::New;
                }
            }
        }
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> Drop for GetKeyed<'_, K, M, Q> {
    #[inline]
    fn drop(&mut self) {
        if let State::Waiting(waiting) = mem::replace(&mut self.state, State::Done) {
            let inner = self.pool.inner();
            let now = inner.clock.now();
            inner.perform(Kernel::cancel(&inner.kernel, waiting.ticket, now));
            #[cfg(feature = "tracing")]
            self.trace.end(inner, Outcome::Cancelled);
        }
    }
}

impl<K: Send + Sync + 'static, M: KeyedManager<K>, Q: ?Sized> fmt::Debug for GetKeyed<'_, K, M, Q> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::New => "new",
            State::Waiting(_) => "waiting",
            State::Done => "done",
        };
        f.debug_struct("GetKeyed")
            .field("pool", &self.pool.name())
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Up to this long a timeout is kept to the millisecond; a longer one may be late by a tick.
const PRECISE: Duration = Duration::from_secs(1);
