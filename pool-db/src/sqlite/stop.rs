//! Stops abandoned calls, also while they wait for a lock.
//!
//! SQLite asks three functions while it works for a call: the progress handler, the busy handler and the authorizer. All three are
//! plain functions that find the call in a thread-local, which the worker sets around the call ([`during`]).

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// The call that a connection is running, and the call that was abandoned last.
///
/// Calls are numbered. So a call that is abandoned late, when another caller already has the connection, does not stop the call of
/// that caller. SQLite calls [`is_wanted`](Self::is_wanted) while it works. Unlike an interrupt, this also stops a statement that
/// begins after the call was abandoned.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    // Ordering: `Relaxed` is enough. Neither number publishes other data, and a store that is missed now is seen some instructions
    // later.
    current: AtomicU64,
    given_up: AtomicU64,
}

/// Says whether anybody still wants what runs.
pub(crate) trait Wanted: Send + Sync {
    fn is_wanted(&self) -> bool;
}

/// What runs on this thread.
struct Running {
    wanted: Arc<dyn Wanted>,
    /// How long the call may wait for one lock.
    patience: Duration,
    /// Since when it waits for a lock. Only valid from the first to the last question of the busy handler for that lock.
    since: Instant,
}

/// One call. Its drop before [`ended`](Self::ended) abandons the call.
#[derive(Debug)]
pub(crate) struct Call {
    stop: Arc<Stop>,
    number: u64,
}

impl Stop {
    /// Begins the next call. Only the holder of the connection may call this.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let number = self.current.load(Ordering::Relaxed) + 1;
        self.current.store(number, Ordering::Relaxed);
        Call {
            stop: Arc::clone(self),
            number,
        }
    }
}

impl Wanted for Stop {
    /// Whether the running call was not abandoned.
    fn is_wanted(&self) -> bool {
        self.current.load(Ordering::Relaxed) != self.given_up.load(Ordering::Relaxed)
    }
}

/// Runs `f` on this thread, so that the handlers below ask `wanted`. `patience` bounds each wait for a lock.
pub(crate) fn during<T>(wanted: Arc<dyn Wanted>, patience: Duration, f: impl FnOnce() -> T) -> T {
    /// Puts back what ran before, also if `f` panics.
    struct Restore(Option<Running>);
    impl Drop for Restore {
        fn drop(&mut self) {
            let before = self.0.take();
            let ended = RUNNING.with(|running| running.replace(before));
            drop(ended);
        }
    }
    let running = Running {
        wanted,
        patience,
        since: Instant::now(),
    };
    let _restore = Restore(RUNNING.with(|now| now.replace(Some(running))));
    f()
}

/// The progress handler: whether SQLite must stop, because the running call was abandoned.
pub(crate) fn is_given_up() -> bool {
    RUNNING.with_borrow(|running| {
        running
            .as_ref()
            .is_some_and(|running| !running.wanted.is_wanted())
    })
}

/// The busy handler: waits a little, and says whether SQLite shall try the lock again. `tries` counts the questions for this lock.
pub(crate) fn try_again(tries: i32) -> bool {
    let pause = RUNNING.with_borrow_mut(|running| {
        let running = running.as_mut()?;
        if tries == 0 {
            running.since = Instant::now();
        }
        let left = running.patience.checked_sub(running.since.elapsed())?;
        let step = usize::try_from(tries).unwrap_or(usize::MAX);
        let pause = PAUSES.get(step).copied().unwrap_or(LONGEST);
        (running.wanted.is_wanted() && !left.is_zero())
            .then(|| Duration::from_millis(pause).min(left))
    });
    if let Some(pause) = pause {
        thread::sleep(pause);
    }
    pause.is_some() && !is_given_up()
}

impl Call {
    /// Records that the call has ended.
    pub(crate) fn ended(mut self) {
        // No call has the number 0.
        self.number = 0;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.number != 0 {
            self.stop.given_up.store(self.number, Ordering::Relaxed);
        }
    }
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// The pauses between two tries for a lock, in milliseconds: SQLite's own. They grow to [`LONGEST`] only, because an abandoned call
/// keeps its connection for one pause.
const PAUSES: [u64; 6] = [1, 2, 5, 10, 15, 20];
const LONGEST: u64 = 25;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_for_a_lock_ends_with_its_patience_and_when_nobody_wants_the_call() {
        let stop = Arc::new(Stop::default());
        let call = stop.begin();
        let asked = |tries| {
            during(stop.clone(), Duration::from_millis(20), || {
                (0..tries).take_while(|tries| try_again(*tries)).count()
            })
        };
        assert_eq!(asked(2), 2);
        let most = asked(i32::MAX);
        assert!(
            (1..=20).contains(&most),
            "20 ms are at most 20 pauses: {most}"
        );
        assert!(!during(stop.clone(), Duration::ZERO, || try_again(0)));
        drop(call);
        assert_eq!(asked(i32::MAX), 0);
        assert!(!try_again(0), "no call runs on this thread");
    }

    #[test]
    fn the_call_that_ran_before_is_there_again_after_a_panic() {
        let (outer, inner) = (Arc::new(Stop::default()), Arc::new(Stop::default()));
        drop(outer.begin());
        let _wanted = inner.begin();
        during(outer.clone(), Duration::ZERO, || {
            assert!(is_given_up());
            let panics = || {
                during(inner.clone(), Duration::ZERO, || {
                    panic!("as planned: {}", is_given_up())
                })
            };
            let panics = std::panic::AssertUnwindSafe(panics);
            assert!(std::panic::catch_unwind(panics).is_err());
            assert!(is_given_up());
        });
        assert!(!is_given_up());
    }

    #[test]
    fn a_call_that_is_given_up_late_stops_nobody_else() {
        let stop = Arc::new(Stop::default());
        let first = stop.begin();
        assert!(stop.is_wanted());
        let second = stop.begin();
        drop(first);
        assert!(stop.is_wanted(), "it is the second call that runs");
        drop(second);
        assert!(!stop.is_wanted());
        stop.begin().ended();
        assert!(stop.is_wanted());
    }
}
