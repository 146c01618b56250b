//! What was measured at one size of the pool.

use std::time::Duration;

use serde::Serialize;

use crate::histogram::Histogram;

/// One window of one round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    pub(crate) lasted: Duration,
    pub(crate) tally: Tally,
}

/// What callers counted while they were measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// From the wish for a connection to the end of the query.
    pub(crate) call: Histogram,
    /// Of that, the wait for a connection.
    pub(crate) wait: Histogram,
    /// And the query.
    pub(crate) query: Histogram,
    pub(crate) runs: u64,
    pub(crate) errors: u64,
    pub(crate) error: Option<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.call.add(&other.call);
        self.wait.add(&other.wait);
        self.query.add(&other.query);
        self.runs += other.runs;
        self.errors += other.errors;
        self.error = self.error.take().or_else(|| other.error.clone());
    }
}

/// All rounds of one size: of each figure the median of the rounds.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Level {
    pub(crate) size: u32,
    /// Queries a second.
    pub(crate) per_second: f64,
    /// Queries a second, in each round.
    pub(crate) rounds: Vec<f64>,
    /// How far rounds are apart: half of the distance from the slowest to the fastest, as a part of the median.
    pub(crate) noise: f64,
    pub(crate) runs: u64,
    pub(crate) errors: u64,
    /// The first error, if there was one.
    pub(crate) error: Option<String>,
    pub(crate) call_ms: Times,
    pub(crate) wait_ms: Times,
    pub(crate) query_ms: Times,
}

/// In milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Level {
    /// None without a window.
    pub(crate) fn of(size: u32, windows: &[Window]) -> Option<Self> {
        let rounds: Vec<f64> = windows
            .iter()
            .map(|window| window.tally.runs as f64 / window.lasted.as_secs_f64().max(1e-9))
            .collect();
        let per_second = median(&rounds)?;
        let (least, most) = rounds
            .iter()
            .fold((f64::MAX, 0.0_f64), |(least, most), rate| {
                (least.min(*rate), most.max(*rate))
            });
        let noise = if per_second > 0.0 {
            (most - least) / 2.0 / per_second
        } else {
            0.0
        };
        let times = |of: fn(&Tally) -> &Histogram| {
            let middle = |figure: &dyn Fn(&Histogram) -> Option<f64>| {
                let figures = windows
                    .iter()
                    .filter_map(|window| figure(of(&window.tally)));
                median(&figures.collect::<Vec<_>>()).unwrap_or(0.0)
            };
            Times {
                mean: middle(&Histogram::mean),
                p50: middle(&|times| times.percentile(50)),
                p99: middle(&|times| times.percentile(99)),
            }
        };
        Some(Self {
            size,
            per_second,
            noise,
            runs: windows.iter().map(|window| window.tally.runs).sum(),
            errors: windows.iter().map(|window| window.tally.errors).sum(),
            error: windows.iter().find_map(|window| window.tally.error.clone()),
            call_ms: times(|tally| &tally.call),
            wait_ms: times(|tally| &tally.wait),
            query_ms: times(|tally| &tally.query),
            rounds,
        })
    }

    /// How many connections were in use on average, by Little's law: arrivals a second times the time of each.
    pub(crate) fn in_use(&self) -> f64 {
        (self.per_second * self.query_ms.mean / 1e3).min(f64::from(self.size))
    }
}

/// The middle one, or the mean of the two in the middle. None of nothing.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    if sorted.len().is_multiple_of(2) {
        Some(f64::midpoint(sorted[middle - 1], upper))
    } else {
        Some(upper)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A level with these rates and this p99 of a call.
    pub(crate) fn level(size: u32, rounds: &[f64], p99: f64) -> Level {
        let windows: Vec<Window> = rounds
            .iter()
            .map(|rate| Window {
                lasted: Duration::from_secs(1),
                tally: Tally {
                    runs: *rate as u64,
                    ..Tally::default()
                },
            })
            .collect();
        let times = Times {
            mean: p99 / 2.0,
            p50: p99 / 2.0,
            p99,
        };
        Level {
            call_ms: times,
            wait_ms: times,
            query_ms: times,
            ..Level::of(size, &windows).unwrap()
        }
    }

    #[test]
    fn each_figure_is_the_median_of_its_rounds() {
        let window = |runs, ms| {
            let mut tally = Tally {
                runs,
                ..Tally::default()
            };
            tally.call.record(Duration::from_millis(ms));
            Window {
                lasted: Duration::from_secs(2),
                tally,
            }
        };
        let level = Level::of(4, &[window(200, 9), window(400, 1), window(220, 2)]).unwrap();
        assert_eq!(level.per_second, 110.0);
        assert_eq!(level.rounds, [100.0, 200.0, 110.0]);
        assert!((level.noise - 50.0 / 110.0).abs() < 1e-9);
        assert!((level.call_ms.p99 - 2.0).abs() < 0.04, "{level:?}");
        assert_eq!(level.wait_ms, Times::default());
        assert_eq!(level.runs, 820);
    }

    #[test]
    fn a_median_of_two_is_between_them_and_of_nothing_there_is_none() {
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
        assert!(Level::of(1, &[]).is_none());
    }

    #[test]
    fn a_level_that_ran_nothing_has_figures_too() {
        let level = Level::of(1, &[Window::default()]).unwrap();
        assert_eq!((level.per_second, level.noise, level.runs), (0.0, 0.0, 0));
        assert_eq!(level.in_use(), 0.0);
    }

    #[test]
    fn no_more_are_in_use_than_there_are() {
        let mut level = level(4, &[1000.0], 2.0);
        level.query_ms.mean = 2.0;
        assert_eq!(level.in_use(), 2.0);
        level.query_ms.mean = 9.0;
        assert_eq!(level.in_use(), 4.0);
    }
}
