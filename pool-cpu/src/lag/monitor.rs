//! How late timers are.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use pool_core::observe::Histogram;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::ConfigError;

/// Measures how late the timers of a runtime are, as long as it lives.
///
/// A task sleeps until the next tick of a fixed grid and counts by how much it was late. Ticks that
/// passed meanwhile are counted as well, each with the lateness that it would have had: without
/// that a stall of a second would be one sample among many, and no percentile would show it
/// (coordinated omission). Timers of tokio have a grain of 1 ms, so an idle runtime shows up to
/// that much.
///
/// ```
/// use std::time::Duration;
/// use pool_cpu::lag::LagMonitor;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::ConfigError> {
/// let monitor = LagMonitor::start(&tokio::runtime::Handle::current(), Duration::from_millis(1))?;
/// tokio::time::sleep(Duration::from_millis(10)).await; // the timer is at work
/// std::thread::sleep(Duration::from_millis(50)); // somebody blocks the executor
/// tokio::time::sleep(Duration::from_millis(10)).await;
/// let lag = monitor.reset();
/// assert!(lag.max() >= Duration::from_millis(45), "{lag:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct LagMonitor {
    samples: Arc<Mutex<Lag>>,
    task: JoinHandle<()>,
}

/// How late the timers of a runtime were, over a window of time.
#[derive(Clone, Debug, Default)]
pub struct Lag {
    late: Histogram,
    least: Option<Duration>,
}

impl LagMonitor {
    /// Starts to measure on `runtime`, with a tick every `resolution`: 10 ms is plenty for a
    /// service.
    ///
    /// # Errors
    /// `resolution` is below 1 ms, the grain of tokio's timers, or above a minute.
    ///
    /// # Panics
    /// If the runtime has no timer: that is tokio's own panic, on the task.
    pub fn start(runtime: &Handle, resolution: Duration) -> Result<Self, ConfigError> {
        if !(GRAIN..=MINUTE).contains(&resolution) {
            let expected = "1ms, the grain of tokio's timers, to 60s";
            return Err(ConfigError::new(
                "resolution",
                format!("{resolution:?}"),
                expected,
            ));
        }
        let samples = Arc::new(Mutex::new(Lag::default()));
        let task = runtime.spawn(tick(Arc::downgrade(&samples), resolution));
        Ok(Self { samples, task })
    }

    /// What was measured since the start, or the last reset.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use pool_cpu::lag::LagMonitor;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), pool_cpu::ConfigError> {
    /// let monitor = LagMonitor::start(&tokio::runtime::Handle::current(), Duration::from_millis(1))?;
    /// tokio::time::sleep(Duration::from_millis(20)).await;
    /// let so_far = monitor.snapshot();
    /// tokio::time::sleep(Duration::from_millis(20)).await;
    /// assert!(monitor.snapshot().count() > so_far.count()); // the window goes on
    /// println!("{:?} (p99), {:?} at most", so_far.p99(), so_far.max());
    /// # Ok(())
    /// # }
    /// ```
    pub fn snapshot(&self) -> Lag {
        lock(&self.samples).clone()
    }

    /// What was measured since the last reset; begins a new window.
    pub fn reset(&self) -> Lag {
        std::mem::take(&mut *lock(&self.samples))
    }
}

impl Lag {
    /// How many ticks there were.
    pub const fn count(&self) -> u64 {
        self.late.count()
    }

    /// The least.
    pub fn min(&self) -> Duration {
        self.least.unwrap_or_default()
    }

    /// The mean.
    pub fn mean(&self) -> Duration {
        self.late.mean()
    }

    /// The median.
    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    /// What one in a hundred exceeds.
    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }

    /// The most.
    pub const fn max(&self) -> Duration {
        self.late.max()
    }

    /// What `percent` of all do not exceed, within 6.25 %.
    pub fn percentile(&self, percent: f64) -> Duration {
        self.late.percentile(percent)
    }

    /// All of them.
    pub const fn histogram(&self) -> &Histogram {
        &self.late
    }

    /// Counts a tick that was late by `late`, and those that it kept from happening.
    fn record(&mut self, late: Duration, resolution: Duration) {
        self.least = Some(self.least.map_or(late, |least| least.min(late)));
        let mut late = Some(late);
        while let Some(this) = late {
            self.late.record(this);
            // A tick that is not late at all would have been counted as itself.
            late = this.checked_sub(resolution).filter(|late| !late.is_zero());
        }
    }
}

async fn tick(samples: Weak<Mutex<Lag>>, resolution: Duration) {
    let mut due = Instant::now() + resolution;
    loop {
        sleep_until(due).await;
        let late = due.elapsed();
        let Some(samples) = samples.upgrade() else {
            return;
        };
        lock(&samples).record(late, resolution);
        // The next tick of the grid that is still to come.
        let passed = late.as_nanos() / resolution.as_nanos() + 1;
        due += resolution * u32::try_from(passed).unwrap_or(u32::MAX);
    }
}

fn lock(samples: &Mutex<Lag>) -> MutexGuard<'_, Lag> {
    samples.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for LagMonitor {
    fn drop(&mut self) {
        self.task.abort();
    }
}

const GRAIN: Duration = Duration::from_millis(1);
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_stall_counts_for_every_tick_that_it_kept_from_happening() {
        let mut lag = Lag::default();
        for _ in 0..900 {
            lag.record(Duration::ZERO, 10 * MS);
        }
        lag.record(1000 * MS, 10 * MS);
        assert_eq!(lag.count(), 1000);
        assert_eq!(lag.max(), 1000 * MS);
        // One sample among 901 would be no percentile below 99.8.
        assert!(lag.percentile(95.0) >= 450 * MS, "{lag:?}");
        assert_eq!(lag.min(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn ticks_keep_to_their_grid_and_a_reset_begins_anew() {
        let monitor = LagMonitor::start(&Handle::current(), 10 * MS).unwrap();
        tokio::time::sleep(1005 * MS).await;
        let lag = monitor.reset();
        assert_eq!((lag.count(), lag.max()), (100, Duration::ZERO));
        assert_eq!(monitor.snapshot().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn dropping_it_ends_its_task() {
        let monitor = LagMonitor::start(&Handle::current(), MS).unwrap();
        tokio::time::sleep(5 * MS).await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 1);
        drop(monitor);
        tokio::time::sleep(5 * MS).await;
        assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
    }

    #[tokio::test]
    async fn finer_than_the_timers_grain_is_an_error() {
        let error = LagMonitor::start(&Handle::current(), MS / 2).unwrap_err();
        assert_eq!(
            error.to_string(),
            "resolution is 500µs, but must be 1ms, the grain of tokio's timers, to 60s"
        );
    }
}
