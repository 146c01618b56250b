//! Parallel work inside of jobs. It belongs to rayon, and the pool's workers help with it.
//!
//! rayon cannot wake the pool's sleeping workers: for rayon, they are threads that are busy. The work that was passed to rayon is
//! in the deque of the worker that passed it, where other workers can steal it. The pieces of a broadcast differ: each is for one
//! certain worker. So as long as there may be pieces, sleepers are called, and each of them gets its turn:
//!
//! | there may be pieces while | it is seen by | and calls |
//! |---|---|---|
//! | a job says so ([`Ctx::parallel`](crate::Ctx::parallel)) | the call itself | all sleepers, which then only nap |
//! | a job has run for long | the keeper | a part of the sleepers, repeatedly |
//! | a worker runs a piece outside of a job, or has done so | that worker, the keeper | one sleeper; a part of the sleepers for some more rounds |
//!
//! If a job leaves a piece behind when it ends (`rayon::spawn`), its worker finds the piece, because it gives rayon a turn between
//! two jobs. So everything that may make pieces is seen while it runs, and for some rounds after it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rayon_core::Yield;

use super::Core;
use crate::worker::Turn;

impl Core {
    /// Runs a piece of parallel work as worker `me`, if `turn` finds a piece.
    #[inline]
    pub(crate) fn help(&self, me: usize, turn: impl FnOnce() -> Option<Yield>) -> bool {
        let turns = &self.workers[me].turns;
        turns.begin();
        let helped = turn() == Some(Yield::Executed);
        if helped {
            // This comes before the end of the turn, because otherwise no thread would look for the pieces that this piece left
            // behind.
            self.found_piece();
        }
        turns.end();
        helped
    }

    /// Calls sleepers after a piece was found, because there may be more pieces, including pieces that only a sleeper can run.
    #[cold]
    fn found_piece(&self) {
        if self.plan.helpful {
            self.calls.store(Self::CALLS, Ordering::Relaxed);
            self.idle.wake_in_turn(usize::MAX);
            self.keeper.look_at(Instant::now() + Self::PROBE);
        }
    }

    /// Calls a part of the sleepers if there may be parallel work. `longest` is how long the longest job has been running. Returns
    /// when to look again.
    pub(super) fn look_at_pieces(&self, now: Instant, longest: Duration) -> Option<Instant> {
        if !self.plan.helpful {
            return None;
        }
        let turns = self.workers.iter().map(|worker| worker.turns.look());
        // Every worker is looked at, so that the next look can compare.
        let turn = turns.fold(Turn::None, Turn::max);
        let less = |calls: usize| calls.checked_sub(1);
        let called = self
            .calls
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok();
        if called || turn == Turn::Long || longest >= Self::PROBE {
            self.idle.wake_in_turn(Self::SHARE);
        }
        let pause = if called {
            Self::PROBE
        } else if turn > Turn::None {
            2 * Self::PROBE
        } else if longest >= Self::PROBE {
            // The longer a job runs, the less often its sleepers are called.
            (longest / 4).clamp(Self::PROBE, 5 * Self::PROBE)
        } else {
            return None;
        };
        Some(now + pause)
    }

    /// Makes all sleepers help with parallel work until the guard is dropped. Does nothing in a pool without rayon.
    pub(crate) fn call_helpers(&self) -> Option<impl Drop> {
        struct Section<'a>(&'a Core);
        impl Drop for Section<'_> {
            fn drop(&mut self) {
                self.0.parallel.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.plan.helpful.then(|| {
            self.parallel.fetch_add(1, Ordering::Relaxed);
            // `wake_all` has the caller's fence, between the count above and its look for sleepers.
            self.idle.wake_all();
            Section(self)
        })
    }

    /// How long a worker sleeps at most, if a job says that there is parallel work.
    pub(super) fn nap(&self) -> Option<Duration> {
        (self.parallel.load(Ordering::Relaxed) > 0).then_some(Self::NAP)
    }

    /// A job that has run this long may have parallel work that sleepers do not know of.
    pub(super) const PROBE: Duration = Duration::from_millis(4);

    /// How long a worker sleeps at most during a call of `Ctx::parallel`.
    const NAP: Duration = Duration::from_micros(200);

    /// One sleeper in this many is called at a time.
    const SHARE: usize = 4;

    /// How many calls follow after a piece was found: enough that every sleeper gets its turn, and some more.
    const CALLS: usize = 2 * Self::SHARE;
}
