//! The bells under test, in every interleaving.

#[cfg(pool_loom)]
mod loom;
