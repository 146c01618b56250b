//! The calls on one shared connection.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Context,
    time::Duration,
};

use pool_core::observe::Histogram;
use tokio::{sync::Notify, time::Instant};

use super::{
    call::{Call, Pending, Waiting},
    pipe::Place,
};

/// The calls that were begun on one connection, in order, until they have ended.
#[derive(Default)]
pub(super) struct Calls {
    // No user code runs under this lock: a call that has ended holds nothing.
    state: Mutex<State>,
    /// Wakes the task that watches the connection.
    bell: Notify,
}

#[derive(Default)]
struct State {
    begun: VecDeque<Arc<dyn Pending>>,
    /// How long the calls took whose answers came lately.
    took: Histogram,
    /// Whether the watch sleeps until a call begins.
    is_parked: bool,
    /// Whether the connection is to be closed.
    is_closing: bool,
    /// Whether nobody watches any more.
    is_over: bool,
}

/// What the watch learns of the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glance {
    pub(super) is_waiting: bool,
    pub(super) is_closing: bool,
}

impl Calls {
    /// Begins a call, which holds its place until it has ended, whatever becomes of its future.
    pub(super) fn begin<T: Send + 'static>(
        self: &Arc<Self>,
        place: Place,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Waiting<T> {
        let call = Arc::new(Call::new(place, Instant::now(), work));
        let mut state = self.lock();
        let (is_parked, is_over) = (std::mem::take(&mut state.is_parked), state.is_over);
        if !is_over {
            let pending: Arc<dyn Pending> = Arc::clone(&call) as _;
            state.begun.push_back(pending);
        }
        drop(state);
        if is_over {
            call.forsake();
        }
        if is_parked {
            self.bell.notify_one();
        }
        Waiting::new(call, Arc::clone(self))
    }

    /// A call that began then has ended, and its caller has the answer.
    pub(super) fn ended(&self, began: Instant) {
        let took = began.elapsed();
        let mut state = self.lock();
        state.took.record(took);
        state.forget();
    }

    /// Wakes the watch.
    pub(super) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until the watch is woken.
    pub(super) async fn rings(&self) {
        self.bell.notified().await;
    }

    /// Ends the connection, once the watch has heard of it.
    pub(super) fn close(&self) {
        self.lock().is_closing = true;
        self.ring();
    }

    pub(super) fn glance(&self) -> Glance {
        let mut state = self.lock();
        state.forget();
        Glance {
            is_waiting: !state.begun.is_empty(),
            is_closing: state.is_closing,
        }
    }

    /// Whether the watch may sleep until a call begins, which wakes it.
    pub(super) fn park(&self) -> bool {
        let mut state = self.lock();
        state.is_parked = state.begun.is_empty() && !state.is_closing;
        state.is_parked
    }

    /// Reads answers in the place of the callers: of those that have left, or of all.
    pub(super) fn read(&self, all: bool, context: &mut Context<'_>) {
        let calls: Vec<_> = {
            let state = self.lock();
            let wanted = |call: &&Arc<dyn Pending>| !call.has_ended() && (all || call.is_adopted());
            state.begun.iter().filter(wanted).cloned().collect()
        };
        for call in calls {
            if call.read(context).is_ready() {
                self.ended(call.began());
            }
        }
    }

    /// The 99th percentile of the times that calls took lately, if there were enough of them, and then begins anew.
    pub(super) fn p99(&self) -> Option<Duration> {
        let mut state = self.lock();
        if state.took.count() < ENOUGH {
            return None;
        }
        let took = std::mem::take(&mut state.took);
        drop(state);
        Some(took.percentile(99.0))
    }

    /// Nobody watches any more: the calls that are left never end, and so do those that come.
    fn forsake(&self) {
        let mut state = self.lock();
        state.is_over = true;
        let left = std::mem::take(&mut state.begun);
        drop(state);
        for call in left {
            call.forsake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets the first calls that have ended. A later one is forgotten when those before it have ended as well.
    fn forget(&mut self) {
        while self.begun.front().is_some_and(|call| call.has_ended()) {
            self.begun.pop_front();
        }
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Calls")
            .field("begun", &state.begun.len())
            .field("is_closing", &state.is_closing)
            .finish_non_exhaustive()
    }
}

/// The right to watch the calls. Its drop, at the latest with the runtime, ends the calls that are left.
#[derive(Debug)]
pub(super) struct Watched(pub(super) Arc<Calls>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.forsake();
    }
}

/// Of fewer calls, the 99th percentile is only the slowest.
const ENOUGH: u64 = 100;
