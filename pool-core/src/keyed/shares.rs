//! Shares: how resources are lent that many use at a time.
//!
//! A shared resource is idle while no share of it is out, and leased from its first share to its last. So it has one seat, it is
//! evicted, it ages and it is counted like any other resource; only a lease is not one holder but a count of them.
//!
//! A share is given back by the number of the open ([`LinkId`]). If the resource died meanwhile, or its seat belongs to another,
//! nothing is to be done. So a death, a drain and the return of a share need no handshake: the number decides.

use std::time::Duration;

use super::{
    grant::{Grant, Lends, Token},
    kernel::Kernel,
    seats::SeatState,
    state::{LATE, State},
    table::NIL,
    turns::Claim,
    work::Work,
};
use crate::{
    engine::mutation::{self, Mutation},
    gauge::LinkId,
    moment::Moment,
    observe::CloseReason,
    sync::Arc,
};

impl<K, T: Lends, E: Clone> State<K, T, E> {
    /// Gives a share of the least loaded resource of `key`, if one can be given.
    pub(super) fn pick_share(&mut self, key: u32, now: Moment) -> Option<Token<T::Share>> {
        let index = self.least_loaded(key, now)?;
        if self.is_unused_and_over(key, index, now) {
            return None;
        }
        self.give_share(index)
    }

    /// Hands shares to the waiters of `key` for as long as there are both.
    pub(super) fn hand_out(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        key: u32,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        while self.waiting(key) > 0
            && let Some(index) = self.least_loaded(key, now)
        {
            if self.is_unused_and_over(key, index, now) {
                let Some(slot) = self.pick_up(key, index) else {
                    return;
                };
                self.retire(slot, CloseReason::Lifetime, work);
                continue;
            }
            let Some(token) = self.give_share(index) else {
                return;
            };
            if let Err(grant) = self.grant(kernel, key, Grant::Many(token), now, work) {
                self.take_back(kernel, grant, now, work);
            }
            if mutation::on(Mutation::MixedOpenServesOne) {
                return;
            }
        }
    }

    /// Returns the resource of `key` that has a free share and is least loaded, by the part of its capacity that is in use. Of
    /// equally loaded ones it is the youngest, so that the older ones are not used any more and reach their idle timeout. One whose
    /// lifetime is over comes last.
    fn least_loaded(&self, key: u32, now: Moment) -> Option<u32> {
        let links = self.table.cold(key).links.iter().copied();
        let roomy = links.filter(|index| self.seats.free_shares(*index) > 0);
        let looked = roomy.map(|index| {
            let over = now >= self.seats.expires_at(index);
            (over, self.seats.load(index), index)
        });
        let least = looked.reduce(|best, other| {
            let comes_before = match best.0 == other.0 {
                true => other.1.comes_before(best.1),
                false => best.0,
            };
            if comes_before { other } else { best }
        });
        least.map(|(_, _, index)| index)
    }

    /// Whether no share of this resource is out, and its lifetime is over.
    fn is_unused_and_over(&self, key: u32, index: u32, now: Moment) -> bool {
        self.seats.state(index) == SeatState::Idle
            && now >= self.seats.expires_at(index)
            && !self.table.cold(key).gate.is_failing()
    }

    fn give_share(&mut self, index: u32) -> Option<Token<T::Share>> {
        let share = self.seats.slot(index)?.item.share()?;
        if self.seats.give_share(index) {
            self.set(index, SeatState::Leased);
        }
        let link = self.seats.link(index);
        Some(Token { link, share })
    }

    /// Returns how many shares of resources of `key` can be given, and how many of these resources are idle.
    pub(super) fn free_shares(&self, key: u32) -> (u32, u32) {
        let links = self.table.cold(key).links.iter();
        links.fold((0, 0), |(free, unused), index| {
            let idle = self.seats.state(*index) == SeatState::Idle;
            let more = self.seats.free_shares(*index);
            (u32::saturating_add(free, more), unused + u32::from(idle))
        })
    }

    /// A share came back. Its resource goes to the first waiter of its key, or it is idle now, or it is closed.
    pub(super) fn put_share(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        link: LinkId,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        self.now = self.now.max(now);
        let index = link.index;
        if !self.seats.is_there(link) && !mutation::on(Mutation::MixedReturnToTheDead) {
            return;
        }
        let key = self.seats.key(index);
        if !self.seats.take_share(index) {
            if !mutation::on(Mutation::MixedReturnServesNobody) && self.table.at(key).lane != NIL {
                self.meet(kernel, key, now, work);
            }
        } else if mutation::on(Mutation::MixedLastShareEndsNothing)
            && self.seats.ends(index).is_some()
        {
            self.set(index, SeatState::Idle);
        } else if let Some(mut slot) = self.pick_up(key, index) {
            (slot.used_at, slot.idle_since) = (now, now);
            slot.served = true;
            self.settle(kernel, slot, now, work);
        }
    }

