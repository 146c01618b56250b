//! How a watchdog judges what it sees.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Cause, Stall, Stalls,
    runtime::{ThreadTimes, Workers},
};
use crate::quiet::contain;

pub(super) type OnStall = Arc<dyn Fn(&Stall) + Send + Sync>;

/// The inside of the thread.
pub(super) struct Watch<W> {
    runtime: W,
    threshold: Duration,
    on_stall: Option<OnStall>,
    on_end: Option<OnStall>,
    seen: Arc<Mutex<Stalls>>,
    workers: Vec<Watched>,
}

/// What was last seen of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    checkpoint: (u64, Duration),
    /// For how long it has been seen at that checkpoint.
    lasted: Duration,
    /// How that time was spent, from when half of the threshold was over: the system is not asked about whoever comes back sooner.
    spent: Option<Spent>,
    reported: Option<Cause>,
}

/// How a thread has spent its time since a certain moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    /// For how long its worker had been seen at its checkpoint then.
    from: Duration,
    waited_before: Duration,
    last: ThreadTimes,
    /// For how long it has been ready to run, and neither ran nor had a core after a wait, so far as is known: that wait goes on, and is
    /// not in the system's count before it is over.
    waits: Duration,
}

impl<W: Workers> Watch<W> {
    pub(super) fn new(
        runtime: W,
        threshold: Duration,
        on_stall: Option<OnStall>,
        on_end: Option<OnStall>,
        seen: Arc<Mutex<Stalls>>,
    ) -> Self {
        Self {
            runtime,
            threshold,
            on_stall,
            on_end,
            seen,
            workers: Vec::new(),
        }
    }

    /// Looks at all workers, `passed` after the last time. `false` when the runtime is gone.
    pub(super) fn look(&mut self, passed: Duration) -> bool {
        let mut now = Vec::new();
        let (mut fresh, mut over) = (Vec::new(), Vec::new());
        for worker in 0..self.runtime.count() {
            let checkpoint = self.runtime.checkpoint(worker);
            if worker == self.workers.len() {
                self.workers.push(Watched::at(checkpoint));
            }
            let watched = &mut self.workers[worker];
            let is_parked = checkpoint.0 % 2 == 1;
            if !is_parked {
                self.runtime.meet(worker);
            }
            if is_parked || watched.checkpoint != checkpoint {
                if let Some(cause) = watched.reported {
                    over.push(Stall {
                        worker,
                        lasted: watched.lasted,
                        cause,
                    });
                }
                *watched = Watched::at(checkpoint);
                continue;
            }
            watched.lasted += passed;
            if watched.lasted >= self.threshold / 2 {
                watched.ask(passed, self.runtime.thread(worker));
            }
            let Some(cause) = watched.judge(self.threshold) else {
                continue;
            };
            let stall = Stall {
                worker,
                lasted: watched.lasted,
                cause,
            };
            now.push(stall);
            // Once for each cause: one that was put down to the cores may turn out to be by a task.
            if watched
                .reported
                .is_none_or(|before| before != cause && cause == Cause::Task)
            {
                watched.reported = Some(cause);
                fresh.push(stall);
            }
        }
        // A runtime that is gone stands still as well.
        if !fresh.is_empty() && self.runtime.are_over() {
            return false;
        }
        {
            let by_task = |stall: &&Stall| stall.cause == Cause::Task;
            let mut seen = lock(&self.seen);
            let tasks = fresh.iter().filter(by_task).count();
            seen.count += tasks as u64;
            seen.short_of_cores += (fresh.len() - tasks) as u64;
            seen.longest = now
                .iter()
                .filter(by_task)
                .map(|stall| stall.lasted)
                .fold(seen.longest, Duration::max);
            seen.now = now;
        }
        // Subscribers are user code as well: a panic in one must not end the watch.
        for stall in &fresh {
            #[cfg(feature = "tracing")]
            contain(|| {
                tracing::warn!(
                    worker = stall.worker,
                    lasted_ms = stall.lasted.as_millis() as u64,
                    "{stall}"
                );
            });
            if let Some(on_stall) = &self.on_stall {
                contain(|| on_stall(stall));
            }
        }
        for stall in &over {
            #[cfg(feature = "tracing")]
            contain(|| {
                tracing::info!(
                    worker = stall.worker,
                    lasted_ms = stall.lasted.as_millis() as u64,
                    "worker {} of the runtime is back at the scheduler, which it had left for {:.0?}",
                    stall.worker,
                    stall.lasted
                );
            });
            if let Some(on_end) = &self.on_end {
                contain(|| on_end(stall));
            }
        }
        true
    }
}

