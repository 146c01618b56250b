//! A pool as its users see it: what the world does to each kind of pool, it does by this.

use std::time::Duration;

use super::backend::{Backend, Item, Trouble};
use crate::{Drained, Error, Status, rt::Instant};

/// One kind of pool. A handle of it: clones name the same pool.
pub(super) trait Face: Clone + Send + Sync + 'static {
    /// What a get comes to, as long as somebody has it.
    type Lease: Send + 'static;

    /// How often all leases that there may be are asked for at once, before they must be there.
    const ATTEMPTS: u32 = 1;

    /// Builds one of [`SIZE`](super::world::SIZE), with the rest of its settings at random.
    fn build(backend: Backend) -> Self;

    /// `which`: of which key, where there are keys.
    fn get(
        &self,
        which: usize,
        limit: Limit,
    ) -> impl Future<Output = Result<Self::Lease, Error<Trouble>>> + Send;

    fn try_get(&self, which: usize) -> Result<Self::Lease, Error<Trouble>>;

    fn item(lease: &Self::Lease) -> &Item;

    /// Says that what was left behind is not fit for the next.
    fn taint(lease: &mut Self::Lease);

    /// Begins an operation, and drops it.
    fn half_way(lease: &mut Self::Lease);

    /// The backend hangs up.
    fn breaks(lease: &mut Self::Lease);

    /// Does what only a lease of this kind is good for.
    fn odd(lease: &mut Self::Lease) -> impl Future<Output = ()> + Send;

    /// Takes it out of the pool, where that can be done.
    fn detach(lease: Self::Lease) -> Option<Item>;

    /// One of the things that only an operator of this kind of pool does.
    fn operate(&self) -> impl Future<Output = ()> + Send;

    fn resize(&self, size: u32);

    fn retire_all(&self);

    fn close(&self);

    fn is_closed(&self) -> bool;

    fn drain(&self, within: Duration) -> impl Future<Output = Drained> + Send;

    /// Makes up for what users have left behind that nobody but they would take back.
    fn mend(&self) {}

    /// How many leases there may be of a pool of this size, at once.
    fn leases_of(size: u32) -> usize {
        size as usize
    }

    /// Nobody can move before time passes, and nobody keeps back what he was handed: does somebody wait for what is there?
    fn unserved(&self) -> Result<(), String>;
}

/// How long a get may take.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    Timeout(Duration),
    Deadline(Instant),
}

/// The settings that exclusive pools have in common, at random.
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

/// What is done with a lease of one that nobody else has.
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
pub(super) use {exclusive, held_alone};

/// Is something missing for those in line of which it is known that it can be had? `more`: may more be opened for them?
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

/// Is there room for one more that is opened?
pub(super) fn has_room(status: &Status) -> bool {
    status.open + status.opening + status.closing < status.max_size
}
