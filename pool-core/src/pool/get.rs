//! Waiting for a resource.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

#[cfg(feature = "tracing")]
use super::trace::{GetTrace, Outcome};
use super::{
    Lease, Manager, Pool,
    error::{Error, Kind},
    shared::{ARM_AFTER, Queue, Slot, TICK, TICK_NANOS, Ticket},
    timer::Timer,
};
use crate::{
    engine::{
        Holder, Kernel, Polled, Queued, Take,
        mutation::{self, Mutation},
    },
    moment::{Moment, nanos_of},
    observe::CloseReason,
    rt::{Handle, Instant},
};

/// The future of [`Pool::get`]. Until it is first polled it can be told more.
///
/// ```
/// # use pool_core::{Manager, Pool, Usage};
/// # #[derive(Debug)] struct Connection;
/// # impl Connection {
/// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
/// # }
/// # struct Db;
/// # impl Manager for Db {
/// #     type Resource = Connection;
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
/// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
/// # }
/// # use std::time::Duration;
/// # async fn client_gone() { std::future::pending().await }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let get = pool.get().timeout(Duration::from_millis(200)).label("checkout");
/// // It is a future like any other: whoever stops waiting gives up its place, and nothing is lost.
/// let connection = tokio::select! {
///     connection = get => connection?,
///     () = client_gone() => return Ok(()),
/// };
/// assert_eq!(pool.leases()[0].label, "checkout");
/// # drop(connection);
/// # Ok(())
/// # }
/// ```
#[must_use = "a get does nothing until it is awaited"]
pub struct Get<'a, M: Manager> {
    pool: &'a Pool<M>,
    place: &'static Location<'static>,
    label: &'static str,
    limit: Limit,
    /// It is to look for one: it was not polled yet, or what it was handed was broken.
    looks: bool,
    /// Its place in line.
    ticket: Option<Ticket<M>>,
    /// Is it known exactly when it joined that?
    timed: bool,
    timer: Timer,
    #[cfg(feature = "tracing")]
    trace: GetTrace,
}

#[derive(Clone, Copy)]
enum Limit {
    /// The pool's `acquire_timeout`.
    Pool,
    Timeout(Duration),
    Deadline(Instant),
    /// Worked out, when the get first had to wait.
    Until(Moment),
    /// The same, by a tick that may turn out to have been late: so many nanoseconds after it.
    After(Moment, u64),
}

impl<'a, M: Manager> Get<'a, M> {
    #[inline]
    pub(crate) const fn new(pool: &'a Pool<M>, place: &'static Location<'static>) -> Self {
        Self {
            pool,
            place,
            label: "",
            limit: Limit::Pool,
            looks: true,
            ticket: None,
            timed: false,
            timer: Timer::new(),
            #[cfg(feature = "tracing")]
            trace: GetTrace::new(),
        }
    }