impl Watched {
    const fn at(checkpoint: (u64, Duration)) -> Self {
        Self {
            checkpoint,
            lasted: Duration::ZERO,
            spent: None,
            reported: None,
        }
    }

    /// Asks how its thread has spent the time that has `passed`.
    fn ask(&mut self, passed: Duration, thread: Option<ThreadTimes>) {
        self.spent = thread.map(|now| {
            let Some(before) = self.spent else {
                return Spent {
                    from: self.lasted,
                    waited_before: now.waited,
                    last: now,
                    waits: Duration::ZERO,
                };
            };
            let last = before.last;
            let known = now.ran.saturating_sub(last.ran) + now.waited.saturating_sub(last.waited);
            // If it was blocked for that time, and not waiting, it is seen to be so at the next look.
            let waits = match now.is_runnable {
                false => Duration::ZERO,
                true if now == last => before.waits + passed,
                true => passed.saturating_sub(known),
            };
            Spent {
                last: now,
                waits,
                ..before
            }
        });
    }

    /// What it is to be reported for now, if anything.
    fn judge(&self, threshold: Duration) -> Option<Cause> {
        let held = self.lasted.saturating_sub(self.waited());
        if held >= threshold {
            return Some(Cause::Task);
        }
        // A thread that runs does not seem to, from one tick of the system's clock to the next.
        (self.lasted >= threshold + TICKS).then_some(Cause::Cores)
    }

    /// For how long of that it has waited for a core.
    fn waited(&self) -> Duration {
        self.spent.map_or(Duration::ZERO, |spent| {
            let waited = spent.last.waited.saturating_sub(spent.waited_before) + spent.waits;
            waited.min(self.lasted - spent.from)
        })
    }
}

