//! Waiting for permits.

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

/// The future of [`Limiter::acquire`](super::Limiter::acquire). Until it is first polled it can be told more.
///
/// It borrows nothing.
///
/// ```
/// use std::time::Duration;
/// use pool_core::{LimitError, Limiter};
///
/// /// An export of so many megabytes, of a tenant who has other things to do too.
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
/// assert!(error.is_too_large(), "told at once, and not in five seconds");
/// // One look: it takes what is there, or fails.
/// let all = memory.try_acquire_many(512);
/// let error = memory.acquire().timeout(Duration::ZERO).await.unwrap_err();
/// assert!(all.is_some() && error.is_timeout());
/// # Ok(())
/// # }
/// ```
#[must_use = "an acquire does nothing until it is awaited"]
pub struct Acquire {
    /// `None` once it has ended: the permit took it.
    handle: Option<Arc<Handle>>,
    count: u32,
    key: Option<u64>,
    limit: Limit,
    waiting: Option<Waiting>,
}

#[derive(Clone, Copy)]
enum Limit {
    /// The limiter's own.
    Default,
    Timeout(Duration),
    Deadline(Instant),
}

struct Waiting {
    ticket: Ticket,
    /// What is left of the time when the wait begins, and its end; `None` when it has no end.
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

    /// Gives up after so long. Zero: takes what is there at once, or fails.
    pub const fn timeout(mut self, limit: Duration) -> Self {
        self.limit = Limit::Timeout(limit);
        self
    }

    /// Gives up at `deadline`.
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.limit = Limit::Deadline(deadline);
        self
    }

    /// Waits in the line of `key`: a tenant, a user, a shard. The keys take turns, so that one that asks for much delays the
    /// others little; those without a key take turns with them, as one more.
    ///
    /// A full line has room for a key that has less in it than others: the last to come of the key that has most is told that the
    /// line is full ([`LimitError::is_overloaded`]), and goes. So a flood of one key neither delays the others nor shuts them out.
    ///
    /// Keys are told apart by a 64-bit hash with a random seed.
    pub fn key(mut self, key: impl Hash) -> Self {
        self.key = self.handle.as_ref().map(|handle| handle.hash(key));
        self
    }

    /// Asks under the lock, and joins the line.
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
        // From here on the ticket is given back however this ends.
        let waiting = self.waiting.insert(Waiting {
            ticket,
            deadline: None,
            timer: Timer::new(),
        });
        let (left, at) = match self.limit.or(handle.timeout) {
            Limit::Default => return Poll::Pending,
            Limit::Timeout(limit) => match Instant::now().checked_add(limit) {
                Some(at) => (limit, at),
                // Longer than the clock runs.
                None => return Poll::Pending,
            },
            Limit::Deadline(at) => (at.saturating_duration_since(Instant::now()), at),
        };
        waiting.deadline = Some((left, at));
        self.watch_deadline(context)
    }

    /// Has the wait an end?
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Kind>> {
        let (Some(handle), Some(waiting)) = (&self.handle, &self.waiting) else {
            return Poll::Pending;
        };
        match handle.permits.poll(&waiting.ticket, context.waker()) {
            Poll::Pending => {
                // It may be on another runtime than before.
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
        // With `NoRuntime` it still stands in line.
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
    /// Leaves the line, if it stands there.
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
