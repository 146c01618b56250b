//! How often a transaction that lost is run, and how long it waits before.

use std::time::Duration;

use tokio::time::sleep;

/// Random waits under a bound that doubles with each run ("full jitter"), so that transactions that have met do not meet again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// How often it is run at most. 0 is as 1.
    pub(crate) tries: u32,
    /// The bound of the first wait.
    pub(crate) first: Duration,
    /// The bound of all waits.
    pub(crate) longest: Duration,
}

impl Retry {
    /// Waits before the next run, after `tries` of them, and counts it. Whether there is a next run.
    pub(crate) async fn again(self, tries: &mut u32) -> bool {
        if *tries >= self.tries {
            return false;
        }
        sleep(self.wait(*tries, fastrand::f64())).await;
        *tries += 1;
        true
    }

    /// The wait after the `tries`th run. `random` is from 0 to 1.
    fn wait(self, tries: u32, random: f64) -> Duration {
        let doublings = tries.saturating_sub(1);
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(random)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            tries: 5,
            first: Duration::from_millis(10),
            longest: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_doubles_up_to_the_longest_and_the_wait_is_anywhere_below_it() {
        let retry = Retry::default();
        let bounds: Vec<_> = [1, 2, 3, 7, 8, 33, u32::MAX]
            .map(|tries| retry.wait(tries, 1.0).as_millis())
            .into();
        assert_eq!(bounds, [10, 20, 40, 640, 1000, 1000, 1000]);
        assert_eq!(retry.wait(8, 0.0), Duration::ZERO);
        assert_eq!(retry.wait(8, 0.5), Duration::from_millis(500));
        let none = Retry {
            tries: 5,
            first: Duration::MAX,
            longest: Duration::ZERO,
        };
        assert_eq!(none.wait(9, 1.0), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_run_as_often_as_it_was_said() {
        for (said, runs) in [(0, 1), (1, 1), (2, 2), (5, 5)] {
            let retry = Retry {
                tries: said,
                ..Retry::default()
            };
            let mut tries = 1;
            while retry.again(&mut tries).await {}
            assert_eq!(tries, runs);
        }
    }
}
