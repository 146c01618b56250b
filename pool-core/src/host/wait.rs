//! The wait of a get: its place in line, its limit, and how it ends.
//!
//! Four things end a wait: an answer, the deadline, the want of a runtime, or that its future is dropped. The line is the kernel's; all
//! else is here, for every pool.

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

/// A pool whose gets wait in line.
pub(crate) trait Waits: Hosted {
    /// A place in line. Spent by the answer.
    type Ticket;
    /// What is handed to a waiter.
    type Grant;

    /// When it joined the line, within [`LAG`].
    fn since(ticket: &Self::Ticket) -> Moment;

    /// What a waiter was told, where that can be seen without the lock. `lasted` is for how long it has waited, if that was timed.
    #[inline]
    fn look(
        &self,
        ticket: &Self::Ticket,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<Answer<Self>> {
        let (_, _unused) = (ticket, lasted);
        None
    }

    /// Has a waiter its answer? If not, what can be done for it now is done.
    fn poll(
        self: &Arc<Self>,
        ticket: &Self::Ticket,
        waker: &Waker,
        holder: Holder,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> (Polled<Self>, Self::Work);

    /// A waiter gives up at its deadline, after waiting so long: what it was told meanwhile, or what it was waiting for.
    fn time_out(
        self: &Arc<Self>,
        ticket: Self::Ticket,
        holder: Holder,
        lasted: Duration,
    ) -> Result<Answer<Self>, Phase>;

    /// A waiter goes away. What was handed to it goes to the next.
    fn cancel(self: &Arc<Self>, ticket: Self::Ticket);
}

/// What a waiter is told.
pub(crate) type Answer<P> = Result<<P as Waits>::Grant, Refusal<Failure<<P as Hosted>::Error>>>;

/// What a waiter finds when it is polled.
pub(crate) enum Polled<P: Waits> {
    Told(Answer<P>),
    /// Nothing yet. `armed`: it is to keep a timer for the deadline from now on.
    Pending {
        armed: bool,
    },
}

/// A place in line, just taken.
pub(crate) struct Queued<P: Waits> {
    pub(crate) ticket: P::Ticket,
    /// Is it known exactly when it joined?
    pub(crate) timed: bool,
    /// How long it may take where the get says nothing else.
    pub(crate) acquire_timeout: Duration,
    pub(crate) work: P::Work,
}

/// How a wait ended without a grant.
pub(crate) enum Ended<E> {
    Refused(Refusal<Failure<E>>),
    Late(Phase),
    /// It must wait, and there is no runtime to open anything on, or to keep time.
    NoRuntime,
}

/// How a wait ended, and how long it was when it ended without a grant.
type Outcome<P> = Result<<P as Waits>::Grant, (Ended<<P as Hosted>::Error>, Duration)>;

/// How long a get may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// The pool's `acquire_timeout`.
    Pool,
    Timeout(Duration),
    Deadline(Instant),
    /// Worked out, when the get first had to wait.
    Until(Moment),
}

/// The wait of one get.
pub(crate) struct Wait<P: Waits> {
    ticket: Option<P::Ticket>,
    limit: Limit,
    /// Is it known exactly when it began?
    timed: bool,
    /// When it began: a get that is handed a broken one waits again, and it is the same wait.
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

    /// Does it stand in line?
    #[inline]
    pub(crate) const fn is_waiting(&self) -> bool {
        self.ticket.is_some()
    }

    /// When it began, if it had to wait.
    #[inline]
    pub(crate) const fn began(&self) -> Option<Moment> {
        self.began
    }

    /// How long it has lasted, if that is known exactly.
    pub(crate) fn lasted(&self, pool: &P) -> Option<Duration> {
        lasted(pool, self.began, self.timed)()
    }

    /// May it not wait at all? `pools` is the limit of a get that has none of its own.
    pub(crate) fn is_over(&self, pool: &P, pools: impl FnOnce() -> Duration) -> bool {
        match self.limit {
            Limit::Pool => pools().is_zero(),
            Limit::Timeout(limit) => limit.is_zero(),
            Limit::Deadline(at) => at <= rt::now(),
            Limit::Until(deadline) => deadline <= pool.now(),
        }
    }

    /// It has joined the line.
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
                // Rather late by that much than early.
                since + LAG + limit
            }
        });
        // From now, and not from the tick. A wait that may be long keeps no timer of its own until the keeper tells it to.
        let short = short && deadline - clock.now() <= ARM_AFTER + 3 * TICK;
        self.limit = Limit::Until(deadline);
        self.ticket = Some(ticket);
        if self.began.is_none() {
            (self.began, self.timed) = (Some(since), timed);
        }
        // One that has rung is not to be asked again.
        self.timer = Timer::new();
        pool.perform(work);
        // Was there a keeper when it was looked for, and had it gone before this was in line? Then nobody told this one.
        if !keeper::runs(&**pool) {
            match Handle::try_current() {
                Ok(runtime) => keeper::ensure(pool, &runtime),
                Err(_) => return self.abandon(pool),
            }
        }
        self.watch_deadline(pool, short, holder, context)
    }

    /// Has the wait an end?
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
        // The usual case: it was woken because it was told something, and that is where only it looks.
        match pool.look(ticket, lasted) {
            Some(answer) => self.answered(pool, answer),
            None => self.wait_on(pool, holder, context),
        }
    }

    #[inline]
    fn answered(&mut self, pool: &Arc<P>, answer: Answer<P>) -> Poll<Outcome<P>> {
        // It is spent: no user code runs while it could be used again.
        self.ticket = None;
        Poll::Ready(answer.map_err(|refusal| (Ended::Refused(refusal), self.waited(pool))))
    }

    /// How long it has lasted so far.
    fn waited(&self, pool: &P) -> Duration {
        self.began
            .map_or(Duration::ZERO, |began| pool.now() - began)
    }

    /// It was woken though it was told nothing, or nobody woke it.
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
            // Its runtime ended and here is none: nobody could open one, or tell when the time is over.
            Err(_) if !keeper::runs(&**pool) => {
                let outcome = self.abandon(pool);
                // After it has left the line: the room is for others. The keeper may be called in this: another that has come.
                pool.perform(work);
                return outcome;
            }
            Err(_) => {}
        }
        pool.perform(work);
        self.watch_deadline(pool, armed, holder, context)
    }

    /// Leaves the line, for want of a runtime.
    #[cold]
    fn abandon(&mut self, pool: &Arc<P>) -> Poll<Outcome<P>> {
        let waited = self.waited(pool);
        self.leave(pool);
        Poll::Ready(Err((Ended::NoRuntime, waited)))
    }

    /// Leaves the line, if it stands there: did it?
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

    /// Ends the wait at its deadline. Waits that turn out to be short never get here with `armed` set, and so never touch the timer:
    /// the keeper tells those that turn out to be long. But for those on another runtime than the keeper's, which may be blocked, or
    /// driven by nobody: they have a timer from the beginning, and see to it that there is a keeper that comes by.
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
                // While the keeper is elsewhere it is looked after on the way to the deadline.
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

/// How long a wait that began then has lasted, if that is known exactly. Others are not recorded: which of them would be told long ones
/// by a tick says more of the tick than of them.
#[inline]
fn lasted<P: Waits>(
    pool: &P,
    began: Option<Moment>,
    timed: bool,
) -> impl FnOnce() -> Option<Duration> {
    move || began.filter(|_| timed).map(|began| pool.now() - began)
}

/// Up to this long a timeout is kept to the millisecond; a longer one may be late by [`LAG`].
const PRECISE: Duration = Duration::from_secs(1);
