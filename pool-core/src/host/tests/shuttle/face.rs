//! A pool as its users see it: the world uses each kind of pool through this trait.

use std::time::Duration;

use super::backend::{Backend, Item, Trouble};
use crate::{Drained, Error, Status, rt::Instant};

/// One kind of pool. The value is a handle: clones share one pool.
pub(super) trait Face: Clone + Send + Sync + 'static {
    /// What a get returns.
    type Lease: Send + 'static;

    /// How often the model gets all possible leases at once, before all of them must be granted.
    const ATTEMPTS: u32 = 1;

    /// Builds a pool of [`SIZE`](super::world::SIZE), with its other settings at random.
    fn build(backend: Backend) -> Self;

    /// `which` selects the key, in a pool with keys.
    fn get(
        &self,
        which: usize,
        limit: Limit,
    ) -> impl Future<Output = Result<Self::Lease, Error<Trouble>>> + Send;

    fn try_get(&self, which: usize) -> Result<Self::Lease, Error<Trouble>>;

    fn item(lease: &Self::Lease) -> &Item;

    /// Taints the lease.
    fn taint(lease: &mut Self::Lease);

    /// Begins an operation, and drops it.
    fn half_way(lease: &mut Self::Lease);

    /// The backend closes the connection.
    fn breaks(lease: &mut Self::Lease);

    /// Does what only leases of this kind can do.
    fn odd(lease: &mut Self::Lease) -> impl Future<Output = ()> + Send;

    /// Takes the resource out of the pool, if the pool can do that.
    fn detach(lease: Self::Lease) -> Option<Item>;

    /// Runs an operation that only this kind of pool has.
    fn operate(&self) -> impl Future<Output = ()> + Send;

    fn resize(&self, size: u32);

    fn retire_all(&self);

    fn close(&self);

    fn is_closed(&self) -> bool;

    fn drain(&self, within: Duration) -> impl Future<Output = Drained> + Send;

    /// Repairs what users have left behind and the pool does not repair by itself.
    fn mend(&self) {}

    /// How many leases a pool of this size can have at once.
    fn leases_of(size: u32) -> usize {
        size as usize
    }

    /// Called when no thread can move before time passes, and no user holds back a grant. Fails if a get waits for a resource that
    /// is available.
    fn unserved(&self) -> Result<(), String>;
}

/// How long a get may take.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    Timeout(Duration),
    Deadline(Instant),
}

/// Random settings, for all kinds of exclusive pools.
macro_rules! exclusive {
    ($builder:expr) => {{
        use std::time::Duration;

        use super::{
            backend::{one_in, up_to_ms},
            world::{MAX_OPENING, SHORT},
        };
        let some = |most| one_in(2).then(|| up_to_ms(most) + Duration::from_millis(1));
        $builder
            .max_opening(MAX_OPENING)
            .acquire_timeout(Duration::from_secs(2))
            .create_timeout(SHORT)
            .check_timeout(SHORT)
            .reset_timeout(SHORT)
            .close_timeout(SHORT)
            .check_after(up_to_ms(30))
            .idle_timeout(some(200))
            .max_lifetime(some(200))
            .keepalive(some(100))
            .leak_after(some(50))
            .shed_target(None)
    }};
}

/// What is done to a pool as a whole, by methods that all kinds of pools have under the same names.
macro_rules! as_a_whole {
    () => {
        fn resize(&self, size: u32) {
            Self::resize(self, size).expect("the size is good");
        }

        fn retire_all(&self) {
            Self::retire_all(self);
        }

        fn close(&self) {
            Self::close(self);
        }

        fn is_closed(&self) -> bool {
            Self::is_closed(self)
        }

        async fn drain(&self, within: Duration) -> Drained {
            Self::drain(self, within).await
        }
    };
}

/// What is done with a lease that no other user shares.
macro_rules! held_alone {
    ($lease:ident) => {
        fn item(lease: &Self::Lease) -> &Item {
            lease
        }

        fn taint(lease: &mut Self::Lease) {
            lease.dirty.store(true, SeqCst);
            $lease::taint(lease);
        }

        fn half_way(lease: &mut Self::Lease) {
            let operation = async |item: &mut Item| {
                item.dirty.store(true, SeqCst);
                yield_now().await;
                item.dirty.store(false, SeqCst);
            };
            poll_once($lease::run(lease, operation));
        }

        fn breaks(lease: &mut Self::Lease) {
            lease.broken.store(true, SeqCst);
        }

        async fn odd(lease: &mut Self::Lease) {
            $lease::label(lease, "renamed");
            yield_now().await;
        }

        fn detach(lease: Self::Lease) -> Option<Item> {
            lease.leave();
            Some($lease::detach(lease))
        }
    };
}
pub(super) use {as_a_whole, exclusive, held_alone};

/// Fails if waiters lack a resource that is known to be available. `more`: whether more may be opened for them.
pub(super) fn missing(status: &Status, more: bool) -> Result<(), String> {
    let coming = (status.opening + status.checking + status.resetting) as usize;
    if status.waiting <= coming {
        return Ok(());
    }
    if status.idle > 0 {
        return Err(format!("somebody waits while one is idle: {status:?}"));
    }
    if more && status.last_error.is_none() {
        return Err(format!(
            "somebody waits and there is room, but nothing is opened: {status:?}"
        ));
    }
    Ok(())
}

/// Whether there is room for another open.
pub(super) fn has_room(status: &Status) -> bool {
    status.open + status.opening + status.closing < status.max_size
}
