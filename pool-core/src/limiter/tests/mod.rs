//! Tests of the count and its queue: in every interleaving, and against a plain model.

#[cfg(pool_loom)]
mod loom;
#[cfg(not(pool_loom))]
mod model;
