//! Tests of the links: in every interleaving, and against a plain model.

#[cfg(any(pool_loom, pool_shuttle))]
mod bed;
#[cfg(pool_loom)]
mod loom;
#[cfg(not(any(pool_loom, pool_shuttle)))]
mod model;
#[cfg(pool_shuttle)]
mod shuttle;

use std::time::Duration;

use super::links::LinkLimits;

fn limits(max_links: u32) -> LinkLimits {
    LinkLimits {
        max_links,
        min_links: 0,
        max_opening: 4,
        max_waiters: 6,
        spare: 0,
        idle_timeout: None,
        reclaim_after: Duration::from_millis(50),
        arm_after: Duration::from_millis(500),
        tick: Duration::from_millis(10),
        rounds: Duration::from_secs(30),
    }
}
