//! Measured times, and their percentiles.

use std::time::Duration;

/// Every time that was measured. A run has some 100,000 of them, so that they are kept rather than counted into
/// buckets, and a percentile is exact.
#[derive(Debug, Default)]
pub(crate) struct Samples {
    times: Vec<Duration>,
    sorted: bool,
}

impl Samples {
    pub(crate) fn record(&mut self, time: Duration) {
        self.times.push(time);
        self.sorted = false;
    }

    /// Records a time of something that is asked once an `interval`, by somebody who could not ask while it was
    /// waiting. The ones that would have been asked meanwhile would have waited too: they are recorded with the rest
    /// of the wait. Without them a long stall would count as one sample among many good ones.
    pub(crate) fn record_corrected(&mut self, time: Duration, interval: Duration) {
        self.record(time);
        let mut rest = time;
        while rest > interval {
            rest -= interval;
            self.record(rest);
        }
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.times.append(&mut other.times);
        self.sorted = false;
    }

    pub(crate) fn len(&self) -> usize {
        self.times.len()
    }

    /// The smallest time that at least so many of a thousand do not exceed (999 is the p99.9); none without samples.
    pub(crate) fn per_mille(&mut self, share: usize) -> Option<Duration> {
        if !self.sorted {
            self.times.sort_unstable();
            self.sorted = true;
        }
        let rank = (self.times.len() * share).div_ceil(1000);
        self.times.get(rank.saturating_sub(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let mut samples = Samples::default();
        (1..=1000).rev().for_each(|n| samples.record(ms(n)));
        assert_eq!(samples.per_mille(500), Some(ms(500)));
        assert_eq!(samples.per_mille(990), Some(ms(990)));
        assert_eq!(samples.per_mille(999), Some(ms(999)));
        assert_eq!(samples.per_mille(1000), Some(ms(1000)));
        assert_eq!(samples.per_mille(0), Some(ms(1)));
    }

    #[test]
    fn one_sample_is_every_percentile_and_none_has_none() {
        let mut samples = Samples::default();
        assert_eq!(samples.per_mille(990), None);
        samples.record(ms(7));
        assert_eq!(samples.per_mille(1), Some(ms(7)));
        assert_eq!(samples.per_mille(999), Some(ms(7)));
    }

    #[test]
    fn samples_recorded_after_a_percentile_count() {
        let mut samples = Samples::default();
        samples.record(ms(9));
        assert_eq!(samples.per_mille(500), Some(ms(9)));
        samples.record(ms(1));
        let mut more = Samples::default();
        more.record(ms(2));
        samples.append(more);
        assert_eq!(samples.len(), 3);
        assert_eq!(samples.per_mille(500), Some(ms(2)));
    }

    #[test]
    fn a_stall_counts_for_all_who_would_have_asked_meanwhile() {
        let mut samples = Samples::default();
        samples.record_corrected(ms(100), ms(1));
        assert_eq!(samples.len(), 100);
        assert_eq!(samples.per_mille(500), Some(ms(50)));
        assert_eq!(samples.per_mille(990), Some(ms(99)));
        samples.record_corrected(Duration::from_micros(300), ms(1));
        assert_eq!(samples.len(), 101);
    }
}
