//! The task of a computation.

use std::{
    cell::Cell,
    hash::Hash,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{runtime::Handle, task::AbortHandle, time::sleep};

use super::{
    Inner,
    board::{Board, End},
    ticket::{FlightId, Ticket},
    work::Work,
};
use crate::{host::Caught, moment::Moment};

thread_local! {
    /// The computation that is being polled on this thread: the address of its flight, and which computation it is.
    static CURRENT: Cell<Option<(usize, FlightId)>> = const { Cell::new(None) };
}

impl<K, V, E> Inner<K, V, E> {
    pub(super) fn now(&self) -> Moment {
        Moment::from_nanos(0) + self.epoch.elapsed()
    }

    pub(super) fn board(&self) -> &Board<K, V, E, AbortHandle> {
        &self.board
    }

    /// The computation of this flight that makes the current call, if one does.
    pub(super) fn caller(self: &Arc<Self>) -> Option<FlightId> {
        let (flight, id) = CURRENT.get()?;
        (flight == self.address()).then_some(id)
    }

    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }
}

impl<K, V, E> Inner<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Performs what a decision of the board left to do. Nothing is locked.
    pub(super) fn perform(
        self: &Arc<Self>,
        flight: FlightId,
        mut work: Work<K, V, E, AbortHandle>,
    ) {
        work.wake();
        if let Some(stop) = &work.stop {
            stop.abort();
        }
        if work.watch {
            self.watch(flight);
        }
    }

    /// Makes sure that the lead of `flight`, which was handed over, is taken.
    pub(super) fn watch(self: &Arc<Self>, flight: FlightId) {
        // Made here and not on the task: if a runtime ends before the first poll, it still drops this.
        let watch = Watch {
            inner: Arc::clone(self),
            flight,
            done: false,
        };
        if let Ok(runtime) = Handle::try_current() {
            drop(runtime.spawn(watch.run()));
        }
    }

    /// Spawns the computation that `leader` starts on this runtime.
    pub(super) fn start(
        self: &Arc<Self>,
        leader: &Ticket<V, E>,
        compute: impl Future<Output = Result<V, E>> + Send + 'static,
        runtime: &Handle,
    ) {
        let computation = Computation {
            flying: Flying {
                inner: Arc::clone(self),
                flight: leader.flight(),
                landed: false,
            },
            compute: Caught::new(compute),
        };
        let stop = runtime.spawn(computation).abort_handle();
        if let Some(stop) = self.board.started(leader, stop) {
            stop.abort();
        }
    }

    /// The computation ended without having run: its closure panicked.
    pub(super) fn land(self: &Arc<Self>, flight: FlightId, end: End<V, E>) {
        let work = self.board.complete(flight, end, self.now());
        self.perform(flight, work);
    }
}

pin_project! {
    /// A running computation. However it ends, the board is told.
    struct Computation<K, V, E, F>
    where
        K: Hash,
        K: Eq,
        K: Send,
        K: Sync,
        K: 'static,
        V: Send,
        V: Sync,
        V: 'static,
        E: Send,
        E: Sync,
        E: 'static,
    {
        // Dropped before the board is told.
        #[pin]
        compute: Caught<F>,
        flying: Flying<K, V, E>,
    }
}

/// Tells the board that a computation is gone, unless the board was told how it ended.
struct Flying<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    inner: Arc<Inner<K, V, E>>,
    flight: FlightId,
    landed: bool,
}

impl<K, V, E, F> Future for Computation<K, V, E, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
    F: Future<Output = Result<V, E>>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        let flying = this.flying;
        let before = CURRENT.replace(Some((flying.inner.address(), flying.flight)));
        let polled = this.compute.poll(context);
        CURRENT.set(before);
        let end = match polled {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(Ok(value))) => End::Value(value),
            Poll::Ready(Ok(Err(error))) => End::Failed(Arc::new(error)),
            Poll::Ready(Err(panic)) => End::Panicked(panic.into()),
        };
        flying.landed = true;
        flying.inner.land(flying.flight, end);
        Poll::Ready(())
    }
}

impl<K, V, E> Drop for Flying<K, V, E>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    fn drop(&mut self) {
        if !self.landed {
            let work = self.inner.board.gone(self.flight, self.inner.now());
            self.inner.perform(self.flight, work);
        }
    }
}

/// Looks whether a lead that was handed over is taken, until it is.
struct Watch<K: Hash + Eq, V, E> {
    inner: Arc<Inner<K, V, E>>,
    flight: FlightId,
    done: bool,
}

impl<K: Hash + Eq, V, E> Watch<K, V, E> {
    async fn run(mut self) {
        while !self.done {
            sleep(GRACE).await;
            let (board, now) = (&self.inner.board, self.inner.now());
            self.done = !board.reclaim(self.flight, now, GRACE);
        }
    }
}

impl<K: Hash + Eq, V, E> Drop for Watch<K, V, E> {
    fn drop(&mut self) {
        if !self.done {
            self.inner.board.unwatched(self.flight);
        }
    }
}

/// A lead that was not taken for this long goes to the next waiter.
const GRACE: Duration = Duration::from_millis(50);
