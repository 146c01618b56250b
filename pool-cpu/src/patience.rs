//! Whether a caller polls again for a moment before its thread goes to sleep.
//!
//! Waking a runtime's thread costs more than a short job does. So a future whose job was met by a worker that was looking
//! for work asks the executor for a few more turns (tokio's `yield_now`: other tasks and the driver come first) instead of
//! letting the thread sleep: most short jobs are done by then. Whether that pays is learned from how the last ones went, so long
//! jobs do without.

use std::{
    future::Future,
    pin::pin,
    sync::atomic::AtomicU32,
    task::{Context, Poll},
};

use crate::sync::{AtomicUsize, Ordering};

/// Who looks for work in one pool, and what it has learned of how long its jobs take.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Workers that are awake and look for work. A submitter starts no thread when there are enough of them, so whoever finds work
    /// sees to what else is there: `Core::take`.
    searching: AtomicUsize,
    /// A hint: nothing is published with it, and a lost update does no harm. Up to [`MOST`]: the turns to ask for. Above: how many
    /// jobs go without until the next trial, [`MOST`] added.
    turns: AtomicU32,
}

/// A worker is awake and looks for work, as long as this lives.
#[derive(Debug)]
pub(crate) struct Searching<'a>(&'a Patience);

/// The turns that one future has left.
#[derive(Debug)]
pub(crate) struct Turns(u32);

impl Patience {
    pub(crate) fn new() -> Self {
        Self {
            searching: AtomicUsize::new(0),
            turns: AtomicU32::new(MOST),
        }
    }

    pub(crate) fn search(&self) -> Searching<'_> {
        self.enlist();
        Searching(self)
    }

    /// As `search`, for a thread that is being started.
    pub(crate) fn enlist(&self) {
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread that was enlisted has started.
    pub(crate) fn enlisted(&self) -> Searching<'_> {
        Searching(self)
    }

    /// The thread that was enlisted has not started.
    pub(crate) fn discharge(&self) {
        drop(Searching(self));
    }

    /// How many workers look for work, about.
    pub(crate) fn searching(&self) -> usize {
        self.searching.load(Ordering::Relaxed)
    }

    /// The turns that a caller asks for who submits a job now.
    pub(crate) fn turns(&self) -> Turns {
        if self.searching() == 0 {
            return Turns(0);
        }
        let turns = self.turns.load(Ordering::Relaxed);
        if turns <= MOST {
            return Turns(turns);
        }
        let next = if turns == MOST + 1 { TRIAL } else { turns - 1 };
        self.turns.store(next, Ordering::Relaxed);
        Turns(0)
    }

    fn paid(&self) {
        // Reading first keeps the line shared among those who agree.
        if self.turns.load(Ordering::Relaxed) != MOST {
            self.turns.store(MOST, Ordering::Relaxed);
        }
    }

    fn wasted(&self) {
        let turns = self.turns.load(Ordering::Relaxed);
        if turns <= MOST {
            self.turns.store(
                if turns / 2 < TRIAL {
                    MOST + REST
                } else {
                    turns / 2
                },
                Ordering::Relaxed,
            );
        }
    }
}

impl Turns {
    /// There is no result yet: asks for one more turn if there is one left.
    pub(crate) fn pending(&mut self, patience: &Patience, cx: &mut Context<'_>) {
        if self.0 == 0 {
            return;
        }
        self.0 -= 1;
        if self.0 == 0 {
            patience.wasted();
        } else {
            // The first poll has the executor poll us again after everything else that is ready.
            let _: Poll<()> = pin!(tokio::task::yield_now()).poll(cx);
        }
    }

    /// The result is there.
    pub(crate) fn ready(&self, patience: &Patience) {
        if self.0 > 0 {
            patience.paid();
        }
    }
}

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.searching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Turns at most.
const MOST: u32 = 16;
/// Turns after a rest.
const TRIAL: u32 = 8;
/// So many jobs go without after a trial has failed.
const REST: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_workers_that_sleep() {
        let patience = Patience::new();
        assert_eq!(patience.turns().0, 0);
        let searching = patience.search();
        assert_eq!(patience.turns().0, MOST);
        drop(searching);
        assert_eq!(patience.turns().0, 0);
    }

    #[test]
    fn what_does_not_pay_is_tried_seldom_and_what_pays_comes_back() {
        let patience = Patience::new();
        let _searching = patience.search();
        let mut asked = 0;
        for _ in 0..1000 {
            let turns = patience.turns().0;
            asked += turns;
            if turns > 0 {
                patience.wasted();
            }
        }
        assert!(asked < 200, "{asked} turns in vain for 1000 jobs");
        while patience.turns().0 == 0 {}
        patience.turns().ready(&patience);
        assert_eq!(patience.turns().0, MOST);
    }
}
