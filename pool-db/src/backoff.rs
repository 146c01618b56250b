//! How long to wait before a transaction that lost is run again.

use std::time::Duration;

/// Random waits under a bound that doubles with each run ("full jitter"), so that transactions that have met do not meet again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The bound of the first wait.
    pub(crate) first: Duration,
    /// The bound of all waits.
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The wait after the `tries`th run. `random` is from 0 to 1.
    pub(crate) fn wait(self, tries: u32, random: f64) -> Duration {
        let doublings = tries.saturating_sub(1);
        let doubled = self
            .first
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX));
        doubled.min(self.longest).mul_f64(random)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
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
        let backoff = Backoff::default();
        let bounds: Vec<_> = [1, 2, 3, 7, 8, 33, u32::MAX]
            .map(|tries| backoff.wait(tries, 1.0).as_millis())
            .into();
        assert_eq!(bounds, [10, 20, 40, 640, 1000, 1000, 1000]);
        assert_eq!(backoff.wait(8, 0.0), Duration::ZERO);
        assert_eq!(backoff.wait(8, 0.5), Duration::from_millis(500));
        let none = Backoff {
            first: Duration::MAX,
            longest: Duration::ZERO,
        };
        assert_eq!(none.wait(9, 1.0), Duration::ZERO);
    }
}
