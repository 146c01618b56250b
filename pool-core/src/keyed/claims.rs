//! The claims of keys to places, and which key has to give a place up.
//!
//! A key with waiters has a *firm* claim. If the pool has no room, an idle resource of another key is closed for the claim, and a
//! returned slot may be closed to free its place for it. Two kinds of opens are not worth an eviction and get only places that no
//! other key wants:
//!
//! - *A spare open*, for a key whose opens hang. An open that takes longer than [`LATE`] no longer counts as supply, so the key
//!   begins another. If such opens took places from other keys, one key that leads nowhere would soon hold all places.
//! - *A probe*, which finds out whether a key that failed can be opened again. There may be thousands of keys to probe.
//!
//! In a full pool neither kind may ever get a place, and a failing key would never be tried again. So one probe per second gets a
//! turn as if its key had a waiter ([`State::favour`]). An open that holds a place for long is called off when a key with fewer
//! places wants one ([`State::call_off`]). Each key keeps its oldest open, so that an open that is only slow completes.

use std::time::Duration;

use super::{
    grant::Lends,
    kernel::Kernel,
    seats::{SeatState, Slot},
    state::{FAVOUR_EVERY, LATE, State},
    table::NIL,
    turns::Claim,
    work::Work,
};
use crate::{
    engine::mutation::{self, Mutation},
    moment::Moment,
    observe::CloseReason,
    sync::Arc,
};

impl<K, T: Lends, E: Clone> State<K, T, E> {
    /// Returns how many places the key wants, and the kind of its claim.
    pub(super) fn claim(&self, key: u32) -> (u32, Claim) {
        let Some(row) = self.table.get(key).filter(|_| !self.closed) else {
            return (0, Claim::Probe);
        };
        let waiting = self.lanes.waiting(row.lane);
        let cold = self.table.cold(key);
        let missing = match waiting {
            0 => 0,
            waiting => self.missing(key, waiting),
        };
        // A probed key may also hold a place: the place of a lost open.
        let firm = if self.held(key) == 0 {
            Claim::Starved
        } else {
            Claim::Wanting
        };
        let (missing, claim) = if missing == 0 {
            // A probe finds out when the backend of this key is back.
            let probes = cold.gate.is_failing() && self.is_remembered(key);
            let favoured = self.favoured == key || mutation::on(Mutation::KeyProberEvicts);
            let claim = if favoured { firm } else { Claim::Probe };
            match self.short_of_idle(key) {
                0 => (usize::from(probes), claim),
                short => (short as usize, Claim::Spare),
            }
        } else if row.late_opens() > 0 && !mutation::on(Mutation::KeyHangingTakesAll) {
            (missing, Claim::Spare)
        } else {
            (missing, firm)
        };
        let opening = row.count(SeatState::Opening);
        let most = row.terms().max_opening;
        let room = row.terms().max_size.saturating_sub(row.taken());
        let room = room.min(most.saturating_sub(opening));
        // While opens fail, the key gets one attempt at a time. A lost open, on a runtime that polls no tasks, blocks no other
        // attempt.
        let attempts = if cold.gate.is_failing() {
            opening - cold.lost_opens
        } else {
            opening
        };
        let may_open = cold.gate.may_open(most, self.now);
        let want = room.min(may_open.saturating_sub(attempts));
        (want.min(u32::try_from(missing).unwrap_or(u32::MAX)), claim)
    }

    /// Returns how many places would serve the waiters of `key` that nothing is coming for.
    fn missing(&self, key: u32, waiting: usize) -> usize {
        let (row, cold) = (self.table.at(key), self.table.cold(key));
        let (free, unused) = self.free_shares(key);
        // If a check is late, the idle resources may not answer either. Then idle resources do not count as supply: an open is more
        // likely to succeed.
        let idle = match cold.late_checks {
            0 => row.count(SeatState::Idle) - unused,
            _ => 0,
        };
        let there = idle.saturating_add(free) as usize;
        let comes = self.coming(key).saturating_add(there);
        let missing = waiting.saturating_sub(comes);
        missing.div_ceil(self.expected(key) as usize)
    }

