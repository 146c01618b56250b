//! The future of a call.

use std::{
    fmt,
    hash::Hash,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use super::{
    FlightError, Inner,
    board::End,
    error::Kind,
    ticket::{Join, Ticket, Told},
};
use crate::host::{FAR, NoRuntime, Timer, caught};

/// The future of [`Flight::run`](super::Flight::run). Its setters can be called until it is first polled.
///
/// The future borrows nothing.
#[must_use = "a future does nothing before it is awaited"]
pub struct Run<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    inner: Arc<Inner<K, V, E>>,
    key: Option<K>,
    /// The closure, until it is this call's turn to compute.
    compute: Option<F>,
    timeout: Duration,
    waiting: Option<Waiting<V, E>>,
}

struct Waiting<V, E> {
    ticket: Ticket<V, E>,
    /// The deadline, once the call has had to wait.
    deadline: Option<Instant>,
    timer: Timer,
}

// Nothing in here is pinned except the timer, which has a box of its own.
impl<K, V, E, F> Unpin for Run<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
}

impl<K, V, E, F> Run<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    pub(super) fn new(inner: Arc<Inner<K, V, E>>, key: K, compute: F) -> Self {
        Self {
            timeout: inner.config.timeout,
            inner,
            key: Some(key),
            compute: Some(compute),
            waiting: None,
        }
    }

    /// Sets the timeout of this call, instead of the flight's [`timeout`](super::FlightBuilder::timeout).
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.timeout = limit;
        self
    }

    /// Calls the closure and spawns the future that it returns.
    fn lead<R>(&mut self) -> Result<(), FlightError<E>>
    where
        F: FnOnce() -> R,
        R: Future<Output = Result<V, E>> + Send + 'static,
    {
        let (Some(waiting), Ok(runtime)) = (&self.waiting, Handle::try_current()) else {
            return Err(self.inner.error(Kind::NoRuntime));
        };
        // This call has led before, and the runtime of its computation ended.
        let Some(compute) = self.compute.take() else {
            return Err(self.inner.error(Kind::NoRuntime));
        };
        let leader = &waiting.ticket;
        match caught(compute) {
            Ok(future) => self.inner.start(leader, future, &runtime),
            Err(panic) => {
                let end = End::Panicked(panic.into());
                self.inner.land(leader.flight(), end);
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(Waiting { ticket, .. }) = mem::take(&mut self.waiting) {
            let flight = ticket.flight();
            let work = self.inner.board().leave(ticket, self.inner.now());
            self.inner.perform(flight, work);
        }
    }

    /// This call was to lead, and started nothing: the next waiter leads.
    fn decline(&mut self) {
        if let Some(Waiting { ticket, .. }) = mem::take(&mut self.waiting) {
            let flight = ticket.flight();
            let work = self.inner.board().decline(ticket, self.inner.now());
            self.inner.perform(flight, work);
        }
    }
}

impl<K, V, E, F, R> Future for Run<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: FnOnce() -> R,
    R: Future<Output = Result<V, E>> + Send + 'static,
{
    type Output = Result<V, FlightError<E>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.waiting.is_none() {
            let Some(key) = this.key.take().map(Arc::new) else {
                panic!("a run was polled after it had ended");
            };
            if Handle::try_current().is_err() {
                return Poll::Ready(Err(this.inner.error(Kind::NoRuntime)));
            }
            let (board, caller) = (this.inner.board(), this.inner.caller());
            let joined = board.join(&key, caller, context.waker().clone(), this.inner.now());
            let (ticket, leads) = match joined {
                Join::Lead(ticket) => (ticket, true),
                Join::Wait(ticket) => (ticket, false),
                Join::Overloaded(waiting) => {
                    return Poll::Ready(Err(this.inner.error(Kind::Overloaded(waiting))));
                }
                Join::Reentrant => return Poll::Ready(Err(this.inner.error(Kind::Reentrant))),
            };
            this.waiting = Some(Waiting {
                ticket,
                deadline: None,
                timer: Timer::new(),
            });
            if leads && let Err(error) = this.lead() {
                this.decline();
                return Poll::Ready(Err(error));
            }
        }
        loop {
            let Some(waiting) = &mut this.waiting else {
                return Poll::Pending;
            };
            let (board, now) = (this.inner.board(), this.inner.now());
            match board.poll(&mut waiting.ticket, context.waker(), now) {
                Poll::Pending => {
                    if mem::take(&mut waiting.ticket.watch) {
                        this.inner.watch(waiting.ticket.flight());
                    }
                    break;
                }
                Poll::Ready(Told::End(end)) => {
                    this.waiting = None;
                    // The value is cloned with nothing locked.
                    return Poll::Ready(end.result().map_err(|kind| this.inner.error(kind)));
                }
                Poll::Ready(Told::Lead) => {
                    if let Err(error) = this.lead() {
                        this.decline();
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
        let Some(waiting) = &mut this.waiting else {
            return Poll::Pending;
        };
        let timeout = this.timeout;
        // A deadline beyond the end of the clock becomes one in 30 years.
        let deadline = waiting.deadline;
        let deadline = deadline.unwrap_or_else(|| Instant::now() + timeout.min(FAR));
        waiting.deadline = Some(deadline);
        let kind = match waiting.timer.poll(deadline, || None, context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) => Kind::Timeout(timeout),
            Poll::Ready(Err(NoRuntime)) => Kind::NoRuntime,
        };
        this.leave();
        Poll::Ready(Err(this.inner.error(kind)))
    }
}

impl<K, V, E, F> Drop for Run<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.leave();
    }
}

impl<K, V, E, F> fmt::Debug for Run<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("waiting", &self.waiting.is_some())
            .finish_non_exhaustive()
    }
}
