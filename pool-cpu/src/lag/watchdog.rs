//! Reports which worker of a runtime is held.

use std::{
    fmt,
    sync::{
        Arc, Mutex,
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::Handle;

use super::{
    Stall, Stalls,
    runtime::Watched,
    watch::{OnStall, Watch, lock},
};
use crate::ConfigError;

/// Reports the workers of a runtime that do not return to the scheduler. The drop of the watchdog ends its thread.
///
/// The watchdog's thread reads two counters of each worker, which tokio keeps anyway: how often the worker has parked, and how long
/// it has been busy. If a worker is not parked, and neither counter has changed for the threshold, the worker has had no *scheduler
/// checkpoint* for that long. In most cases one poll of one task is still running, because the task computes or blocks. tokio
/// publishes the busy time only every [`event_interval`] polls, which is 61 by default. So that many polls of a millisecond or two
/// look the same, and delay other tasks as much. A lower `event_interval` distinguishes the two cases.
///
/// If there are too few cores, a worker also stands still because its thread gets no core. On Linux the watchdog asks the system
/// how long the thread has waited for a core ([`Cause::Cores`](super::Cause::Cores)), and attributes only the rest to the tasks. To
/// identify the threads, the watchdog runs a task on the runtime once a second while the runtime is active.
///
/// The watchdog only sees workers. `block_on` of a multi-thread runtime runs the main future on the calling thread, which is not a
/// worker. If the main future blocks, this is not reported, and delays only the main future itself. Spawn it to have it watched.
///
/// With the feature `tracing`, each stall is logged twice: a warning when it is seen, and an event of level info with its total
/// duration when it is over. A one-thread runtime that is not being run (no future is in its `block_on`) looks stalled too, so drop
/// the watchdog before.
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
    /// Its drop ends the thread.
    _leash: mpsc::Sender<()>,
}

/// Builds a [`Watchdog`].
#[derive(Clone)]
pub struct WatchdogBuilder {
    threshold: Duration,
    on_stall: Option<OnStall>,
    on_end: Option<OnStall>,
}

impl Watchdog {
    /// Creates a builder for a watchdog.
    pub fn builder() -> WatchdogBuilder {
        WatchdogBuilder {
            threshold: Duration::from_millis(100),
            on_stall: None,
            on_end: None,
        }
    }

    /// Returns the stalls that the watchdog has seen.
    pub fn stalls(&self) -> Stalls {
        lock(&self.seen).clone()
    }
}

impl WatchdogBuilder {
    /// Sets how long a worker may have no scheduler checkpoint, from 1 ms to an hour. A stall is seen at most 20 ms after this
    /// time. Default: 100 ms.
    #[must_use]
    pub const fn threshold(mut self, threshold: Duration) -> Self {
        self.threshold = threshold;
        self
    }

    /// Sets a callback for each stall. It is called once, on the watchdog's thread, while the stall lasts.
    #[must_use]
    pub fn on_stall(mut self, f: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.on_stall = Some(Arc::new(f));
        self
    }

    /// Sets a callback for the end of each stall. It is called once, on the watchdog's thread. [`Stall::lasted`] is then the total
    /// duration, except for the time between two looks.
    #[must_use]
    pub fn on_end(mut self, f: impl Fn(&Stall) + Send + Sync + 'static) -> Self {
        self.on_end = Some(Arc::new(f));
        self
    }

    /// Starts to watch `runtime`.
    ///
    /// # Errors
    /// The threshold is invalid, or the system cannot start a thread.
    pub fn watch(self, runtime: &Handle) -> Result<Watchdog, ConfigError> {
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.threshold) {
            let threshold = format!("{:?}", self.threshold);
            return Err(ConfigError::new("threshold", threshold, "1ms to 1h"));
        }
        let seen = Arc::new(Mutex::new(Stalls::default()));
        let (leash, end) = mpsc::channel();
        let watch = Watch::new(
            Watched::new(runtime),
            self.threshold,
            self.on_stall,
            self.on_end,
            Arc::clone(&seen),
        );
        thread::Builder::new()
            .name("lag-watchdog".to_owned())
            .spawn(move || run(watch, self.threshold, &end))
            .map_err(|error| {
                let expected = format!("a thread that the system can start ({error})");
                ConfigError::new("the watchdog", "lag-watchdog", expected)
            })?;
        Ok(Watchdog {
            seen,
            _leash: leash,
        })
    }
}

/// Looks at the workers periodically, until the watchdog is dropped or the runtime has shut down.
fn run(mut watch: Watch<Watched>, threshold: Duration, end: &mpsc::Receiver<()>) {
    // A stall is seen two looks late at most.
    let pause = (threshold / 4).clamp(Duration::from_millis(1), Duration::from_millis(5));
    let mut last = Instant::now();
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(pause) {
        let now = Instant::now();
        // If the machine itself stands still, all workers do. So one look alone proves nothing, however long after the last look it
        // comes.
        let passed = (now - last).min(threshold / 2);
        last = now;
        if !watch.look(passed) {
            return;
        }
    }
}

impl fmt::Debug for WatchdogBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchdogBuilder")
            .field("threshold", &self.threshold)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use tokio::runtime::Builder;

    use super::*;
    use crate::lag::Cause;

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
            let (go, gate) = mpsc::channel::<()>();
            let held = runtime.spawn(async move {
                begun
                    .send((Instant::now(), tokio::runtime::worker_index()))
                    .unwrap();
                gate.recv().ok();
            });
            let (since, worker) = began.recv().unwrap();
            let (at, stall) = hear.recv_timeout(Duration::from_secs(20)).unwrap();
            assert_eq!(Some(stall.worker), worker);
            assert_eq!(stall.cause, Cause::Task);
            // The benches measure how soon after the threshold a stall is seen.
            assert!(at - since >= 45 * MS, "seen after {:?}", at - since);
            let goes_on = || {
                let now = watchdog.stalls().now;
                now.iter().any(|now| now.lasted > stall.lasted)
            };
            while !goes_on() {
                thread::sleep(MS);
            }
            drop(go);
            runtime.block_on(held).unwrap();
            // Two long polls without a checkpoint in between would be one stall.
            while !watchdog.stalls().now.is_empty() {
                thread::sleep(MS);
            }
            // The callback runs right after that, on the watchdog's thread.
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
            .threshold(500 * MS)
            .watch(runtime.handle())
            .unwrap();
        runtime.block_on(async {
            let busy = tokio::spawn(async {
                let start = Instant::now();
                while start.elapsed() < 1600 * MS {
                    tokio::task::yield_now().await;
                }
            });
            tokio::task::spawn_blocking(|| thread::sleep(700 * MS))
                .await
                .unwrap();
            tokio::spawn(async { tokio::task::block_in_place(|| thread::sleep(700 * MS)) })
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