    /// Returns how many resources `key` lacks of those that it keeps idle, while it is in use, has no waiter and does not fail.
    fn short_of_idle(&self, key: u32) -> u32 {
        let row = self.table.at(key);
        let (keeps, cold) = (row.terms().min_idle, self.table.cold(key));
        let busy = self.waiting(key) > 0 || cold.gate.is_failing();
        if keeps == 0 || busy || !self.is_in_use(key) {
            return 0;
        }
        let coming = row.opening() - cold.reserved + row.coming_back(cold.late_checks);
        keeps.saturating_sub(self.ready(key) + coming)
    }

    /// Returns how many resources of `key` can serve one more.
    pub(super) fn ready(&self, key: u32) -> u32 {
        let links = self.table.cold(key).links.iter();
        let roomy = links.filter(|index| self.seats.free_shares(**index) > 0);
        let (_, unused) = self.free_shares(key);
        self.table.at(key).count(SeatState::Idle) - unused + roomy.count() as u32
    }

    /// Whether a resource of `key` is leased, or was within its idle timeout. What nobody has used yet does not count: a key would be
    /// kept open by what replaces that.
    pub(super) fn is_in_use(&self, key: u32) -> bool {
        let row = self.table.at(key);
        if row.count(SeatState::Leased) > 0 {
            return true;
        }
        let timeout = row.terms().idle_timeout.unwrap_or(Duration::MAX);
        let idle = self.idle_of(key).into_iter();
        let mut used = idle.filter_map(|index| self.seats.slot(index).filter(|slot| slot.uses > 0));
        used.any(|slot| self.now.since(slot.idle_since) < timeout)
    }

    /// Gives places to the keys in the order of their turns, and frees places for the claims that remain.
    pub(super) fn assign(
        &mut self,
        kernel: &Arc<Kernel<K, T, E>>,
        now: Moment,
        work: &mut Work<K, T, E>,
    ) {
        if !self.has_room() {
            self.favour(work);
        }
        while let Some((key, claim)) = self.turns.next() {
            if claim == Claim::Probe && self.probing >= self.most_probing() {
                return;
            }
            if self.has_room() {
                self.open(kernel, key, claim, now, work);
                if self.favoured == key {
                    self.favoured = NIL;
                }
                self.refresh(key);
                self.turns.pass(key);
            } else if !claim.is_firm() || !self.make_room(key, work) {
                return;
            }
        }
    }

    /// Starts to free a place for `key`, unless as many places are being freed as are wanted. Returns whether it did.
    fn make_room(&mut self, key: u32, work: &mut Work<K, T, E>) -> bool {
        if self.turns.wanted() <= self.seats.count(SeatState::Closing) as usize {
            return false;
        }
        let evicted = self
            .seats
            .idle_by_age()
            .find(|index| !self.is_barren(*index));
        let Some(index) = evicted else {
            return self.call_off(key, work);
        };
        let other = self.seats.key(index);
        let Some(slot) = self.pick_up(other, index) else {
            return false;
        };
        self.retire(slot, CloseReason::Evicted, work);
        true
    }

    /// Whether this idle resource is shared, was opened less than [`LATE`] ago, and has given nothing since, though its key has
    /// waiters. It has no capacity, or is suspect, and the next may be no better. So it is not evicted yet: else a backend of such
    /// connections would be dialled without a pause.
    fn is_barren(&self, index: u32) -> bool {
        let unused = |slot: &Slot<K, T, E>| slot.uses == 0 && self.now < slot.opened_at + LATE;
        self.seats.is_shared(index)
            && self.waiting(self.seats.key(index)) > 0
            && self.seats.slot(index).is_some_and(unused)
    }

    /// Whether the bound in total allows another seat.
    pub(super) fn has_room(&self) -> bool {
        let uncounted = if mutation::on(Mutation::KeyOpeningIsNotCounted) {
            SeatState::Opening
        } else if mutation::on(Mutation::KeyEvictedFreesTooEarly) {
            SeatState::Closing
        } else {
            SeatState::Free
        };
        self.seats.taken() - self.seats.count(uncounted) < self.max_total
    }

