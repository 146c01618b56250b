//! The keepers of a limiter, one for each runtime on which an acquire has waited: which keepers there are, and how they are called.
//!
//! | seat | its keeper | changed by |
//! |---|---|---|
//! | none | there is none | an acquire that waits on that runtime: `claim`, and then it starts one |
//! | ticking | sleeps until the next tick, or was called and comes by soon | the keeper: `settle`, `leave` |
//! | parked | waits to be called | `call`, when a grant is made; `leave` |
//! | failed | cannot run on that runtime: no other keeper is started | nothing |
//!
//! One keeper would do if every runtime were always driven. An undriven runtime (its `block_on` has returned, and no thread is in
//! it now) keeps its tasks and polls none, and waiters elsewhere cannot see that. So each waiter has a keeper on the runtime that
//! polls it, unless one keeper is on a runtime with threads of its own, which drive it as long as it lives.

use std::{mem, task::Waker, time::Duration};

use crate::{
    engine::mutation::{self, Mutation},
    moment::Moment,
};

/// The keepers; accessed under the lock of the limiter.
#[derive(Debug)]
pub(super) struct Keepers {
    /// A few: as many as there are runtimes.
    seats: Vec<Seat>,
    /// How many keepers wait to be called.
    parked: usize,
    /// No keeper may start any more.
    dismissed: bool,
}

#[derive(Debug)]
struct Seat {
    /// The number of the runtime.
    home: u64,
    /// The limiter's time when the keeper last came by.
    seen: Moment,
    keeper: Keeper,
}

#[derive(Debug)]
enum Keeper {
    Ticking,
    Parked(Waker),
    Failed,
}

impl Keeper {
    fn take(&mut self, next: Self) -> Option<Waker> {
        match mem::replace(self, next) {
            Self::Parked(keeper) => Some(keeper),
            Self::Ticking | Self::Failed => None,
        }
    }
}

impl Keepers {
    pub(super) const fn new() -> Self {
        Self {
            seats: Vec::new(),
            parked: 0,
            dismissed: false,
        }
    }

    /// Whether no keeper has been started yet.
    pub(super) const fn are_awaited(&self) -> bool {
        self.seats.is_empty() && !self.dismissed
    }

    /// Whether the caller may start a keeper on the runtime `home`.
    pub(super) fn claim(&mut self, home: u64, now: Moment) -> bool {
        if self.dismissed || self.seats.iter().any(|seat| seat.home == home) {
            return false;
        }
        self.seats.push(Seat {
            home,
            seen: now,
            keeper: Keeper::Ticking,
        });
        true
    }

    /// Passes the wakers of the keepers that wait to be called to `wake`.
    #[inline]
    pub(super) fn call(&mut self, wake: impl FnMut(Waker)) {
        if self.parked > 0 {
            self.parked = 0;
            let seats = self.seats.iter_mut();
            let parked = seats.filter(|seat| matches!(seat.keeper, Keeper::Parked(_)));
            parked
                .filter_map(|seat| seat.keeper.take(Keeper::Ticking))
                .for_each(wake);
        }
    }

    /// A keeper comes by, having slept for `passed`. Returns the current time.
    ///
    /// The keeper moves the time on only if no other keeper did while it slept. So two moves are at least one sleep apart, however
    /// many keepers there are, and the time is never ahead of the clock. When one keeper does not come by any more, the others go
    /// on.
    pub(super) fn come_by(&mut self, home: u64, passed: Duration, now: Moment) -> Moment {
        let first = self.seats.first().is_some_and(|seat| seat.home == home);
        let Some(seat) = self.seat(home) else {
            return now;
        };
        let moves =
            seat.seen == now && (first || !mutation::on(Mutation::PermitFirstKeeperIsTrusted));
        let now = if moves { now + passed } else { now };
        seat.seen = now;
        now
    }

    /// A keeper that has come by waits to be called, if it gives its waker; else it ticks. Drop the returned waker with nothing
    /// locked.
    #[must_use]
    pub(super) fn settle(&mut self, home: u64, waker: Option<Waker>) -> Option<Waker> {
        let parks = waker.is_some();
        let Some(seat) = self.seat(home) else {
            return waker;
        };
        let old = seat
            .keeper
            .take(waker.map_or(Keeper::Ticking, Keeper::Parked));
        self.parked += usize::from(parks);
        self.parked -= usize::from(old.is_some());
        old
    }

    /// A keeper has gone. `again`: another may be started on that runtime. Drop the returned waker with nothing locked.
    #[must_use]
    pub(super) fn leave(&mut self, home: u64, again: bool) -> Option<Waker> {
        let index = self.seats.iter().position(|seat| seat.home == home)?;
        let old = self.seats[index].keeper.take(Keeper::Failed);
        self.parked -= usize::from(old.is_some());
        if again {
            self.seats.remove(index);
        }
        old
    }

    /// Ends all keepers. Returns the wakers to wake.
    #[must_use]
    pub(super) fn dismiss(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        self.call(|keeper| wakers.push(keeper));
        self.seats = Vec::new();
        self.dismissed = true;
        wakers
    }

    fn seat(&mut self, home: u64) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|seat| seat.home == home)
    }
}
