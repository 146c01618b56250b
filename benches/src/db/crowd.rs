//! Many tasks that call the same thing, one call after another each, all of them at once.

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
    /// From the first call to the last answer.
    pub(super) elapsed: Duration,
    /// Nanoseconds from each call to its answer, sorted.
    pub(super) waits: Vec<u64>,
}

impl Asked {
    /// Nanoseconds for each call, all tasks together.
    pub(super) fn ns(&self) -> f64 {
        self.elapsed.as_nanos() as f64 / self.waits.len() as f64
    }

    /// Nanoseconds that one call in a hundred exceeds.
    pub(super) fn p99(&self) -> u64 {
        percentile(&self.waits, 0.99)
    }
}

/// What a task does over and over.
pub(super) trait Call: Send + 'static {
    /// Does it once, with what chance says: the one call that is measured.
    fn call(&self, random: &mut Rng) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Looks up a random row.
#[derive(Debug)]
struct Asking<L>(L);

impl<L: Lookup + Sync> Call for Asking<L> {
    async fn call(&self, random: &mut Rng) -> Result<(), Failure> {
        let id = random.i32(0..ROWS);
        match self.0.look_up(id).await? {
            value if value == value_of(id) => Ok(()),
            value => Err(Failure::new(format!("row {id} has the value {value}"))),
        }
    }
}

/// Lets a task for each of `handles` look up `times` random rows.
///
/// # Errors
/// The first failure of a lookup; a wrong answer is one.
pub(super) async fn ask<L: Lookup + Sync>(handles: Vec<L>, times: usize) -> Result<Asked, Failure> {
    drive(handles.into_iter().map(Asking).collect(), times).await
}

/// Lets a task for each of `handles` call it `times` times.
///
/// The clock is read twice for each call, which is nothing beside a call.
///
/// # Errors
/// The first failure of a call.
pub(super) async fn drive<C: Call>(handles: Vec<C>, times: usize) -> Result<Asked, Failure> {
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
                let called = Instant::now();
                handle.call(&mut random).await?;
                waits.push(called.elapsed().as_nanos() as u64);
            }
            Ok::<_, Failure>((begin, Instant::now(), waits))
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
        return Err(Failure::new("nobody called anything"));
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
