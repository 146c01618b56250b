//! A pool at one moment.

use std::{fmt, panic::Location, time::Duration};

use super::{CloseReason, Histogram, Phase};

/// All counts of a pool, taken together at one moment, so that they add up:
/// `open = idle + leased + checking + resetting`, and `open + opening + closing` is at most `max_size` (but for a pool that was
/// just made smaller).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let connection = pool.get().await?;
/// let status = pool.status();
/// // For a health check: is it up, and does anybody wait?
/// let healthy = !status.is_closed && status.last_error.is_none() && status.waiting < 10;
/// assert!(healthy, "{status:?}");
/// assert_eq!((status.open, status.leased, status.idle), (1, 1, 0));
/// // Counters only rise: what happened in between is the difference of two.
/// drop(connection);
/// assert_eq!(pool.status().gets - status.gets, 0);
/// assert_eq!(pool.status().timeouts(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Status {
    /// How many may be open.
    pub max_size: u32,
    /// How many are open.
    pub open: u32,
    /// Of those: ready to be leased.
    pub idle: u32,
    /// Of those: with a caller, or handed to one that has not fetched it yet.
    pub leased: u32,
    /// Of those: being checked.
    pub checking: u32,
    /// Of those: being made clean.
    pub resetting: u32,
    /// Being opened.
    pub opening: u32,
    /// Being closed.
    pub closing: u32,
    /// Gets in line.
    pub waiting: usize,
    /// Was the pool closed?
    pub is_closed: bool,
    /// Leases handed out, since the pool was built; as all that follow.
    pub gets: u64,
    /// Leases that had to wait for.
    pub waited: u64,
    /// Resources that were opened.
    pub opened: u64,
    /// Opens that failed.
    pub open_failures: u64,
    /// Closes by reason.
    pub closed: Closes,
    /// Resources that went without a close: detached, or dropped with the runtime that had them.
    pub dropped: u64,
    /// Gets that reached their deadline while they waited for a return: what was being opened, checked or reset would have come to
    /// those ahead of them in line, or had just begun.
    pub timeouts_wait: u64,
    /// Gets that reached their deadline while one was being opened for them, or could not be; and warm-ups.
    pub timeouts_create: u64,
    /// Gets that reached their deadline while one was being checked for them.
    pub timeouts_check: u64,
    /// Gets that reached their deadline while one was being reset for them.
    pub timeouts_reset: u64,
    /// Gets that found the line full.
    pub overloaded: u64,
    /// Gets that the shedder told no.
    pub shed: u64,
    /// Gets that were told at once that nothing can be opened.
    pub failed_fast: u64,
    /// Gets whose future was dropped while it waited; not those that had been refused meanwhile.
    pub cancelled: u64,
    /// Grants that were taken back because nobody polled.
    pub reclaimed: u64,
    /// What the last attempt to open died of, while attempts fail.
    pub last_error: Option<String>,
}

impl Status {
    /// Gets that reached their deadline, in any phase.
    pub const fn timeouts(&self) -> u64 {
        self.timeouts_wait + self.timeouts_create + self.timeouts_check + self.timeouts_reset
    }

    /// Gets that reached their deadline while they waited for this.
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

/// How many were closed, by reason.
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

    /// How many were closed for this reason.
    pub const fn by(&self, reason: CloseReason) -> u64 {
        self.0[reason.index()]
    }

    /// How many were closed, for whatever reason.
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
/// Kept cheap: in every 10 ms one wait, and one lease of each resource, is timed exactly, and counts as many as ended since the last that
/// was: so a percentile and the mean are those of all, as far as a sample can tell, and the longest may be missing. A pool that is used
/// less often than that has all of them. Opens, checks and resets are all timed.
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
    /// Of gets that waited in line: from joining it to fetching the resource.
    pub wait: Histogram,
    /// From getting one to giving it back.
    pub used: Histogram,
    /// To open one.
    pub create: Histogram,
    /// To check one.
    pub check: Histogram,
    /// To reset one.
    pub reset: Histogram,
}

/// Who holds one.
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
    /// For how long, within 10 ms.
    pub held_for: Duration,
    /// The line of the program that got it.
    pub place: &'static Location<'static>,
    /// What [`Get::label`](crate::Get::label) said; empty when nothing.
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