    /// Whether `key`, which has waiters and whose slot was just returned, must give the slot's place to another key.
    ///
    /// If keys have no place at all, it must, as long as fewer places are being freed than there are such keys. Otherwise, if no
    /// place is being freed, it must if another key that wants a place holds at least two fewer. Each such move makes the two keys
    /// more equal, so the moves come to an end.
    pub(super) fn yields(&mut self, key: u32) -> bool {
        if mutation::on(Mutation::KeyNeverYields) {
            return false;
        }
        let closing = self.seats.count(SeatState::Closing) as usize;
        let starved = self.turns.starved();
        if starved > 0 || closing > 0 {
            return starved > closing;
        }
        let Some(other) = self.turns.other_than(key) else {
            return false;
        };
        let yields = self.held(key) >= self.held(other) + 2;
        if yields {
            self.turns.prefer(other);
        }
        yields
    }

    /// Favours one probe: it gets a turn as if its key had a waiter. At most one probe each [`FAVOUR_EVERY`] is favoured, and only
    /// for a key with no live resource.
    fn favour(&mut self, work: &mut Work<K, T, E>) {
        let Some(key) = self.turns.first(Claim::Probe) else {
            return;
        };
        if self.favoured != NIL || self.probing >= self.most_probing() {
            return;
        }
        if self.now < self.favours_next {
            self.favour_due = self.favours_next;
            self.call_keeper(self.favours_next, work);
        } else if self.alive(key) > 0 {
            self.turns.pass(key);
        } else {
            self.favours_next = self.now + FAVOUR_EVERY;
            self.favoured = key;
            self.refresh(key);
        }
    }

    /// Returns how many probes may be under way at once.
    fn most_probing(&self) -> u32 {
        (self.max_total / 8).max(1)
    }

    /// Calls off the youngest open that owes its place to `key`. The task of the open sees that its seat is `Closing` and drops the
    /// half-open resource; then the place is free. Returns false if there is no such open.
    fn call_off(&mut self, key: u32, work: &mut Work<K, T, E>) -> bool {
        if mutation::on(Mutation::KeyHangingTakesAll) {
            return false;
        }
        self.forget_ended();
        let held = self.held(key);
        let owed = self
            .slow
            .iter()
            .filter(|(index, _)| self.owes(*index, held));
        let Some((index, _)) = owed.max_by_key(|(_, open)| *open).copied() else {
            return false;
        };
        self.set(index, SeatState::Closing);
        self.refresh(self.seats.key(index));
        work.called_off = true;
        true
    }

    /// Whether this open owes its place to a key that holds `held` places.
    ///
    /// A spare open owes its place if its key has no waiter. Any other open owes it by the rule for returns: its key holds at least
    /// two more places than `held`, and has something else that may succeed, which is an open resource or an open that began
    /// earlier.
    fn owes(&self, index: u32, held: u32) -> bool {
        let (key, late) = (self.seats.key(index), self.seats.was_late(index));
        if self.seats.begun(index).spare && self.waiting(key) == 0 {
            return true;
        }
        let row = self.table.at(key);
        let earlier = row.late_opens() - u32::from(late);
        earlier + self.alive(key) > 0 && self.held(key) >= held + 2
    }

    /// Records that this open may owe its place to other keys from now on.
    pub(super) fn may_owe(&mut self, index: u32, open: u64) {
        if self.slow.len() > 2 * self.seats.count(SeatState::Opening) as usize {
            self.forget_ended();
        }
        self.slow.push((index, open));
    }

    fn forget_ended(&mut self) {
        let seats = &self.seats;
        self.slow
            .retain(|(index, open)| seats.is_opening(*index, *open));
    }

    /// The open on this seat is over, or late. If it was reserved, it is not any more.
    pub(super) fn end_reserve(&mut self, index: u32) {
        if self.seats.end_reserve(index) {
            let key = self.seats.key(index);
            self.table.cold_mut(key).reserved -= 1;
        }
    }

    /// Updates the counts of late, lost and probing opens after the open on this seat has ended or was called off.
    #[cold]
    pub(super) fn open_ended(&mut self, index: u32) {
        let key = self.seats.key(index);
        self.end_reserve(index);
        let (late, probe, lost) = self.seats.end_open(index);
        *self.table.at_mut(key).late() -= u32::from(late);
        if lost {
            self.table.cold_mut(key).lost_opens -= 1;
        }
        self.probing -= u32::from(probe);
    }
}
