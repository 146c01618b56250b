//! The engine without its keeper's thread and without rayon, for the models.

pub(crate) mod bed;
#[cfg(pool_loom)]
mod loom;
#[cfg(pool_shuttle)]
mod shuttle;
