//! The wait of a get: its place in the queue, its deadline, and how it ends.
//!
//! A wait ends by an answer, by its deadline, by the lack of a runtime, or by the drop of its future. The queue belongs to the
//! kernel; everything else is here, for every pool.

use std::{
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

#[cfg(feature = "tracing")]
use super::trace::GetTrace;
use super::{ARM_AFTER, Failure, Hosted, LAG, TICK, Timer, keeper};
use crate::{
    engine::{Holder, Refusal},
    moment::Moment,
    observe::Phase,
    rt::{self, Handle, Instant},
};

/// A pool whose gets wait in a queue.
pub(crate) trait Waits: Hosted {
    /// A place in the queue. An answer consumes it.
    type Ticket;
    /// What is handed to a waiter.
    type Grant;

    /// When the waiter joined the queue; may be off by [`LAG`].
    fn since(ticket: &Self::Ticket) -> Moment;

    /// The answer of a waiter, if it can be seen without the lock. `lasted` returns how long the waiter has waited, if that was
    /// timed.
    #[inline]
    fn look(
        &self,
        ticket: &Self::Ticket,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<Answer<Self>> {
        let (_, _unused) = (ticket, lasted);
        None
    }

    /// Returns the answer of a waiter. If there is none yet, does what can be done for the waiter now.
    fn poll(
        self: &Arc<Self>,
        ticket: &Self::Ticket,
        waker: &Waker,
        holder: Holder,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> (Polled<Self>, Self::Work);

    /// A waiter reached its deadline after a wait of `lasted`: returns an answer that came meanwhile, or what the waiter was
    /// waiting for.
    fn time_out(
        self: &Arc<Self>,
        ticket: Self::Ticket,
        holder: Holder,
        lasted: Duration,
    ) -> Result<Answer<Self>, Phase>;

    /// A waiter leaves. A resource that was handed to it goes to the next waiter.
    fn cancel(self: &Arc<Self>, ticket: Self::Ticket);
}

/// The answer to a waiter.
pub(crate) type Answer<P> = Result<<P as Waits>::Grant, Refusal<Failure<<P as Hosted>::Error>>>;

/// What a waiter finds when it is polled.
pub(crate) enum Polled<P: Waits> {
    Told(Answer<P>),
    /// No answer yet. `armed`: the waiter must keep a timer for its deadline from now on.
    Pending {
        armed: bool,
    },
}

/// A place in the queue that was just taken.
pub(crate) struct Queued<P: Waits> {
    pub(crate) ticket: P::Ticket,
    /// Whether it is known exactly when the waiter joined.
    pub(crate) timed: bool,
    /// The timeout of a get that sets none.
    pub(crate) acquire_timeout: Duration,
    pub(crate) work: P::Work,
}

/// How a wait ended without a grant.
pub(crate) enum Ended<E> {
    Refused(Refusal<Failure<E>>),
    Late(Phase),
    /// The get must wait, and there is no runtime to open a resource on or to keep the time.
    NoRuntime,
}

/// How a wait ended, and how long it was if it ended without a grant.
type Outcome<P> = Result<<P as Waits>::Grant, (Ended<<P as Hosted>::Error>, Duration)>;

/// How long a get may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The pool's `acquire_timeout`.
    Pool,
    Timeout(Duration),
    Deadline(Instant),
    /// The deadline, computed when the get first had to wait.
    Until(Moment),
}

/// The wait of one get.
pub(crate) struct Wait<P: Waits> {
    ticket: Option<P::Ticket>,
    limit: Limit,
    /// Whether it is known exactly when the wait began.
    timed: bool,
    /// When the wait began. If a get is handed a broken resource and waits again, this is still the same wait.
    began: Option<Moment>,
    timer: Timer,
    #[cfg(feature = "tracing")]
    pub(crate) trace: GetTrace,
}

impl<P: Waits> Wait<P> {
    #[inline]
    pub(crate) const fn new() -> Self {
        Self {
            ticket: None,
            limit: Limit::Pool,
            timed: false,
            began: None,
            timer: Timer::new(),
            #[cfg(feature = "tracing")]
            trace: GetTrace::new(),
        }
    }

    #[inline]
    pub(crate) const fn limit(&mut self, limit: Limit) {
        self.limit = limit;
    }

    /// Whether the get is in the queue.
    #[inline]
    pub(crate) const fn is_waiting(&self) -> bool {
        self.ticket.is_some()
    }

    /// When the wait began, if the get had to wait.
    #[inline]
    pub(crate) const fn began(&self) -> Option<Moment> {
        self.began
    }

    /// How long the wait has lasted, if that is known exactly.
    pub(crate) fn lasted(&self, pool: &P) -> Option<Duration> {
        lasted(pool, self.began, self.timed)()
    }

    /// Whether the time of the get is over before it waits. `pools` is the timeout of a get that sets none.
    pub(crate) fn is_over(&self, pool: &P, pools: impl FnOnce() -> Duration) -> bool {
        match self.limit {
            Limit::Pool => pools().is_zero(),
            Limit::Timeout(limit) => limit.is_zero(),
            Limit::Deadline(at) => at <= rt::now(),
            Limit::Until(deadline) => deadline <= pool.now(),
        }
    }

    /// The get has joined the queue.
    pub(crate) fn begin(
        &mut self,
        pool: &Arc<P>,
        queued: Queued<P>,
        holder: Holder,
        context: &mut Context<'_>,
    ) -> Poll<Outcome<P>> {
        let Queued {
            ticket,
            timed,
            acquire_timeout,
            work,
        } = queued;
        let clock = &pool.host().clock;
        let since = P::since(&ticket);
        let (limit, mut short) = match self.limit {
            Limit::Until(deadline) => (Some(deadline), true),
            Limit::Deadline(at) => (Some(clock.moment(at)), true),
            Limit::Pool | Limit::Timeout(_) => (None, false),
        };
        let deadline = limit.unwrap_or_else(|| {
            let limit = match self.limit {
                Limit::Timeout(limit) => limit,
                _ => acquire_timeout,
            };
            short = limit <= PRECISE;
            if timed {
                since + limit
            } else if short {
                clock.now() + limit
            } else {
                // The tick may be old by `LAG`: the deadline is late by that much rather than early.
                since + LAG + limit
            }
        });
        // Measured from the exact time, not from the tick. A wait that may be long makes no timer of its own until the keeper tells
        // it to.
        let short = short && deadline - clock.now() <= ARM_AFTER + 3 * TICK;
        self.limit = Limit::Until(deadline);
        self.ticket = Some(ticket);
        if self.began.is_none() {
            (self.began, self.timed) = (Some(since), timed);
        }
        // A timer that has fired must not be polled again.
        self.timer = Timer::new();
        pool.perform(work);
        // The keeper may have gone after this get looked for it and before it joined the queue. Then nothing woke this get.
        if !keeper::runs(&**pool) {
            match Handle::try_current() {
                Ok(runtime) => keeper::ensure(pool, &runtime),
                Err(_) => return self.abandon(pool),
            }
        }
        self.watch_deadline(pool, short, holder, context)
    }

    /// Returns the outcome of the wait, if it has ended.
    #[inline]
    pub(crate) fn poll(
        &mut self,
        pool: &Arc<P>,
        holder: Holder,
        context: &mut Context<'_>,
    ) -> Poll<Outcome<P>> {
        let Some(ticket) = &self.ticket else {
            panic!("a get was polled after it had ended");
        };
        let lasted = lasted(&**pool, self.began, self.timed);
        // The usual case: the get was woken because it has an answer, and only `look` sees that.
        match pool.look(ticket, lasted) {
            Some(answer) => self.answered(pool, answer),
            None => self.wait_on(pool, holder, context),
        }
    }

    #[inline]
    fn answered(&mut self, pool: &Arc<P>, answer: Answer<P>) -> Poll<Outcome<P>> {
        // The answer consumed the ticket: no user code runs while the ticket could still be used.
        self.ticket = None;
        Poll::Ready(answer.map_err(|refusal| (Ended::Refused(refusal), self.waited(pool))))
    }

    /// How long the wait has lasted so far.
    fn waited(&self, pool: &P) -> Duration {
        self.began
            .map_or(Duration::ZERO, |began| pool.now() - began)
    }

    /// The get was woken without an answer, or polled without a wake.
    #[inline(never)]
    fn wait_on(
        &mut self,
        pool: &Arc<P>,
        holder: Holder,
        context: &mut Context<'_>,
    ) -> Poll<Outcome<P>> {
        let Some(ticket) = &self.ticket else {
            return Poll::Pending;
        };
        let lasted = lasted(&**pool, self.began, self.timed);
        let (polled, work) = pool.poll(ticket, context.waker(), holder, lasted);
        let armed = match polled {
            Polled::Told(answer) => {
                let outcome = self.answered(pool, answer);
                pool.perform(work);
                return outcome;
            }
            Polled::Pending { armed } => armed,
        };
        match Handle::try_current() {
            Ok(runtime) => keeper::ensure(pool, &runtime),
            // The keeper's runtime has ended and this thread has none: nothing could open a resource or keep the time.
            Err(_) if !keeper::runs(&**pool) => {
                let outcome = self.abandon(pool);
                // The work is performed after the get has left the queue: the room is for other waiters. A keeper that has started
                // meanwhile may be called by this.
                pool.perform(work);
                return outcome;
            }
            Err(_) => {}
        }
        pool.perform(work);
        self.watch_deadline(pool, armed, holder, context)
    }

    /// Leaves the queue, for lack of a runtime.
    #[cold]
    fn abandon(&mut self, pool: &Arc<P>) -> Poll<Outcome<P>> {
        let waited = self.waited(pool);
        self.leave(pool);
        Poll::Ready(Err((Ended::NoRuntime, waited)))
    }

    /// Leaves the queue. Returns whether the get was in it.
    #[inline]
    pub(crate) fn leave(&mut self, pool: &Arc<P>) -> bool {
        match self.ticket.take() {
            Some(ticket) => {
                pool.cancel(ticket);
                true
            }
            None => false,
        }
    }

    /// Ends the wait at its deadline. A wait that turns out to be short never gets here with `armed` set, so it never touches the
    /// timer; the keeper arms the waits that turn out to be long. A wait on another runtime than the keeper's, which may be blocked
    /// or undriven, has a timer from the beginning and makes sure that a keeper comes by.
    #[inline]
    fn watch_deadline(
        &mut self,
        pool: &Arc<P>,
        armed: bool,
        holder: Holder,
        context: &mut Context<'_>,
    ) -> Poll<Outcome<P>> {
        let away = keeper::is_elsewhere(&**pool);
        if !(armed || away || self.timer.is_made()) {
            return Poll::Pending;
        }
        self.poll_timer(pool, away, holder, context)
    }

    #[inline(never)]
    fn poll_timer(
        &mut self,
        pool: &Arc<P>,
        away: bool,
        holder: Holder,
        context: &mut Context<'_>,
    ) -> Poll<Outcome<P>> {
        let Limit::Until(deadline) = self.limit else {
            return Poll::Pending;
        };
        let host = pool.host();
        if away && !self.timer.is_made() {
            let now = host.clock.now();
            if host.clock.is_stalled(now) {
                keeper::look_after(pool, now);
            }
        }
        let deadline_at = host.clock.instant(deadline);
        loop {
            let at = match self.timer.rings_at() {
                Some(at) => at,
                // While the keeper is elsewhere, the wait looks on the way to its deadline whether the keeper still comes by.
                None if away => deadline_at.min(rt::now() + ARM_AFTER),
                None => deadline_at,
            };
            match self.timer.poll(at, || host.runtime(), context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return self.abandon(pool),
                Poll::Ready(Ok(())) if at >= deadline_at => break,
                Poll::Ready(Ok(())) => {}
            }
            self.timer = Timer::new();
            keeper::look_after(pool, host.clock.now());
        }
        let waited = self.waited(pool);
        let Some(ticket) = self.ticket.take() else {
            return Poll::Pending;
        };
        Poll::Ready(match pool.time_out(ticket, holder, waited) {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(refusal)) => Err((Ended::Refused(refusal), waited)),
            Err(phase) => Err((Ended::Late(phase), waited)),
        })
    }
}

/// How long a wait that began then has lasted, if that is known exactly. Other waits are not recorded: their durations would say
/// more about the tick than about the waits.
#[inline]
fn lasted<P: Waits>(
    pool: &P,
    began: Option<Moment>,
    timed: bool,
) -> impl FnOnce() -> Option<Duration> {
    move || began.filter(|_| timed).map(|began| pool.now() - began)
}

/// A timeout of at most this length is precise to the millisecond. A longer timeout may be late by [`LAG`].
const PRECISE: Duration = Duration::from_secs(1);
