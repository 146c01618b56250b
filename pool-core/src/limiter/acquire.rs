//! The future of an acquire.

use std::{
    fmt,
    future::Future,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Handle, LimitError, Permit,
    error::Kind,
    lines::Ticket,
    permits::{Refusal, Take},
};
use crate::host::{NoRuntime, Timer, spend};

/// The future of [`Limiter::acquire`](super::Limiter::acquire). Its setters can be called until it is first polled.
///
/// The future borrows nothing.
///
/// ```
/// use std::time::Duration;
/// use pool_core::{LimitError, Limiter};
///
/// /// Exports `megabytes` of a tenant's data; the limiter bounds the memory of all exports.
/// async fn export(memory: &Limiter, tenant: &str, megabytes: u32) -> Result<u32, LimitError> {
///     let wait = Duration::from_secs(5);
///     let permit = memory.acquire_many(megabytes).key(tenant).timeout(wait).await?;
///     Ok(permit.count())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LimitError> {
/// let memory = Limiter::new(512);
/// assert_eq!(export(&memory, "acme", 200).await?, 200);
/// let error = export(&memory, "acme", 600).await.unwrap_err();
/// assert!(error.is_too_large(), "fails at once, not after five seconds");
/// // A timeout of zero: takes a free permit, or fails at once.
/// let all = memory.try_acquire_many(512);
/// let error = memory.acquire().timeout(Duration::ZERO).await.unwrap_err();
/// assert!(all.is_some() && error.is_timeout());
/// # Ok(())
/// # }
/// ```
#[must_use = "an acquire does nothing until it is awaited"]
pub struct Acquire {
    /// `None` when the acquire has ended: the permit has the handle.
    handle: Option<Arc<Handle>>,
    count: u32,
    key: Option<u64>,
    limit: Limit,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy)]
enum Limit {
    /// The limiter's timeout.
    Default,
    Timeout(Duration),
    Deadline(Instant),
}

struct Waiting {
    ticket: Ticket,
    /// The remaining time when the wait begins, and its end; `None` if there is no deadline.
    deadline: Option<(Duration, Instant)>,
    timer: Timer,
}

impl Acquire {
    #[inline]
    pub(super) const fn new(handle: Arc<Handle>, count: u32) -> Self {
        Self {
            handle: Some(handle),
            count,
            key: None,
            limit: Limit::Default,
            waiting: None,
        }
    }

