//! Tests of the board: in every interleaving, and against a plain model.

#[cfg(pool_loom)]
mod loom;
#[cfg(not(pool_loom))]
mod model;
