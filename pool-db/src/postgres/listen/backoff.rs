//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// Pauses that double, up to a limit, each cut by a random part so that many listeners do not come back at once.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(super) const fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next pause. `random` is from 0 to 1.
    pub(super) fn pause(&mut self, limit: Duration, random: f64) -> Duration {
        let pause = self.next.min(limit);
        self.next = self.next.saturating_mul(2).min(LONGEST);
        pause.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
    }
}

/// The first pause.
const FIRST: Duration = Duration::from_millis(100);
/// The longest pause while the server cannot be reached: it may be back at any moment.
pub(super) const UNREACHABLE: Duration = Duration::from_secs(1);
/// The longest pause while the server refuses the connection: somebody must mend that.
pub(super) const REFUSED: Duration = LONGEST;
const LONGEST: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_limit() {
        let mut backoff = Backoff::new();
        let millis = |pause: Duration| pause.as_millis();
        let pauses: Vec<_> = (0..6)
            .map(|_| millis(backoff.pause(UNREACHABLE, 1.0)))
            .collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(millis(backoff.pause(REFUSED, 1.0)), 6_400);
        assert_eq!(millis(backoff.pause(UNREACHABLE, 0.0)), 500);
        for _ in 0..100 {
            assert!(backoff.pause(REFUSED, 1.0) <= REFUSED);
        }
    }
}
