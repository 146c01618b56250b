//! The counts and durations of a pool.

use std::{fmt, panic::Location, time::Duration};

use super::{CloseReason, Histogram, Phase};

/// All counts of a pool, taken together at one moment, so that they add up: `open = idle + leased + checking + resetting`, and
/// `open + opening + closing` is at most `max_size` (except just after the pool was made smaller).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let connection = pool.get().await?;
/// let status = pool.status();
/// // For a health check: the pool works, and its queue is short.
/// let healthy = !status.is_closed && status.last_error.is_none() && status.waiting < 10;
/// assert!(healthy, "{status:?}");
/// assert_eq!((status.open, status.leased, status.idle), (1, 1, 0));
/// // Counters never fall: the difference of two says what happened in between.
/// drop(connection);
/// assert_eq!(pool.status().gets - status.gets, 0);
/// assert_eq!(pool.status().timeouts(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// How many resources may be open.
    pub max_size: u32,
    /// How many resources are open.
    pub open: u32,
    /// Open resources that are idle, ready to be leased.
    pub idle: u32,
    /// Open resources that are leased, or were handed to a get that has not fetched them yet.
    pub leased: u32,
    /// Open resources that are being checked.
    pub checking: u32,
    /// Open resources that are being reset.
    pub resetting: u32,
    /// Resources that are being opened.
    pub opening: u32,
    /// Resources that are being closed.
    pub closing: u32,
    /// Gets in the queue.
    pub waiting: usize,
    /// Whether the pool was closed.
    pub is_closed: bool,
    /// Leases handed out. This counter and all that follow count since the pool was built.
    pub gets: u64,
    /// Leases whose get had to wait.
    pub waited: u64,
    /// Resources that were opened.
    pub opened: u64,
    /// Opens that failed.
    pub open_failures: u64,
    /// Resources that were closed, by reason.
    pub closed: Closes,
    /// Resources that left the pool without a close: they were detached, or dropped with their runtime.
    pub dropped: u64,
    /// Gets that reached their deadline while they waited for a return. A resource that was being opened, checked or reset was due
    /// to an earlier waiter, or that work had only just begun.
    pub timeouts_wait: u64,
    /// Gets that reached their deadline while a resource was being opened for them or could not be opened. Includes warm-ups.
    pub timeouts_create: u64,
    /// Gets that reached their deadline while a resource was being checked for them.
    pub timeouts_check: u64,
    /// Gets that reached their deadline while a resource was being reset for them.
    pub timeouts_reset: u64,
    /// Gets that were refused because the queue was full.
    pub overloaded: u64,
    /// Gets that were refused to shed load.
    pub shed: u64,
    /// Gets that failed at once because no resource was open and opens failed.
    pub failed_fast: u64,
    /// Gets whose future was dropped while it waited. A get that was refused before that does not count.
    pub cancelled: u64,
    /// Grants that were taken back because the future was not polled.
    pub reclaimed: u64,
    /// The error of the last open, while opens fail.
    pub last_error: Option<String>,
}

impl Status {
    /// Gets that reached their deadline, in any phase.
    pub const fn timeouts(&self) -> u64 {
        self.timeouts_wait + self.timeouts_create + self.timeouts_check + self.timeouts_reset
    }

    /// Gets that reached their deadline in this phase.
    pub const fn timeouts_in(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Wait => self.timeouts_wait,
            Phase::Create => self.timeouts_create,
            Phase::Check => self.timeouts_check,
            Phase::Reset => self.timeouts_reset,
        }
    }

    pub(crate) const fn set_timeouts(&mut self, by_phase: [u64; Phase::ALL.len()]) {
        [
            self.timeouts_wait,
            self.timeouts_create,
            self.timeouts_check,
            self.timeouts_reset,
        ] = by_phase;
    }
}

/// How many resources were closed, by reason.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::{Pool, Lease};
/// # use pool_core::observe::CloseReason;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// Lease::taint(&mut pool.get().await?);
/// let closed = pool.status().closed;
/// assert_eq!((closed.by(CloseReason::Tainted), closed.total()), (1, 1));
/// assert_eq!(format!("{closed:?}"), "{Tainted: 1}");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Closes([u64; CloseReason::ALL.len()]);

impl Closes {
    pub(crate) const fn new(by_reason: [u64; CloseReason::ALL.len()]) -> Self {
        Self(by_reason)
    }

    /// How many resources were closed for this reason.
    pub const fn by(&self, reason: CloseReason) -> u64 {
        self.0[reason.index()]
    }

    /// How many resources were closed in total.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

impl fmt::Debug for Closes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = CloseReason::ALL
            .into_iter()
            .map(|reason| (reason, self.by(reason)));
        f.debug_map()
            .entries(counts.filter(|(_, count)| *count > 0))
            .finish()
    }
}

/// How long things took, since the pool was built.
///
/// Opens, checks and resets are all timed. Waits and leases are sampled, to keep the cost low: in every 10 ms, one wait and one
/// lease of each resource are timed exactly. A sample counts for all waits or leases that ended since the sample before it. So the
/// mean and the percentiles are estimates for all waits or leases, and the longest may be missing. In a pool that is used less
/// often, all are timed.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// drop(pool.get().await?);
/// let timings = pool.timings();
/// println!("p99: wait {:?}, use {:?}", timings.wait.percentile(99.0), timings.used.percentile(99.0));
/// assert_eq!((timings.create.count(), timings.used.count()), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Timings {
    /// How long gets waited in the queue, from joining it to fetching the resource.
    pub wait: Histogram,
    /// How long leases lasted, from the get to the return.
    pub used: Histogram,
    /// How long opens took.
    pub create: Histogram,
    /// How long checks took.
    pub check: Histogram,
    /// How long resets took.
    pub reset: Histogram,
}

/// A current lease.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let connection = pool.get().label("export").await?;
/// let lease = pool.leases()[0];
/// if lease.held_for > Duration::from_secs(30) {
///     eprintln!("slow: {lease}"); // export, got at src/export.rs:7:23, held for 31.2s
/// }
/// assert_eq!(lease.label, "export");
/// # drop(connection);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LeaseInfo {
    /// How long the resource has been held, within 10 ms.
    pub held_for: Duration,
    /// The source line of the get.
    pub place: &'static Location<'static>,
    /// The label that [`Get::label`](crate::Get::label) set; empty if none was set.
    pub label: &'static str,
}

impl fmt::Display for LeaseInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.label.is_empty() { "" } else { ", " };
        write!(
            f,
            "{}{separator}got at {}, held for {:?}",
            self.label, self.place, self.held_for
        )
    }
}
