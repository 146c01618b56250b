//! The runtime's lag: how late a 1 ms timer fires on it.

use std::time::{Duration, Instant};

use crate::samples::Samples;
use crate::window::Window;

/// Sets a timer of 1 ms on the runtime that this runs on, again and again until the window closes, and returns how
/// late it fired each time. One that fires after the window has closed counts as well, so that a stall is counted
/// whole. The first counts from this call: also where the runtime takes until after the window to begin with it.
///
/// tokio's timers have a resolution of 1 ms and never fire early, so that an idle runtime shows 1 ms and a little.
/// [`LagMonitor`](pool_cpu::lag::LagMonitor), which `serve` uses, measures against a fixed grid instead: that suits a
/// long time, but over a second or two its floor is anything from 1 to 2 ms, by where the grid happens to lie.
pub(crate) fn measure(window: Window) -> impl Future<Output = Samples> + Send {
    let mut samples = Samples::default();
    let mut set = Instant::now();
    async move {
        while set < window.end {
            tokio::time::sleep(TIMER).await;
            let fired = Instant::now();
            if fired >= window.start {
                samples.record_corrected((fired - set).saturating_sub(TIMER), TIMER);
            }
            set = fired;
        }
        samples
    }
}

const TIMER: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[tokio::test]
    async fn a_stall_counts_for_every_timer_that_it_kept_from_being_set() {
        let window = Window::after(Duration::ZERO, ms(300));
        let measuring = tokio::spawn(measure(window));
        tokio::time::sleep(ms(50)).await;
        std::thread::sleep(ms(100));
        let mut samples = measuring.await.unwrap();
        // A third of the time was stalled, and as much of what was measured is late.
        assert!(samples.per_mille(900) >= Some(ms(30)), "{samples:?}");
        assert!(samples.per_mille(1000) >= Some(ms(90)), "{samples:?}");
    }

    #[tokio::test]
    async fn a_stall_longer_than_the_window_is_seen() {
        let window = Window::after(ms(50), ms(50));
        let measuring = tokio::spawn(measure(window));
        tokio::time::sleep(ms(10)).await;
        std::thread::sleep(ms(200));
        let mut samples = measuring.await.unwrap();
        assert!(samples.per_mille(1000) >= Some(ms(180)), "{samples:?}");
    }

    #[tokio::test]
    async fn a_runtime_that_is_too_busy_to_begin_is_seen() {
        let window = Window::after(ms(10), ms(50));
        let measuring = tokio::spawn(measure(window));
        std::thread::sleep(ms(200));
        let mut samples = measuring.await.unwrap();
        assert!(samples.per_mille(1000) >= Some(ms(180)), "{samples:?}");
    }
}
