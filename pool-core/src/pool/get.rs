//! The future of a get.

use std::{
    fmt,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    Lease, Manager, Pool,
    inner::{Grant, Inner, Slot},
};
#[cfg(feature = "tracing")]
use crate::host::trace::Outcome;
use crate::{
    engine::{
        self, Holder, Kept, Kernel, Take,
        mutation::{self, Mutation},
    },
    host::{Ended, Error, Hosted, Kind, Limit, Queued, Tends, Wait, keeper, spend},
    moment::Moment,
    observe::{CloseReason, Phase},
    rt::{Handle, Instant},
};

/// The future of [`Pool::get`]. Its setters can be called until it is first polled.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # use std::time::Duration;
/// # async fn client_gone() { std::future::pending().await }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let get = pool.get().timeout(Duration::from_millis(200)).label("checkout");
/// // A get can be dropped at any time: it gives up its place in the queue, and no capacity is lost.
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
    /// Whether the next poll looks for a resource: the get was not polled yet, or the resource that it was handed was broken.
    looks: bool,
    wait: Wait<Inner<M>>,
}

impl<'a, M: Manager> Get<'a, M> {
    #[inline]
    pub(crate) const fn new(pool: &'a Pool<M>, place: &'static Location<'static>) -> Self {
        Self {
            pool,
            place,
            label: "",
            looks: true,
            wait: Wait::new(),
        }
    }

    /// Sets the timeout of this get, instead of the pool's `acquire_timeout`. With a timeout of zero, the get takes a resource that
    /// is idle and known to be good, or fails at once; it opens nothing.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let pool = Pool::builder(Db).max_size(1).build()?;
    /// let busy = pool.get().await?;
    /// // Suggestions while a user types: after 20 ms they are of no use.
    /// let error = pool.get().timeout(Duration::from_millis(20)).await.unwrap_err();
    /// assert!(error.is_timeout() && error.waited() >= Duration::from_millis(20));
    /// # drop(busy);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.wait.limit(Limit::Timeout(limit));
        self
    }

    /// Sets the deadline of this get, instead of the pool's `acquire_timeout`.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
    /// # use std::time::Duration;
    /// # use tokio::time::Instant;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // One deadline for the whole request.
    /// let deadline = Instant::now() + Duration::from_millis(500);
    /// let mut connection = pool.get().deadline(deadline).await?;
    /// let rows = tokio::time::timeout_at(deadline, connection.query("select * from orders")).await??;
    /// assert_eq!(rows, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.wait.limit(Limit::Deadline(deadline));
        self
    }

    /// Names the holder of the lease, for [`Pool::leases`] and leak reports.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::Pool;
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

    /// Takes an idle resource, or joins the queue.
    fn start(
        &mut self,
        now: Moment,
        context: &mut Context<'_>,
    ) -> Poll<Result<Grant<M>, Error<M::Error>>> {
        let inner = self.pool.inner();
        if self.wait.is_over(inner, || inner.config.acquire_timeout) {
            return Poll::Ready(self.at_once(now).map(|slot| self.taken(slot)));
        }
        if !keeper::runs(&**inner) {
            if let Some(slot) = inner.kernel.take_locked(now) {
                return Poll::Ready(Ok(self.taken(slot)));
            }
            // A closed pool has no keeper, and starts none.
            if inner.kernel.is_closed() {
                return Poll::Ready(Err(self.error(Kind::Closed)));
            }
            let Ok(runtime) = Handle::try_current() else {
                return Poll::Ready(Err(self.error(Kind::NoRuntime)));
            };
            keeper::ensure(inner, &runtime);
        }
        let (waker, exact) = (context.waker().clone(), || inner.now());
        match Kernel::take_or_wait(&inner.kernel, now, exact, waker) {
            Take::Ready(slot) => Poll::Ready(Ok(self.taken(slot))),
            Take::Refused(refusal, work) => {
                inner.perform(work);
                // This get does not wait, so it must look itself whether the keeper still comes by.
                if keeper::is_elsewhere(&**inner) {
                    keeper::look_after(inner, inner.now());
                }
                let waited = self.waited();
                Poll::Ready(Err(inner.refused(refusal, waited)))
            }
            Take::Queued(engine::Queued { id, timed, work }) => {
                let queued = Queued {
                    ticket: id,
                    timed,
                    acquire_timeout: inner.config.acquire_timeout,
                    work,
                };
                self.looks = false;
                let holder = self.holder(now);
                #[cfg(feature = "tracing")]
                self.wait
                    .trace
                    .begin(&**inner, holder, || inner.key_name(&()));
                let outcome = ready!(self.wait.begin(inner, queued, holder, context));
                Poll::Ready(self.ended(outcome))
            }
        }
    }

    /// An idle resource was found. The get may have waited before, and been handed a broken resource.
    fn taken(&self, mut slot: Box<Slot<M>>) -> Grant<M> {
        let inner = self.pool.inner();
        let fit = inner.is_fit(&mut slot);
        if fit && self.wait.began().is_some() {
            inner.kernel.count_wait(self.wait.lasted(inner));
        }
        Grant { slot, fit }
    }

    /// The get has a timeout of zero: takes a resource that is idle and known to be good, if no waiter is in the queue.
    #[cold]
    fn at_once(&self, now: Moment) -> Result<Box<Slot<M>>, Error<M::Error>> {
        let inner = self.pool.inner();
        if let Some(slot) = inner.kernel.take_locked(now) {
            return Ok(slot);
        }
        if inner.kernel.is_closed() {
            return Err(self.error(Kind::Closed));
        }
        let phase = if Hosted::status(&**inner).open > 0 {
            Phase::Wait
        } else {
            Phase::Create
        };
        inner.kernel.count_timeout(phase);
        Err(self.error(Kind::Timeout(phase)))
    }

    /// How long the get has waited so far.
    fn waited(&self) -> Duration {
        let began = self.wait.began();
        began.map_or(Duration::ZERO, |began| self.pool.inner().now() - began)
    }

    #[cold]
    fn error(&self, kind: Kind) -> Error<M::Error> {
        let inner = self.pool.inner();
        inner.error_of(kind, self.waited(), None)
    }

    /// The error of a wait that ended without a grant.
    fn ended(
        &self,
        outcome: Result<Grant<M>, (Ended<M::Error>, Duration)>,
    ) -> Result<Grant<M>, Error<M::Error>> {
        let inner = self.pool.inner();
        outcome.map_err(|(ended, waited)| match ended {
            Ended::Refused(refusal) => inner.refused(refusal, waited),
            Ended::Late(phase) => inner.error_of(Kind::Timeout(phase), waited, None),
            Ended::NoRuntime => inner.error_of(Kind::NoRuntime, waited, None),
        })
    }

    /// Polls a get for which no resource was available at once.
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
                Poll::Ready(Ok(grant)) => match self.finish(grant, now) {
                    Some(lease) => return Poll::Ready(Ok(lease)),
                    None => now = self.pool.inner().rough_now(),
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
        let holder = self.holder(now);
        let outcome = ready!(self.wait.poll(self.pool.inner(), holder, context));
        match self.ended(outcome) {
            Ok(grant) => match self.finish(grant, now) {
                Some(lease) => Poll::Ready(Ok(lease)),
                // The search starts again, with the time that is left.
                None => self.poll_new(now, context),
            },
            Err(error) => self.fail(error, now),
        }
    }

    /// Makes the lease, unless the resource broke during the hand-off. Then the resource is closed, which makes room.
    #[inline]
    fn finish(&mut self, grant: Grant<M>, now: Moment) -> Option<Lease<M>> {
        let inner = self.pool.inner();
        let Grant { slot, fit } = grant;
        if !fit {
            inner.discard(slot, CloseReason::Broken);
            self.looks = true;
            return None;
        }
        self.looks = false;
        if let Some(began) = self.wait.began() {
            inner.waited(&(), began);
        }
        #[cfg(feature = "tracing")]
        self.wait
            .trace
            .end(&**inner, self.holder(now), Outcome::Got);
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
        self.wait.trace.end(
            &**self.pool.inner(),
            self.holder(now),
            Outcome::Failed(error.kind()),
        );
        #[cfg(not(feature = "tracing"))]
        let _ = now;
        Poll::Ready(Err(error))
    }
}

