//! Many tasks that look rows up, one after another each, all of them at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::rounds::percentile;
use fastrand::Rng;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::failure::Failure;
use super::peer::{Lookup, ROWS, value_of};

/// What a crowd of tasks took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// From the first question to the last answer.
    pub(super) elapsed: Duration,
    /// Nanoseconds from each question to its answer, sorted.
    pub(super) waits: Vec<u64>,
}

impl Asked {
    /// Nanoseconds for each lookup, all tasks together.
    pub(super) fn ns(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.waits.len() as f64
    }

    /// Nanoseconds that one lookup in a hundred exceeds.
    pub(super) fn p99(&self) -> u64 {
        percentile(&self.waits, 0.99)
    }
}

/// Lets a task for each of `handles` look up `times` random rows.
///
/// The clock is read twice for each lookup, which is nothing beside a lookup.
///
/// # Errors
/// The first failure of a lookup; a wrong answer is one.
pub(super) async fn ask<L: Lookup>(handles: Vec<L>, times: usize) -> Result<Asked, Failure> {
    let gate = Arc::new(Barrier::new(handles.len()));
    let mut tasks = JoinSet::new();
    for (seed, handle) in (0..).zip(handles) {
        let gate = Arc::clone(&gate);
        tasks.spawn(async move {
            let mut random = Rng::with_seed(seed);
            let mut waits = Vec::with_capacity(times);
            gate.wait().await;
            let begin = Instant::now();
            for _ in 0..times {
                let id = random.i32(0..ROWS);
                let asked = Instant::now();
                let value = handle.look_up(id).await?;
                waits.push(asked.elapsed().as_nanos() as u64);
                if value != value_of(id) {
                    return Err(Failure::new(format!("row {id} has the value {value}")));
                }
            }
            Ok((begin, Instant::now(), waits))
        });
    }

    let mut all = Vec::new();
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    while let Some(task) = tasks.join_next().await {
        let (begin, end, mut waits) = task??;
        all.append(&mut waits);
        begins.push(begin);
        ends.push(end);
    }
    let (Some(first), Some(last)) = (begins.iter().min(), ends.iter().max()) else {
        return Err(Failure::new("nobody asked anything"));
    };
    let elapsed = last.duration_since(*first);
    all.sort_unstable();
    Ok(Asked {
        elapsed,
        waits: all,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts lookups; answers right until so many.
    #[derive(Clone)]
    struct Toy(Arc<AtomicUsize>, usize);

    impl Lookup for Toy {
        async fn look_up(&self, id: i32) -> Result<i32, Failure> {
            tokio::task::yield_now().await;
            let earlier = self.0.fetch_add(1, Ordering::Relaxed);
            Ok(if earlier < self.1 { value_of(id) } else { -1 })
        }
    }

    fn toy(right: usize) -> Toy {
        Toy(Arc::new(AtomicUsize::new(0)), right)
    }

    #[tokio::test]
    async fn every_lookup_of_every_task_is_timed() {
        let toy = toy(usize::MAX);
        let asked = ask(vec![toy.clone(); 5], 7).await.unwrap();
        assert_eq!((toy.0.load(Ordering::Relaxed), asked.waits.len()), (35, 35));
        assert!(asked.waits.is_sorted());
        let longest = asked.waits[34];
        assert!(u128::from(longest) <= asked.elapsed.as_nanos());
        assert!(asked.ns() > 0.0 && asked.p99() == longest);
    }

    #[tokio::test]
    async fn a_wrong_answer_is_found_out() {
        let failure = ask(vec![toy(20); 5], 7).await.unwrap_err();
        assert!(failure.to_string().ends_with("the value -1"), "{failure}");
    }

    #[tokio::test]
    async fn nobody_has_no_figures() {
        assert!(ask(Vec::<Toy>::new(), 7).await.is_err());
    }
}
