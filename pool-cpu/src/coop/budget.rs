//! Time on the executor's thread, and giving it back.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::task::coop;

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
    rest: Rest,
}

/// Whether the executor has its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// It is not asked for.
    None,
    /// This task has used up what tokio lets it do in one turn.
    OnTokio,
    /// A wake-up is on its way, by which the executor polls the task again.
    Elsewhere,
}

impl Budget {
    /// Starts now. Zero yields at every [`turn`](Self::turn).
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            since: Instant::now(),
            rest: Rest::None,
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
    /// Nothing is lost: a turn that was due is due the next time.
    pub async fn turn(&mut self) {
        poll_fn(|cx| self.poll_turn(cx)).await;
    }

    /// Ready at once while the budget lasts; else when the executor has had its turn.
    ///
    /// That the caller got `Pending` does not say that: what is between this and the executor may go on in the same turn. On tokio the
    /// task uses up its cooperative budget, which it only has again when the executor polls it anew. All that the task does on tokio is
    /// pending until then, so it comes to its end soon. On other executors, and in `unconstrained`, the first poll after a wake-up counts.
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.rest {
            Rest::None if !self.is_spent() => return Poll::Ready(()),
            Rest::None => {
                self.rest = if use_up(cx) {
                    Rest::OnTokio
                } else {
                    // Under tokio its driver comes first, too: a task that woke itself would keep timers and
                    // sockets waiting for up to 61 turns. Under other executors this wakes the task.
                    let _: Poll<()> = pin!(tokio::task::yield_now()).poll(cx);
                    Rest::Elsewhere
                };
                return Poll::Pending;
            }
            // What is not used is given back.
            Rest::OnTokio => drop(ready!(coop::poll_proceed(cx))),
            Rest::Elsewhere => {}
        }
        self.rest = Rest::None;
        self.since = Instant::now();
        Poll::Ready(())
    }
}

/// Uses up what tokio lets this task do before others have a turn, and has it polled again after that. `false` if there is no bound.
fn use_up(cx: &mut Context<'_>) -> bool {
    (0..=MOST).any(|_| match coop::poll_proceed(cx) {
        Poll::Ready(one) => {
            one.made_progress();
            false
        }
        Poll::Pending => true,
    })
}

/// At least as much as tokio's budget for one turn, which is 128.
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
