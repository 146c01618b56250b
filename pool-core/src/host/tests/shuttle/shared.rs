//! Pools of connections that several users share, whose capacity changes, and that become suspect, drain and die.

use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};

use super::{
    backend::{Backend, CAPACITY, Item, Trouble, one_in, poll_once, up_to_ms, yield_now},
    face::{Face, Limit, as_a_whole},
    models,
    world::{MAX_OPENING, SHORT, SIZE},
};
use crate::{Drained, Error, Gauge, Share, SharedConfig, SharedPool, SharedStatus};

fn gauge(share: &Share<Backend>) -> &Gauge {
    share.gauge.as_ref().expect("a shared one has a gauge")
}

impl Face for SharedPool<Backend> {
    type Lease = Share<Backend>;

    /// A get may take a share of a connection at the moment at which the pool finds it idle for too long. The share keeps the
    /// connection open.
    const ATTEMPTS: u32 = 4;

    fn build(backend: Backend) -> Self {
        let some = |most| one_in(2).then(|| up_to_ms(most) + Duration::from_millis(1));
        let config = SharedConfig::new()
            .max_size(SIZE)
            .max_opening(MAX_OPENING)
            .min_idle(u32::from(one_in(3)))
            .spare_shares(u32::from(one_in(3)))
            .acquire_timeout(Duration::from_secs(2))
            .create_timeout(SHORT)
            .close_timeout(SHORT)
            .idle_timeout(some(200))
            .max_lifetime(some(200));
        let builder = Self::builder(backend).config(config);
        builder.build().expect("the settings are good")
    }

    fn get(
        &self,
        _: usize,
        limit: Limit,
    ) -> impl Future<Output = Result<Self::Lease, Error<Trouble>>> + Send {
        let get = Self::get(self);
        match limit {
            Limit::Timeout(limit) => get.timeout(limit),
            Limit::Deadline(at) => get.deadline(at),
        }
    }

    fn try_get(&self, _: usize) -> Result<Self::Lease, Error<Trouble>> {
        Self::try_get(self)
    }

    fn item(share: &Self::Lease) -> &Item {
        share
    }

    fn taint(share: &mut Self::Lease) {
        Share::taint(share);
    }

    fn half_way(share: &mut Self::Lease) {
        poll_once(Share::run(share, async |_| yield_now().await));
    }

    fn breaks(share: &mut Self::Lease) {
        // A connection that died takes no place, however long users hold its shares.
        share.leave();
        gauge(share).dead();
    }

    async fn odd(share: &mut Self::Lease) {
        let gauge = gauge(share).clone();
        match thread_rng().gen_range(0..4) {
            0 => {
                gauge.set_capacity(thread_rng().gen_range(0..CAPACITY));
                yield_now().await;
                gauge.set_capacity(CAPACITY);
            }
            1 => {
                gauge.suspect();
                yield_now().await;
                gauge.trust();
            }
            2 => gauge.drain(),
            _ => poll_once(Share::died(share)),
        }
    }

    /// A shared connection cannot be taken out.
    fn detach(share: Self::Lease) -> Option<Item> {
        share.let_go();
        drop(share);
        None
    }

    async fn operate(&self) {
        drop(self.warm_up().await);
    }

    as_a_whole!();

    /// The task that made a connection suspect or drained it may have gone with its runtime.
    fn mend(&self) {
        Self::retire_all(self);
    }

    /// A share of a connection that is too old keeps it open, and the connection gives no other share. So all connections but the
    /// last may carry only one.
    fn leases_of(size: u32) -> usize {
        (size - 1 + CAPACITY) as usize
    }

    fn unserved(&self) -> Result<(), String> {
        let status = self.status();
        let SharedStatus {
            open,
            draining,
            opening,
            closing,
            ..
        } = status;
        if status.waiting == 0 {
            return Ok(());
        }
        if status.available > 0 {
            return Err(format!("somebody waits while one is free: {status:?}"));
        }
        let room = open + draining + opening + closing < status.max_size;
        if room && opening == 0 && status.last_error.is_none() {
            return Err(format!(
                "somebody waits and there is room, but nothing is opened: {status:?}"
            ));
        }
        Ok(())
    }
}

models! { SharedPool<Backend>:
    users_of_any_manager_lose_nothing(users_only), caught by
        mutant_cancel_keeps_grant = ShareCancelKeepsGrant,
        mutant_last_ends_nothing = ShareLastEndsNothing;

    users_and_operators_lose_nothing(users_and_operators), caught by
        mutant_failed_open_keeps_place = ShareFailedOpenKeepsPlace;

    users_of_a_pool_that_closes_come_to_an_end(users_of_a_pool_that_closes), caught by
        mutant_close_has_no_end = CloseHasNoEnd;

    users_of_a_runtime_that_ends_cost_the_others_nothing(users_of_two_runtimes), caught by
        mutant_cancelled_get_keeps_its_grant = ShareCancelKeepsGrant;
}
