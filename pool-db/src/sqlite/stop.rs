//! Stops abandoned calls.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// The call that a connection is running, and the call that was abandoned last.
///
/// Calls are numbered. So a call that is abandoned late, when another caller already has the connection, does not stop the call of
/// that caller. SQLite calls [`is_wanted`](Self::is_wanted) while it works. Unlike an interrupt, this also stops a statement that
/// begins after the call was abandoned.
#[derive(Debug, Default)]
pub(crate) struct Stop {
    // Ordering: `Relaxed` is enough. Neither number publishes other data, and a store that is missed now is seen some instructions
    // later.
    current: AtomicU64,
    given_up: AtomicU64,
}

/// One call. Its drop before [`ended`](Self::ended) abandons the call.
#[derive(Debug)]
pub(crate) struct Call {
    stop: Arc<Stop>,
    number: u64,
}

impl Stop {
    /// Begins the next call. Only the holder of the connection may call this.
    pub(crate) fn begin(self: &Arc<Self>) -> Call {
        let number = self.current.load(Ordering::Relaxed) + 1;
        self.current.store(number, Ordering::Relaxed);
        Call {
            stop: Arc::clone(self),
            number,
        }
    }

    /// Whether the running call was not abandoned.
    pub(crate) fn is_wanted(&self) -> bool {
        self.current.load(Ordering::Relaxed) != self.given_up.load(Ordering::Relaxed)
    }
}

impl Call {
    /// Records that the call has ended.
    pub(crate) fn ended(mut self) {
        // No call has the number 0.
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
