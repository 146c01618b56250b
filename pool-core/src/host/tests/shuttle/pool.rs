//! Pools of resources that each serve one user at a time.

use std::{sync::atomic::Ordering::SeqCst, time::Duration};

use shuttle::thread;

use super::{
    backend::{Backend, Item, Trouble, one_in, poll_once, yield_now},
    face::{Face, Limit, as_a_whole, exclusive, has_room, held_alone, missing},
    models,
    world::{MAX_OPENING, SIZE},
};
use crate::{Drained, Error, Lease, Pool};

impl Face for Pool<Backend> {
    type Lease = Lease<Backend>;

    fn build(backend: Backend) -> Self {
        let builder = exclusive!(Self::builder(backend).max_size(SIZE));
        let builder = builder.min_idle(u32::from(one_in(3)));
        builder.build().expect("the settings are good")
    }

    fn get(
        &self,
        _: usize,
        limit: Limit,
    ) -> impl Future<Output = Result<Self::Lease, Error<Trouble>>> + Send {
        let get = Self::get(self).label("user");
        match limit {
            Limit::Timeout(limit) => get.timeout(limit),
            Limit::Deadline(at) => get.deadline(at),
        }
    }

    fn try_get(&self, _: usize) -> Result<Self::Lease, Error<Trouble>> {
        Self::try_get(self)
    }

    held_alone!(Lease);

    async fn operate(&self) {
        if one_in(2) {
            drop(self.warm_up().await);
            return;
        }
        self.retain(|item, _| {
            item.hold();
            thread::yield_now();
            item.let_go();
            !one_in(3)
        });
    }

    as_a_whole!();

    fn unserved(&self) -> Result<(), String> {
        let status = self.status();
        missing(&status, has_room(&status) && status.opening < MAX_OPENING)
    }
}

models! { Pool<Backend>:
    users_of_any_manager_lose_nothing(users_only), caught by
        mutant_panicked_open_keeps_seat = PanickedOpenKeepsSeat,
        mutant_dropped_get_stays_in_line = DroppedGetStaysInLine,
        mutant_failed_reset_is_handed_on = FailedResetIsHandedOn,
        mutant_taint_is_forgotten = TaintIsForgotten,
        mutant_old_tick_is_trusted = OldTickIsTrusted;

    users_and_operators_lose_nothing(users_and_operators), caught by
        mutant_opening_is_not_counted = OpeningIsNotCounted;

    users_of_a_pool_that_closes_come_to_an_end(users_of_a_pool_that_closes), caught by
        mutant_close_has_no_end = CloseHasNoEnd,
        mutant_return_ignores_close = ReturnIgnoresClose;

    users_of_a_runtime_that_ends_cost_the_others_nothing(users_of_two_runtimes), caught by
        mutant_keeper_is_not_restarted = KeeperIsNotRestarted,
        mutant_timer_is_polled_elsewhere = TimerIsPolledElsewhere;
}
