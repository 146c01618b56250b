//! Parallel work inside of jobs, which rayon has and our workers help with.
//!
//! Rayon cannot wake our sleepers: to it they are threads that are at something. What was given to it lies with the worker that gave it, for
//! others to steal, but for the pieces of a broadcast: each of those is for one certain worker. So as long as there may be pieces, sleepers
//! are called, and all of them have their turn:
//!
//! | there may be pieces while | it is seen by | and calls |
//! |---|---|---|
//! | a job says so ([`Ctx::parallel`](crate::Ctx::parallel)) | the call itself | everybody, who then only nap |
//! | a job has run for long | the keeper | a part of the sleepers, and again by and by |
//! | a worker has run a piece outside of a job, or does so | that worker, the keeper | one; a part for some rounds more |
//!
//! A piece that a job leaves behind when it ends (`rayon::spawn`) is found by its worker, which gives rayon a turn between two jobs. So
//! whatever may make pieces is seen while it runs, and for some rounds after it.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use rayon_core::Yield;

use super::Core;
use crate::worker::Turn;

impl Core {
    /// Runs a piece of parallel work as worker `me`, if `turn` finds one.
    #[inline]
    pub(crate) fn help(&self, me: usize, turn: impl FnOnce() -> Option<Yield>) -> bool {
        let turns = &self.workers[me].turns;
        turns.begin();
        let helped = turn() == Some(Yield::Executed);
        if helped {
            // Before it is not seen to help any more: else nobody would look for what it leaves behind.
            self.found_piece();
        }
        turns.end();
        helped
    }

    /// Where there was a piece there may be more, also such as only a sleeper can run.
    #[cold]
    fn found_piece(&self) {
        if self.plan.helpful {
            self.calls.store(Self::CALLS, Ordering::Relaxed);
            self.idle.wake_in_turn(usize::MAX);
            self.keeper.look_at(Instant::now() + Self::PROBE);
        }
    }

    /// Calls a part of the sleepers if there may be parallel work, the longest job being as long. Says when to come again.
    pub(super) fn look_at_pieces(&self, now: Instant, longest: Duration) -> Option<Instant> {
        if !self.plan.helpful {
            return None;
        }
        let turns = self.workers.iter().map(|worker| worker.turns.look());
        // Each of them is looked at, for the next time.
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
            // The longer a job runs, the less often.
            (longest / 4).clamp(Self::PROBE, 5 * Self::PROBE)
        } else {
            return None;
        };
        Some(now + pause)
    }

    /// Somebody does work in parallel: everybody who sleeps is to help, until the guard is dropped. Nobody where nobody could.
    pub(crate) fn call_helpers(&self) -> Option<impl Drop> {
        struct Section<'a>(&'a Core);
        impl Drop for Section<'_> {
            fn drop(&mut self) {
                self.0.parallel.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.plan.helpful.then(|| {
            self.parallel.fetch_add(1, Ordering::Relaxed);
            // Has the caller's fence, between the count above and its look for sleepers.
            self.idle.wake_all();
            Section(self)
        })
    }

    /// How long a worker sleeps at most, if somebody says that there is parallel work.
    pub(super) fn nap(&self) -> Option<Duration> {
        (self.parallel.load(Ordering::Relaxed) > 0).then_some(Self::NAP)
    }

    /// A job that has run this long may have parallel work that sleepers do not know of.
    pub(super) const PROBE: Duration = Duration::from_millis(4);

    /// How long a worker sleeps at most while somebody works in parallel.
    const NAP: Duration = Duration::from_micros(200);

    /// One in so many sleepers is called at a time.
    const SHARE: usize = 4;

    /// So many calls follow on a piece: all have their turn, and some more.
    const CALLS: usize = 2 * Self::SHARE;
}
