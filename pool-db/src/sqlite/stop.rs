//! Stopping what nobody waits for any more.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Which call a connection is busy with, and which was given up.
///
/// Calls are numbered, so that one that is given up late, when the connection is with its next user already, stops nobody
/// else's. SQLite asks [`is_wanted`](Self::is_wanted) while it works; unlike an interrupt, the answer also reaches a
/// statement that begins after the call was given up.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    // Ordering: `Relaxed`, as neither number carries other data; what is missed now is seen some instructions later.
    current: AtomicU64,
    given_up: AtomicU64,
}

/// One call. Dropped before [`ended`](Self::ended), it is given up.
#[derive(Debug)]
pub(crate) struct Call {
    stop: Arc<Stop>,
    number: u64,
}

impl Stop {
    /// Begins the next call. Only who has the connection may.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let number = self.current.load(Ordering::Relaxed) + 1;
        self.current.store(number, Ordering::Relaxed);
        Call {
            stop: Arc::clone(self),
            number,
        }
    }

    /// Does anybody wait for the call that is running?
    pub(crate) fn is_wanted(&self) -> bool {
        self.current.load(Ordering::Relaxed) != self.given_up.load(Ordering::Relaxed)
    }
}

impl Call {
    /// It came to its end.
    pub(crate) fn ended(mut self) {
        // Number 0 is no call's.
        self.number = 0;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if self.number != 0 {
            self.stop.given_up.store(self.number, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_given_up_late_stops_nobody_else() {
        let stop = Arc::new(Stop::default());
        let first = stop.begin();
        assert!(stop.is_wanted());
        let second = stop.begin();
        drop(first);
        assert!(stop.is_wanted(), "it is the second call that runs");
        drop(second);
        assert!(!stop.is_wanted());
        stop.begin().ended();
        assert!(stop.is_wanted());
    }
}
