//! What a pool takes from the heap. All of it on one thread, for the counters are the thread's.

use std::pin::pin;

use futures_util::poll;
use tokio::task::coop::unconstrained;

use super::failure::Failure;
use super::peer::{Peer, Source};
use super::queue::Queue;
use crate::alloc::counts;

/// How often, or of how many, a figure is the mean.
const SAMPLES: usize = 1_000;

/// Allocations for one get and return with nobody waiting.
pub(super) async fn allocations<P: Peer>(peer: &P) -> Result<f64, Failure> {
    let before = counts();
    for _ in 0..SAMPLES {
        drop(peer.get().await.map_err(Failure::get)?);
    }
    Ok(counts().since(before).allocations as f64 / SAMPLES as f64)
}

/// Allocations for one get that waits until another's return serves it.
pub(super) async fn waiting_allocations<P: Peer>() -> Result<f64, Failure> {
    let peer = P::build(1, Source::default())?;
    peer.warm(1).await?;
    let mut taken = 0;
    for _ in 0..SAMPLES {
        let held = peer.get().await.map_err(Failure::get)?;
        let before = counts();
        let mut waiting = pin!(peer.get());
        if poll!(&mut waiting).is_ready() {
            return Err(Failure::new("lent the only resource twice"));
        }
        drop(held);
        drop(waiting.await.map_err(Failure::get)?);
        taken += counts().since(before).allocations;
    }
    Ok(taken as f64 / SAMPLES as f64)
}

/// Heap bytes for each resource that is open and idle.
pub(super) async fn slot<P: Peer>() -> Result<f64, Failure> {
    let before = counts();
    let peer = P::build(SAMPLES, Source::default())?;
    peer.warm(SAMPLES).await?;
    // What a pool's tasks still hold is not the slots': let them end.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    Ok(counts().since(before).bytes as f64 / SAMPLES as f64)
}

/// Bytes for each get that waits: its future and what it took from the heap.
pub(super) async fn waiter<P: Peer>() -> Result<f64, Failure> {
    let peer = P::build(1, Source::default())?;
    peer.warm(1).await?;
    let held = peer.get().await.map_err(Failure::get)?;
    let bytes = unconstrained(async {
        let mut queue = Queue::new(SAMPLES, |_| peer.get());
        let before = counts();
        queue.fill().await?;
        let heap = counts().since(before).bytes as f64 / SAMPLES as f64;
        Ok(heap + queue.future_bytes() as f64)
    });
    let bytes = bytes.await;
    drop(held);
    bytes
}
