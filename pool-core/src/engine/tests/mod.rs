//! Tests of the kernel: loom models, random schedules, and runs against a plain model.

mod bed;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod deferred;
#[cfg(pool_loom)]
mod loom;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod model;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod rounds;
#[cfg(pool_shuttle)]
mod shuttle;

#[cfg(pool_loom)]
#[allow(unused_imports, reason = "for the models of the other modules")]
pub(crate) use loom::{block_on, model, models};
#[cfg(pool_shuttle)]
#[allow(unused_imports, reason = "for the models of the other modules")]
pub(crate) use shuttle::{ITERATIONS, PATIENCE, model, models};
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod poison;
