//! CoDel: refuses waiters when the queue never gets short.
//!
//! A burst makes a queue that empties again. Overload makes a queue that does not. So the *shortest* wait within an interval
//! decides. If it was above the target, the pool is overloaded, and a waiter that has waited more than twice the target is refused:
//! it would likely give up anyway, and the waiters behind it still have a chance.
//!
//! Source: folly's `Codel`, after Nichols and Jacobson, "Controlling Queue Delay" (2012). It is overloaded while the minimum delay
//! of the last interval exceeds the target. Then it drops requests that waited longer than twice the target. The first request of
//! an interval is never dropped. Its 5 ms and 100 ms suit threads that serve requests. Here the target follows the resource: it is
//! the configured one or twice the mean time of a lease, whichever is longer. The interval is ten targets.

use std::time::Duration;

use crate::moment::Moment;

/// The state of the shedder.
#[derive(Debug)]
pub(crate) struct Shed {
    least_target: Duration,
    mean_use: Duration,
    interval_ends: Moment,
    least_wait: Duration,
    fresh: bool,
    overloaded: bool,
}

impl Shed {
    pub(crate) const fn new(target: Duration) -> Self {
        Self {
            least_target: target,
            mean_use: Duration::ZERO,
            interval_ends: Moment::from_nanos(0),
            least_wait: Duration::ZERO,
            fresh: false,
            overloaded: false,
        }
    }

    /// Counts a lease that `lasted` this long, in an exponential average with weight 1/16.
    pub(crate) fn used(&mut self, lasted: Duration) {
        self.mean_use = match self.mean_use {
            Duration::ZERO => lasted,
            mean => mean.saturating_mul(15) / 16 + lasted / 16,
        };
    }

    /// The target: the pool counts as overloaded if every wait of an interval was longer.
    pub(crate) fn target(&self) -> Duration {
        self.least_target.max(self.mean_use.saturating_mul(2))
    }

    /// Called when a waiter joins an empty queue. The queue got short, so earlier intervals do not count.
    pub(crate) const fn begin_line(&mut self) {
        self.fresh = false;
        self.overloaded = false;
        self.interval_ends = Moment::from_nanos(0);
    }

    /// Whether to refuse a waiter that is about to get a resource after `waited`.
    pub(crate) fn drops(&mut self, waited: Duration, now: Moment) -> bool {
        let target = self.target();
        let interval = target.saturating_mul(10);
        if now > self.interval_ends {
            // An interval that is long over, after which no waiter was served, says nothing about the load now.
            let fresh = self.fresh && now <= self.interval_ends + interval;
            self.overloaded = fresh && self.least_wait > target;
            self.least_wait = waited;
            self.interval_ends = now + interval;
            self.fresh = true;
            return false;
        }
        self.least_wait = self.least_wait.min(waited);
        self.overloaded && waited > target.saturating_mul(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn at(ms: u32) -> Moment {
        Moment::from_nanos(0) + MS * ms
    }

    #[test]
    fn a_burst_that_drains_is_never_shed() {
        let mut shed = Shed::new(20 * MS);
        for (ms, waited) in [
            (1, 100),
            (50, 80),
            (100, 30),
            (150, 1),
            (250, 90),
            (300, 5),
            (460, 70),
        ] {
            assert!(!shed.drops(waited * MS, at(ms)), "at {ms} ms");
        }
    }

    #[test]
    fn a_line_that_never_gets_short_is_shed_beyond_twice_the_target_after_one_interval() {
        let mut shed = Shed::new(20 * MS);
        assert!(!shed.drops(30 * MS, at(1)), "the first of an interval");
        assert!(
            !shed.drops(500 * MS, at(100)),
            "the first interval only watches"
        );
        assert!(!shed.drops(500 * MS, at(202)), "the first of an interval");
        assert!(shed.drops(41 * MS, at(203)));
        assert!(
            !shed.drops(40 * MS, at(204)),
            "exactly twice the target is served"
        );
        assert!(!shed.drops(1 * MS, at(205)), "a short wait ends it");
        assert!(!shed.drops(90 * MS, at(403)));
        assert!(!shed.drops(90 * MS, at(404)), "no longer overloaded");
    }

    #[test]
    fn an_overload_of_long_ago_says_nothing_of_now() {
        let mut shed = Shed::new(20 * MS);
        assert!(!shed.drops(500 * MS, at(1)));
        assert!(!shed.drops(500 * MS, at(150)));
        assert!(!shed.drops(90 * MS, at(60_000)), "the first of an interval");
        assert!(!shed.drops(90 * MS, at(60_001)));
    }

    #[test]
    fn a_line_that_got_empty_begins_anew() {
        let mut shed = Shed::new(20 * MS);
        assert!(!shed.drops(500 * MS, at(1)));
        assert!(!shed.drops(500 * MS, at(202)));
        assert!(shed.drops(500 * MS, at(203)));
        shed.begin_line();
        assert!(!shed.drops(90 * MS, at(210)));
        assert!(!shed.drops(90 * MS, at(211)));
        assert!(!shed.drops(90 * MS, at(412)));
        assert!(shed.drops(90 * MS, at(413)), "and is judged as any other");
    }

    #[test]
    fn the_longest_target_and_lease_there_are_shed_nobody() {
        let mut shed = Shed::new(Duration::MAX);
        shed.used(Duration::MAX);
        shed.used(Duration::MAX);
        for now in [Moment::from_nanos(0), at(1), Moment::NEVER] {
            assert!(!shed.drops(Duration::MAX, now));
        }
        let mut shed = Shed::new(MS);
        for _ in 0..100 {
            shed.used(Duration::MAX);
        }
        assert!(!shed.drops(Duration::MAX, at(1)) && shed.target() >= Duration::MAX / 16);
    }

    #[test]
    fn the_target_follows_how_long_leases_last() {
        let mut shed = Shed::new(20 * MS);
        assert_eq!(shed.target(), 20 * MS);
        for _ in 0..200 {
            shed.used(100 * MS);
        }
        assert_eq!(shed.target().as_millis(), 200);
    }
}
