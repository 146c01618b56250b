//! How the watchdog judges its observations.

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

/// The state of the watchdog's thread.
pub(super) struct Watch<W> {
    runtime: W,
    threshold: Duration,
    on_stall: Option<OnStall>,
    on_end: Option<OnStall>,
    seen: Arc<Mutex<Stalls>>,
    workers: Vec<Watched>,
}

/// The last observation of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Watched {
    checkpoint: (u64, Duration),
    /// How long the worker has been seen at this checkpoint.
    lasted: Duration,
    /// How the thread spent that time, from half of the threshold on. For a worker that returns sooner, the system is not asked.
    spent: Option<Spent>,
    reported: Option<Cause>,
}

/// How a thread has spent its time since a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent {
    /// How long the worker had been seen at its checkpoint at that time.
    from: Duration,
    waited_before: Duration,
    last: ThreadTimes,
    /// How long the thread has been waiting for a core in a wait that is not over, as far as is known. The system counts a wait
    /// only when it is over.
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

    /// Looks at all workers. `passed` is the time since the last look. Returns `false` when the runtime has shut down.
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
            // One report for each cause, because a stall that was attributed to the cores may turn out to be caused by a task.
            if watched
                .reported
                .is_none_or(|before| before != cause && cause == Cause::Task)
            {
                watched.reported = Some(cause);
                fresh.push(stall);
            }
        }
        // The workers of a runtime that has shut down also have no checkpoints.
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
        // A tracing subscriber is user code too. Its panic must not end the watch.
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

    /// Records how the thread has spent the time `passed`.
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
            // If the thread was blocked during that time, and not waiting for a core, the next look sees that.
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

    /// Returns the cause to report now, if any.
    fn judge(&self, threshold: Duration) -> Option<Cause> {
        let held = self.lasted.saturating_sub(self.waited());
        if held >= threshold {
            return Some(Cause::Task);
        }
        // The system updates its times at ticks of its clock, so a running thread seems not to run between two ticks.
        (self.lasted >= threshold + TICKS).then_some(Cause::Cores)
    }

    /// How long the thread has waited for a core, within the time at this checkpoint.
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

/// Longer than two ticks of the slowest system clock.
const TICKS: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const THRESHOLD: Duration = Duration::from_millis(50);

    /// One worker that stays at the same checkpoint, and whose thread spends its time as the test says.
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

    /// How the thread spends the 5 ms between two looks.
    #[derive(Clone, Copy)]
    enum Spends {
        Running,
        Blocked,
        /// The thread waits for a core, and has a core again at the end.
        Waiting,
        /// The thread waits for a core, and still waits at the end.
        StillWaiting,
    }

    /// Returns what is reported for a worker whose thread spends its time like this, and when.
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
        // The thread has a core for 5 ms in 65, as beside twelve other threads.
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
        // Half of the threshold passes between two looks, because the watchdog is short of cores too.
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
        // The thread ran for 3 ms and then waits for a core. Later it turns out to be blocked.
        assert_eq!(seen, [vec![], vec![], vec![Cause::Task]]);
    }

    #[test]
    fn a_task_is_blamed_once_it_has_had_a_core_for_as_long_as_the_threshold() {
        // Half of the threshold passes before the system is asked, and counts as held. The other half takes the thread four times
        // as long, because it has a core for a quarter of the time.
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
