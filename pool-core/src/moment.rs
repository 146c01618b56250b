//! A point in time, as the engine sees it.

use std::{
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

/// Nanoseconds since the epoch of one pool (when it was built).
///
/// The engine has no clock: its callers pass the time. A moment is one word, so that it fits into an atomic and is compared in one
/// instruction. It covers 584 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Later than any other moment.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    pub(crate) const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    pub(crate) const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Whether `earlier` was at least `nanos` ago. Avoids the divisions of a [`Duration`].
    #[inline]
    pub(crate) const fn is_past(self, earlier: Self, nanos: u64) -> bool {
        self.0.saturating_sub(earlier.0) >= nanos
    }

    /// This many nanoseconds later. With 0 it is the epoch, so that it counts as past also at an older tick.
    pub(crate) const fn due_after(self, nanos: u64) -> Self {
        if nanos == 0 {
            Self(0)
        } else {
            self.later(nanos)
        }
    }

    /// This many nanoseconds later, at most [`Moment::NEVER`].
    pub(crate) const fn later(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This many nanoseconds earlier, if that is not before the epoch.
    pub(crate) fn earlier(self, nanos: u64) -> Option<Self> {
        self.0.checked_sub(nanos).map(Self)
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    /// Saturates at [`Moment::NEVER`].
    fn add(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// A duration in nanoseconds, at most 584 years.
pub(crate) fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Sub for Moment {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NEVER => f.write_str("never"),
            Self(nanos) => write!(f, "+{:?}", Duration::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_past_the_end_of_time_is_never() {
        assert_eq!(Moment::from_nanos(5) + Duration::MAX, Moment::NEVER);
    }

    #[test]
    fn a_later_moment_is_no_time_after_itself() {
        let (a, b) = (Moment::from_nanos(5), Moment::from_nanos(9));
        assert_eq!((b - a, a - b), (Duration::from_nanos(4), Duration::ZERO));
    }

    #[test]
    fn what_is_due_after_no_time_is_due_at_an_older_tick_too() {
        let (tick, put) = (Moment::from_nanos(5), Moment::from_nanos(9));
        assert!(tick >= put.due_after(0));
        assert!(tick < put.due_after(1) && put < put.due_after(1));
        assert_eq!(put.due_after(u64::MAX), Moment::NEVER);
    }
}
