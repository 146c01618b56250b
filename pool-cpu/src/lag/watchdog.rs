//! Which worker of a runtime is held.

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

/// Sees which worker of a runtime has not come back to the scheduler, as long as it lives.
///
/// A thread of its own reads two counters of each worker, which tokio keeps anyway: how often it
/// parked, and how long it was busy. A worker that is not parked, and neither of whose counters has
/// moved for the threshold, has had no *scheduler checkpoint* for that long. Mostly that means that
/// one poll of one task is still going on: something in it computes or blocks. tokio publishes the
/// busy time only every [`event_interval`] polls, 61 unless set: that many polls of a millisecond
/// or two look the same, and are as bad for whoever waits; a lower `event_interval` tells them apart.
///
/// Where cores are short a worker also stands still because its thread gets none. On Linux the watchdog asks the system for how long the
/// thread has waited for one ([`Cause::Cores`](super::Cause::Cores)), and blames the tasks for the rest only. To know the thread it has a
/// task of its own run there once a second, while the runtime is at work.
///
/// It sees workers: the main future of a runtime of several threads, which `block_on` runs on the thread that called it, is on none of
/// them. One that blocks there is no stall, and holds up nobody but itself; spawn it to have it watched.
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

/// Looks again and again, until the watchdog is dropped or the runtime is gone.
fn run(mut watch: Watch<Watched>, threshold: Duration, end: &mpsc::Receiver<()>) {
    // Seen late by two looks at most.
    let pause = (threshold / 4).clamp(Duration::from_millis(1), Duration::from_millis(5));
    let mut last = Instant::now();
    while let Err(RecvTimeoutError::Timeout) = end.recv_timeout(pause) {
        let now = Instant::now();
        // A machine that stands still holds everybody: one look alone proves nothing, however
        // long after the last one it comes.
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
            // How soon after the threshold is for the benches to say.
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
