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

/// Has this runtime threads of its own, which drive it as long as it lives? What is on one that has none, as that of a single thread,
/// stands still when nobody is in its `block_on`.
#[cfg(not(pool_shuttle))]
pub(crate) fn drives_itself(runtime: &tokio::runtime::Handle) -> bool {
    runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
}

/// None of a model's does.
#[cfg(pool_shuttle)]
pub(crate) const fn drives_itself<T>(_: &T) -> bool {
    false
}
