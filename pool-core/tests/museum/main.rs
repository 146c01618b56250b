//! The bug museum: what other pools got wrong, each as a test of this one.
//!
//! The comment at a test names where the bug was reported: `sqlx#3645` is issue or pull request 3645 of that project. Where
//! none is named, it was found by reading the source. What a test asserts is what that pool should have done.
//!
//! | file | what went wrong there |
//! |---|---|
//! | `clean` | what the next user gets: half-done work, resources that were cut off in the middle |
//! | `counts` | how many there are, and may be: sizes, permits, minimum, lifetime |
//! | `ends` | the end of a pool, of a runtime, of user code that panics or comes back |
//! | `opens` | connecting: too much, too often, for nobody, for ever |
//! | `waits` | the line: order, lost wake-ups, lost grants, time |
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod clean;
mod counts;
mod ends;
mod opens;
mod waits;

use std::sync::Arc;

use common::{Backend, Things};
use pool_core::{Builder, Pool};

fn pool(backend: &Arc<Backend>) -> Builder<Things> {
    Pool::builder(Things(Arc::clone(backend)))
}

/// A runtime of two threads, for what needs real concurrency.
fn two_threads() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap()
}
