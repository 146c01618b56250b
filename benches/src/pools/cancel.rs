//! What it costs to give up a place in the queue, at random, in a long queue and in short ones.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::task::coop::unconstrained;

use super::failure::Failure;
use super::figure::{Figure, Figures};
use super::memory;
use super::peer::{Peer, Source};
use super::queue::Queue;

/// How many wait, and how many of them cancel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cancels {
    /// In the long queue.
    pub(super) long: usize,
    /// In a short one.
    pub(super) short: usize,
    /// Cancels measured of each kind.
    pub(super) cancels: usize,
}

/// So many leave between two looks at the clock; then as many join, and the queue is full again.
const BATCH: usize = 50;

/// Nanoseconds for one cancel. To be run on a current-thread runtime.
///
/// A long queue is compared with short queues of as many waiters in all: both have the same memory
/// to walk through, which no cache holds, and differ in nothing but the length. A single short
/// queue, all of it in the cache, is shown beside them.
pub(super) async fn run<P: Peer>(cancels: Cancels) -> Result<Figures, Failure> {
    let Cancels {
        long,
        short,
        cancels,
    } = cancels;
    let in_long = cancel::<P>(1, long, cancels).await?;
    let in_short = cancel::<P>(long / short, short, cancels).await?;
    let in_cache = cancel::<P>(1, short, cancels).await?;
    Ok(Figures::new([
        (Figure::Ns, in_long),
        (Figure::ShortNs, in_short),
        (Figure::Growth, in_long / in_short),
        (Figure::CachedNs, in_cache),
        (
            Figure::WaitAllocs,
            memory::waiting_allocations::<P>().await?,
        ),
        (Figure::WaiterBytes, memory::waiter::<P>().await?),
    ]))
}

/// Nanoseconds for one cancel while `waiting` wait at each of `pools` pools.
async fn cancel<P: Peer>(pools: usize, waiting: usize, cancels: usize) -> Result<f64, Failure> {
    let mut peers = Vec::with_capacity(pools);
    for _ in 0..pools {
        let peer = P::build(1, Source::default())?;
        peer.warm(1).await?;
        peers.push(peer);
    }
    let mut held = Vec::with_capacity(pools);
    for peer in &peers {
        held.push(peer.get().await.map_err(Failure::get)?);
    }
    // One task polls them all, and must not be told to let others run.
    let spent = unconstrained(async {
        let everyone = pools * waiting;
        let mut queue = Queue::new(everyone, |place| peers[place % pools].get());
        queue.fill().await?;
        let mut random = Rng::with_seed(everyone as u64);
        let mut places: Vec<usize> = (0..everyone).collect();
        let mut spent = Duration::ZERO;
        for _ in 0..cancels / BATCH {
            for at in 0..BATCH {
                places.swap(at, random.usize(at..everyone));
            }
            let leaving = &places[..BATCH];
            let start = Instant::now();
            for &place in leaving {
                queue.cancel(place);
            }
            spent += start.elapsed();
            for &place in leaving {
                queue.enter(place).await?;
            }
        }
        Ok(spent)
    });
    let spent = spent.await;
    drop(held);
    Ok(spent?.as_nanos() as f64 / (cancels / BATCH * BATCH) as f64)
}