    /// Gives up after so long, not after the pool's `acquire_timeout`. Zero: takes what is there at once, or fails.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).max_size(1).build()?;
    /// let busy = pool.get().await?;
    /// // A suggestion while somebody types: later than that nobody wants it.
    /// let error = pool.get().timeout(Duration::from_millis(20)).await.unwrap_err();
    /// assert!(error.is_timeout() && error.waited() >= Duration::from_millis(20));
    /// # drop(busy);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Limit::Timeout(limit);
        self
    }

    /// Gives up at `deadline`, not after the pool's `acquire_timeout`.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// # use std::time::Duration;
    /// # use tokio::time::Instant;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // One deadline for the request, whatever it does first.
    /// let deadline = Instant::now() + Duration::from_millis(500);
    /// let mut connection = pool.get().deadline(deadline).await?;
    /// let rows = tokio::time::timeout_at(deadline, connection.query("select * from orders")).await??;
    /// assert_eq!(rows, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// Says who will hold it, for [`Pool::leases`] and the report of leaks.
    ///
    /// ```
    /// # use pool_core::{Manager, Pool, Usage};
    /// # #[derive(Debug)] struct Connection;
    /// # impl Connection {
    /// #     async fn query(&mut self, _: &str) -> Result<u64, std::io::Error> { Ok(1) }
    /// # }
    /// # struct Db;
    /// # impl Manager for Db {
    /// #     type Resource = Connection;
    /// #     type Error = std::io::Error;
    /// #     async fn create(&self) -> Result<Connection, Self::Error> { Ok(Connection) }
    /// #     async fn check(&self, _: &mut Connection, _: &Usage) -> Result<(), Self::Error> { Ok(()) }
    /// # }
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).leak_after(Some(Duration::from_secs(60))).build()?;
    /// let connection = pool.get().label("GET /orders").await?;
    /// assert!(pool.leases()[0].to_string().starts_with("GET /orders, got at "));
    /// # drop(connection);
    /// # Ok(())
    /// # }
    /// ```
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

    /// Takes an idle one, or joins the line.
    fn start(
        &mut self,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let shared = self.pool.shared();
        if !shared.keeper_runs() {
            if let Some(slot) = shared.kernel.take_locked(now) {
                return Poll::Ready(Ok(slot));
            }
            // A closed pool has no keeper, and gets none.
            if shared.kernel.is_closed() {
                return Poll::Ready(Err(shared.error(Kind::Closed, Duration::ZERO, None)));
            }
            let Ok(runtime) = Handle::try_current() else {
                return Poll::Ready(Err(shared.error(Kind::NoRuntime, Duration::ZERO, None)));
            };
            shared.ensure_keeper(&runtime);
        }
        match Kernel::take_or_wait(
            &shared.kernel,
            now,
            || shared.clock.now(),
            context.waker().clone(),
        ) {
            Take::Ready(slot) => Poll::Ready(Ok(slot)),
            Take::Refused(refusal) => Poll::Ready(Err(shared.refused(refusal, Duration::ZERO))),
            Take::Queued(queued) => self.queued(queued, context),
        }
    }

    /// Nothing was to be had at once.
    #[inline(never)]
    fn poll_new(
        &mut self,
        mut now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Lease<M>, Error<M::Error>>> {
        loop {
            match self.start(now, context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return self.fail(error, now),
                Poll::Ready(Ok(slot)) => match self.finish(slot, now) {
                    Some(lease) => return Poll::Ready(Ok(lease)),
                    None => now = self.pool.shared().rough_now(),
                },
            }
        }
    }

    #[inline(never)]
    fn poll_waiting(
        &mut self,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Lease<M>, Error<M::Error>>> {
        let slot = match self.wait(now, context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(error)) => return self.fail(error, now),
            Poll::Ready(Ok(slot)) => slot,
        };
        match self.finish(slot, now) {
            Some(lease) => Poll::Ready(Ok(lease)),
            // The search starts again, with what is left of the time.
            None => self.poll_new(now, context),
        }
    }

    /// It has one, unless that broke while it was handed over: its close makes room.
    #[inline]
    fn finish(&mut self, mut slot: Box<Slot<M>>, now: Moment) -> Option<Lease<M>> {
        let shared = self.pool.shared();
        if !shared.is_fit(&mut slot) {
            shared.discard(slot, CloseReason::Broken);
            self.looks = true;
            // One that has rung is not to be asked again.
            self.timer = Timer::new();
            return None;
        }
        self.looks = false;
        #[cfg(feature = "tracing")]
        self.trace.end(shared, self.holder(now), Outcome::Got);
        Some(Lease::new(slot, self.holder(now)))
    }

    #[cold]
    fn fail(
        &mut self,
        error: Error<M::Error>,
        now: Moment,
    ) -> Poll<Result<Lease<M>, Error<M::Error>>> {
        self.looks = false;
        #[cfg(feature = "tracing")]
        self.trace.end(
            self.pool.shared(),
            self.holder(now),
            Outcome::Failed(error.kind()),
        );
        #[cfg(not(feature = "tracing"))]
        let _ = now;
        Poll::Ready(Err(error))
    }

    fn queued(
        &mut self,
        queued: Queue<M>,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let shared = self.pool.shared();
        let Queued { id, timed, work } = queued;
        let limit = match self.limit {
            Limit::Pool => shared.config.acquire_timeout,
            Limit::Timeout(limit) => limit,
            Limit::Deadline(_) | Limit::Until(_) | Limit::After(..) => Duration::ZERO,
        };
        self.limit = match self.limit {
            Limit::Deadline(at) => Limit::Until(shared.clock.moment(at)),
            Limit::Until(_) | Limit::After(..) => self.limit,
            Limit::Pool | Limit::Timeout(_) if timed => Limit::Until(id.since() + limit),
            Limit::Pool | Limit::Timeout(_) if limit <= PRECISE => {
                Limit::Until(shared.clock.now() + limit)
            }
            Limit::Pool | Limit::Timeout(_) => Limit::After(id.since(), nanos_of(limit)),
        };
        // From now, and not from the tick, which may have stood still for long: then a short wait would look like a long one, and
        // who keeps no timer is told to by the keeper, after those ahead who joined the line by another clock.
        let short = match self.limit {
            Limit::Until(deadline) => deadline - shared.clock.now() <= ARM_AFTER + 3 * TICK,
            // Longer than `PRECISE`.
            Limit::After(..) | Limit::Pool | Limit::Timeout(_) | Limit::Deadline(_) => false,
        };
        #[cfg(feature = "tracing")]
        let since = id.since();
        self.ticket = Some(id);
        self.timed = timed;
        self.looks = false;
        if let Some(work) = work {
            shared.perform(*work);
        }
        #[cfg(feature = "tracing")]
        self.trace.begin(shared, self.holder(since));
        // Was there a keeper when it was looked for, and had it gone before this was in line? Then nobody told this one.
        if !shared.keeper_runs() {
            match Handle::try_current() {
                Ok(runtime) => shared.ensure_keeper(&runtime),
                Err(_) => return self.abandon(),
            }
        }
        self.watch_deadline(short, context)
    }

    /// Has the wait an end?
    #[inline]
    fn wait(
        &mut self,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let Some(id) = &self.ticket else {
            panic!("a get was polled after it had ended");
        };
        let shared = self.pool.shared();
        let since = id.since();
        let lasted = || {
            if self.timed {
                return Some(shared.clock.now() - since);
            }
            now.is_past(since, TICK_NANOS).then(|| now - since)
        };
        // The usual case: it was woken because it was told something, and that is where only it looks.
        match id.fetch(lasted) {
            Some(Ok(slot)) => {
                // It is spent: no user code runs while it could be used again.
                self.ticket = None;
                shared.waited(since);
                Poll::Ready(Ok(slot))
            }
            Some(Err(refusal)) => {
                self.ticket = None;
                Poll::Ready(Err(shared.refused(refusal, shared.clock.now() - since)))
            }
            None => self.wait_on(now, context),
        }
    }

    /// It was woken though it was told nothing, or nobody woke it.
    #[inline(never)]
    fn wait_on(
        &mut self,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let Some(id) = &self.ticket else {
            return Poll::Pending;
        };
        let shared = self.pool.shared();
        let since = id.since();
        match Kernel::poll(&shared.kernel, id, context.waker(), now) {
            Polled::Granted(slot) => {
                self.ticket = None;
                shared.waited(since);
                Poll::Ready(Ok(slot))
            }
            Polled::Refused(refusal) => {
                self.ticket = None;
                Poll::Ready(Err(shared.refused(refusal, shared.clock.now() - since)))
            }
            Polled::Pending { work, armed } => {
                match Handle::try_current() {
                    Ok(runtime) => shared.ensure_keeper(&runtime),
                    // Its runtime ended and here is none: nobody could open one, or tell when the time is over.
                    Err(_) if !shared.keeper_runs() => {
                        let answer = self.abandon();
                        // After it has left the line: the room is for others. The keeper may be called in this: another that has come.
                        if let Some(work) = work {
                            shared.perform(*work);
                        }
                        return answer;
                    }
                    Err(_) => {}
                }
                if let Some(work) = work {
                    shared.perform(*work);
                }
                self.watch_deadline(armed, context)
            }
        }
    }

    /// Leaves the line, for want of a runtime.
    #[cold]
    fn abandon(&mut self) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let shared = self.pool.shared();
        let Some(id) = self.ticket.take() else {
            return Poll::Pending;
        };
        let now = shared.clock.now();
        let waited = now - id.since();
        shared.settle(shared.kernel.cancel(id, || now));
        Poll::Ready(Err(shared.error(Kind::NoRuntime, waited, None)))
    }

    /// Ends the wait at its deadline. Waits that turn out to be short never get here with `armed` set, and so never touch the timer:
    /// the keeper tells those that turn out to be long. But for those on another runtime than the keeper's, which may be blocked, or
    /// driven by nobody: they have a timer from the beginning, and see to it that there is a keeper that comes by.
    #[inline]
    fn watch_deadline(
        &mut self,
        armed: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let away = self.pool.shared().keeper_is_elsewhere();
        if !(armed || away || self.timer.is_made()) {
            return Poll::Pending;
        }
        self.poll_timer(away, context)
    }

    #[inline(never)]
    fn poll_timer(
        &mut self,
        away: bool,
        context: &mut Context<'_>,
    ) -> Poll<Result<Box<Slot<M>>, Error<M::Error>>> {
        let shared = self.pool.shared();
        // Before the tick is looked at for how late it was, which moves it on.
        if away && !self.timer.is_made() {
            let now = shared.clock.now();
            if shared.clock.is_stalled(now) {
                shared.look_after_keeper(now);
            }
        }
        // Now it is known how late the tick was. Rather late by that much than early.
        if let Limit::After(tick, nanos) = self.limit {
            self.limit = Limit::Until(shared.clock.latest(tick).later(nanos));
        }
        let Limit::Until(deadline) = self.limit else {
            return Poll::Pending;
        };
        let over = self.timer.poll_watching(shared, deadline, away, context);
        if over.is_pending() {
            return Poll::Pending;
        }
        let Some(id) = self.ticket.take() else {
            return Poll::Pending;
        };
        let now = shared.clock.now();
        let waited = now - id.since();
        let since = id.since();
        Poll::Ready(match shared.kernel.time_out(id, waited) {
            Ok(slot) => {
                shared.waited(since);
                Ok(slot)
            }
            Err((Some(refusal), _)) => Err(shared.refused(refusal, waited)),
            Err((None, phase)) => Err(shared.error(Kind::Timeout(phase), waited, None)),
        })
    }
}

