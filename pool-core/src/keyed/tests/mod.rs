//! Tests of the kernel: in every interleaving, and against a plain model.

mod bed;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod failing;
#[cfg(pool_loom)]
mod loom;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod model;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod poison;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod rounds;
