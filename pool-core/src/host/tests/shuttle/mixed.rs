//! Keyed pools of which some connections are shared, and any of which may become suspect, drain and die.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use shuttle::{
    rand::{Rng, thread_rng},
    thread,
};

use super::{
    backend::{Backend, CAPACITY, Item, KEYS, OF_KEY, Trouble, one_in, poll_once, yield_now},
    face::{Face, Limit, as_a_whole, exclusive, has_room},
    models,
    world::SIZE,
};
use crate::{Drained, Error, Gauge, Held, MixedLease, MixedPool, MixedShare, MixedStatus, Opened};

fn key(which: usize) -> &'static u8 {
    &KEYS[which % KEYS.len()]
}

fn gauge(item: &Item) -> &Gauge {
    item.gauge.as_ref().expect("each has a gauge")
}

impl Face for MixedPool<u8, Backend> {
    type Lease = Held<u8, Backend>;

    fn build(backend: Backend) -> Self {
        let builder = Self::builder(backend).max_size(OF_KEY).max_total(SIZE);
        let builder = exclusive!(builder);
        builder.build().expect("the settings are good")
    }

    async fn get(&self, which: usize, limit: Limit) -> Result<Self::Lease, Error<Trouble>> {
        let get = Self::get(self, key(which)).label("user");
        let held = match limit {
            Limit::Timeout(limit) => get.timeout(limit),
            Limit::Deadline(at) => get.deadline(at),
        };
        let held = held.await?;
        Self::item(&held).is_of(*key(which));
        Ok(held)
    }

    fn try_get(&self, which: usize) -> Result<Self::Lease, Error<Trouble>> {
        Self::try_get(self, key(which))
    }

    fn item(held: &Self::Lease) -> &Item {
        match held {
            Held::One(item) => item,
            Held::Many(item) => item,
        }
    }

    fn taint(held: &mut Self::Lease) {
        match held {
            Held::One(lease) => {
                lease.dirty.store(true, SeqCst);
                MixedLease::taint(lease);
            }
            Held::Many(share) => MixedShare::taint(share),
        }
    }

    fn half_way(held: &mut Self::Lease) {
        match held {
            Held::One(lease) => {
                let operation = async |item: &mut Item| {
                    item.dirty.store(true, SeqCst);
                    yield_now().await;
                    item.dirty.store(false, SeqCst);
                };
                poll_once(MixedLease::run(lease, operation));
            }
            Held::Many(share) => poll_once(MixedShare::run(share, async |_| yield_now().await)),
        }
    }

    fn breaks(held: &mut Self::Lease) {
        match held {
            Held::One(lease) if one_in(2) => lease.broken.store(true, SeqCst),
            // Its place is free when its user has gone.
            Held::One(lease) => gauge(lease).dead(),
            Held::Many(share) => {
                // A shared connection that died takes no place, however long users hold its shares.
                share.leave();
                gauge(share).dead();
            }
        }
    }

    async fn odd(held: &mut Self::Lease) {
        let of = gauge(Self::item(held)).clone();
        match thread_rng().gen_range(0..5) {
            0 => {
                of.set_capacity(thread_rng().gen_range(0..CAPACITY));
                yield_now().await;
                of.set_capacity(CAPACITY);
            }
            1 => {
                of.suspect();
                yield_now().await;
                of.trust();
            }
            2 => of.drain(),
            // Its state from then on does not concern its user.
            3 => drop(thread::spawn(move || {
                thread::yield_now();
                if one_in(2) { of.drain() } else { of.suspect() }
            })),
            _ => match held {
                Held::One(lease) => MixedLease::label(lease, "renamed"),
                Held::Many(share) => poll_once(MixedShare::died(share)),
            },
        }
    }

    /// A shared connection cannot be taken out.
    fn detach(held: Self::Lease) -> Option<Item> {
        match held {
            Held::One(lease) => {
                lease.leave();
                Some(MixedLease::detach(lease))
            }
            Held::Many(share) => {
                share.let_go();
                drop(share);
                None
            }
        }
    }

    async fn operate(&self) {
        let which = key(usize::from(one_in(2)));
        if one_in(3) {
            drop(self.warm_up(which, 1).await);
        } else if one_in(2) {
            self.retire(which);
        } else {
            self.retain(|key, connection, _| {
                let item: &Item = match connection {
                    Opened::One(item) => item,
                    Opened::Many(item) => item,
                };
                item.is_of(*key);
                item.hold();
                thread::yield_now();
                item.let_go();
                !one_in(3)
            });
        }
    }

    as_a_whole!();

    /// Whoever made a connection suspect, or took its capacity, may have gone with its runtime.
    fn mend(&self) {
        Self::retire_all(self);
    }

    fn unserved(&self) -> Result<(), String> {
        let all = self.status().connections;
        for (key, of) in self.statuses() {
            let MixedStatus {
                ref connections,
                available,
                shared,
                ..
            } = of;
            let coming = connections.opening + connections.checking + connections.resetting;
            if connections.waiting <= coming as usize {
                continue;
            }
            if available > 0 {
                return Err(format!("{key} waits while a share is free: {of:?}"));
            }
            // How many an open serves is known when it has ended: until then, all may count on it.
            if connections.opening > 0 {
                continue;
            }
            if shared == 0 && connections.idle > 0 {
                return Err(format!("{key} waits while one is idle: {of:?}"));
            }
            let wants = connections.last_error.is_none() && has_room(connections);
            if wants && has_room(&all) {
                return Err(format!(
                    "{key} waits and there is room, but nothing is opened: {of:?} of {all:?}"
                ));
            }
            if wants && all.idle > 0 && all.closing == 0 {
                return Err(format!(
                    "{key} waits, and an idle one is kept: {of:?} of {all:?}"
                ));
            }
        }
        Ok(())
    }
}

models! { MixedPool<u8, Backend>:
    users_of_any_manager_lose_nothing(users_only), caught by
        mutant_cancel_keeps_share = MixedCancelKeepsShare,
        mutant_last_share_ends_nothing = MixedLastShareEndsNothing,
        mutant_reclaim_keeps_share = MixedReclaimKeepsShare,
        mutant_unused_is_not_evicted = MixedUnusedIsNotEvicted;

    users_and_operators_lose_nothing(users_and_operators), caught by
        mutant_failed_reset_is_handed_on = FailedResetIsHandedOn;

    users_of_a_pool_that_closes_come_to_an_end(users_of_a_pool_that_closes), caught by
        mutant_close_has_no_end = CloseHasNoEnd;

    users_of_a_runtime_that_ends_cost_the_others_nothing(users_of_two_runtimes), caught by
        mutant_cancelled_get_keeps_its_share = MixedCancelKeepsShare;
}
