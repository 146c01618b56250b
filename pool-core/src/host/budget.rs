//! Tokio's cooperative budget: what keeps a loop of gets from starving its executor.
//!
//! A future that is ready at once returns to nobody: `loop { pool.get().await }` on a pool with idle resources would keep timers, I/O
//! and all other tasks of its thread waiting for ever. So tokio gives each task a budget for each time it is polled; what may be ready at
//! once spends of it, and when it is gone returns `Pending`, once, with its waker woken.

use std::task::{Context, Poll};

use super::thread;

/// Spends of the task's budget, or has it polled again later. For the first thing in a poll that may be ready at once.
///
/// A get on the hot path is far cheaper than what tokio's budget of 128 was made for (a read of a socket): one in 8 spends, so that
/// a task goes on for about a thousand, some 50 us.
#[inline]
pub(crate) fn spend(context: &mut Context<'_>) -> Poll<()> {
    if thread::turn().is_multiple_of(EVERY) {
        spend_now(context)
    } else {
        Poll::Ready(())
    }
}

#[cold]
#[inline(never)]
fn spend_now(context: &mut Context<'_>) -> Poll<()> {
    #[cfg(not(any(pool_loom, pool_shuttle)))]
    return tokio::task::coop::poll_proceed(context).map(|unit| unit.made_progress());
    #[cfg(any(pool_loom, pool_shuttle))]
    {
        let _ = context;
        Poll::Ready(())
    }
}

const EVERY: u32 = 8;
