//! The remains of waiters that are no longer in the queue: holes, mails that are not in use, fetches that are not counted yet.

use std::{mem, task::Waker};

use super::{Answer, Line, Place, Waiter};
use crate::{
    engine::mail::{Mail, Outcome},
    moment::Moment,
    sync::Arc,
};

impl<G, R, A: Copy> Line<G, R, A> {
    /// Called before `line` grows by `more`. If most of it was told already, collects the fetched answers instead of growing.
    #[inline]
    pub(super) fn make_room(&mut self, more: usize) {
        if self.line.len() + more > self.line.capacity() && self.told > self.line.len() / 2 {
            self.hear_all();
        }
    }

    /// The index at which this waiter waits in `line`.
    #[inline]
    pub(super) fn find(&self, id: &Waiter<G, R>) -> Option<usize> {
        // The spot at which the waiter joined is right as long as no holes were removed since. To try it first, the mail need not
        // be in the cache.
        self.at_spot(id.spot, id.ticket)
            .or_else(|| self.at_spot(id.mail.spot(), id.ticket))
    }

    #[inline]
    fn at_spot(&self, spot: u32, ticket: u64) -> Option<usize> {
        let index = spot.wrapping_sub(self.front_spot()) as usize;
        // The places before `told` have an answer, or are holes, such as those of parked waiters.
        let waits = index >= self.told && self.line.get(index)?.ticket == ticket;
        waits.then_some(index)
    }

    fn front_spot(&self) -> u32 {
        self.end.wrapping_sub(self.line.len() as u32)
    }

    /// Takes the waiter with this ticket out of the queue, wherever it waits.
    pub(super) fn take_apart(&mut self, ticket: u64) -> Option<Place<G, R, A>> {
        let apart = self.early.remove(&ticket);
        if let Some(place) = apart.or_else(|| self.parked.remove(&ticket)) {
            return Some(place);
        }
        let tickets = self
            .line
            .binary_search_by_key(&ticket, |place| place.ticket);
        let index = tickets.ok().filter(|index| *index >= self.told)?;
        let place = &mut self.line[index];
        let taken = Place {
            who: Some(place.who.take()?),
            waker: place.waker.take(),
            ..*place
        };
        self.holes += 1;
        self.fill_ends();
        Some(taken)
    }

    /// Makes a hole of this place, because its waiter left. Returns the mail and the waker of the waiter.
    #[inline]
    pub(super) fn leave_hole(
        &mut self,
        index: usize,
    ) -> (Option<Arc<Mail<Answer<G, R>>>>, Option<Waker>) {
        let place = &mut self.line[index];
        let left = (place.who.take(), place.waker.take());
        self.holes += 1;
        self.fill_ends();
        left
    }

    /// Takes the mail of the waiter that was told first, if that waiter has fetched its answer.
    #[inline]
    pub(in crate::engine) fn used_mail(&mut self) -> Option<Arc<Mail<Answer<G, R>>>> {
        if self.told == 0 {
            return None;
        }
        let outcome = self.line.front()?.outcome();
        if outcome == Outcome::Open {
            return None;
        }
        self.count(outcome);
        self.told -= 1;
        self.line.pop_front()?.who
    }

    /// Keeps a mail that is not in use, unless more of them are kept than waiters wait, and a few. In that case this mail and
    /// another one are dropped, so that the number of kept mails follows the number of waiters.
    #[inline]
    pub(super) fn free_up(&mut self, mail: Option<Arc<Mail<Answer<G, R>>>>) {
        let most = self.waiting() + FEW_FREE;
        if self.free.len() < most {
            self.free.extend(mail);
        } else {
            self.free.truncate((most - 1).max(self.free.len() - 2));
        }
        self.shrink();
    }

    /// Takes up to `most` mails that are not in use.
    pub(in crate::engine) fn free_mails(
        &mut self,
        most: usize,
    ) -> impl Iterator<Item = Arc<Mail<Answer<G, R>>>> {
        let rest = self.free.len().saturating_sub(most);
        self.free.drain(rest..)
    }

    /// Drops what an empty queue need not keep until the next waiter joins.
    pub(crate) fn rest(&mut self) {
        self.hear_all();
        self.free.truncate(FEW_RESTING);
        self.free.shrink_to(FEW_RESTING);
        self.line.shrink_to(FEW_RESTING);
    }

