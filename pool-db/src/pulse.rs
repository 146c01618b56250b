//! Whether a connection answers.

use std::time::Duration;

use tokio::time::Instant;

/// Judges a connection by when its last answer came.
///
/// The server answers in order. So a request that takes long holds back those behind it, and none of them has an answer meanwhile.
#[derive(Debug)]
pub(crate) struct Pulse {
    /// After this time without an answer the connection is dead.
    patience: Option<Duration>,
    /// The 99th percentile of the times that answers took lately.
    p99: Duration,
    answers: u32,
    /// Since when an answer is waited for, and none has come.
    since: Option<Instant>,
    is_suspect: bool,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// Answers come, or nobody waits for one.
    Fine,
    /// No answer has come for a moment. Perhaps it is there, and its caller does not read it.
    Stalled,
    /// New calls should go elsewhere.
    Suspect,
    /// Answers come again.
    Trust,
    /// The connection has not answered for too long.
    Dead,
}

impl Pulse {
    pub(crate) const fn new(patience: Option<Duration>) -> Self {
        Self {
            patience,
            p99: Duration::ZERO,
            answers: 0,
            since: None,
            is_suspect: false,
        }
    }

    /// Takes the 99th percentile of the times that answers took.
    pub(crate) const fn took(&mut self, p99: Duration) {
        self.p99 = p99;
    }

    /// Judges the connection, which has given so many answers. `is_waiting` says whether another is waited for.
    pub(crate) fn beat(&mut self, now: Instant, answers: u32, is_waiting: bool) -> Beat {
        let has_answered = answers != self.answers;
        self.answers = answers;
        if has_answered || !is_waiting {
            self.since = is_waiting.then_some(now);
            if std::mem::take(&mut self.is_suspect) {
                return Beat::Trust;
            }
            return Beat::Fine;
        }
        let waited = now - *self.since.get_or_insert(now);
        if self.patience.is_some_and(|patience| waited >= patience) {
            return Beat::Dead;
        }
        if waited.is_zero() {
            return Beat::Fine;
        }
        if waited < LATE.max(self.p99 * 4) || self.is_suspect {
            return Beat::Stalled;
        }
        self.is_suspect = true;
        Beat::Suspect
    }
}

/// An answer that comes within this time is never late.
const LATE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_connection_is_suspect_while_its_answer_is_late() {
        let (start, mut pulse) = (Instant::now(), Pulse::new(None));
        for (at, answers, is_waiting, beat) in [
            (0, 1, false, Beat::Fine),
            (1000, 1, false, Beat::Fine),
            (1010, 1, true, Beat::Fine),
            (1059, 1, true, Beat::Stalled),
            (1060, 1, true, Beat::Suspect),
            (1070, 1, true, Beat::Stalled),
            (1080, 2, true, Beat::Trust),
            (1129, 2, true, Beat::Stalled),
            (1130, 2, true, Beat::Suspect),
            (1131, 2, false, Beat::Trust),
            (9999, 2, false, Beat::Fine),
        ] {
            assert_eq!(
                pulse.beat(start + at * MS, answers, is_waiting),
                beat,
                "{at}"
            );
        }
    }

    #[test]
    fn what_usually_takes_long_is_not_late() {
        let (start, mut pulse) = (Instant::now(), Pulse::new(None));
        pulse.took(100 * MS);
        assert_eq!(pulse.beat(start, 0, true), Beat::Fine);
        assert_eq!(pulse.beat(start + 399 * MS, 0, true), Beat::Stalled);
        assert_eq!(pulse.beat(start + 400 * MS, 0, true), Beat::Suspect);
    }

    #[test]
    fn a_connection_that_does_not_answer_at_all_is_dead() {
        let (start, mut pulse) = (Instant::now(), Pulse::new(Some(1000 * MS)));
        assert_eq!(pulse.beat(start, 0, true), Beat::Fine);
        assert_eq!(pulse.beat(start + 999 * MS, 0, true), Beat::Suspect);
        assert_eq!(pulse.beat(start + 1000 * MS, 0, true), Beat::Dead);
        let mut patient = Pulse::new(None);
        assert_eq!(patient.beat(start, 0, true), Beat::Fine);
        assert_eq!(patient.beat(start + 1_000_000 * MS, 0, true), Beat::Suspect);
    }
}
