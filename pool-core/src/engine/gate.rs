//! The connect gate: what a pool does while its backend cannot be reached.
//!
//! While opens fail, one attempt is made at a time, with a full-jitter backoff between attempts. After a few straight failures with
//! no resource alive, all waiters and newcomers are refused at once with the last real error, while one prober goes on.
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
    /// After this many straight failures, with no resource alive, waiters fail at once.
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

/// The state of the gate. `E` is the stored error of the last failure.
#[derive(Debug)]
pub(crate) struct Gate<E> {
    backoff: Backoff,
    failures: u32,
    /// The last failure said that the backend has no room.
    is_full: bool,
    next_try: Moment,
    /// Until then a resource that opens may be no better than the last one, which broke at once.
    doubted_until: Moment,
    /// Whether a resource was opened in doubt, and nothing has failed since.
    is_on_trial: bool,
    last: Option<E>,
}

impl<E: Clone> Gate<E> {
    pub(crate) const fn new(backoff: Backoff) -> Self {
        Self {
            backoff,
            failures: 0,
            is_full: false,
            next_try: Moment::from_nanos(0),
            doubted_until: Moment::from_nanos(0),
            is_on_trial: false,
            last: None,
        }
    }

    /// Called when an open succeeded. This opens the gate, unless the resource opened just before broke before its first lease. In
    /// that case the new resource must first last until the doubt is over ([`settle`](Self::settle)), and the next open waits until
    /// then.
    pub(crate) fn opened(&mut self, now: Moment) {
        if self.is_doubted(now) {
            self.next_try = self.next_try.max(self.doubted_until);
            self.is_on_trial = true;
        } else {
            self.succeeded();
        }
    }

    /// Opens the gate if a resource was opened in doubt, and has outlasted the doubt. Otherwise the gate of a pool that has no room
    /// for another attempt would fail for as long as that resource lasts. Called whenever the pool looks at what is wanted.
    pub(crate) fn settle(&mut self, now: Moment) {
        if self.has_outlasted(now) {
            self.succeeded();
        }
    }

    /// Whether what was opened in doubt has outlasted it.
    pub(crate) fn has_outlasted(&self, now: Moment) -> bool {
        self.is_on_trial && now >= self.doubted_until
    }

    /// Whether an open that succeeds now is no sign that the backend is well again.
    pub(crate) fn is_doubted(&self, now: Moment) -> bool {
        self.is_failing() && now < self.doubted_until
    }

    /// Counts a resource that broke before its first lease as a failed attempt.
    pub(crate) fn stillborn(&mut self, error: E, now: Moment, jitter: f64) -> Option<E> {
        self.doubt(now);
        self.failed(error, now, jitter)
    }

    /// Doubts what opens soon: it may be no better than the resource that broke now.
    pub(crate) fn doubt(&mut self, now: Moment) {
        self.doubted_until = now + DOUBT;
    }

    /// Opens the gate, because an attempt succeeded.
    pub(crate) const fn succeeded(&mut self) {
        (self.failures, self.is_full) = (0, false);
        self.is_on_trial = false;
    }

    /// Counts a failed attempt. `jitter` is uniform in `0.0..1.0`. Returns the error of the failure before: it is a value of the
    /// user's, so it must not be dropped under a lock.
    pub(crate) fn failed(&mut self, error: E, now: Moment, jitter: f64) -> Option<E> {
        (self.failures, self.is_full) = (self.failures.saturating_add(1), false);
        self.is_on_trial = false;
        let before = self.last.replace(error);
        let doublings = (self.failures - 1).min(20);
        let ceiling = self
            .backoff
            .base
            .saturating_mul(1 << doublings)
            .min(self.backoff.cap);
        // The wait is computed from all its nanoseconds. To scale seconds and nanoseconds apart would give a base of one second no
        // jitter at all. The cast saturates.
        let wait = nanos_of(ceiling) as f64 * jitter.clamp(0.0, 1.0);
        self.next_try = now.later(wait as u64);
        before
    }

    /// The backend has answered that it has no room. It is not down, so waiters wait on, for a return or for room, and the next
    /// attempt comes soon. Returns the error of the failure before, as [`failed`](Self::failed) does.
    pub(crate) fn full(&mut self, error: E, now: Moment, jitter: f64) -> Option<E> {
        (self.failures, self.is_full) = (1, true);
        self.is_on_trial = false;
        let wait = nanos_of(ROOM) as f64 * jitter.clamp(0.0, 1.0);
        self.next_try = now.later(wait as u64);
        self.last.replace(error)
    }

    /// How many opens may run at once. `max` is the bound while no attempt fails.
    pub(crate) fn may_open(&self, max: u32, now: Moment) -> u32 {
        match self.failures {
            0 => max,
            _ if now >= self.next_try => 1,
            _ => 0,
        }
    }

    /// Whether the last attempt failed.
    pub(crate) const fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether attempts go on although nobody needs a resource, to learn when the backend is back. Not while it is full: such an
    /// attempt would take the room that another process needs.
    pub(crate) const fn probes(&self) -> bool {
        self.is_failing() && !self.is_full
    }

    /// The time of the prober's next attempt, while attempts fail.
    pub(crate) fn next_try(&self) -> Option<Moment> {
        self.is_failing().then_some(self.next_try)
    }

    /// The error to refuse waiters with, if the backend is known to be down. `alive` is the number of open resources.
    pub(crate) fn verdict(&self, alive: u32) -> Option<E> {
        if alive == 0 && self.failures >= self.backoff.give_up_after {
            self.last.clone()
        } else {
            None
        }
    }

    /// The error of the last failure, while the gate is failing.
    pub(crate) fn last_error(&self) -> Option<E> {
        if self.is_failing() {
            self.last.clone()
        } else {
            None
        }
    }
}

/// A resource that lasts longer than this does not count as stillborn.
const DOUBT: Duration = Duration::from_secs(1);
/// The longest wait between two attempts while the backend has no room.
const ROOM: Duration = Duration::from_millis(500);

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
    fn what_outlasts_the_doubt_ends_it_without_another_attempt() {
        let mut gate = Gate::new(Backoff::default());
        let later = START + DOUBT;
        gate.stillborn("dying", START, 0.0);
        gate.settle(later);
        assert!(gate.is_failing(), "nothing has opened");
        gate.opened(START);
        gate.settle(START + (DOUBT - Duration::from_nanos(1)));
        assert_eq!(
            (gate.last_error(), gate.next_try()),
            (Some("dying"), Some(later))
        );
        gate.settle(later);
        assert_eq!((gate.last_error(), gate.next_try()), (None, None));
        // It has broken meanwhile.
        gate.stillborn("dying", later, 0.0);
        gate.opened(later);
        gate.stillborn("dying", later, 0.0);
        gate.settle(later + DOUBT);
        assert!(gate.is_failing());
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
    fn a_backend_without_room_is_asked_again_soon_and_nobody_is_refused() {
        let mut gate = Gate::new(Backoff::default());
        for _ in 0..100 {
            gate.full("full", START, 1.0);
            assert_eq!(gate.verdict(0), None);
            assert_eq!(gate.next_try(), Some(START + ROOM));
            assert_eq!(gate.last_error(), Some("full"));
            assert!(gate.is_failing() && !gate.probes());
        }
        assert_eq!(gate.may_open(4, START + ROOM), 1);
        gate.failed("down", START, 1.0);
        gate.failed("down", START, 1.0);
        assert_eq!(gate.verdict(0), Some("down"));
        assert!(gate.probes());
        gate.full("full", START, 1.0);
        assert_eq!(gate.verdict(0), None, "it answers again");
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
