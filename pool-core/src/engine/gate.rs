//! The connect gate: what a pool does while its backend cannot be reached.
//!
//! One attempt at a time, full-jitter backoff between attempts, and after a few straight failures with nothing alive everybody
//! is told at once, with the last real error, while one prober goes on.
//!
//! Sources: full jitter is `rand(0, min(cap, base * 2^n))` from the AWS architecture blog's "Exponential Backoff And Jitter";
//! failing fast while the server is known to be down is PgBouncer's `server_login_retry`, the prober linkerd's `failfast`.

use std::time::Duration;

use crate::moment::{Moment, nanos_of};

/// How attempts to open are spaced after a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    /// The ceiling of the first wait.
    pub(crate) base: Duration,
    /// The ceiling of every wait.
    pub(crate) cap: Duration,
    /// So many straight failures, with nothing alive, and waiters fail at once.
    pub(crate) give_up_after: u32,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            base: Duration::from_millis(50),
            cap: Duration::from_secs(5),
            give_up_after: 3,
        }
    }
}

/// The state of the gate; `E` is how the last failure is kept.
#[derive(Debug)]
pub(crate) struct Gate<E> {
    backoff: Backoff,
    failures: u32,
    next_try: Moment,
    /// What is opened before that may be no better than what was last.
    doubted_until: Moment,
    last: Option<E>,
}

impl<E: Clone> Gate<E> {
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            next_try: Moment::from_nanos(0),
            doubted_until: Moment::from_nanos(0),
            last: None,
        }
    }

    /// Something was opened. It opens the gate, unless what was opened just before broke before anybody could use it: then it has to show
    /// first that it lasts, and the next is opened when it had the time for that.
    pub(crate) fn opened(&mut self, now: Moment) {
        if self.is_doubted(now) {
            self.next_try = self.next_try.max(self.doubted_until);
        } else {
            self.succeeded();
        }
    }

    /// Is what opens now no sign that all is well again?
    pub(crate) fn is_doubted(&self, now: Moment) -> bool {
        self.is_failing() && now < self.doubted_until
    }

    /// Something that was opened broke before anybody could use it, which is an attempt that failed.
    pub(crate) fn stillborn(&mut self, error: E, now: Moment, jitter: f64) -> Option<E> {
        self.doubt(now);
        self.failed(error, now, jitter)
    }

    /// What is opened soon may be no better than what broke now.
    pub(crate) fn doubt(&mut self, now: Moment) {
        self.doubted_until = now + DOUBT;
    }

    /// An attempt succeeded: the gate is open.
    pub(crate) const fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed. `jitter` is uniform in `0.0..1.0`. The failure before this one comes back: it is the user's, and so not to
    /// be dropped where something is locked.
    pub(crate) fn failed(&mut self, error: E, now: Moment, jitter: f64) -> Option<E> {
        self.failures = self.failures.saturating_add(1);
        let before = self.last.replace(error);
        let doublings = (self.failures - 1).min(20);
        let ceiling = self
            .backoff
            .base
            .saturating_mul(1 << doublings)
            .min(self.backoff.cap);
        // Never the seconds and the nanoseconds apart: that gives a base of one second no jitter at all. The cast saturates.
        let wait = nanos_of(ceiling) as f64 * jitter.clamp(0.0, 1.0);
        self.next_try = now.later(wait as u64);
        before
    }

    /// How many may be opening at once, where `max` is the bound while all is well.
    pub(crate) fn may_open(&self, max: u32, now: Moment) -> u32 {
        match self.failures {
            0 => max,
            _ if now >= self.next_try => 1,
            _ => 0,
        }
    }

    /// Did the last attempt fail?
    pub(crate) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// When the prober goes next, while attempts fail.
    pub(crate) fn next_try(&self) -> Option<Moment> {
        self.is_failing().then_some(self.next_try)
    }

    /// The error to give everybody at once, when the backend is known to be down; `alive` is how many resources are open.
    pub(crate) fn verdict(&self, alive: u32) -> Option<E> {
        if alive == 0 && self.failures >= self.backoff.give_up_after {
            self.last.clone()
        } else {
            None
        }
    }

    /// The last failure, while the gate is failing.
    pub(crate) fn last_error(&self) -> Option<E> {
        if self.is_failing() {
            self.last.clone()
        } else {
            None
        }
    }
}

/// One that lasts for so long is no stillborn one.
const DOUBT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment::from_nanos(1_000);

    #[test]
    fn what_opens_after_a_stillborn_one_is_no_success_before_it_has_lasted() {
        let mut gate = Gate::new(Backoff::default());
        gate.stillborn("dying", START, 1.0);
        gate.opened(START);
        assert_eq!(gate.may_open(4, START), 0);
        gate.stillborn("dying", START, 1.0);
        let soon = START + Duration::from_millis(100);
        assert_eq!((gate.may_open(4, START), gate.may_open(4, soon)), (0, 1));
        gate.opened(soon);
        assert_eq!((gate.may_open(4, soon), gate.is_failing()), (0, true));
        let later = START + DOUBT;
        assert_eq!(gate.may_open(4, later), 1);
        gate.opened(later);
        assert_eq!((gate.may_open(4, later), gate.is_failing()), (4, false));
    }

    #[test]
    fn waits_double_up_to_the_cap_and_have_full_jitter() {
        let mut gate = Gate::new(Backoff::default());
        let mut waits = Vec::new();
        for _ in 0..9 {
            gate.failed("down", START, 1.0);
            waits.push((gate.next_try - START).as_millis());
        }
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        gate.failed("down", START, 0.0);
        assert_eq!(
            gate.next_try, START,
            "full jitter reaches down to no wait at all"
        );
    }

    #[test]
    fn one_prober_while_failing_and_all_again_after_a_success() {
        let mut gate = Gate::new(Backoff::default());
        assert_eq!(gate.may_open(4, START), 4);
        gate.failed("down", START, 1.0);
        assert_eq!(gate.may_open(4, START), 0, "before the backoff is over");
        assert_eq!(gate.may_open(4, START + Duration::from_millis(50)), 1);
        gate.succeeded();
        assert_eq!(gate.may_open(4, START), 4);
    }

    #[test]
    fn everybody_is_told_after_three_failures_unless_something_is_alive() {
        let mut gate = Gate::new(Backoff::default());
        for failures in 1..=3 {
            gate.failed(failures, START, 0.5);
            assert_eq!(gate.verdict(0), (failures == 3).then_some(3));
            assert_eq!(gate.verdict(1), None);
        }
    }
}
