//! Compares the pool's waits, runs and percentiles with a ledger that the test keeps.
//!
//! The pool reads the clock a moment before or after the ledger does. The length of that moment depends on the machine. So the
//! ledger has a lower and an upper bound for each value. Each rank of the lower bounds is below the same rank of the upper bounds,
//! and the pool's value must lie in between.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::spin_loop,
    time::{Duration, Instant},
};

use pool_cpu::CpuPool;

/// The lower and upper bounds of durations.
#[derive(Default)]
struct Column {
    least: Vec<Duration>,
    most: Vec<Duration>,
}

impl Column {
    fn add(&mut self, least: Duration, most: Duration) {
        self.least.push(least);
        self.most.push(most);
    }

    fn hold(mut self, what: &str, histogram: &pool_core::observe::Histogram) {
        assert_eq!(histogram.count(), self.least.len() as u64, "{what}");
        let sums = [&self.least, &self.most].map(|column| column.iter().sum::<Duration>());
        let sum = histogram.sum();
        assert!(
            sums[0] <= sum && sum <= sums[1],
            "{what}: {sum:?} in all, not {sums:?}"
        );
        self.least.sort_unstable();
        self.most.sort_unstable();
        for percent in [0.0, 1.0, 10.0, 50.0, 90.0, 99.0, 100.0] {
            let rank = (percent / 100.0 * self.least.len() as f64).ceil() as usize;
            let at = rank.max(1) - 1;
            let is = histogram.percentile(percent);
            // The precision of the histogram, and the nanosecond to which it rounds.
            let (least, most) = (
                self.least[at].mul_f64(0.9375),
                self.most[at].mul_f64(1.0625),
            );
            assert!(
                least <= is + Duration::from_nanos(1) && is <= most + Duration::from_nanos(1),
                "{what}: p{percent} is {is:?}, not {least:?} to {most:?}"
            );
        }
        let (least, most) = (self.least.last().unwrap(), self.most.last().unwrap());
        let max = histogram.max();
        assert!(*least <= max && max <= *most, "{what}: {max:?} at most");
    }
}

fn compute(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}

#[tokio::test]
async fn waits_and_runs_and_their_percentiles_are_those_of_the_ledger() {
    let cpu = CpuPool::builder().threads(1).queue(512).build().unwrap();
    let begun = Instant::now();
    let jobs: Vec<_> = (0..400_u64)
        .map(|n| {
            let asked = Instant::now();
            // Most jobs are short, and some are long.
            let micros = if n % 20 == 0 { 2000 } else { n % 7 * 30 };
            let job = cpu.job("entry").try_run(move || {
                let inside = Instant::now();
                compute(Duration::from_micros(micros));
                (inside, Instant::now())
            });
            (asked, Instant::now(), job.unwrap())
        })
        .collect();
    let (mut waits, mut runs) = (Column::default(), Column::default());
    // Until then the worker runs the job before.
    let mut free = begun;
    let mut entries = Vec::new();
    for (asked, put, job) in jobs {
        let (inside, over) = job.await.unwrap();
        waits.add(free.saturating_duration_since(put), inside - asked);
        entries.push((free, inside, over));
        free = over;
    }
    let all_over = Instant::now();
    // A job has ended at the latest when the next job runs, and has begun at the earliest when the job before was over.
    let ends = entries
        .iter()
        .skip(1)
        .map(|(_, inside, _)| *inside)
        .chain([all_over]);
    for ((free, inside, over), end) in entries.iter().zip(ends) {
        runs.add(*over - *inside, end - *free);
    }
    let status = cpu.status();
    let entry = status.job("entry").unwrap();
    assert_eq!((entry.completed, entry.panicked), (400, 0));
    waits.hold("the wait", &entry.wait);
    runs.hold("the run", &entry.run);
    assert_eq!(status.busy_time, entry.run.sum());
    assert!(status.busy_time <= status.age && status.utilization() <= 1.0);
}
