//! The one place of the async face that names its runtime: tokio's tasks and timers, or those of a model.
//!
//! What is re-exported here is all that [`pool`](crate::pool) wants of a runtime. It ships with tokio's own items and nothing
//! around them; under `--cfg pool_shuttle` tasks run in random order and time passes as the model has it (`simulated`).

#[cfg(pool_shuttle)]
pub(crate) mod simulated;

#[cfg(pool_shuttle)]
pub(crate) use simulated::{Handle, Id, JoinHandle, Notify, Sleep, now, sleep_until, timeout};
#[cfg(not(pool_shuttle))]
pub(crate) use tokio::{
    runtime::{Handle, Id},
    sync::Notify,
    task::JoinHandle,
    time::{Sleep, sleep_until, timeout},
};

/// A point on the runtime's clock: plain data, and the same in a model.
pub(crate) use tokio::time::Instant;

/// What time it is on the runtime's clock.
#[cfg(not(pool_shuttle))]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}
