//! Keyed pools: two keys that may have two resources each, and a smaller bound in total.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use shuttle::thread;

use super::{
    backend::{Backend, Item, KEYS, OF_KEY, Trouble, one_in, poll_once, yield_now},
    face::{Face, Limit, as_a_whole, exclusive, has_room, held_alone, missing},
    models,
    world::{MAX_OPENING, SIZE},
};
use crate::{Drained, Error, KeyedLease, KeyedPool};

fn key(which: usize) -> &'static u8 {
    &KEYS[which % KEYS.len()]
}

impl Face for KeyedPool<u8, Backend> {
    type Lease = KeyedLease<u8, Backend>;

    fn build(backend: Backend) -> Self {
        let builder = Self::builder(backend).max_size(OF_KEY).max_total(SIZE);
        let builder = exclusive!(builder);
        builder.build().expect("the settings are good")
    }

    async fn get(&self, which: usize, limit: Limit) -> Result<Self::Lease, Error<Trouble>> {
        let get = Self::get(self, key(which)).label("user");
        let lease = match limit {
            Limit::Timeout(limit) => get.timeout(limit),
            Limit::Deadline(at) => get.deadline(at),
        };
        let lease = lease.await?;
        lease.is_of(*key(which));
        Ok(lease)
    }

    fn try_get(&self, which: usize) -> Result<Self::Lease, Error<Trouble>> {
        Self::try_get(self, key(which))
    }

    held_alone!(KeyedLease);

    async fn operate(&self) {
        let which = key(usize::from(one_in(2)));
        if one_in(3) {
            drop(self.warm_up(which, 1).await);
        } else if one_in(2) {
            self.retire(which);
        } else {
            self.retain(|key, item, _| {
                item.is_of(*key);
                item.hold();
                thread::yield_now();
                item.let_go();
                !one_in(3)
            });
        }
    }

    as_a_whole!();

    fn unserved(&self) -> Result<(), String> {
        let all = self.status();
        for (key, of) in self.statuses() {
            let more = has_room(&of) && of.opening < MAX_OPENING;
            missing(&of, more && has_room(&all)).map_err(|what| format!("{key}: {what}"))?;
            let coming = of.opening + of.checking + of.resetting;
            // One whose open is late gets only what nobody else wants.
            let firm = of.opening == 0 && of.last_error.is_none();
            let wants = more && firm && of.waiting > coming as usize;
            if wants && all.idle > 0 && all.closing == 0 {
                return Err(format!(
                    "{key} waits, and an idle one of another key is kept: {of:?} of {all:?}"
                ));
            }
        }
        Ok(())
    }
}

models! { KeyedPool<u8, Backend>:
    users_of_any_manager_lose_nothing(users_only), caught by
        mutant_evicted_frees_too_early = KeyEvictedFreesTooEarly,
        mutant_opening_is_not_counted = KeyOpeningIsNotCounted,
        mutant_key_is_used_after_it_went = KeyIsUsedAfterItWent,
        mutant_panicked_open_keeps_seat = PanickedOpenKeepsSeat;

    users_and_operators_lose_nothing(users_and_operators), caught by
        mutant_failed_reset_is_handed_on = FailedResetIsHandedOn;

    users_of_a_pool_that_closes_come_to_an_end(users_of_a_pool_that_closes), caught by
        mutant_close_has_no_end = CloseHasNoEnd;

    users_of_a_runtime_that_ends_cost_the_others_nothing(users_of_two_runtimes), caught by
        mutant_free_place_serves_nobody = KeyFreePlaceServesNobody;
}
