//! Times, counted into buckets: any number of them in a few kilobytes.

use std::time::Duration;

/// How often each time was seen, to within 1.6 % of it.
///
/// Each power of two nanoseconds has [`STEPS`] buckets, as in Gil Tene's HdrHistogram.
#[derive(Clone, Debug, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    /// Of all times, in nanoseconds.
    sum: f64,
}

impl Histogram {
    pub(crate) fn record(&mut self, time: Duration) {
        let bucket = bucket(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.sum += time.as_nanos() as f64;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if other.counts.len() > self.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum += other.sum;
    }

    /// The mean in milliseconds. None without times.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.total > 0).then(|| self.sum / self.total as f64 / 1e6)
    }

    /// The time that at least `percent` of the times do not exceed (the nearest rank), in milliseconds. None without times.
    pub(crate) fn percentile(&self, percent: u32) -> Option<f64> {
        let rank = (self.total * u64::from(percent)).div_ceil(100).max(1);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(bucket) / 1e6)
    }
}

fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(STEPS.ilog2() + 1);
    // Below `STEPS` each time has a bucket of its own; above, each power of two has as many.
    (u64::from(shift) * STEPS + (nanos >> shift)) as usize
}

/// The middle of a bucket, in nanoseconds.
fn middle(bucket: usize) -> f64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    let begin = (bucket - shift * STEPS) << shift;
    begin as f64 + ((1_u64 << shift) - 1) as f64 / 2.0
}

const STEPS: u64 = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank_to_within_two_percent() {
        let mut times = Histogram::default();
        for us in (1..=1000).rev() {
            times.record(Duration::from_micros(us));
        }
        for (percent, ms) in [(50, 0.5), (99, 0.99), (100, 1.0), (1, 0.01)] {
            let found = times.percentile(percent).unwrap();
            assert!((found / ms - 1.0).abs() < 0.02, "{percent}: {found}");
        }
    }

    #[test]
    fn every_time_has_a_bucket_that_holds_it() {
        for nanos in (0..64).flat_map(|bit| [1_u64 << bit, (1 << bit) - 1, (1 << bit) + 1]) {
            let found = middle(bucket(nanos));
            let off = (found - nanos as f64).abs();
            assert!(off <= nanos as f64 * 0.016, "{nanos}: {found}");
        }
        assert!(bucket(u64::MAX) < 5_000);
    }

    #[test]
    fn no_time_has_no_percentile_and_one_is_every_percentile() {
        let mut times = Histogram::default();
        assert_eq!((times.percentile(99), times.mean()), (None, None));
        times.record(Duration::ZERO);
        assert_eq!(times.percentile(1), Some(0.0));
        assert_eq!(times.percentile(99), Some(0.0));
    }

    #[test]
    fn a_sum_is_as_if_all_were_recorded_in_one() {
        let (mut few, mut more) = (Histogram::default(), Histogram::default());
        few.record(Duration::from_nanos(10));
        more.record(Duration::from_secs(100));
        more.record(Duration::from_secs(100));
        few.add(&more);
        assert!((few.mean().unwrap() - 2e5 / 3.0).abs() < 1.0, "{few:?}");
        assert_eq!(few.percentile(33), Some(1e-5));
        assert!(few.percentile(34).unwrap() > 9e4);
    }
}