    /// Sets the timeout of this acquire. With zero, the acquire takes free permits or fails at once.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Limit::Timeout(limit);
        self
    }

    /// Sets the deadline of this acquire.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// Waits in the queue of `key`: a tenant, a user, a shard. The keys take turns, so a key with many acquires delays the others
    /// little. Acquires without a key take turns with the keys, as if they had one common key.
    ///
    /// A full queue still has room for a key that has fewer waiters than another key. The last waiter of the key with the most
    /// waiters is then refused with [`LimitError::is_overloaded`]. So a flood of one key neither delays the others nor shuts them
    /// out.
    ///
    /// Keys are distinguished by a 64-bit hash with a random seed.
    pub fn key(mut self, key: impl Hash) -> Self {
        self.key = self.handle.as_ref().map(|handle| handle.hash(key));
        self
    }

    /// Takes the permits under the lock, or joins the queue.
    #[cold]
    fn start(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Kind>> {
        let Some(handle) = &self.handle else {
            return Poll::Pending;
        };
        let ticket =
            match handle
                .permits
                .take_or_wait(self.count, self.key, context.waker().clone())
            {
                Take::Ready => return Poll::Ready(Ok(())),
                Take::Refused(refusal) => return Poll::Ready(Err(refusal.into())),
                Take::Queued(ticket) => ticket,
            };
        handle.inner.ensure_keeper();
        // From here on, the ticket is returned however the acquire ends.
        let waiting = self.waiting.insert(Waiting {
            ticket,
            deadline: None,
            timer: Timer::new(),
        });
        let (left, at) = match self.limit.or(handle.timeout) {
            Limit::Default => return Poll::Pending,
            Limit::Timeout(limit) => match Instant::now().checked_add(limit) {
                Some(at) => (limit, at),
                // The deadline is later than the clock can represent.
                None => return Poll::Pending,
            },
            Limit::Deadline(at) => (at.saturating_duration_since(Instant::now()), at),
        };
        waiting.deadline = Some((left, at));
        self.watch_deadline(context)
    }

    /// Returns the outcome of the wait, if it has ended.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Kind>> {
        let (Some(handle), Some(waiting)) = (&self.handle, &self.waiting) else {
            return Poll::Pending;
        };
        match handle.permits.poll(&waiting.ticket, context.waker()) {
            Poll::Pending => {
                // The acquire may be polled on another runtime than before.
                handle.inner.ensure_keeper();
                self.watch_deadline(context)
            }
            Poll::Ready(answer) => {
                self.waiting = None;
                Poll::Ready(answer.map_err(Kind::from))
            }
        }
    }

    fn watch_deadline(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Kind>> {
        let Some(waiting) = &mut self.waiting else {
            return Poll::Pending;
        };
        let Some((left, at)) = waiting.deadline else {
            return Poll::Pending;
        };
        match waiting.timer.poll(at, || None, context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Err(NoRuntime)) => return Poll::Ready(Err(Kind::NoRuntime)),
            Poll::Ready(Ok(())) => {}
        }
        let (Some(handle), Some(waiting)) = (&self.handle, self.waiting.take()) else {
            return Poll::Pending;
        };
        Poll::Ready(match handle.permits.time_out(waiting.ticket) {
            Some(answer) => answer.map_err(Kind::from),
            None => Err(Kind::Timeout(left)),
        })
    }
}

impl Limit {
    fn or(self, default: Option<Duration>) -> Self {
        match (self, default) {
            (Self::Default, Some(limit)) => Self::Timeout(limit),
            _ => self,
        }
    }
}

impl From<Refusal> for Kind {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Closed => Self::Closed,
            Refusal::Overloaded => Self::Overloaded,
            Refusal::TooLarge => Self::TooLarge,
        }
    }
}

impl Future for Acquire {
    type Output = Result<Permit, LimitError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let Some(handle) = &this.handle else {
            panic!("an acquire was polled after it had ended");
        };
        let answer = if this.waiting.is_some() {
            this.wait(context)
        } else if spend(context).is_pending() {
            // A loop of acquires that are ready at once must not starve its executor.
            return Poll::Pending;
        } else if handle.permits.take(this.count) {
            Poll::Ready(Ok(()))
        } else {
            this.start(context)
        };
        let Poll::Ready(answer) = answer else {
            return Poll::Pending;
        };
        // With `NoRuntime` the acquire is still in the queue.
        this.leave();
        let Some(handle) = this.handle.take() else {
            return Poll::Pending;
        };
        Poll::Ready(match answer {
            Ok(()) => Ok(Permit::new(handle, this.count)),
            Err(kind) => {
                let status = handle.permits.status();
                Err(LimitError::new(&handle.name, kind, this.count, status))
            }
        })
    }
}

impl Acquire {
    /// Leaves the queue, if the acquire is in it.
    #[inline]
    fn leave(&mut self) {
        if self.waiting.is_some() {
            self.cancel();
        }
    }

    #[cold]
    fn cancel(&mut self) {
        if let (Some(handle), Some(waiting)) = (&self.handle, self.waiting.take()) {
            handle.permits.cancel(waiting.ticket);
        }
    }
}

impl Drop for Acquire {
    #[inline]
    fn drop(&mut self) {
        self.leave();
    }
}

impl fmt::Debug for Acquire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match (&self.handle, &self.waiting) {
            (None, _) => "done",
            (Some(_), None) => "new",
            (Some(_), Some(_)) => "waiting",
        };
        f.debug_struct("Acquire")
            .field("count", &self.count)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}
