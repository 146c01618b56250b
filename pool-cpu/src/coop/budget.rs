//! The time that a loop may hold the executor's thread before it yields.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::task::coop;

/// How long a loop holds the thread by default: 500 µs.
pub const BUDGET: Duration = Duration::from_micros(500);

/// A time budget on the executor's thread, for loops that are neither over items nor over a stream.
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
///     budget.turn().await; // returns at once until 500 µs have passed
/// }
/// assert_eq!(a, 21_u64.pow(3));
/// # }
/// ```
#[derive(Debug)]
pub struct Budget {
    length: Duration,
    since: Instant,
    rest: Rest,
}

/// Whether the task is yielding to the executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// The task is not yielding.
    None,
    /// The task has used up its tokio budget for this turn.
    OnTokio,
    /// The task was woken, and the executor will poll it again.
    Elsewhere,
}

impl Budget {
    /// Creates a budget that starts now. With a `length` of zero, every [`turn`](Self::turn) yields.
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            since: Instant::now(),
            rest: Rest::None,
        }
    }

    /// Whether the budget is spent.
    pub fn is_spent(&self) -> bool {
        self.since.elapsed() >= self.length
    }

    /// Yields to the executor if the budget is spent, and then starts the budget anew. Each call reads the clock, so a tight loop
    /// should not call it at every step.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: a yield that was due is still due at the next call.
    pub async fn turn(&mut self) {
        poll_fn(|cx| self.poll_turn(cx)).await;
    }

    /// Is ready at once while the budget lasts, and otherwise once the executor has had its turn.
    ///
    /// A `Pending` alone does not prove that the task returned to the executor, because code between this function and the executor
    /// may go on in the same turn. So on tokio the task uses up its cooperative budget, which tokio renews only when it polls the
    /// task anew. Until then all of tokio's resources are pending in this task, so the task soon returns. On other executors, and
    /// in `unconstrained`, the first poll after a wake-up counts.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.rest {
            Rest::None if !self.is_spent() => return Poll::Ready(()),
            Rest::None => {
                self.rest = if use_up(cx) {
                    Rest::OnTokio
                } else {
                    // On tokio, the runtime's driver also runs first. If the task woke itself directly, timers and sockets would
                    // wait for up to 61 turns. On other executors this call wakes the task.
                    let _: Poll<()> = pin!(tokio::task::yield_now()).poll(cx);
                    Rest::Elsewhere
                };
                return Poll::Pending;
            }
            // Dropping the guard gives the unused unit back.
            Rest::OnTokio => drop(ready!(coop::poll_proceed(cx))),
            Rest::Elsewhere => {}
        }
        self.rest = Rest::None;
        self.since = Instant::now();
        Poll::Ready(())
    }
}

/// Uses up tokio's budget of this task, so that tokio polls the task again after other tasks. Returns `false` if there is no
/// budget.
fn use_up(cx: &mut Context<'_>) -> bool {
    (0..=MOST).any(|_| match coop::poll_proceed(cx) {
        Poll::Ready(one) => {
            one.made_progress();
            false
        }
        Poll::Pending => true,
    })
}

/// At least tokio's budget for one turn, which is 128.
const MOST: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_turn_that_is_polled_twice_in_one_turn_of_the_executor_is_not_over() {
        let other = tokio::spawn(async {});
        let mut budget = Budget::new(Duration::ZERO);
        poll_fn(|cx| {
            assert!(budget.poll_turn(cx).is_pending());
            assert!(budget.poll_turn(cx).is_pending(), "nobody was let by");
            Poll::Ready(())
        })
        .await;
        budget.turn().await;
        assert!(other.is_finished());
    }

    #[tokio::test]
    async fn a_turn_that_was_given_up_is_still_due() {
        let other = tokio::spawn(async {});
        let mut budget = Budget::new(Duration::ZERO);
        let given_up = poll_fn(|cx| Poll::Ready(pin!(budget.turn()).poll(cx).is_pending()));
        assert!(given_up.await);
        budget.turn().await;
        assert!(other.is_finished());
    }

    #[tokio::test]
    async fn a_task_without_a_bound_has_its_turn_too() {
        let other = tokio::spawn(async {});
        let mut budget = Budget::new(Duration::ZERO);
        tokio::task::unconstrained(budget.turn()).await;
        assert!(other.is_finished());
    }

    #[test]
    fn another_executor_polls_again_after_one_wake_up() {
        let mut budget = Budget::new(Duration::ZERO);
        crate::block_on::block_on(async {
            for _ in 0..3 {
                budget.turn().await;
            }
        });
    }
}
