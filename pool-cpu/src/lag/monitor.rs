//! Measures how late timers are.

use std::{
    future::{Future, poll_fn},
    iter, mem,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::Duration,
};

use pool_core::observe::Histogram;
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::ConfigError;

/// Measures how late the timers of a runtime are. The drop of the monitor ends the measurement.
///
/// A task sleeps until the next tick of a fixed grid, and records how late it was woken. Ticks that were missed meanwhile are
/// recorded too, each with the lateness that it would have had. Otherwise a stall of a second would be one sample among many, and
/// would not show in any percentile (coordinated omission). tokio's timers have a resolution of 1 ms, so an idle runtime shows up
/// to 1 ms of lag.
///
/// ```
/// use std::time::Duration;
/// use pool_cpu::lag::LagMonitor;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), pool_cpu::ConfigError> {
/// let monitor = LagMonitor::start(&tokio::runtime::Handle::current(), Duration::from_millis(1))?;
/// tokio::time::sleep(Duration::from_millis(10)).await; // the monitor ticks
/// std::thread::sleep(Duration::from_millis(50)); // this task blocks the executor
/// tokio::time::sleep(Duration::from_millis(10)).await;
/// let lag = monitor.reset();
/// assert!(lag.max() >= Duration::from_millis(45), "{lag:?}");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping the monitor ends the measurement"]
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
    /// Starts to measure `runtime`, with a tick every `resolution`. 10 ms is enough for a service.
    ///
    /// # Errors
    /// `resolution` is below 1 ms, the resolution of tokio's timers, or above a minute.
    ///
    /// # Panics
    /// If the runtime has no timer, the monitor's task panics. This is tokio's own panic.
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
        let task = runtime.spawn(tick(Arc::clone(&samples), resolution));
        Ok(Self { samples, task })
    }

    /// Returns the lag since the start, or since the last reset.
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

    /// Returns the lag since the last reset, and begins a new window.
    pub fn reset(&self) -> Lag {
        std::mem::take(&mut *lock(&self.samples))
    }
}

impl Lag {
    /// Returns the number of ticks.
    pub const fn count(&self) -> u64 {
        self.late.count()
    }

    /// Returns the exact minimum, which includes the ticks that a stall prevented.
    pub fn min(&self) -> Duration {
        self.least.unwrap_or_default()
    }

    /// Returns the mean.
    pub fn mean(&self) -> Duration {
        self.late.mean()
    }

    /// Returns the median.
    pub fn p50(&self) -> Duration {
        self.percentile(50.0)
    }

    /// Returns the 99th percentile.
    pub fn p99(&self) -> Duration {
        self.percentile(99.0)
    }

    /// Returns the maximum.
    pub const fn max(&self) -> Duration {
        self.late.max()
    }

    /// Returns the lateness that `percent` percent of the ticks do not exceed, within 6.25 %. Never less than the minimum.
    pub fn percentile(&self, percent: f64) -> Duration {
        self.late.percentile(percent).max(self.min())
    }

    /// Returns the histogram of all ticks.
    pub const fn histogram(&self) -> &Histogram {
        &self.late
    }

    /// Records a tick that was late by `late`, and the ticks that it prevented.
    fn record(&mut self, late: Duration, resolution: Duration) {
        if late <= resolution {
            // This tick prevented no other. The common case avoids the division, which would take most of the time of a tick.
            self.late.record(late);
            self.least = Some(self.least.map_or(late, |before| before.min(late)));
            return;
        }
        for (late, ticks) in kept_by(late, resolution) {
            self.late.record_weighted(late, ticks);
        }
        self.late.record(late);
        let least = late.saturating_sub(times(resolution, kept(late, resolution)));
        self.least = Some(self.least.map_or(least, |before| before.min(least)));
    }
}

/// Returns how many ticks a tick that was late by `late` prevented. A prevented tick that would have been on time is not counted.
fn kept(late: Duration, resolution: Duration) -> u64 {
    let ticks = late.as_nanos().div_ceil(resolution.as_nanos());
    u64::try_from(ticks).unwrap_or(u64::MAX).saturating_sub(1)
}

/// Returns the prevented ticks, the least late first. Each was late by one `resolution` less than the next. Ticks of the same
/// histogram bucket are returned together with their mean, so that hours of sleep of the machine do not take a step for each tick.
fn kept_by(late: Duration, resolution: Duration) -> impl Iterator<Item = (Duration, u64)> {
    let mut left = kept(late, resolution);
    iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let least = late.saturating_sub(times(resolution, left));
        let room = longest_like(least).saturating_sub(least);
        let alike = u64::try_from(room.as_nanos() / resolution.as_nanos()).unwrap_or(u64::MAX);
        let alike = alike.saturating_add(1).min(left);
        left -= alike;
        Some((least + times(resolution, alike - 1) / 2, alike))
    })
}