    /// Drops the memory that a long queue has left behind, a part at a time.
    pub(super) fn give_back_memory(&mut self) {
        let surplus = self.free.len().saturating_sub(self.waiting() + FEW_FREE);
        self.free.truncate(self.free.len() - surplus.min(FEW_FREE));
        self.shrink();
    }

    /// Shrinks buffers that have become far too large.
    #[inline]
    fn shrink(&mut self) {
        if self.line.capacity() > FEW_FREE && self.line.len() * 4 < self.line.capacity() {
            self.line.shrink_to(FEW_FREE.max(self.line.len() * 2));
        }
        if self.free.capacity() > 2 * FEW_FREE && self.free.len() * 4 < self.free.capacity() {
            self.free.shrink_to(FEW_FREE.max(self.free.len() * 2));
        }
    }

    /// Finds the waiters that have fetched their answers: their mails are free.
    pub(super) fn hear_all(&mut self) {
        let mut open = 0;
        for index in 0..self.told {
            let place = &mut self.line[index];
            let outcome = place.outcome();
            if outcome == Outcome::Open {
                open += 1;
                continue;
            }
            // This place is a hole from now on.
            place.granted_at = Moment::NEVER;
            self.free.extend(place.who.take());
            self.count(outcome);
        }
        while self.told > 0 && self.line.front().is_some_and(|first| first.who.is_none()) {
            self.line.pop_front();
            self.told -= 1;
        }
        // The first waiter has not fetched its answer, and at least half of those behind it have.
        if self.told > FEW_HOLES && open <= self.told / 2 {
            self.fill_holes();
        }
        self.hear_apart();
    }

    fn hear_apart(&mut self) {
        for mut place in mem::take(&mut self.told_apart) {
            let outcome = place.outcome();
            if outcome == Outcome::Open {
                self.told_apart.push(place);
            } else {
                self.free.extend(place.who.take());
                self.count(outcome);
            }
        }
    }

    /// Keeps the place of a waiter that was told its answer and is not in `line` any more.
    pub(super) fn put_apart(&mut self, place: Place<G, R, A>) {
        if self.told_apart.len() == self.told_apart.capacity() {
            self.hear_apart();
        }
        self.told_apart.push(place);
    }

    #[inline]
    fn count(&mut self, outcome: Outcome) {
        if let Outcome::Fetched(lasted) = outcome {
            self.fetched += 1;
            self.waits.extend(lasted);
        }
    }

    /// Removes the holes at both ends of the waiting part of `line`, and all holes if they are more than half of it.
    pub(super) fn fill_ends(&mut self) {
        while let Some(first) = self.line.get(self.told)
            && first.who.is_none()
        {
            // A hole right behind the places that were told is counted as one of them.
            match self.told {
                0 => drop(self.line.pop_front()),
                _ => self.told += 1,
            }
            self.holes -= 1;
        }
        while self.holes > 0 && self.line.back().is_some_and(|last| last.who.is_none()) {
            self.line.pop_back();
            self.end = self.end.wrapping_sub(1);
            self.holes -= 1;
        }
        if self.holes > FEW_HOLES && self.holes > (self.line.len() - self.told) / 2 {
            self.fill_holes();
        }
    }

    /// Removes all holes. The waiters behind the last hole keep their spots, the others get later ones.
    ///
    /// The spot of the next waiter to join stays as it is, because the inbox was given it.
    fn fill_holes(&mut self) {
        let told = self.line.iter().take(self.told);
        self.told = told.filter(|place| place.who.is_some()).count();
        self.line.retain(|place| place.who.is_some());
        self.holes = 0;
        let mut spot = self.front_spot();
        for place in &self.line {
            if let Some(mail) = &place.who {
                mail.stand_at(spot);
            }
            spot = spot.wrapping_add(1);
        }
    }
}

/// How many free mails are kept beyond the number of waiters, and how many more are dropped at once: a burst needs them again.
pub(super) const FEW_FREE: usize = 1024;
/// What is kept of a queue that is empty.
const FEW_RESTING: usize = 4;
/// A queue with up to this many holes is not compacted.
pub(super) const FEW_HOLES: usize = 32;