    /// The usual case of a return of a share: nobody waits for it, and the resource may stay. Returns whether it was that.
    #[inline]
    pub(super) fn lays_share_back(&mut self, link: LinkId, now: Moment) -> bool {
        let index = link.index;
        if !self.seats.is_there(link) {
            return false;
        }
        let key = self.seats.key(index);
        if self.table.at(key).lane != NIL {
            return false;
        }
        let (_, used) = self.seats.shares(index);
        if used > 1 {
            self.seats.take_share(index);
            return true;
        }
        let still = self.seats.ends(index).is_none()
            && self
                .seats
                .slot(index)
                .is_some_and(|slot| self.lies_still(key, slot, now));
        if still {
            self.seats.take_share(index);
            if mutation::on(Mutation::MixedUnusedIsNotEvicted) {
                return still;
            }
            self.set(index, SeatState::Idle);
            self.seats.rest(index, now);
        }
        still
    }

    /// The resource gives no more shares and no more leases, and is closed when nobody uses it any more.
    pub(super) fn drain(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        index: u32,
        reason: CloseReason,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let key = self.seats.key(index);
        match self.seats.state(index) {
            SeatState::Idle => {
                if let Some(slot) = self.pick_up(key, index) {
                    self.retire(slot, reason, work);
                }
            }
            SeatState::Leased if self.seats.is_shared(index) => self.begin_drain(index, reason),
            _ if self.seats.ends(index).is_none() => self.end(index, reason),
            _ => {}
        }
        self.meet(kernel, key, now, work);
    }

    /// Lets no more shares be given of this resource that is in use.
    pub(super) fn begin_drain(&mut self, index: u32, reason: CloseReason) {
        if self.seats.is_draining(index) {
            // What is drained for a turn may be recalled, but not if there is another reason by now.
            if self.seats.ends(index) == Some(CloseReason::Evicted)
                && reason != CloseReason::Evicted
            {
                self.turn_drains -= 1;
                self.seats.end(index, reason);
            }
            return;
        }
        self.seats.end(index, reason);
        let key = self.seats.key(index);
        self.table.cold_mut(key).draining += 1;
        self.draining += 1;
        self.turn_drains += u32::from(reason == CloseReason::Evicted);
        self.refresh(key);
    }

    /// A resource that is drained is about to leave this state, which the counts of those that are have to know.
    #[inline]
    pub(super) fn drained(&mut self, index: u32) {
        if self.seats.is_draining(index) {
            self.count_drained(index);
        }
    }

    #[cold]
    fn count_drained(&mut self, index: u32) {
        let key = self.seats.key(index);
        self.table.cold_mut(key).draining -= 1;
        self.draining -= 1;
        self.turn_drains -= u32::from(self.seats.ends(index) == Some(CloseReason::Evicted));
    }

    /// Lets shares be given again of what was drained for the turns of other keys, since none wants a place any more.
    fn recall_drains(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let in_use: Vec<_> = self.seats.shared_in_use().collect();
        for index in in_use {
            if self.seats.ends(index) == Some(CloseReason::Evicted) {
                self.count_drained(index);
                self.seats.recall(index);
                self.meet(kernel, self.seats.key(index), now, work);
            }
        }
    }

    /// What has this seat closes it as soon as it gives it back.
    fn end(&mut self, index: u32, reason: CloseReason) {
        self.seats.end(index, reason);
        // A seat that is not noted takes the long way when it is returned.
        self.seats.look_at(index, Moment::NEVER);
    }

    /// The resource is dead. Its seat is free as soon as it is dropped, whoever has a share of it.
    pub(super) fn die(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        index: u32,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let key = self.seats.key(index);
        if mutation::on(Mutation::MixedDeadKeepsPlace)
            && self.seats.state(index) == SeatState::Leased
        {
            return self.begin_drain(index, CloseReason::Broken);
        }
        // The slot is there if it is idle, or shared and in use. Else somebody has it, who gives it back.
        if let Some(slot) = self.pick_up(key, index) {
            work.deaths.extend(slot.item.share());
            self.retire(slot, CloseReason::Broken, work);
        } else {
            self.end(index, CloseReason::Broken);
        }
        self.meet(kernel, key, now, work);
    }

    /// Sets how many shares of the resource there may be at once.
    pub(super) fn set_capacity(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        index: u32,
        capacity: u32,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let (before, _) = self.seats.shares(index);
        if capacity < before && mutation::on(Mutation::MixedCapacityNeverFalls) {
            return;
        }
        self.seats.set_capacity(index, capacity);
        if self.seats.is_shared(index) {
            let key = self.seats.key(index);
            self.table.cold_mut(key).expected = capacity.max(1);
            if !mutation::on(Mutation::MixedCapacityServesNobody) {
                self.meet(kernel, key, now, work);
            }
        }
    }

    /// Sets whether the resource is suspect. No share of a suspect one is given; one that is lent to one at a time is checked
    /// before it is used.
    pub(super) fn set_suspect(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        index: u32,
        suspect: bool,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        self.seats.set_suspect(index, suspect);
        let key = self.seats.key(index);
        if !self.seats.is_shared(index) {
            match self.seats.state(index) {
                SeatState::Idle => {
                    if let Some(slot) = self.pick_up(key, index) {
                        self.lay_down(key, slot, work);
                    }
                }
                // A seat that is not noted takes the long way when it is returned.
                SeatState::Leased => self.seats.look_at(index, Moment::NEVER),
                _ => {}
            }
        }
        self.meet(kernel, key, now, work);
    }

