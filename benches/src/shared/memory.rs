//! What a fan-out holds on the heap, however many its items are.

use std::cell::Cell;
use std::convert::Infallible;
use std::time::Instant;

use pool_core::fan_out;
use tokio::runtime::Builder;
use tokio::task::yield_now;

use super::work::{Failure, each};
use crate::alloc::counts;

/// What a fan-out took.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Taken {
    /// Nanoseconds for each item.
    pub(super) ns: f64,
    /// The most bytes that it held at once; 0 where nobody counts.
    pub(super) most_bytes: i64,
    /// How often it asked for memory, in all.
    pub(super) allocations: i64,
}

/// So many items at once.
const LIMIT: usize = 16;

/// Runs a fan-out over `items`, each of which is looked at while it runs. All of it on this thread, for the counters are the
/// thread's.
pub(super) fn fan_out_of(items: usize) -> Result<Taken, Failure> {
    let runtime = Builder::new_current_thread().build()?;
    runtime.block_on(async {
        let (before, most) = (counts(), Cell::new(0));
        let look = || most.set(most.get().max(counts().since(before).bytes));
        let work = |item: usize| async move {
            // So that all of the others that may are under way when it is looked at.
            yield_now().await;
            look();
            Ok::<_, Infallible>(item)
        };
        let mut done = 0;
        let start = Instant::now();
        fan_out(0..items)
            .limit(LIMIT)
            .map(work)
            .for_each(|_| done += 1)
            .await?;
        let ns = each(start, items);
        match done == items {
            true => Ok(Taken {
                ns,
                most_bytes: most.get(),
                allocations: counts().since(before).allocations,
            }),
            false => Err(format!("{done} values of {items} items").into()),
        }
    })
}
