//! How the primary's log of writes has grown, and what that says of the lag of a replica.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// What was measured of the log of the current primary.
///
/// A replica's lag is told by this log, and not by the clocks of the servers: the replica shows everything that was written up to
/// the last measurement of the primary whose place it has replayed.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// The index of the current primary, and its timeline.
    primary: Option<(usize, u32)>,
    /// The primary's last measurement succeeded.
    is_there: bool,
    /// When the primary was asked, and how far its log went then. Both grow.
    grown: VecDeque<(Instant, u64)>,
}

impl Log {
    /// Whether the host is the current primary.
    pub(super) fn is_primary(&self, host: usize) -> bool {
        self.primary.is_some_and(|(primary, _)| primary == host)
    }

    /// Returns the timeline of the current primary: each promotion begins one.
    pub(super) const fn timeline(&self) -> Option<u32> {
        match self.primary {
            Some((_, timeline)) => Some(timeline),
            None => None,
        }
    }

    /// The host takes writes, and its log went this far at a time.
    ///
    /// Of several hosts that take writes, the one with the highest timeline is the primary: it was promoted last, and the others
    /// are former primaries that were not told.
    pub(super) fn measured(&mut self, host: usize, timeline: u32, at: Instant, position: u64) {
        if self.primary != Some((host, timeline)) {
            let is_older = self.timeline().is_some_and(|known| timeline < known);
            let is_no_newer = self.timeline() == Some(timeline) && self.is_there;
            if is_older || is_no_newer {
                return;
            }
            // What another primary has written may never have come here.
            self.grown.clear();
            self.primary = Some((host, timeline));
        }
        self.is_there = true;
        if self.grown.back().is_some_and(|(_, last)| position < *last) {
            self.grown.clear();
        }
        // While nothing is written, only the newest of several equal places is of use.
        if self.grown.back().is_some_and(|(_, last)| position == *last) {
            self.grown.pop_back();
        }
        if self.grown.len() == MOST {
            self.grown.pop_front();
        }
        self.grown.push_back((at, position));
    }

    /// The host does not answer, or is a replica.
    pub(super) fn is_no_primary(&mut self, host: usize) {
        if self.is_primary(host) {
            self.is_there = false;
        }
    }

    /// How far a replica at `position` is behind, in bytes. `None` if no primary was ever seen.
    pub(super) fn bytes_behind(&self, position: u64) -> Option<u64> {
        let (_, last) = self.grown.back()?;
        Some(last.saturating_sub(position))
    }

    /// How far a replica is behind in time that was at `position` when it was asked at `at`. `None` if the place is older than
    /// all that is known, or no primary was ever seen.
    ///
    /// While the primary does not answer, nothing is known to be written: its last measurement counts as the present.
    pub(super) fn behind(&self, position: u64, at: Instant, now: Instant) -> Option<Duration> {
        let (last, _) = self.grown.back()?;
        let present = if self.is_there { now } else { *last };
        let known = self.grown.partition_point(|(_, place)| *place <= position);
        let (shown, _) = self.grown.get(known.checked_sub(1)?)?;
        let age = now.saturating_duration_since(at);
        Some(present.saturating_duration_since(*shown).max(age))
    }

    /// Whether no primary was ever seen, so that nothing says what a replica lacks.
    pub(super) fn is_empty(&self) -> bool {
        self.grown.is_empty()
    }
}

/// How many measurements are kept. A replica that is behind all of them has no known lag.
const MOST: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_replica_is_behind_since_the_last_place_that_it_has_reached() {
        let start = Instant::now();
        let mut log = Log::default();
        assert!(log.is_empty() && log.behind(5, start, start).is_none());
        for (second, position) in [(0, 100), (1, 200), (2, 300), (3, 300)] {
            log.measured(0, 1, start + secs(second), position);
        }
        let now = start + secs(4);
        for (position, behind, bytes) in [
            (300, Some(1), 0),
            (999, Some(1), 0),
            (299, Some(3), 1),
            (200, Some(3), 100),
            (150, Some(4), 150),
            (99, None, 201),
        ] {
            assert_eq!(
                log.behind(position, now, now),
                behind.map(secs),
                "{position}"
            );
            assert_eq!(log.bytes_behind(position), Some(bytes), "{position}");
        }
        // Its own measurement is old.
        assert_eq!(log.behind(300, start, now), Some(secs(4)));
    }

    #[test]
    fn while_the_primary_is_away_the_replicas_do_not_fall_behind() {
        let start = Instant::now();
        let mut log = Log::default();
        log.measured(0, 1, start, 100);
        log.measured(0, 1, start + secs(1), 200);
        log.is_no_primary(0);
        let now = start + secs(100);
        assert_eq!(log.behind(200, now, now), Some(secs(0)));
        assert_eq!(log.behind(150, now, now), Some(secs(1)));
        assert_eq!(
            log.behind(200, start + secs(1), now),
            Some(secs(99)),
            "its age"
        );
    }

    #[test]
    fn the_host_that_was_promoted_last_is_the_primary_and_begins_another_log() {
        let start = Instant::now();
        let mut log = Log::default();
        log.measured(0, 1, start, 500);
        // One with the same timeline is the primary only when the first is away.
        log.measured(1, 1, start, 900);
        assert!(log.is_primary(0) && log.bytes_behind(0) == Some(500));
        log.is_no_primary(1);
        log.measured(1, 1, start, 900);
        assert!(log.is_primary(0));
        log.is_no_primary(0);
        log.measured(1, 1, start, 400);
        assert!(log.is_primary(1) && log.bytes_behind(0) == Some(400));
        // A promotion counts at once, and what is older never again.
        log.measured(2, 2, start, 300);
        log.is_no_primary(2);
        log.measured(1, 1, start, 900);
        assert!(log.is_primary(2) && log.timeline() == Some(2));
        assert_eq!(log.bytes_behind(0), Some(300));
        // A crash may have cost the end of the log.
        log.measured(2, 2, start, 200);
        assert_eq!(log.bytes_behind(0), Some(200));
    }

    #[test]
    fn the_log_is_bounded() {
        let start = Instant::now();
        let mut log = Log::default();
        for position in 0..5_000 {
            log.measured(0, 1, start, position);
            log.measured(0, 1, start, position);
        }
        assert_eq!(log.grown.len(), MOST);
    }
}
