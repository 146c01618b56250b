//! What can be seen of the workers of a runtime: by tokio's counters, and by the system's of their threads.

use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::runtime::{self, Handle, RuntimeMetrics};

/// Workers to watch.
pub(super) trait Workers {
    fn count(&self) -> usize;

    /// How often this one has parked and unparked, and how long it has been busy.
    fn checkpoint(&self, worker: usize) -> (u64, Duration);

    /// What the system says of its thread.
    fn thread(&self, worker: usize) -> Option<ThreadTimes>;

    /// This one is at work: its thread may be met.
    fn meet(&mut self, worker: usize);

    /// Are they gone?
    fn are_over(&self) -> bool;
}

/// What the system says of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ThreadTimes {
    /// How long it has had a core, as of the last tick of the system's clock.
    pub(super) ran: Duration,
    /// How long it has waited for one, before it had it.
    pub(super) waited: Duration,
    /// Does it have a core, or wait for one?
    pub(super) is_runnable: bool,
}

/// The workers of a runtime.
pub(super) struct Watched {
    metrics: RuntimeMetrics,
    runtime: Handle,
    /// Their threads, by the system's numbers, and when each was met last.
    threads: Arc<Mutex<Vec<Option<(u32, Instant)>>>>,
    /// Whoever is on the way to meet one has this as well.
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

    /// The thread of this worker, and when it was met.
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

    /// By a task, on whichever worker has it: that one is known then. One at a time.
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

    /// A task is dropped as soon as it is spawned where the runtime was shut down.
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

/// The system's number of this thread.
fn this_thread() -> Option<u32> {
    let link = fs::read_link("/proc/thread-self").ok()?;
    link.file_name()?.to_str()?.parse().ok()
}

/// `None` where the system does not say, or the thread is gone.
fn times_of(thread: u32) -> Option<ThreadTimes> {
    let read = |file| fs::read_to_string(format!("/proc/self/task/{thread}/{file}")).ok();
    let times = read("schedstat")?;
    let mut times = times
        .split_whitespace()
        .map(|nanos| nanos.parse().ok().map(Duration::from_nanos));
    let (ran, waited) = (times.next()??, times.next()??);
    // The state comes after the name, which is in brackets and may have some itself.
    let stat = read("stat")?;
    let state = stat.rsplit(')').next()?.trim_start();
    Some(ThreadTimes {
        ran,
        waited,
        is_runnable: state.starts_with('R'),
    })
}

/// A thread is met again when it was met so long ago: `block_in_place` gives a worker another one.
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
        // Both are at work at a time.
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
