//! What can be observed of a runtime's workers: tokio's counters, and the system's times of their threads.

use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle, RuntimeMetrics};

/// The workers to watch.
pub(super) trait Workers {
    fn count(&self) -> usize;

    /// Returns how often this worker has parked and unparked, and how long it has been busy.
    fn checkpoint(&self, worker: usize) -> (u64, Duration);

    /// Returns what the system reports about the worker's thread.
    fn thread(&self, worker: usize) -> Option<ThreadTimes>;

    /// This worker is active, so its thread can be identified now.
    fn meet(&mut self, worker: usize);

    /// Whether the runtime has shut down.
    fn are_over(&self) -> bool;
}

/// What the system reports about a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadTimes {
    /// How long the thread has run on a core, as of the last tick of the system's clock.
    pub(super) ran: Duration,
    /// How long the thread has waited for a core. A wait counts when it is over.
    pub(super) waited: Duration,
    /// Whether the thread runs on a core or waits for a core.
    pub(super) is_runnable: bool,
}

/// The workers of a runtime.
pub(super) struct Watched {
    metrics: RuntimeMetrics,
    runtime: Handle,
    /// The thread ids of the workers, and when each was last identified.
    threads: Arc<Mutex<Vec<Option<(u32, Instant)>>>>,
    /// A task that is on its way to identify a thread holds a clone of this.
    scout: Arc<()>,
}

impl Watched {
    pub(super) fn new(runtime: &Handle) -> Self {
        Self {
            metrics: runtime.metrics(),
            runtime: runtime.clone(),
            threads: Arc::default(),
            scout: Arc::default(),
        }
    }

    /// Returns the thread id of this worker, and when it was identified.
    fn known(&self, worker: usize) -> Option<(u32, Instant)> {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        threads.get(worker).copied().flatten()
    }
}

impl Workers for Watched {
    fn count(&self) -> usize {
        self.metrics.num_workers()
    }

    fn checkpoint(&self, worker: usize) -> (u64, Duration) {
        (
            self.metrics.worker_park_unpark_count(worker),
            self.metrics.worker_total_busy_duration(worker),
        )
    }

    fn thread(&self, worker: usize) -> Option<ThreadTimes> {
        let (thread, _) = self.known(worker)?;
        times_of(thread)
    }

    /// Spawns a task. The worker that runs the task is identified, whichever it is. There is one such task at a time.
    fn meet(&mut self, worker: usize) {
        let fresh = self.known(worker).is_some_and(|(_, at)| at.elapsed() < AGE);
        if fresh || !cfg!(target_os = "linux") || Arc::strong_count(&self.scout) > 1 {
            return;
        }
        let (threads, scout) = (Arc::clone(&self.threads), Arc::clone(&self.scout));
        drop(self.runtime.spawn(async move {
            let _scout = scout;
            if let (Some(worker), Some(thread)) = (runtime::worker_index(), this_thread()) {
                let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                if threads.len() <= worker {
                    threads.resize(worker + 1, None);
                }
                threads[worker] = Some((thread, Instant::now()));
            }
        }));
    }

    /// A runtime that has shut down drops a task as soon as it is spawned.
    fn are_over(&self) -> bool {
        struct Probe(Arc<AtomicBool>);
        impl Drop for Probe {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Release);
            }
        }
        let (dropped, ran) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (probe, flag) = (Probe(Arc::clone(&dropped)), Arc::clone(&ran));
        drop(self.runtime.spawn(async move {
            flag.store(true, Ordering::Release);
            drop(probe);
        }));
        dropped.load(Ordering::Acquire) && !ran.load(Ordering::Acquire)
    }
}

/// Returns the system's id of this thread.
fn this_thread() -> Option<u32> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// Returns `None` if the system does not report it, or the thread has ended.
fn times_of(thread: u32) -> Option<ThreadTimes> {
    let read = |file| fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok();
    let times = read("schedstat")?;
    let mut times = times
        .split_whitespace()
        .map(|nanos| nanos.parse().ok().map(Duration::from_nanos));
    let (ran, waited) = (times.next()??, times.next()??);
    // The state follows the name, which is in brackets and may contain brackets.
    let stat = read("stat")?;
    let state = stat.rsplit(')').next()?.trim_start();
    Some(ThreadTimes {
        ran,
        waited,
        is_runnable: state.starts_with('R'),
    })
}

/// A thread is identified again after this time, because `block_in_place` moves a worker to another thread.
const AGE: Duration = Duration::from_secs(1);

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{hint::spin_loop, sync::mpsc, thread};

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_thread_that_computes_has_run_and_one_that_waits_has_not() {
        let me = this_thread().unwrap();
        let before = times_of(me).unwrap();
        while times_of(me).unwrap().ran < before.ran + 20 * MS {
            (0..100_000).for_each(|_| spin_loop());
        }
        assert!(times_of(me).unwrap().is_runnable);
        let (say, told) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let waits = thread::spawn(move || {
            say.send(this_thread().unwrap()).unwrap();
            gate.recv().ok();
        });
        let other = told.recv().unwrap();
        while times_of(other).unwrap().is_runnable {
            thread::yield_now();
        }
        let before = times_of(other).unwrap();
        thread::sleep(5 * MS);
        assert_eq!(times_of(other).unwrap(), before);
        drop(go);
        waits.join().unwrap();
        assert_eq!(times_of(u32::MAX), None);
    }

    #[test]
    fn the_threads_of_workers_are_met_while_they_work() {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let mut watched = Watched::new(runtime.handle());
        // Both workers are active at the same time.
        let both = Arc::new(std::sync::Barrier::new(2));
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let both = Arc::clone(&both);
                runtime.spawn(async move {
                    both.wait();
                    (runtime::worker_index().unwrap(), this_thread().unwrap())
                })
            })
            .collect();
        for task in threads {
            let (worker, thread) = runtime.block_on(task).unwrap();
            while watched.known(worker).is_none() {
                watched.meet(worker);
                runtime.block_on(async { tokio::spawn(async {}).await.unwrap() });
            }
            assert_eq!(watched.known(worker).unwrap().0, thread);
        }
    }
}
