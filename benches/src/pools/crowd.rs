//! Many tasks on few resources, on two worker threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;

use super::failure::Failure;
use super::figure::{Figure, Figures};
use super::peer::{Peer, Source};
use crate::rounds::percentile;

/// Who competes for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowd {
    /// Tasks, all of which start at once.
    pub(super) tasks: usize,
    /// Resources, all open and idle before.
    pub(super) size: usize,
    /// Gets and returns of each task.
    pub(super) gets: usize,
    /// Whether a task lets others run while it holds its resource.
    pub(super) yields: bool,
}

/// Nanoseconds for one get and return, all tasks together, and how long the gets waited.
///
/// The waits are from a pass of their own: reading the clock twice for each get would be a good
/// part of the first figure.
pub(super) async fn run<P: Peer>(crowd: Crowd) -> Result<Figures, Failure> {
    let peer = P::build(crowd.size, Source::default())?;
    peer.warm(crowd.size).await?;
    let (elapsed, _) = crowd.pass(&peer, false).await?;
    let (_, mut waits) = crowd.pass(&peer, true).await?;
    let gets = crowd.tasks * crowd.gets;
    check(&peer, crowd.size, 2 * gets).await?;
    waits.sort_unstable();
    Ok(Figures::new([
        (Figure::Ns, elapsed.as_nanos() as f64 / gets as f64),
        (Figure::WaitP50, percentile(&waits, 0.5) as f64),
        (Figure::WaitP999, percentile(&waits, 0.999) as f64),
    ]))
}

impl Crowd {
    /// Lets all tasks run to their end once. Gives the time, and each wait when `timed`.
    async fn pass<P: Peer>(self, peer: &P, timed: bool) -> Result<(Duration, Vec<u64>), Failure> {
        let gate = Arc::new(Semaphore::new(0));
        let arrived = Countdown::new(self.tasks);
        let finished = Countdown::new(self.tasks);
        let mut tasks = JoinSet::new();
        for _ in 0..self.tasks {
            let (peer, gate) = (peer.clone(), Arc::clone(&gate));
            let (arrived, finished) = (arrived.clone(), finished.clone());
            let mut waits = Vec::with_capacity(if timed { self.gets } else { 0 });
            tasks.spawn(async move {
                arrived.one();
                // The gate has no permits; it opens by being closed.
                drop(gate.acquire().await);
                let turns = self.turns(&peer, timed.then_some(&mut waits)).await;
                finished.one();
                turns.map(|()| waits)
            });
        }
        arrived.zero().await?;
        let start = Instant::now();
        gate.close();
        finished.zero().await?;
        let elapsed = start.elapsed();

        let mut all = Vec::new();
        while let Some(task) = tasks.join_next().await {
            all.append(&mut task.map_err(Failure::task)??);
        }
        Ok((elapsed, all))
    }

    /// What one task does.
    async fn turns<P: Peer>(
        self,
        peer: &P,
        mut waits: Option<&mut Vec<u64>>,
    ) -> Result<(), Failure> {
        for _ in 0..self.gets {
            let asked = waits.is_some().then(Instant::now);
            let mut counter = peer.get().await.map_err(Failure::get)?;
            if let (Some(waits), Some(asked)) = (&mut waits, asked) {
                waits.push(asked.elapsed().as_nanos() as u64);
            }
            counter.0 += 1;
            if self.yields {
                tokio::task::yield_now().await;
            }
        }
        Ok(())
    }
}

/// That every get had a resource to itself, and the same few all the time.
async fn check<P: Peer>(peer: &P, size: usize, gets: usize) -> Result<(), Failure> {
    let mut guards = Vec::with_capacity(size);
    for _ in 0..size {
        guards.push(peer.get().await.map_err(Failure::get)?);
    }
    let counted: u64 = guards.iter().map(|counter| counter.0).sum();
    match counted == gets as u64 {
        true => Ok(()),
        false => Err(Failure::new(format!(
            "the resources count {counted} uses after {gets} gets"
        ))),
    }
}

/// Tells one task when all others have been somewhere.
#[derive(Debug, Clone)]
struct Countdown(Arc<(AtomicUsize, Notify)>);

impl Countdown {
    fn new(tasks: usize) -> Self {
        Self(Arc::new((AtomicUsize::new(tasks), Notify::new())))
    }

    /// One task is there.
    fn one(&self) {
        // Ordering: the tasks' work is read through their join handles; only the count matters.
        if self.0.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.1.notify_one();
        }
    }

    /// All are there.
    async fn zero(&self) -> Result<(), Failure> {
        let all = tokio::time::timeout(PATIENCE, self.0.1.notified()).await;
        all.map_err(|_| {
            let left = self.0.0.load(Ordering::Relaxed);
            Failure::new(format!("{left} tasks did not end within {PATIENCE:?}"))
        })
    }
}

/// A pass takes a second or two; one that takes that long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::super::semaphore::Permits;
    use super::super::toy::Toy;
    use super::*;

    const SMALL: Crowd = Crowd {
        tasks: 8,
        size: 2,
        gets: 50,
        yields: true,
    };

    #[tokio::test]
    async fn a_crowd_measures_every_get_of_every_task() {
        let peer = Permits::build(SMALL.size, Source::default()).unwrap();
        let (_, untimed) = SMALL.pass(&peer, false).await.unwrap();
        let (elapsed, waits) = SMALL.pass(&peer, true).await.unwrap();
        assert!(untimed.is_empty());
        assert_eq!(waits.len(), SMALL.tasks * SMALL.gets);
        let longest = waits.iter().max().copied().unwrap();
        assert!(u128::from(longest) <= elapsed.as_nanos());
        check(&peer, SMALL.size, 2 * waits.len()).await.unwrap();
    }

    #[tokio::test]
    async fn a_pool_that_makes_up_resources_is_found_out() {
        let failure = run::<Toy>(SMALL).await.unwrap_err();
        let words = failure.to_string();
        assert!(words.ends_with("uses after 800 gets"), "{words}");
    }
}