    /// The lifetime of a shared resource that is in use is over: it is drained if its key has another with a free share, or a place
    /// for one. Else it goes on, so that nobody waits because of its age.
    pub(super) fn expire(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        index: u32,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        let (key, ends) = (self.seats.key(index), self.seats.expires_at(index));
        if self.seats.is_draining(index) || ends == Moment::NEVER {
            return;
        }
        if now < ends {
            self.look_at(index, ends);
            return self.call_keeper(ends, work);
        }
        let other = self
            .least_loaded(key, now)
            .is_some_and(|other| other != index && now < self.seats.expires_at(other));
        let (row, cold) = (self.table.at(key), self.table.cold(key));
        let place = self.has_room()
            && row.taken() < row.terms().max_size
            && !cold.gate.is_failing()
            && !self.closed;
        if other || place {
            self.drain(kernel, index, CloseReason::Lifetime, now, work);
        } else {
            self.look_at(index, now + LATE);
            self.call_keeper(now + LATE, work);
        }
    }

    /// Drains shared resources that are in use, because other keys want places and nothing is idle, closing, or given back in
    /// between. It is the turn of a shared resource: an exclusive one gives its place up when it is returned, and a shared one may
    /// never be without a share.
    ///
    /// At most an eighth of the bound is drained at a time, and one at least. With shares that last, more would cost all other keys
    /// what they have: a key whose connection is drained has nothing, and wants a place itself. If no key wants a place any more,
    /// what was drained goes on.
    pub(super) fn drain_for_turns(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        if self.turn_drains > 0 && self.turns.wanted() == 0 && !self.closed {
            self.recall_drains(kernel, now, work);
        }
        let stuck = self.turns.wanted() > 0
            && self.seats.count(SeatState::Closing) == 0
            && self.seats.oldest().is_none()
            && !self.has_room()
            && !mutation::on(Mutation::MixedSharedNeverYields);
        if !stuck {
            self.turn_at = Moment::NEVER;
            return;
        }
        if self.turn_at == Moment::NEVER {
            if self.seats.shared_in_use().next().is_none() {
                return;
            }
            self.turn_at = now + TURN;
        } else if now >= self.turn_at {
            let starved = u32::try_from(self.turns.starved()).unwrap_or(u32::MAX);
            let most = (self.max_total / 8).max(1);
            let mut due = starved.min(most.saturating_sub(self.turn_drains));
            while due > 0
                && let Some(index) = self.owing(0)
            {
                self.begin_drain(index, CloseReason::Evicted);
                due -= 1;
            }
            if starved == 0
                && self.turn_drains < most
                && let Some(other) = self.turns.first(Claim::Wanting)
                && let Some(index) = self.owing(self.held(other) + 1)
            {
                self.begin_drain(index, CloseReason::Evicted);
                self.turns.prefer(other);
            }
            // Most have ended their shares by then.
            self.turn_at = now + LATE;
        }
        self.call_keeper(self.turn_at, work);
    }

    /// Returns the shared resource that gives its place up first: the least used of the key with most seats, which has more than
    /// `held`.
    fn owing(&self, held: u32) -> Option<u32> {
        let in_use = self.seats.shared_in_use();
        let owes = in_use.filter(|index| {
            !self.seats.is_draining(*index) && self.held(self.seats.key(*index)) > held
        });
        owes.max_by_key(|index| {
            let (_, used) = self.seats.shares(*index);
            (self.held(self.seats.key(*index)), u32::MAX - used)
        })
    }

    /// Drains shared resources that are in use and more than a bound that became smaller allows.
    pub(super) fn drain_surplus(&mut self, of: Option<u32>) {
        let surplus = |state: &Self| match of {
            Some(key) => state.held(key) > state.table.at(key).terms().max_size,
            None => state.in_use() > state.max_total,
        };
        let meant = |state: &Self, index: &u32| {
            let its = state.seats.key(*index);
            !state.seats.is_draining(*index) && of.is_none_or(|key| key == its)
        };
        while surplus(self) {
            let in_use = self.seats.shared_in_use();
            let least = in_use
                .filter(|index| meant(self, index))
                .min_by_key(|index| self.seats.shares(*index).1);
            let Some(index) = least else { return };
            self.begin_drain(index, CloseReason::Shrunk);
        }
    }

    /// Drains all shared resources of a key, or of all keys, that are in use.
    pub(super) fn drain_all(&mut self, of: Option<u32>, reason: CloseReason) {
        let in_use: Vec<_> = self.seats.shared_in_use().collect();
        for index in in_use {
            if of.is_none_or(|key| key == self.seats.key(index)) {
                self.begin_drain(index, reason);
            }
        }
    }
}

/// How long a key wants a place in vain until a shared resource is drained for it.
const TURN: Duration = Duration::from_millis(100);