impl<M: Manager> Future for Get<'_, M> {
    type Output = Result<Lease<M>, Error<M::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let inner = this.pool.inner();
        if !this.looks {
            // If this tick is old, the lease looks a little older than it is.
            let now = inner.last_tick();
            return this.poll_waiting(now, context);
        }
        // A loop of gets that are ready at once must not starve its executor.
        ready!(spend(context));
        let now = inner.rough_now();
        // The usual case: a resource is idle, and no waiter is in the queue.
        if let Some(mut slot) = inner.take(now) {
            if inner.is_fit(&mut slot) {
                this.looks = false;
                return Poll::Ready(Ok(Lease::new(slot, this.holder(now))));
            }
            inner.discard(slot, CloseReason::Broken);
        }
        this.poll_new(now, context)
    }
}

impl<M: Manager> Drop for Get<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if self.wait.is_waiting() && !mutation::on(Mutation::DroppedGetStaysInLine) {
            self.give_up();
        }
    }
}

impl<M: Manager> Get<'_, M> {
    #[cold]
    fn give_up(&mut self) {
        let inner: &Arc<Inner<M>> = self.pool.inner();
        self.wait.leave(inner);
        #[cfg(feature = "tracing")]
        {
            let holder = self.holder(inner.now());
            self.wait.trace.end(&**inner, holder, Outcome::Cancelled);
        }
    }
}

impl<M: Manager> fmt::Debug for Get<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.wait.is_waiting() {
            true => "waiting",
            false if self.looks => "new",
            false => "done",
        };
        f.debug_struct("Get")
            .field("pool", &self.pool.name())
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
