//! Which worker of a runtime is held.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Handle, RuntimeMetrics};

use crate::{ConfigError, quiet::contain};

/// Sees which worker of a runtime has not come back to the scheduler, as long as it lives.
///
/// A thread of its own reads two counters of each worker, which tokio keeps anyway: how often it
/// parked, and how long it was busy. A worker that is not parked, and neither of whose counters has
/// moved for the threshold, has had no *scheduler checkpoint* for that long. Mostly that means that
/// one poll of one task is still going on: something in it computes or blocks. tokio publishes the
/// busy time only every [`event_interval`] polls, 61 unless set: that many polls of a millisecond
/// or two look the same, and are as bad for whoever waits; a lower `event_interval` tells them apart.
///
/// With the feature `tracing` each stall is one warning, when it is seen, and one event of level info when it is over, which says how
/// long it took in all. A one-thread runtime that nobody runs
/// (nothing is in its `block_on`) looks stalled too: drop the watchdog before.
///
/// ```
/// use std::time::Duration;
/// use pool_cpu::lag::Watchdog;
///
/// # #[tokio::main(flavor = "multi_thread", worker_threads = 2)]
/// # async fn main() -> Result<(), pool_cpu::ConfigError> {
/// let watchdog = Watchdog::builder()
///     .threshold(Duration::from_millis(50))
///     .on_stall(|stall| eprintln!("{stall}"))
///     .on_end(|stall| eprintln!("worker {} was held for {:?} in all", stall.worker, stall.lasted))
///     .watch(&tokio::runtime::Handle::current())?;
/// tokio::spawn(async { std::thread::sleep(Duration::from_millis(200)) }).await.unwrap();
/// assert_eq!(watchdog.stalls().count, 1);
/// # Ok(())
/// # }
/// ```
///
/// [`event_interval`]: tokio::runtime::Builder::event_interval
#[derive(Debug)]
#[must_use = "dropping the watchdog ends the watch"]
pub struct Watchdog {
    seen: Arc<Mutex<Stalls>>,
    /// Dropping it ends the thread.
    _leash: mpsc::Sender<()>,
}

/// Settings of a [`Watchdog`].
#[derive(Clone)]
pub struct WatchdogBuilder {
    threshold: Duration,
    on_stall: Option<OnStall>,
    on_end: Option<OnStall>,
}

type OnStall = Arc<dyn Fn(&Stall) + Send + Sync>;

/// A worker that does not come back to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stall {
    /// The number of the worker, from 0, as tokio's metrics count them.
    pub worker: usize,
    /// For how long it has had no scheduler checkpoint.
    pub lasted: Duration,
}

/// What a [`Watchdog`] has seen.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stalls {
    /// How many stalls there were.
    pub count: u64,
    /// The longest, as far as it has come.
    pub longest: Duration,
    /// Those that go on.
    pub now: Vec<Stall>,
}

impl Watchdog {
    /// Settings to build one from.
    pub fn builder() -> WatchdogBuilder {
        WatchdogBuilder {
            threshold: Duration::from_millis(100),
            on_stall: None,
            on_end: None,
        }
    }

    /// What it has seen.
    pub fn stalls(&self) -> Stalls {
        lock(&self.seen).clone()
    }
}

impl WatchdogBuilder {
    /// How long a worker may go without a scheduler checkpoint: 1 ms to an hour. A stall is seen at
    /// most 20 ms later. Default: 100 ms.
    #[must_use]
    pub const fn threshold(mut self, threshold: Duration) -> Self {
        self.threshold = threshold;
        self
    }

    /// Is called once for each stall, on the watchdog's thread, while it goes on.
    #[must_use]
    pub fn on_stall(mut self, f: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.on_stall = Some(Arc::new(f));
        self
    }

    /// Is called once for each stall that is over, on the watchdog's thread: then [`Stall::lasted`] is how long it took in all, but for
    /// the time between two looks.
    #[must_use]
    pub fn on_end(mut self, f: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.on_end = Some(Arc::new(f));
        self
    }

    /// Starts to watch.
    ///
    /// # Errors
    /// A threshold that cannot be used; a thread that the system does not start.
    pub fn watch(self, runtime: &Handle) -> Result<Watchdog, ConfigError> {
        let refused = |expected: String| {
            ConfigError::new("threshold", format!("{:?}", self.threshold), expected)
        };
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.threshold) {
            return Err(refused("1ms to 1h".to_owned()));
        }
        let seen = Arc::new(Mutex::new(Stalls::default()));
        let (leash, end) = mpsc::channel();
        let watch = Watch {
            metrics: runtime.metrics(),
            runtime: runtime.clone(),
            threshold: self.threshold,
            on_stall: self.on_stall.clone(),
            on_end: self.on_end.clone(),
            seen: Arc::clone(&seen),
            workers: Vec::new(),
        };
        thread::Builder::new()
            .name("lag-watchdog".to_owned())
            .spawn(move || watch.run(&end))
            .map_err(|error| {
                refused(format!(
                    "watched by a thread, which the system did not start ({error})"
                ))
            })?;
        Ok(Watchdog {
            seen,
            _leash: leash,
        })
    }
}

impl fmt::Debug for WatchdogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchdogBuilder")
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Stall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, lasted } = self;
        write!(
            f,
            "worker {worker} of the runtime has had no scheduler checkpoint for {lasted:.0?}: something in a task computes or blocks"
        )
    }
}

/// The inside of the thread.
struct Watch {
    metrics: RuntimeMetrics,
    runtime: Handle,
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
    reported: bool,
}

