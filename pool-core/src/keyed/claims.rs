//! By what right a key claims a place, and who owes it one.
//!
//! Whoever waits has a *firm* claim: where there is no room, an idle one of another key is closed for it, and what comes back may
//! go to it. Two kinds of opens are not worth that, and only get places that nobody else wants:
//!
//! - *A spare one*, for a key whose connects hang: one that takes longer than [`LATE`] is not counted on, and another is begun. If
//!   that took places from others, one key that leads nowhere would soon have all of them.
//! - *A probe*, to see whether a key that could not be opened is back. There may be thousands of those.
//!
//! Both may come to nothing when the pool is full, and a key that fails would never be tried again, so one prober a second has a turn
//! as if somebody waited for it ([`State::favour`]). And an open that holds a place for long is called off when a key that has less
//! waits for one ([`State::call_off`]); a key keeps its oldest, so that what is only slow gets there.

use super::{
    kernel::Kernel,
    seats::SeatState,
    state::{FAVOUR_EVERY, State},
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

impl<K, T, E: Clone> State<K, T, E> {
    /// How many places a key wants, and by what right.
    pub(super) fn claim(&self, key: u32) -> (u32, Claim) {
        let Some(row) = self.table.get(key).filter(|_| !self.closed) else {
            return (0, Claim::Probe);
        };
        let waiting = self.lanes.waiting(row.lane);
        let cold = self.table.cold(key);
        let coming = row.coming(cold.late_checks);
        // Where one that is checked does not answer, those that are idle may not either: an open is the better bet.
        let comes = if cold.late_checks > 0 {
            coming
        } else {
            coming + row.count(SeatState::Idle)
        };
        let missing = waiting.saturating_sub(comes as usize);
        // A prober may hold a place as well: an open that was lost.
        let firm = if row.held() == 0 {
            Claim::Starved
        } else {
            Claim::Wanting
        };
        let (missing, claim) = if missing == 0 {
            // The prober, so that the pool knows when the backend of this key is back.
            let probes = cold.gate.is_failing() && self.is_remembered(key);
            let favoured = self.favoured == key || mutation::on(Mutation::KeyProberEvicts);
            let claim = if favoured { firm } else { Claim::Probe };
            (usize::from(probes), claim)
        } else if row.late_opens() > 0 && !mutation::on(Mutation::KeyHangingTakesAll) {
            (missing, Claim::Spare)
        } else {
            (missing, firm)
        };
        let opening = row.count(SeatState::Opening);
        let most = row.terms().max_opening;
        let room = row.terms().max_size.saturating_sub(row.taken());
        let room = room.min(most.saturating_sub(opening));
        // While attempts fail, one at a time; one that nobody drives any more stops no other.
        let attempts = if cold.gate.is_failing() {
            opening - cold.lost_opens
        } else {
            opening
        };
        let may_open = cold.gate.may_open(most, self.now);
        let want = room.min(may_open.saturating_sub(attempts));
        (want.min(u32::try_from(missing).unwrap_or(u32::MAX)), claim)
    }

    /// Gives places to the keys whose turn it is, and makes room for what is still wanted.
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

    /// Frees a place for `key`, unless as many as are wanted are being freed already. Says whether there was one to free.
    fn make_room(&mut self, key: u32, work: &mut Work<K, T, E>) -> bool {
        if self.turns.wanted() <= self.seats.count(SeatState::Closing) as usize {
            return false;
        }
        let Some(index) = self.seats.oldest() else {
            return self.call_off(key, work);
        };
        let other = self.seats.key(index);
        let Some(slot) = self.pick_up(other, index) else {
            return false;
        };
        self.retire(slot, CloseReason::Evicted, work);
        true
    }

    /// Is there room for one more, in all?
    fn has_room(&self) -> bool {
        let uncounted = if mutation::on(Mutation::KeyOpeningIsNotCounted) {
            SeatState::Opening
        } else if mutation::on(Mutation::KeyEvictedFreesTooEarly) {
            SeatState::Closing
        } else {
            SeatState::Free
        };
        self.seats.taken() - self.seats.count(uncounted) < self.max_total
    }

    /// Does a key that gives this one back, and has somebody in line for it, owe the place to another?
    ///
    /// To one that has none at all, if the places that are being freed are not enough for those; else, one at a time, to one that
    /// has at least two fewer, which makes both more equal and so ends.
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
        let yields = self.table.at(key).held() >= self.table.at(other).held() + 2;
        if yields {
            self.turns.prefer(other);
        }
        yields
    }

    /// Lets one prober have a turn as if somebody waited for it: not more often than that, and none whose key still has something.
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
        } else if self.table.at(key).alive() > 0 {
            self.turns.pass(key);
        } else {
            self.favours_next = self.now + FAVOUR_EVERY;
            self.favoured = key;
            self.refresh(key);
        }
    }

    /// So many probes at once, at most.
    fn most_probing(&self) -> u32 {
        (self.max_total / 8).max(1)
    }

    /// Calls the youngest of those opens off that owe their places to `key`. Its task sees that its seat is being closed, drops what is
    /// half open, and then the place is free.
    fn call_off(&mut self, key: u32, work: &mut Work<K, T, E>) -> bool {
        if mutation::on(Mutation::KeyHangingTakesAll) {
            return false;
        }
        self.forget_ended();
        let held = self.table.at(key).held();
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

    /// Does this open owe its place to a key that has so many?
    ///
    /// If nobody waits for it and it was not owed one itself. Else under the rule for what comes back: if its key has at least two
    /// more, and something else that may lead somewhere: one that is open, or an open that began earlier.
    fn owes(&self, index: u32, held: u32) -> bool {
        let (key, late) = (self.seats.key(index), self.seats.was_late(index));
        if self.seats.begun(index).spare && self.waiting(key) == 0 {
            return true;
        }
        let row = self.table.at(key);
        let earlier = row.late_opens() - u32::from(late);
        earlier + row.alive() > 0 && row.held() >= held + 2
    }

    /// This open may owe its place to others from now on.
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

    /// The open on this seat has ended, one way or the other.
    #[cold]
    pub(super) fn open_ended(&mut self, index: u32) {
        let key = self.seats.key(index);
        let (late, probe, lost) = self.seats.end_open(index);
        *self.table.at_mut(key).late() -= u32::from(late);
        if lost {
            self.table.cold_mut(key).lost_opens -= 1;
        }
        self.probing -= u32::from(probe);
    }
}
