//! Tests of the bells, in every interleaving.

#[cfg(pool_loom)]
mod loom;
