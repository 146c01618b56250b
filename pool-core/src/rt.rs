//! The only module of the pools that names their runtime: tokio's tasks and timers, or those of a model.
//!
//! It re-exports all that [`host`](crate::host) and the pools need of a runtime. In a release these are tokio's own items, without
//! wrappers. Under `--cfg pool_shuttle`, tasks run in random order and time passes as the model decides (`simulated`).

#[cfg(pool_shuttle)]
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "a model drives it, and is a test of this crate")
)]
pub(crate) mod simulated;

#[cfg(pool_shuttle)]
pub(crate) use simulated::{
    Handle, Id, JoinHandle, Notify, Sleep, coarse_now, now, sleep_until, timeout,
};
#[cfg(not(pool_shuttle))]
pub(crate) use tokio::{
    runtime::{Handle, Id},
    sync::Notify,
    task::JoinHandle,
    time::{Sleep, sleep_until, timeout},
};

/// A point on the runtime's clock: plain data, also in a model.
pub(crate) use tokio::time::Instant;

/// The time on the runtime's clock.
#[cfg(not(pool_shuttle))]
#[inline]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The time in nanoseconds since an arbitrary start, with the resolution of the system's coarse clock: 1 to 10 ms. It runs also
/// while tokio's clock is paused.
///
/// On Linux the coarse clock is in memory: reading it costs a quarter of reading the exact time. On other systems this is the exact
/// time.
#[cfg(not(pool_shuttle))]
#[inline]
pub(crate) fn coarse_now() -> u64 {
    coarse::now()
}

#[cfg(all(not(pool_shuttle), any(target_os = "linux", target_os = "android")))]
#[allow(unsafe_code, reason = "asks the system for the time")]
mod coarse {
    #[inline]
    pub(super) fn now() -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the pointer is to a local `timespec`.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut time) };
        debug_assert_eq!(failed, 0, "the kernel has had this clock since 2.6.32");
        // The time since the machine was started: neither part is negative.
        (time.tv_sec as u64)
            .wrapping_mul(1_000_000_000)
            .wrapping_add(time.tv_nsec as u64)
    }
}

#[cfg(all(
    not(pool_shuttle),
    not(any(target_os = "linux", target_os = "android"))
))]
mod coarse {
    use std::{sync::LazyLock, time::Instant};

    #[inline]
    pub(super) fn now() -> u64 {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Whether this runtime has threads of its own, which drive it as long as it lives. The tasks of a runtime without such threads
/// (`current_thread`) stand still while no thread is in its `block_on`.
#[cfg(not(pool_shuttle))]
pub(crate) fn drives_itself(runtime: &tokio::runtime::Handle) -> bool {
    runtime.runtime_flavor() == tokio::runtime::RuntimeFlavor::MultiThread
}

/// No runtime of a model drives itself.
#[cfg(pool_shuttle)]
pub(crate) const fn drives_itself<T>(_: &T) -> bool {
    false
}
