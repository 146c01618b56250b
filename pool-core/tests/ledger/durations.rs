//! How long things took: a sample, but an unbiased one.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use pool_core::{
    Config,
    observe::{Histogram, Timings},
};
use tokio::runtime::{Builder, Runtime};

use crate::{
    common::{MS, SEC},
    face::{Books, Face},
};

/// A bias stays, however long it is measured. Noise, as of a machine that is busy with other things, does not.
const ATTEMPTS: u64 = 40;

/// How long a lease is kept.
#[derive(Clone, Copy, Debug)]
enum Kept {
    Short,
    Some,
    Long,
    Mixed,
}

const KINDS: [Kept; 4] = [Kept::Short, Kept::Some, Kept::Long, Kept::Mixed];

impl Kept {
    async fn keep(self, random: &mut fastrand::Rng) {
        match (self, random.u32(..20)) {
            (Self::Short, _) | (Self::Mixed, 0..10) => {
                let began = Instant::now();
                while began.elapsed() < MS / 20 {
                    std::hint::spin_loop();
                }
                tokio::task::yield_now().await;
            }
            (Self::Some, _) | (Self::Mixed, 10..18) => tokio::time::sleep(MS).await,
            (Self::Long, _) | (Self::Mixed, _) => tokio::time::sleep(14 * MS).await,
        }
    }
}

fn runtimes() -> [Runtime; 2] {
    let mut threads = Builder::new_multi_thread();
    let threads = threads.worker_threads(2).enable_time().build().unwrap();
    let one = Builder::new_current_thread().enable_time().build().unwrap();
    [one, threads]
}

/// Users, one or several beside each other, for so long: how long each had to wait, if it had, and how long it had its lease.
async fn users<F: Face>(
    kept: Kept,
    count: u64,
    seed: u64,
) -> (Timings, Vec<Duration>, Vec<Duration>) {
    let exact = Arc::new(Mutex::new((Vec::new(), Vec::new())));
    let pool = F::new(&Arc::new(Books::default()), Config::new().max_size(1));
    // The first get, which waits for an open, is no measure.
    drop(pool.get(None).await.unwrap());
    let end = Instant::now() + SEC * 7 / 10;
    let users: Vec<_> = (0..count)
        .map(|number| {
            let (pool, exact) = (pool.clone(), Arc::clone(&exact));
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(seed * count + number);
                while Instant::now() < end {
                    let asked = Instant::now();
                    let lease = pool.get(None).await.unwrap();
                    let had = Instant::now();
                    kept.keep(&mut random).await;
                    let lasted = had.elapsed();
                    drop(lease);
                    let mut exact = exact.lock().unwrap();
                    exact.0.push(had - asked);
                    exact.1.push(lasted);
                }
            })
        })
        .collect();
    for user in users {
        user.await.unwrap();
    }
    let (waits, uses) = std::mem::take(&mut *exact.lock().unwrap());
    (pool.timings(), waits, uses)
}

/// All that was measured so far, in the sample and exactly.
#[derive(Default)]
struct Measured {
    sample: Histogram,
    exact: Histogram,
}

impl Measured {
    fn add(&mut self, sample: &Histogram, exact: &[Duration]) {
        self.sample.merge(sample);
        for lasted in exact {
            self.exact.record(*lasted);
        }
    }

    /// What of the sample is further from the exact ones than it may be. The mean tells a bias, and is that of all but the longest tenth:
    /// those are the ones during which a machine that is short of cores did something else, and what follows such a pause is what a tick has
    /// timed: it is fresh, and not paused again soon. A percentile may be one of its neighbours: waits for a few leases one after the other
    /// come in clumps, and a median between two of them jumps from one to the other.
    fn mistake(&self) -> Option<String> {
        let Self { sample, exact } = self;
        let at = |percent| exact.percentile(percent);
        let near = |got: Duration, least: Duration, most: Duration| {
            (least.mul_f64(0.9)..=most.mul_f64(1.1)).contains(&got)
        };
        let most = at(90.0);
        let mean = |of: &Histogram| {
            let all = of.buckets();
            let sum: f64 = all
                .map(|(lasted, count)| lasted.min(most).as_secs_f64() * count as f64)
                .sum();
            Duration::from_secs_f64(sum / of.count() as f64)
        };
        let off = sample.count().abs_diff(exact.count());
        let good = near(mean(sample), mean(exact), mean(exact))
            && near(sample.percentile(50.0), at(35.0), at(65.0))
            && near(sample.percentile(99.0), at(90.0), at(99.9))
            && off <= 2 + exact.count() / 20;
        (!good).then(|| {
            format!(
                "{:?} {sample:?} for {:?} {exact:?}",
                mean(sample),
                mean(exact)
            )
        })
    }
}

fn in_the_end(what: &str, mut measure: impl FnMut(u64, &mut Measured)) {
    let mut measured = Measured::default();
    for seed in 0..ATTEMPTS {
        measure(seed, &mut measured);
        match measured.mistake() {
            None => return,
            Some(mistake) => println!("{what}: {mistake}"),
        }
    }
    panic!("{what}: it is so each time");
}

pub(crate) fn leases_are_as_long_as_they_were<F: Face>() {
    for runtime in runtimes() {
        for kept in KINDS {
            in_the_end(&format!("{kept:?}"), |seed, measured| {
                let (timings, _, uses) = runtime.block_on(users::<F>(kept, 1, seed));
                measured.add(&timings.used, &uses);
            });
        }
    }
}

pub(crate) fn waits_are_as_long_as_they_were<F: Face>() {
    for runtime in runtimes() {
        for kept in KINDS {
            in_the_end(&format!("{kept:?}"), |seed, measured| {
                let (timings, waits, _) = runtime.block_on(users::<F>(kept, 5, seed));
                measured.add(&timings.wait, &waits);
            });
        }
    }
}
