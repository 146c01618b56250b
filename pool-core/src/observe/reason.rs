//! The reasons of closes, and the phases of waits.

use std::fmt;

/// Why a resource was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// [`Manager::is_broken`](crate::Manager::is_broken) returned true.
    Broken,
    /// A check failed, panicked or took longer than `check_timeout`.
    CheckFailed,
    /// A reset failed, panicked or took longer than `reset_timeout`.
    ResetFailed,
    /// The resource was tainted, and the manager had no reset for it.
    Tainted,
    /// The resource was not used for `idle_timeout`.
    IdleTimeout,
    /// The resource reached its lifetime.
    Lifetime,
    /// [`Pool::retire_all`](crate::Pool::retire_all) was called after the resource was opened.
    Retired,
    /// The pool was made smaller.
    Shrunk,
    /// [`Pool::retain`](crate::Pool::retain) did not keep the resource.
    NotRetained,
    /// The pool was closed.
    PoolClosed,
    /// The resource needed a reset, and no runtime was left to run the reset on.
    NoRuntime,
    /// Another key of the [`KeyedPool`](crate::KeyedPool) needed the place.
    Evicted,
    /// The connection takes no more shares: [`Gauge::drain`](crate::Gauge::drain).
    GoingAway,
}

impl CloseReason {
    /// All reasons, each once.
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

    /// A short name for metrics and logs, such as `idle_timeout`.
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

    /// The index in [`ALL`](Self::ALL).
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
    /// For a return: all resources were in use.
    Wait,
    /// For a resource to be opened.
    Create,
    /// For a resource to be checked.
    Check,
    /// For a resource to be reset.
    Reset,
}

impl Phase {
    /// A short name for metrics and logs, such as `wait`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Create => "create",
            Self::Check => "check",
            Self::Reset => "reset",
        }
    }

    /// The index in the array of counters.
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
