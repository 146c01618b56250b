//! Time on the executor's thread, and giving it back.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

/// How long a loop holds the thread, unless it is told otherwise: 500 µs.
pub const BUDGET: Duration = Duration::from_micros(500);

/// A stretch of time on the executor's thread, for loops that are neither over items nor over a
/// stream.
///
/// ```
/// use pool_cpu::coop::{BUDGET, Budget};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let (mut a, mut b) = (1_071_u64.pow(3), 462_u64.pow(3));
/// let mut budget = Budget::new(BUDGET);
/// while b != 0 {
///     (a, b) = (b, a % b);
///     budget.turn().await; // returns at once until 500 µs are over
/// }
/// assert_eq!(a, 21_u64.pow(3));
/// # }
/// ```
#[derive(Debug)]
pub struct Budget {
    length: Duration,
    since: Instant,
}

impl Budget {
    /// Starts now. Zero yields at every [`turn`](Self::turn).
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            since: Instant::now(),
        }
    }

    /// Is it spent?
    pub fn is_spent(&self) -> bool {
        self.since.elapsed() >= self.length
    }

    /// Gives the executor its turn if the budget is spent, and starts anew after that. Reads the
    /// clock: in a tight loop, not at every step.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn turn(&mut self) {
        if self.is_spent() {
            tokio::task::yield_now().await;
            self.since = Instant::now();
        }
    }

    /// The executor has had its turn.
    pub(super) fn renew(&mut self) {
        self.since = Instant::now();
    }
}

/// Has the executor poll this task again once everybody else has had a turn: to be called before
/// returning `Pending`.
pub(super) fn yield_from(cx: &mut Context<'_>) {
    // Under tokio its driver comes first, too: a task that woke itself would keep timers and
    // sockets waiting for up to 61 turns. Under other executors this wakes the task.
    let _: Poll<()> = pin!(tokio::task::yield_now()).poll(cx);
}
