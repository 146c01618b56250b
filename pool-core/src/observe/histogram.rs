//! A histogram of durations that takes a few kilobytes.

use std::{fmt, time::Duration};

/// A log-linear histogram of durations, from 1 ns to 73 minutes.
///
/// There are eight buckets for each power of two, so a percentile is off by 6.25 % at most. Longer durations count in the last
/// bucket. A record is an index computation and an addition. The 2.5 KB are allocated by the first record, so an unused histogram
/// takes three words. The layout is HdrHistogram's (Gil Tene), with three bits of precision.
///
/// ```
/// use std::time::Duration;
/// use pool_core::observe::Histogram;
///
/// let mut waits = Histogram::new();
/// for ms in 1..=100 {
///     waits.record(Duration::from_millis(ms));
/// }
/// assert_eq!(waits.count(), 100);
/// let p99 = waits.percentile(99.0).as_secs_f64() * 1e3;
/// assert!((93.0..=105.0).contains(&p99), "{p99}");
/// ```
#[derive(Clone, Default)]
pub struct Histogram {
    buckets: Option<Box<[u64; BUCKETS]>>,
    count: u64,
    sum_nanos: u128,
    max: Duration,
}

/// The number of buckets for each power of two, as bits.
const PRECISION: u32 = 3;
/// The highest bit that is distinguished: 2^42 ns are 73 minutes.
const TOP_BIT: u32 = 42;
const BUCKETS: usize = (((TOP_BIT - PRECISION) as usize) + 1) << PRECISION;

impl Histogram {
    /// Returns an empty histogram. Allocates nothing.
    pub const fn new() -> Self {
        Self {
            buckets: None,
            count: 0,
            sum_nanos: 0,
            max: Duration::ZERO,
        }
    }

    /// Records one duration.
    pub fn record(&mut self, duration: Duration) {
        self.record_weighted(duration, 1);
    }

    /// Records one duration with the weight `weight`, for a sample that stands for others like it.
    pub fn record_weighted(&mut self, duration: Duration, weight: u64) {
        let nanos = duration.as_nanos();
        let buckets = self.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        buckets[bucket_of(u64::try_from(nanos).unwrap_or(u64::MAX))] += weight;
        self.count += weight;
        self.sum_nanos += nanos * u128::from(weight);
        self.max = self.max.max(duration);
    }

    /// Adds the durations that `other` recorded.
    pub fn merge(&mut self, other: &Self) {
        let Some(theirs) = &other.buckets else { return };
        let ours = self.buckets.get_or_insert_with(|| Box::new([0; BUCKETS]));
        for (ours, theirs) in ours.iter_mut().zip(theirs.iter()) {
            *ours += theirs;
        }
        self.count += other.count;
        self.sum_nanos += other.sum_nanos;
        self.max = self.max.max(other.max);
    }

    /// How many durations were recorded.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing was recorded.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The exact mean; zero if nothing was recorded.
    pub fn mean(&self) -> Duration {
        match self.count {
            0 => Duration::ZERO,
            count => Duration::from_nanos(
                u64::try_from(self.sum_nanos / u128::from(count)).unwrap_or(u64::MAX),
            ),
        }
    }

    /// The exact sum of the recorded durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(u64::try_from(self.sum_nanos).unwrap_or(u64::MAX))
    }

    /// The longest duration, exactly; zero if nothing was recorded.
    pub const fn max(&self) -> Duration {
        self.max
    }

    /// The duration that `percent` of the recorded durations do not exceed, within 6.25 %; zero if nothing was recorded. A
    /// `percent` below 0 counts as 0, and above 100 as 100.
    pub fn percentile(&self, percent: f64) -> Duration {
        let Some(buckets) = &self.buckets else {
            return Duration::ZERO;
        };
        let rank = self.rank(percent);
        let mut seen = 0;
        for (index, bucket) in buckets.iter().enumerate() {
            seen += bucket;
            // The last bucket has no end: its durations count as the longest.
            if seen >= rank && index < BUCKETS - 1 {
                return Duration::from_nanos(middle_of(index)).min(self.max);
            }
        }
        self.max
    }

    /// The rank of the duration that is the longest of `percent` of all, counted from 1.
    fn rank(&self, percent: f64) -> u64 {
        let rank = percent.clamp(0.0, 100.0) * self.count as f64 / 100.0;
        // Rounds away the error of the float: 55 % of 100 is rank 55, not 56.
        let nearest = rank.round();
        let exact = (rank - nearest).abs() <= nearest * f64::EPSILON * 4.0;
        let rank = if exact { nearest } else { rank.ceil() };
        (rank as u64).clamp(1, self.count.max(1))
    }

    /// What was recorded since this histogram was as `earlier`: the middle of each bucket, and how many.
    #[cfg(feature = "metrics")]
    pub(crate) fn since<'a>(
        &'a self,
        earlier: &'a Self,
    ) -> impl Iterator<Item = (Duration, u64)> + 'a {
        let buckets = self.buckets.iter().flat_map(|buckets| buckets.iter());
        buckets.enumerate().filter_map(|(index, count)| {
            let before = earlier.buckets.as_ref().map_or(0, |earlier| earlier[index]);
            let more = count.saturating_sub(before);
            let told = if index == BUCKETS - 1 {
                self.max
            } else {
                Duration::from_nanos(middle_of(index)).min(self.max)
            };
            (more > 0).then_some((told, more))
        })
    }

    /// The buckets that are not empty, shortest first: the longest duration of each, and how many it counts.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let filled = self
            .buckets
            .iter()
            .flat_map(|buckets| buckets.iter().enumerate());
        filled
            .filter(|(_, count)| **count > 0)
            .map(|(index, count)| {
                let longest = Duration::from_nanos(start_of(index + 1) - 1);
                let longest = if index == BUCKETS - 1 {
                    longest.max(self.max)
                } else {
                    longest
                };
                (longest, *count)
            })
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Histogram")
            .field("count", &self.count)
            .field("mean", &self.mean())
            .field("p50", &self.percentile(50.0))
            .field("p99", &self.percentile(99.0))
            .field("max", &self.max)
            .finish()
    }
}

fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.min((1 << TOP_BIT) - 1);
    if nanos < 1 << PRECISION {
        return nanos as usize;
    }
    let octave = nanos.ilog2() - PRECISION;
    ((octave as usize) << PRECISION) + (nanos >> octave) as usize
}

/// The shortest duration of this bucket.
fn start_of(index: usize) -> u64 {
    if index < 2 << PRECISION {
        return index as u64;
    }
    let octave = (index >> PRECISION) - 1;
    ((1 << PRECISION) + (index as u64 & ((1 << PRECISION) - 1))) << octave
}

fn middle_of(index: usize) -> u64 {
    let (start, next) = (start_of(index), start_of(index + 1));
    start + (next - start) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_falls_into_the_bucket_that_starts_at_or_below_it() {
        for nanos in (0..100_000)
            .chain((0..42).map(|bit| 1 << bit))
            .chain((1..42).map(|bit| (1 << bit) - 1))
        {
            let bucket = bucket_of(nanos);
            assert!(
                start_of(bucket) <= nanos && nanos < start_of(bucket + 1),
                "{nanos} in {bucket}"
            );
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_are_within_the_promised_error() {
        let mut histogram = Histogram::new();
        for micros in 1..=10_000 {
            histogram.record(Duration::from_micros(micros));
        }
        for percent in [1.0, 50.0, 90.0, 99.0, 99.9] {
            let exact = percent * 100.0;
            let got = histogram.percentile(percent).as_nanos() as f64 / 1e3;
            assert!(
                (got / exact - 1.0).abs() <= 0.0625,
                "p{percent}: {got} for {exact}"
            );
        }
        assert_eq!(
            histogram
                .percentile(100.0)
                .max(Duration::from_micros(9_400)),
            histogram.percentile(100.0)
        );
        assert_eq!(histogram.max(), Duration::from_millis(10));
        assert_eq!(histogram.mean(), Duration::from_nanos(5_000_500));
    }

    #[test]
    fn a_percentile_is_of_as_many_as_it_says() {
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(1));
        for shorts in 1..1000 {
            let mut histogram = Histogram::new();
            histogram.record_weighted(short, shorts);
            histogram.record_weighted(long, 1000 - shorts);
            let at = shorts as f64 / 10.0;
            assert!(histogram.percentile(at) < 2 * short, "{at}");
            assert!(histogram.percentile(at + 0.001) > long / 2, "{at}");
        }
    }

    #[test]
    fn what_is_longer_than_all_buckets_is_as_long_as_the_longest() {
        let (hour, day) = (Duration::from_secs(3600), Duration::from_secs(86_400));
        let mut histogram = Histogram::new();
        histogram.record_weighted(hour, 9);
        histogram.record(day);
        assert!(histogram.percentile(90.0).abs_diff(hour) < hour / 10);
        assert_eq!(histogram.percentile(95.0), day);
        assert_eq!(histogram.buckets().last(), Some((day, 1)));
    }

    #[test]
    fn merging_is_counting_both() {
        let (mut a, mut b, mut both) = (Histogram::new(), Histogram::new(), Histogram::new());
        for n in 0..1000_u64 {
            let duration = Duration::from_nanos(n * n * 7);
            if n % 3 == 0 { &mut a } else { &mut b }.record(duration);
            both.record(duration);
        }
        a.merge(&b);
        assert_eq!(
            a.buckets().collect::<Vec<_>>(),
            both.buckets().collect::<Vec<_>>()
        );
        assert_eq!(
            (a.count(), a.mean(), a.max()),
            (both.count(), both.mean(), both.max())
        );
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn what_was_counted_since_is_told_once() {
        let mut histogram = Histogram::new();
        histogram.record(Duration::from_millis(1));
        let earlier = histogram.clone();
        assert_eq!(histogram.since(&earlier).count(), 0);
        histogram.record(Duration::from_millis(1));
        histogram.record_weighted(Duration::from_millis(80), 3);
        let since: Vec<_> = histogram.since(&earlier).collect();
        let counts: Vec<_> = since.iter().map(|(_, count)| *count).collect();
        assert_eq!(counts, [1, 3]);
        for ((told, _), exact) in since.iter().zip([1.0, 80.0]) {
            assert!(
                (told.as_secs_f64() * 1e3 / exact - 1.0).abs() <= 0.0625,
                "{told:?}"
            );
        }
        let all: u64 = histogram
            .since(&Histogram::new())
            .map(|(_, count)| count)
            .sum();
        assert_eq!(all, 5);
    }

    #[test]
    fn an_empty_one_answers_zero() {
        let empty = Histogram::new();
        assert_eq!(
            (empty.percentile(99.0), empty.mean(), empty.count()),
            (Duration::ZERO, Duration::ZERO, 0)
        );
    }
}
