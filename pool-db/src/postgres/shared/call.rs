//! One call on a shared connection.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;

use super::{
    calls::Calls,
    pipe::{Place, release},
};

/// A call that was begun. Its caller reads the answer; if the caller does not, the connection does.
///
/// So the place of a call whose future was dropped is free when the server has answered, and not before. And a future that nobody
/// polls does not hold back the answers behind its own.
pub(super) struct Call<T> {
    // What runs under this lock is the driver, on data of its own.
    state: Mutex<State<T>>,
    // Ordering: `Relaxed` is enough for both. They only say which calls are worth a look, and what they are about is behind the lock. The
    // bell that follows a write of `is_adopted`, and the lock of `Calls` that follows one of `has_ended`, make them visible.
    has_ended: AtomicBool,
    /// Whether the connection polls the call, as its caller does not.
    is_adopted: AtomicBool,
    began: Instant,
}

struct State<T> {
    work: Work<T>,
    /// The share of the connection that the call holds until the server has answered.
    place: Option<Place>,
    caller: Option<Waker>,
}

enum Work<T> {
    Running(Pin<Box<dyn Future<Output = T> + Send>>),
    /// The connection has read the answer before the caller did.
    Answered(T),
    Gone,
}

impl<T: Send> Call<T> {
    pub(super) fn new(
        place: Place,
        began: Instant,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Self {
        Self {
            state: Mutex::new(State {
                work: Work::Running(Box::pin(work)),
                place: Some(place),
                caller: None,
            }),
            has_ended: AtomicBool::new(false),
            is_adopted: AtomicBool::new(false),
            began,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The place of a call that has just ended, and the waker of the caller.
    fn end(&self, state: &mut State<T>) -> (Option<Place>, Option<Waker>) {
        self.has_ended.store(true, Relaxed);
        (state.place.take(), state.caller.take())
    }
}

/// A call, whatever its answer is, as the connection sees it.
pub(super) trait Pending: Send + Sync {
    fn has_ended(&self) -> bool;

    fn is_adopted(&self) -> bool;

    fn began(&self) -> Instant;

    /// Polls the call in the place of its caller.
    fn read(&self, context: &mut Context<'_>) -> Poll<()>;

    /// Drops a call that can never end, as its runtime ends.
    fn forsake(&self);
}

impl<T: Send> Pending for Call<T> {
    fn has_ended(&self) -> bool {
        self.has_ended.load(Relaxed)
    }

    fn is_adopted(&self) -> bool {
        self.is_adopted.load(Relaxed)
    }

    fn began(&self) -> Instant {
        self.began
    }

    fn read(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        let Work::Running(work) = &mut state.work else {
            return Poll::Ready(());
        };
        self.is_adopted.store(true, Relaxed);
        let Poll::Ready(answer) = work.as_mut().poll(context) else {
            return Poll::Pending;
        };
        let work = std::mem::replace(&mut state.work, Work::Answered(answer));
        let (place, caller) = self.end(&mut state);
        drop(state);
        drop(work);
        if let Some(place) = place {
            release(place);
        }
        if let Some(caller) = caller {
            caller.wake();
        }
        Poll::Ready(())
    }

    fn forsake(&self) {
        let mut state = self.lock();
        let work = std::mem::replace(&mut state.work, Work::Gone);
        let (place, caller) = self.end(&mut state);
        drop(state);
        drop((work, place));
        if let Some(caller) = caller {
            caller.wake();
        }
    }
}

/// What a caller waits for. Its drop leaves the answer to the connection.
pub(super) struct Waiting<T: Send + 'static> {
    call: Arc<Call<T>>,
    calls: Arc<Calls>,
    is_over: bool,
}

impl<T: Send + 'static> Waiting<T> {
    pub(super) const fn new(call: Arc<Call<T>>, calls: Arc<Calls>) -> Self {
        Self {
            call,
            calls,
            is_over: false,
        }
    }
}

impl<T: Send + 'static> Future for Waiting<T> {
    /// `None` if the runtime of the connection has ended.
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let this = &mut *self;
        let mut state = this.call.lock();
        let answer = match &mut state.work {
            Work::Running(work) => match work.as_mut().poll(context) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => {
                    this.call.is_adopted.store(false, Relaxed);
                    match &mut state.caller {
                        Some(waker) => waker.clone_from(context.waker()),
                        none => *none = Some(context.waker().clone()),
                    }
                    return Poll::Pending;
                }
            },
            Work::Answered(_) | Work::Gone => None,
        };
        let work = std::mem::replace(&mut state.work, Work::Gone);
        let (place, caller) = this.call.end(&mut state);
        drop(state);
        drop(caller);
        if let Some(place) = place {
            release(place);
        }
        this.is_over = true;
        let answer = match work {
            Work::Answered(answer) => Some(answer),
            _ => answer,
        };
        this.calls.ended(this.call.began);
        Poll::Ready(answer)
    }
}

impl<T: Send + 'static> Drop for Waiting<T> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let (caller, answer) = {
            let mut state = self.call.lock();
            let answer = match &state.work {
                Work::Running(_) => None,
                _ => Some(std::mem::replace(&mut state.work, Work::Gone)),
            };
            (state.caller.take(), answer)
        };
        let has_ended = answer.is_some();
        drop((caller, answer));
        if !has_ended {
            self.call.is_adopted.store(true, Relaxed);
            self.calls.ring();
        }
    }
}

impl<T> fmt::Debug for Call<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("has_ended", &self.has_ended)
            .field("is_adopted", &self.is_adopted)
            .finish_non_exhaustive()
    }
}
