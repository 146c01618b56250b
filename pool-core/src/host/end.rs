//! The drain of a pool: waits until a closed pool has nothing open.

use std::{future::poll_fn, sync::Arc, task::Poll, time::Duration};

use super::{Hosted, Timer, keeper};
use crate::{
    engine::{Kept, Watch, Watched},
    observe::LeaseInfo,
    rt::{self, Handle},
};

/// The report of [`Pool::drain`](crate::Pool::drain), and of the `drain` of the other pools.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
/// # use pool_core::Pool;
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
/// let export = pool.get().label("nightly export").await?;
/// let drained = pool.drain(Duration::from_millis(10)).await;
/// assert!(!drained.is_complete());
/// for lease in &drained.leased {
///     eprintln!("still out: {lease}"); // nightly export, got at src/export.rs:7:23, held for 10ms
/// }
/// assert_eq!((drained.left, drained.leased[0].label), (1, "nightly export"));
/// # drop(export);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "the report says whether anything is left open"]
#[non_exhaustive]
pub struct Drained {
    /// The leases that are still out.
    pub leased: Vec<LeaseInfo>,
    /// How many places are still taken, by leased resources and by resources that are being closed. Zero when all resources are
    /// closed.
    pub left: u32,
}

impl Drained {
    /// Makes a report, for the pools of other crates of this workspace.
    #[doc(hidden)]
    pub const fn __new(leased: Vec<LeaseInfo>, left: u32) -> Self {
        Self { leased, left }
    }

    /// Whether all resources were closed in time.
    pub const fn is_complete(&self) -> bool {
        self.left == 0
    }
}

/// Combines the reports of several pools.
///
/// ```
/// # use std::time::Duration;
/// # use pool_core::{Drained, Pool, manager_fn};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let [reads, writes] = [1, 2].map(|_| Pool::builder(manager_fn(|| async { Ok::<_, std::io::Error>(()) })).build());
/// # let (reads, writes) = (reads?, writes?);
/// let within = Duration::from_secs(10);
/// let (reads, writes) = tokio::join!(reads.drain(within), writes.drain(within));
/// let drained: Drained = [reads, writes].into_iter().collect();
/// assert!(drained.is_complete());
/// # Ok(())
/// # }
/// ```
impl FromIterator<Self> for Drained {
    fn from_iter<I: IntoIterator<Item = Self>>(pools: I) -> Self {
        let none = Self::__new(Vec::new(), 0);
        pools.into_iter().fold(none, |mut all, pool| {
            all.leased.extend(pool.leased);
            all.left = all.left.saturating_add(pool.left);
            all
        })
    }
}

/// Waits until a closed pool has nothing open, but no longer than `within`.
///
/// On a thread without a runtime, the keeper's runtime keeps the time. If there is no keeper, nothing can keep the time, and the
/// report is made at once.
pub(crate) async fn drain<P: Hosted>(pool: &Arc<P>, within: Duration) -> Drained {
    // A resource that was handed to an unpolled get comes back only if there is a keeper to take it.
    if let Ok(runtime) = Handle::try_current()
        && !pool.kernel().is_over()
    {
        keeper::ensure(pool, &runtime);
    }
    let clock = &pool.host().clock;
    let until = clock.instant(clock.now() + within);
    let mut timer = Timer::new();
    let watch = Watch::new(pool.kernel());
    poll_fn(|context| {
        if pool.kernel().poll_drained(&watch, context).is_ready() {
            return Poll::Ready(());
        }
        // This thread has no runtime, and the keeper's runtime has ended: nothing keeps the time.
        if Handle::try_current().is_err() && !keeper::runs(&**pool) {
            return Poll::Ready(());
        }
        loop {
            let away = keeper::is_elsewhere(&**pool);
            let at = match timer.rings_at() {
                Some(at) => at,
                None if away => until.min(rt::now() + super::ARM_AFTER),
                None => until,
            };
            match timer.poll(at, || pool.host().runtime(), context) {
                Poll::Pending => return Poll::Pending,
                // Ends the wait, also where nothing keeps the time. The report says what is left.
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) if at >= until => return Poll::Ready(()),
                Poll::Ready(Ok(())) => {}
            }
            timer = Timer::new();
            keeper::look_after(pool, clock.now());
        }
    })
    .await;
    Drained {
        leased: pool.leases(),
        left: pool.left(),
    }
}
