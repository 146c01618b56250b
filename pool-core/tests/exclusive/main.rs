//! What a pool says of itself and of what it holds, and to whom; beside what `pool.rs` shows of getting and giving back.
//!
//! | file | what |
//! |---|---|
//! | `known` | what can be asked of a lease and of a pool: usage, labels, durations, counts |
//! | `order` | which idle one is handed out |
//! | `told` | what an observer is told |
//! | `unlocked` | wakers run and go with nothing locked |
//! | `warm` | opening ahead of the first user |
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod known;
mod order;
mod told;
mod unlocked;
mod warm;

use std::sync::Arc;

use common::{Backend, Things};
use pool_core::{Builder, Pool};

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend))).name("things")
}
