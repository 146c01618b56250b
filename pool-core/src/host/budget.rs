//! Tokio's cooperative budget: it keeps a loop of gets from starving its executor.
//!
//! A future that is ready at once never yields: `loop { pool.get().await }` on a pool with idle resources would keep the timers,
//! the I/O and all other tasks of its thread waiting forever. So tokio gives each task a budget for each poll. A future that may be
//! ready at once spends from it. When the budget is used up, the future returns `Pending` once, with its waker woken.

use std::task::{Context, Poll};

use super::thread;

/// Spends from the task's budget. Returns `Pending` if it is used up, and has the task polled again. Must come first in a poll that
/// may be ready at once.
///
/// A get on the fast path is far cheaper than the operations that tokio's budget of 128 was made for (a read from a socket). So one
/// get in 8 spends, and a task goes on for about a thousand gets, some 50 us.
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