impl Watch {
    fn run(mut self, end: &mpsc::Receiver<()>) {
        // Seen late by two looks at most.
        let pause = (self.threshold / 4).clamp(Duration::from_millis(1), Duration::from_millis(5));
        let mut last = Instant::now();
        while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(pause) {
            let now = Instant::now();
            // A machine that stands still holds everybody: one look alone proves nothing, however
            // long after the last one it comes.
            let passed = (now - last).min(self.threshold / 2);
            last = now;
            if !self.look(passed) {
                return;
            }
        }
    }

    /// Looks at all workers, `passed` after the last time. `false` when the runtime is gone.
    fn look(&mut self, passed: Duration) -> bool {
        let mut now = Vec::new();
        let (mut fresh, mut over) = (Vec::new(), Vec::new());
        for worker in 0..self.metrics.num_workers() {
            let parks = self.metrics.worker_park_unpark_count(worker);
            let checkpoint = (parks, self.metrics.worker_total_busy_duration(worker));
            if worker == self.workers.len() {
                self.workers.push(Watched::at(checkpoint));
            }
            let watched = &mut self.workers[worker];
            let is_parked = parks % 2 == 1;
            if is_parked || watched.checkpoint != checkpoint {
                if watched.reported {
                    over.push(Stall {
                        worker,
                        lasted: watched.lasted,
                    });
                }
                *watched = Watched::at(checkpoint);
                continue;
            }
            watched.lasted += passed;
            if watched.lasted >= self.threshold {
                let stall = Stall {
                    worker,
                    lasted: watched.lasted,
                };
                now.push(stall);
                if !watched.reported {
                    watched.reported = true;
                    fresh.push(stall);
                }
            }
        }
        // A runtime that is gone stands still as well.
        if !fresh.is_empty() && self.is_over() {
            return false;
        }
        {
            let mut seen = lock(&self.seen);
            seen.count += fresh.len() as u64;
            seen.longest = now
                .iter()
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

    /// Has the runtime been shut down? Then a task is dropped as soon as it is spawned.
    fn is_over(&self) -> bool {
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

impl Watched {
    const fn at(checkpoint: (u64, Duration)) -> Self {
        Self {
            checkpoint,
            lasted: Duration::ZERO,
            reported: false,
        }
    }
}

fn lock(seen: &Mutex<Stalls>) -> MutexGuard<'_, Stalls> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::runtime::Builder;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn whichever_worker_is_held_is_named_and_only_that_one() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(4)
            .enable_all()
            .build()
            .unwrap();
        let (told, hear) = mpsc::channel();
        let (told, ended) = (Mutex::new(told), Arc::new(Mutex::new(Vec::new())));
        let over = Arc::clone(&ended);
        let watchdog = Watchdog::builder()
            .threshold(50 * MS)
            .on_stall(move |stall| told.lock().unwrap().send((Instant::now(), *stall)).unwrap())
            .on_end(move |stall| over.lock().unwrap().push(*stall))
            .watch(runtime.handle())
            .unwrap();
        for _ in 0..3 {
            let (begun, began) = mpsc::channel();
            let held = runtime.spawn(async move {
                begun
                    .send((Instant::now(), tokio::runtime::worker_index()))
                    .unwrap();
                thread::sleep(500 * MS);
            });
            let (since, worker) = began.recv().unwrap();
            let (at, stall) = hear.recv_timeout(Duration::from_secs(5)).unwrap();
            assert_eq!(Some(stall.worker), worker);
            // 20 ms is the promise on a machine that is not overloaded.
            assert!(
                at - since >= 45 * MS && at - since < 500 * MS,
                "seen after {:?}",
                at - since
            );
            runtime.block_on(held).unwrap();
            // Two long polls without a checkpoint between them would be one stall.
            while !watchdog.stalls().now.is_empty() {
                thread::sleep(MS);
            }
            // Told right after that, on the watchdog's thread.
            let end = loop {
                if let Some(end) = ended.lock().unwrap().pop() {
                    break end;
                }
                thread::sleep(MS);
            };
            assert_eq!(end.worker, stall.worker);
            assert!(
                end.lasted > stall.lasted && end.lasted <= since.elapsed(),
                "{:?} in all, after {:?}",
                end.lasted,
                stall.lasted
            );
        }
        assert_eq!(watchdog.stalls().count, 3);
    }

    #[test]
    fn waiting_and_many_short_polls_are_no_stall() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let watchdog = Watchdog::builder()
            .threshold(100 * MS)
            .watch(runtime.handle())
            .unwrap();
        runtime.block_on(async {
            let busy = tokio::spawn(async {
                let start = Instant::now();
                while start.elapsed() < 400 * MS {
                    tokio::task::yield_now().await;
                }
            });
            tokio::task::spawn_blocking(|| thread::sleep(200 * MS))
                .await
                .unwrap();
            tokio::spawn(async { tokio::task::block_in_place(|| thread::sleep(200 * MS)) })
                .await
                .unwrap();
            busy.await.unwrap();
        });
        assert_eq!(watchdog.stalls().count, 0);
    }

    #[test]
    fn a_runtime_that_is_gone_is_no_stall() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let watchdog = Watchdog::builder()
            .threshold(20 * MS)
            .watch(runtime.handle())
            .unwrap();
        drop(runtime);
        thread::sleep(100 * MS);
        assert_eq!(watchdog.stalls().count, 0);
    }

    #[test]
    fn a_threshold_of_nothing_is_an_error() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let error = Watchdog::builder()
            .threshold(Duration::ZERO)
            .watch(runtime.handle())
            .unwrap_err();
        assert_eq!(error.to_string(), "threshold is 0ns, but must be 1ms to 1h");
    }
}
