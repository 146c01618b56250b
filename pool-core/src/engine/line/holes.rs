//! What those leave behind who are not in line any more: holes, mails that nobody uses, answers that are to be counted.

use std::{mem, task::Waker};

use super::{Answer, Line, Place, Waiter};
use crate::{
    engine::mail::{Mail, Outcome},
    moment::Moment,
    sync::Arc,
};

impl<G, R, A: Copy> Line<G, R, A> {
    /// Before the line grows by so many: is it full of those who have their answer?
    #[inline]
    pub(super) fn make_room(&mut self, more: usize) {
        if self.line.len() + more > self.line.capacity() && self.told > self.line.len() / 2 {
            self.hear_all();
        }
    }

    /// Where in line this one waits.
    #[inline]
    pub(super) fn find(&self, id: &Waiter<G, R>) -> Option<usize> {
        // Where it joined, as long as no holes were taken out since: its mail need not be in the cache to know that.
        self.at_spot(id.spot, id.ticket)
            .or_else(|| self.at_spot(id.mail.spot(), id.ticket))
    }

    #[inline]
    fn at_spot(&self, spot: u32, ticket: u64) -> Option<usize> {
        let index = spot.wrapping_sub(self.front_spot()) as usize;
        // What is before those who wait was told, and may be a hole of one that is parked.
        let waits = index >= self.told && self.line.get(index)?.ticket == ticket;
        waits.then_some(index)
    }

    fn front_spot(&self) -> u32 {
        self.end.wrapping_sub(self.line.len() as u32)
    }

    /// Takes the one with this ticket out, wherever it waits.
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

    /// The one who stands here left: its mail, and its waker.
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

    /// The mail of the one who was told first, if that has fetched it.
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

    /// A mail that nobody uses any more is kept for the next, while there are not more of those than wait, and a few. Where there
    /// are, another goes too: so those that are kept follow those who wait.
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

    /// So many mails that nobody uses, if there are.
    pub(in crate::engine) fn free_mails(
        &mut self,
        most: usize,
    ) -> impl Iterator<Item = Arc<Mail<Answer<G, R>>>> {
        let rest = self.free.len().saturating_sub(most);
        self.free.drain(rest..)
    }

    /// Nobody is in it any more: what is to be kept of it until somebody is.
    pub(crate) fn rest(&mut self) {
        self.hear_all();
        self.free.truncate(FEW_RESTING);
        self.free.shrink_to(FEW_RESTING);
        self.line.shrink_to(FEW_RESTING);
    }

    /// What a long line has left behind goes, a part at a time.
    pub(super) fn give_back_memory(&mut self) {
        let surplus = self.free.len().saturating_sub(self.waiting() + FEW_FREE);
        self.free.truncate(self.free.len() - surplus.min(FEW_FREE));
        self.shrink();
    }

    /// Nothing that many have needed is kept for few.
    #[inline]
    fn shrink(&mut self) {
        if self.line.capacity() > FEW_FREE && self.line.len() * 4 < self.line.capacity() {
            self.line.shrink_to(FEW_FREE.max(self.line.len() * 2));
        }
        if self.free.capacity() > 2 * FEW_FREE && self.free.len() * 4 < self.free.capacity() {
            self.free.shrink_to(FEW_FREE.max(self.free.len() * 2));
        }
    }

    /// Looks who has fetched an answer: those mails are free.
    pub(super) fn hear_all(&mut self) {
        let mut open = 0;
        for index in 0..self.told {
            let place = &mut self.line[index];
            let outcome = place.outcome();
            if outcome == Outcome::Open {
                open += 1;
                continue;
            }
            // A hole from now on.
            place.granted_at = Moment::NEVER;
            self.free.extend(place.who.take());
            self.count(outcome);
        }
        while self.told > 0 && self.line.front().is_some_and(|first| first.who.is_none()) {
            self.line.pop_front();
            self.told -= 1;
        }
        // The first has not fetched its answer, and nearly all behind it have.
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

    /// One was told something, and is not in line any more.
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

    /// Takes away holes at the ends of those who wait, and all of them when they are most of it.
    pub(super) fn fill_ends(&mut self) {
        while let Some(first) = self.line.get(self.told)
            && first.who.is_none()
        {
            // Behind somebody who was told something it counts as one of those.
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

    /// Takes away all holes: those behind the last one stay at their spots, the others come to stand at later ones.
    ///
    /// So the spot of whoever joins next stays as it is, which those in the inbox were told.
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

/// So many free mails are kept, and so many more are dropped at once: what a burst needs again.
pub(super) const FEW_FREE: usize = 1024;
/// So many of a line that nobody is in.
const FEW_RESTING: usize = 4;
/// So many holes in a line are never too many.
pub(super) const FEW_HOLES: usize = 32;