impl<M: Manager> Future for Get<'_, M> {
    type Output = Result<Lease<M>, Error<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let shared = this.pool.shared();
        let now = shared.rough_now();
        if !this.looks {
            return this.poll_waiting(now, context);
        }
        // The usual case: one is idle, and nobody waits.
        if let Some(mut slot) = shared.take(now) {
            if shared.is_fit(&mut slot) {
                this.looks = false;
                return Poll::Ready(Ok(Lease::new(slot, this.holder(now))));
            }
            shared.discard(slot, CloseReason::Broken);
        }
        this.poll_new(now, context)
    }
}

impl<M: Manager> Drop for Get<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(id) = self.ticket.take()
            && !mutation::on(Mutation::DroppedGetStaysInLine)
        {
            let shared = self.pool.shared();
            shared.settle(shared.kernel.cancel(id, || shared.clock.now()));
            #[cfg(feature = "tracing")]
            self.trace
                .end(shared, self.holder(shared.clock.now()), Outcome::Cancelled);
        }
    }
}

impl<M: Manager> fmt::Debug for Get<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.ticket {
            Some(_) => "waiting",
            None if self.looks => "new",
            None => "done",
        };
        f.debug_struct("Get")
            .field("pool", &self.pool.name())
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Up to this long a timeout is kept to the millisecond; a longer one may be late by a tick.
const PRECISE: Duration = Duration::from_secs(1);