/// Returns the longest duration in the same histogram bucket.
fn longest_like(duration: Duration) -> Duration {
    let mut both = Histogram::new();
    both.record(duration);
    // The last bucket has no upper bound, so its values are as long as the longest duration.
    both.record(Duration::MAX);
    let bucket = both.buckets().next();
    bucket.map_or(duration, |(longest, _)| longest)
}

fn times(duration: Duration, times: u64) -> Duration {
    let nanos = duration.as_nanos().saturating_mul(times.into());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Records ticks with two sleeps in turns: the sleep for the tick after the next is registered before the next tick. With a single
/// sleep, each tick would register a timer that is earlier than all timers tokio knows of, and tokio would wake itself for it.
async fn tick(samples: Arc<Mutex<Lag>>, resolution: Duration) {
    let mut due = Instant::now() + resolution;
    // The sleeps are in the task itself. A tick runs with cold caches, so every cache line that it touches counts.
    let mut next = pin!(sleep_until(due));
    let mut after = pin!(sleep_until(due + resolution));
    // The first poll registers a sleep. After that each reset does.
    poll_fn(|cx| Poll::Ready(after.as_mut().poll(cx).is_ready())).await;
    loop {
        next.as_mut().await;
        let late = due.elapsed();
        lock(&samples).record(late, resolution);
        // Advance to the next tick of the grid that has not passed.
        due += resolution;
        if late >= resolution {
            let passed = late.as_nanos() / resolution.as_nanos();
            due += times(resolution, u64::try_from(passed).unwrap_or(u64::MAX));
            after.as_mut().reset(due);
        }
        next.as_mut().reset(due + resolution);
        mem::swap(&mut next, &mut after);
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
        // A single sample among 901 would not show in a percentile below 99.8.
        assert!(lag.percentile(95.0) >= 450 * MS, "{lag:?}");
        assert_eq!(lag.min(), Duration::ZERO);
    }

    /// The result of recording each tick on its own.
    fn one_by_one(late: Duration, resolution: Duration) -> Histogram {
        let mut all = Histogram::new();
        let mut late = Some(late);
        while let Some(this) = late {
            all.record(this);
            late = this.checked_sub(resolution).filter(|late| !late.is_zero());
        }
        all
    }

    #[test]
    fn the_ticks_of_a_stall_are_counted_together_as_they_would_be_one_by_one() {
        for late in [
            0,
            1,
            9_999_999,
            10_000_000,
            10_000_001,
            104_440_000,
            7_300_000_123,
        ] {
            let late = Duration::from_nanos(late);
            for resolution in [MS, 10 * MS, 60_000 * MS] {
                let (mut lag, each) = (Lag::default(), one_by_one(late, resolution));
                lag.record(late, resolution);
                assert!(
                    lag.histogram().buckets().eq(each.buckets()),
                    "{late:?} at {resolution:?}"
                );
                assert_eq!(lag.max(), each.max());
                let off = lag.mean().abs_diff(each.mean());
                assert!(off < Duration::from_nanos(2), "{off:?}");
            }
        }
    }

    #[test]
    fn a_machine_that_slept_for_hours_is_caught_up_with_in_few_steps() {
        let (mut lag, hours) = (Lag::default(), Duration::from_secs(8 * 3600));
        assert!(kept_by(hours, MS).count() < 300);
        lag.record(hours, MS);
        assert_eq!(lag.count(), 8 * 3600 * 1000);
        assert_eq!((lag.min(), lag.max()), (MS, hours));
    }

    #[test]
    fn the_least_and_the_lowest_percentile_agree() {
        let mut lag = Lag::default();
        lag.record(Duration::from_micros(104_440), 10 * MS);
        assert_eq!(lag.count(), 11);
        assert_eq!(lag.min(), Duration::from_micros(4_440));
        // Wherever the minimum lies in its bucket.
        for micros in 1..100 {
            let mut lag = Lag::default();
            lag.record(Duration::from_micros(100_000 + 37 * micros), 10 * MS);
            let (least, lowest) = (lag.min(), lag.percentile(0.0));
            assert_eq!(least, Duration::from_micros(37 * micros));
            assert!(
                lowest >= least && lowest <= least.mul_f64(1.0625),
                "{lowest:?} for {least:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_stall_the_ticks_are_back_on_their_grid() {
        let monitor = LagMonitor::start(&Handle::current(), 10 * MS).unwrap();
        tokio::time::sleep(25 * MS).await;
        tokio::time::advance(104 * MS).await;
        tokio::time::sleep(76 * MS).await;
        // Ticks at 10 and 20 ms; ten ticks from 30 to 120 ms that the stall delayed until 129 ms; eight ticks from 130 to 200 ms.
        let lag = monitor.snapshot();
        assert_eq!((lag.count(), lag.max()), (20, 99 * MS), "{lag:?}");
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
