//! The words for what happened.

use std::fmt;

/// Why a resource was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Manager::is_broken`](crate::Manager::is_broken) said so.
    Broken,
    /// A check failed, panicked or took longer than `check_timeout`.
    CheckFailed,
    /// A reset failed, panicked or took longer than `reset_timeout`.
    ResetFailed,
    /// It was tainted, and the manager had no reset for it.
    Tainted,
    /// Nobody used it for `idle_timeout`.
    IdleTimeout,
    /// It reached its lifetime.
    Lifetime,
    /// [`Pool::retire_all`](crate::Pool::retire_all) came after it was opened.
    Retired,
    /// The pool was made smaller.
    Shrunk,
    /// [`Pool::retain`](crate::Pool::retain) did not keep it.
    NotRetained,
    /// The pool was closed.
    PoolClosed,
    /// It needed a reset and no runtime was left to run that on.
    NoRuntime,
    /// Another key of its [`KeyedPool`](crate::KeyedPool) needed the place.
    Evicted,
    /// It said itself that it takes no more: [`Gauge::drain`](crate::Gauge::drain).
    GoingAway,
}

impl CloseReason {
    /// Every reason, each once.
    pub const ALL: [Self; 13] = [
        Self::Broken,
        Self::CheckFailed,
        Self::ResetFailed,
        Self::Tainted,
        Self::IdleTimeout,
        Self::Lifetime,
        Self::Retired,
        Self::Shrunk,
        Self::NotRetained,
        Self::PoolClosed,
        Self::NoRuntime,
        Self::Evicted,
        Self::GoingAway,
    ];

    /// A short name for metrics and logs: `idle_timeout`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::CheckFailed => "check_failed",
            Self::ResetFailed => "reset_failed",
            Self::Tainted => "tainted",
            Self::IdleTimeout => "idle_timeout",
            Self::Lifetime => "lifetime",
            Self::Retired => "retired",
            Self::Shrunk => "shrunk",
            Self::NotRetained => "not_retained",
            Self::PoolClosed => "pool_closed",
            Self::NoRuntime => "no_runtime",
            Self::Evicted => "evicted",
            Self::GoingAway => "going_away",
        }
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a get was waiting for when it ended without a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// For somebody to return one: all were in use.
    Wait,
    /// For one to be opened.
    Create,
    /// For one to be checked.
    Check,
    /// For one to be made clean.
    Reset,
}

impl Phase {
    /// A short name for metrics and logs: `wait`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Create => "create",
            Self::Check => "check",
            Self::Reset => "reset",
        }
    }

    /// Its place in the array of counters.
    pub(crate) const fn index(self) -> usize {
        self as usize
    }

    pub(crate) const ALL: [Self; 4] = [Self::Wait, Self::Create, Self::Check, Self::Reset];
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_phases_stand_at_their_index() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index, "{reason}");
        }
        for (index, phase) in Phase::ALL.into_iter().enumerate() {
            assert_eq!(phase.index(), index, "{phase}");
        }
    }
}