pub(super) fn lock(seen: &Mutex<Stalls>) -> MutexGuard<'_, Stalls> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longer than the slowest clock of a system takes for two ticks.
const TICKS: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const THRESHOLD: Duration = Duration::from_millis(50);

    /// One worker that is at the same checkpoint for ever, and whose thread is as the test says.
    struct Held(Option<ThreadTimes>);

    impl Workers for Held {
        fn count(&self) -> usize {
            1
        }

        fn checkpoint(&self, _: usize) -> (u64, Duration) {
            (0, Duration::ZERO)
        }

        fn thread(&self, _: usize) -> Option<ThreadTimes> {
            self.0
        }

        fn meet(&mut self, _: usize) {}

        fn are_over(&self) -> bool {
            false
        }
    }

    /// How the thread spends the five milliseconds between two looks.
    #[derive(Clone, Copy)]
    enum Spends {
        Running,
        Blocked,
        /// It has a core again in the end.
        Waiting,
        /// It has none so far.
        StillWaiting,
    }

    /// What is reported of a worker whose thread spends its time like this, by when.
    fn reported(spends: impl IntoIterator<Item = Spends>) -> Vec<(Duration, Cause)> {
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let on_stall: OnStall =
            Arc::new(move |stall| tell.lock().unwrap().push((stall.lasted, stall.cause)));
        let mut thread = ThreadTimes {
            ran: MS,
            waited: MS,
            is_runnable: true,
        };
        let seen = Arc::default();
        let mut watch = Watch::new(
            Held(Some(thread)),
            THRESHOLD,
            Some(on_stall),
            None,
            Arc::clone(&seen),
        );
        let mut owed = Duration::ZERO;
        watch.look(Duration::ZERO);
        for spends in spends {
            match spends {
                Spends::Running => thread.ran += 5 * MS,
                Spends::Blocked => {}
                Spends::Waiting => thread.waited += 5 * MS + std::mem::take(&mut owed),
                Spends::StillWaiting => owed += 5 * MS,
            }
            thread.is_runnable = !matches!(spends, Spends::Blocked);
            watch.runtime.0 = Some(thread);
            watch.look(5 * MS);
        }
        let told = told.lock().unwrap().clone();
        let count = |cause| told.iter().filter(|(_, told)| *told == cause).count() as u64;
        let seen = lock(&seen);
        assert_eq!(
            (seen.count, seen.short_of_cores),
            (count(Cause::Task), count(Cause::Cores))
        );
        told
    }

    #[test]
    fn a_task_that_computes_or_blocks_is_blamed_at_the_threshold() {
        for spends in [Spends::Running, Spends::Blocked] {
            assert_eq!(reported([spends; 40]), [(THRESHOLD, Cause::Task)]);
        }
    }

    #[test]
    fn nobody_is_blamed_while_the_thread_waits_for_a_core() {
        for spends in [Spends::Waiting, Spends::StillWaiting] {
            assert_eq!(reported([spends; 40]), [(THRESHOLD + TICKS, Cause::Cores)]);
        }
        // A core for 5 ms in 65, as beside twelve others.
        let turns = (0..6).flat_map(|_| {
            let waits = [Spends::StillWaiting; 11];
            waits.into_iter().chain([Spends::Waiting, Spends::Running])
        });
        assert_eq!(reported(turns), [(THRESHOLD + TICKS, Cause::Cores)]);
    }

    #[test]
    fn a_wait_that_began_between_two_looks_is_one() {
        let thread = |ran, is_runnable| ThreadTimes {
            ran: ran * MS,
            waited: MS,
            is_runnable,
        };
        // Half of the threshold at a look: the watchdog is short of cores as well.
        let looks = [thread(1, true), thread(4, true), thread(4, false)];
        let told = Arc::new(Mutex::new(Vec::new()));
        let tell = Arc::clone(&told);
        let on_stall: OnStall = Arc::new(move |stall| tell.lock().unwrap().push(stall.cause));
        let mut watch = Watch::new(Held(None), THRESHOLD, Some(on_stall), None, Arc::default());
        watch.look(Duration::ZERO);
        let mut seen = Vec::new();
        for thread in looks {
            watch.runtime.0 = Some(thread);
            watch.look(THRESHOLD / 2);
            seen.push(told.lock().unwrap().clone());
        }
        // It ran for 3 ms, and waits; then it turns out to be blocked.
        assert_eq!(seen, [vec![], vec![], vec![Cause::Task]]);
    }

    #[test]
    fn a_task_is_blamed_once_it_has_had_a_core_for_as_long_as_the_threshold() {
        // One half of the threshold passes before the system is asked, and counts as held. For the other half the thread needs four
        // times as long, since it has a core for a quarter of the time.
        let turns = (0..20).flat_map(|_| {
            let waits = [Spends::Waiting; 3];
            waits.into_iter().chain([Spends::Running])
        });
        let told = reported(turns);
        let [(first, Cause::Cores), (second, Cause::Task)] = told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(first, THRESHOLD + TICKS);
        let late = second.abs_diff(THRESHOLD / 2 + 4 * (THRESHOLD / 2));
        assert!(late <= 20 * MS, "{second:?}");
    }

    #[test]
    fn a_thread_that_nobody_knows_is_blamed_as_ever() {
        let mut watch = Watch::new(Held(None), THRESHOLD, None, None, Arc::default());
        assert!((0..=10).all(|_| watch.look(5 * MS)));
        assert_eq!(lock(&watch.seen).count, 1);
    }
}
