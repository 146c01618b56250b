//! One task on one thread, and nobody to wait for: the price of the pool itself.

use std::time::Instant;

use super::failure::Failure;
use super::figure::{Figure, Figures};
use super::memory;
use super::peer::{Peer, Source};

/// How many resources are idle meanwhile.
pub(super) const SIZE: usize = 16;

/// Nanoseconds, allocations and bytes for one get and return. To be run on a current-thread runtime.
pub(super) async fn run<P: Peer>(gets: usize) -> Result<Figures, Failure> {
    let peer = ready::<P>().await?;
    turns(&peer, gets / 10).await?;
    let start = Instant::now();
    turns(&peer, gets).await?;
    let ns = start.elapsed().as_nanos() as f64 / gets as f64;
    Ok(Figures::new([
        (Figure::Ns, ns),
        (Figure::Allocs, memory::allocations(&peer).await?),
        (Figure::SlotBytes, memory::slot::<P>().await?),
    ]))
}

/// Only the gets and returns, for whoever counts instructions.
pub(super) async fn count<P: Peer>(gets: usize) -> Result<(), Failure> {
    turns(&ready::<P>().await?, gets).await
}

async fn ready<P: Peer>() -> Result<P, Failure> {
    let peer = P::build(SIZE, Source::default())?;
    peer.warm(SIZE).await?;
    Ok(peer)
}

async fn turns<P: Peer>(peer: &P, gets: usize) -> Result<(), Failure> {
    for _ in 0..gets {
        let mut counter = peer.get().await.map_err(Failure::get)?;
        counter.0 += 1;
    }
    Ok(())
}
