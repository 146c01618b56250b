//! The wait queue. It is FIFO, and every waiter can be cancelled at any point. A push, a grant and a fetch are O(1), a cancel is
//! amortised O(1).
//!
//! The owner keeps the queue under one mutex, together with the resources that it hands out, and wakes only after unlocking: no
//! method here calls, clones or drops a waker. The answer to a waiter lies in its [`Mail`]. So the waiter can
//! [`fetch`](Waiter::fetch) the answer without the owner's lock, which other threads are busy with. While a newcomer can only wait,
//! it also joins without that lock: by the [`Inbox`](super::inbox::Inbox).
//!
//! A waiter is in one of five states, which its mail holds:
//!
//! | state | meaning | what changes it |
//! |---|---|---|
//! | waiting | in the queue; the next grant goes to the first waiting one | `grant`, `refuse`, `cancel` |
//! | granted | a grant is in its mail, and its future has not fetched it | `fetch`, `answer`, `cancel`, `reclaim` |
//! | parked | its grant or an earlier one was taken back, as it was not fetched; keeps its place | `answer` makes it wait again |
//! | refused | a refusal is in its mail, and its future has not fetched it | `fetch`, `answer`, `cancel` |
//! | done | it fetched its answer, or left; the mail may serve another waiter | `push` |
//!
//! The parked and the waiting together are in the queue, ordered by ticket. A grant skips the parked ones, since their futures
//! would not fetch it.
//!
//! A waiter that leaves from the middle of the queue leaves a hole. When half of the queue is holes they are removed, which moves
//! the other waiters. A mail holds the *spot* of its waiter, so a cancel finds the waiter without a search. Memory follows the
//! number of waiters: see `line/holes.rs`.

use std::{
    collections::{BTreeMap, VecDeque},
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use super::{
    mail::{Mail, Outcome},
    mutation::{self, Mutation},
};
use crate::{moment::Moment, sync::Arc};

mod holes;

/// Names one waiter for as long as its future lives. Not `Clone`: `fetch`, `answer` and `cancel` spend it once they return an
/// answer.
#[derive(Debug)]
pub(crate) struct Waiter<G, R> {
    mail: Arc<Mail<Answer<G, R>>>,
    ticket: u64,
    since: Moment,
    /// The spot at which the waiter joined.
    spot: u32,
}

/// The answer to a waiter: a grant `G`, or a refusal `R`.
pub(crate) type Answer<G, R> = Result<G, R>;

/// A FIFO of waiters for grants of type `G`. Each waiter asked for `A`: nothing, or how many.
///
/// `line` holds the waiters by ticket, behind those at its front that have an answer already: so a grant moves no entry.
#[derive(Debug)]
pub(crate) struct Line<G, R, A = ()> {
    line: VecDeque<Place<G, R, A>>,
    /// The spot of the next waiter to join. The last place in `line` has the spot before it, and so on to the front. It wraps
    /// around.
    end: u32,
    /// How many places at the front of `line` were told an answer, oldest first. A place whose waiter is known to have fetched its
    /// answer is a hole.
    told: usize,
    /// How many of the places behind those are holes, because their waiters left. The first and the last of these places are never
    /// holes.
    holes: usize,
    /// Waiters that wait again after they were parked, by ticket. They come before those in `line`.
    early: BTreeMap<u64, Place<G, R, A>>,
    parked: BTreeMap<u64, Place<G, R, A>>,
    /// Waiters that were told an answer while not in `line`, oldest first.
    told_apart: Vec<Place<G, R, A>>,
    /// Every waiter with an older ticket was told to keep a timer of its own.
    armed: u64,
    pub(super) next_ticket: u64,
    /// Mails that are not in use.
    free: Vec<Arc<Mail<Answer<G, R>>>>,
    /// How many grants were fetched since the owner last asked, and the lengths of the waits that were timed.
    fetched: u64,
    waits: Vec<Duration>,
    /// Stands in for the waker of a waiter that has no place.
    no_waker: Option<Waker>,
}

/// The place of one waiter.
#[derive(Debug)]
pub(super) struct Place<G, R, A> {
    ticket: u64,
    asked: A,
    since: Moment,
    /// `None` in a hole.
    who: Option<Arc<Mail<Answer<G, R>>>>,
    waker: Option<Waker>,
    /// When it was granted something. `NEVER` for a waiter that waits or was refused.
    granted_at: Moment,
}

impl<G, R, A> Place<G, R, A> {
    /// Makes the place of a waiter that joins at `since` and at this spot, and the [`Waiter`] that names it.
    #[inline]
    pub(super) fn new(
        ticket: u64,
        spot: u32,
        mail: Arc<Mail<Answer<G, R>>>,
        asked: A,
        waker: Option<Waker>,
        since: Moment,
    ) -> (Waiter<G, R>, Self) {
        mail.stand_at(spot);
        let id = Waiter {
            mail: Arc::clone(&mail),
            ticket,
            since,
            spot,
        };
        let place = Self {
            ticket,
            asked,
            since,
            who: Some(mail),
            waker,
            granted_at: Moment::NEVER,
        };
        (id, place)
    }
}

impl<G, R, A> Place<G, R, A> {
    pub(super) const fn take_waker(&mut self) -> Option<Waker> {
        self.waker.take()
    }
}

impl<G, R, A: Copy> Place<G, R, A> {
    /// Tells this waiter its answer. The caller wakes the returned waker after unlocking.
    #[inline(always)]
    fn tell(&mut self, answer: Answer<G, R>, granted_at: Moment) -> Option<Waker> {
        self.granted_at = granted_at;
        if let Some(mail) = &self.who {
            mail.tell(answer);
        }
        self.waker.take()
    }

    /// What became of the answer.
    #[inline]
    fn outcome(&self) -> Outcome {
        self.who
            .as_ref()
            .map_or(Outcome::Done, |mail| mail.outcome())
    }

    /// Takes back the grant, if it was not fetched. The waiter is parked, in the place that is returned beside the grant.
    fn take_back(&mut self) -> Option<(G, Self)> {
        // The waiter may be fetching the grant at this moment.
        let Some(Ok(grant)) = self.who.as_ref()?.take_back() else {
            return None;
        };
        let parked = Self {
            who: self.who.take(),
            waker: None,
            granted_at: Moment::NEVER,
            ..*self
        };
        Some((grant, parked))
    }
}

impl<G, R> Waiter<G, R> {
    /// When the waiter joined the queue.
    pub(crate) const fn since(&self) -> Moment {
        self.since
    }

    /// The number by which [`refuse_ticket`](Line::refuse_ticket) finds this waiter.
    pub(crate) const fn ticket(&self) -> u64 {
        self.ticket
    }

    /// Takes the answer, if there is one yet, without the owner's lock. The owner learns of it later, and of how long the wait
    /// `lasted`.
    #[inline]
    pub(crate) fn fetch(&self, lasted: impl FnOnce() -> Option<Duration>) -> Option<Answer<G, R>> {
        self.fetch_if(|_| true, lasted)
    }

    /// As [`fetch`](Self::fetch), for a grant that may turn out to be of no use: the owner counts it only if `counts` returns
    /// `true`. `counts` is called with nothing locked.
    #[inline]
    pub(crate) fn fetch_if(
        &self,
        counts: impl FnOnce(&mut G) -> bool,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<Answer<G, R>> {
        self.mail
            .fetch(|answer| answer.as_mut().is_ok_and(counts), lasted)
    }
}

impl<G, R, A: Copy> Line<G, R, A> {
    pub(crate) const fn new() -> Self {
        Self {
            line: VecDeque::new(),
            end: 0,
            told: 0,
            holes: 0,
            early: BTreeMap::new(),
            parked: BTreeMap::new(),
            told_apart: Vec::new(),
            armed: 0,
            next_ticket: 0,
            free: Vec::new(),
            fetched: 0,
            waits: Vec::new(),
            no_waker: None,
        }
    }

    /// How many waiters are in the queue, without those that have an answer.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.waiting() + self.parked.len()
    }

    /// Whether no waiter is in the queue that would fetch a grant.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.line.len() == self.told && self.early.is_empty()
    }

    /// How many waiters are in the queue and not parked.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.line.len() - self.told - self.holes + self.early.len()
    }

    /// Whether [`arm`](Self::arm) or [`reclaim`](Self::reclaim) may have something to do later.
    pub(crate) fn wants_ticks(&self) -> bool {
        let unarmed = self
            .line
            .back()
            .is_some_and(|last| last.ticket >= self.armed);
        unarmed || self.is_answering()
    }

    /// Joins the end of the queue.
    #[inline]
    pub(crate) fn push(
        &mut self,
        asked: A,
        waker: impl Into<Option<Waker>>,
        now: Moment,
    ) -> Waiter<G, R> {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let used = self.used_mail().or_else(|| self.free.pop());
        let mail = used.unwrap_or_else(|| Arc::new(Mail::new()));
        self.make_room(1);
        let (id, place) = Place::new(ticket, self.end, mail, asked, waker.into(), now);
        self.end = self.end.wrapping_add(1);
        self.line.push_back(place);
        id
    }

    /// The ticket and the spot of the next waiter to join.
    #[inline]
    pub(super) const fn next(&self) -> (u64, u32) {
        (self.next_ticket, self.end)
    }

    /// Appends waiters that joined elsewhere, with the tickets and spots that [`next`](Self::next) gave out.
    #[inline]
    pub(super) fn extend(&mut self, joined: &mut Vec<Place<G, R, A>>, next_ticket: u64) {
        self.make_room(joined.len());
        self.next_ticket = next_ticket;
        self.end = self.end.wrapping_add(joined.len() as u32);
        self.line.extend(joined.drain(..));
    }

    /// The request of the first waiter that would fetch a grant, and when that waiter joined.
    #[inline]
    pub(crate) fn first(&self) -> Option<(A, Moment)> {
        let early = self.early.values().next();
        let place = early.or_else(|| self.line.get(self.told))?;
        Some((place.asked, place.since))
    }

    /// Whether this waiter is among the first `few` that would fetch a grant.
    pub(crate) fn is_among_first(&self, id: &Waiter<G, R>, few: usize) -> bool {
        let waiting = self.line.range(self.told..);
        let all = self.early.values().chain(waiting);
        all.filter(|place| place.who.is_some())
            .take(few)
            .any(|place| place.ticket == id.ticket)
    }

    /// Takes the waker of the first waiter, to make it poll again. The waiter keeps its place, and that poll brings another waker.
    pub(crate) fn first_waker(&mut self) -> Option<Waker> {
        let first = match self.early.first_entry() {
            Some(early) => early.into_mut(),
            None => self.line.get_mut(self.told)?,
        };
        first.waker.take()
    }

    /// Whether an answer is still to be fetched, as far as is known.
    pub(crate) fn is_answering(&self) -> bool {
        self.told > 0 || !self.told_apart.is_empty()
    }

    /// Takes the wakers of all waiters that would fetch a grant, to make them poll again.
    pub(crate) fn all_wakers(&mut self) -> Vec<Waker> {
        let all = self.early.values_mut().chain(&mut self.line);
        all.filter_map(|place| place.waker.take()).collect()
    }

    /// Hands `grant` to the first waiter, or returns it if there is none. The caller wakes the returned waker after unlocking.
    #[inline]
    pub(crate) fn grant(&mut self, grant: G, now: Moment) -> Result<Option<Waker>, G> {
        if self.is_empty() {
            return Err(grant);
        }
        Ok(self.tell_first(Ok(grant), now))
    }

    /// Refuses the first waiter. The caller wakes the returned waker after unlocking.
    pub(crate) fn refuse_first(&mut self, why: R) -> Option<Waker> {
        self.tell_first(Err(why), Moment::NEVER)
    }

    /// Refuses the last waiter, parked or not. The caller wakes the returned waker after unlocking.
    pub(crate) fn refuse_last(&mut self, why: R) -> Option<Waker> {
        let waits = self.line.len() > self.told;
        let in_line = self.line.back().filter(|_| waits).map(|last| last.ticket);
        let early = self.early.last_key_value().map(|(ticket, _)| *ticket);
        let parked = self.parked.last_key_value().map(|(ticket, _)| *ticket);
        let last = in_line.max(early).max(parked)?;
        self.refuse_ticket(last, why)
    }

    /// Refuses the waiter with this ticket, wherever it is in the queue. The caller wakes the returned waker after unlocking.
    pub(crate) fn refuse_ticket(&mut self, ticket: u64, why: R) -> Option<Waker> {
        let mut place = self.take_apart(ticket)?;
        let waker = place.tell(Err(why), Moment::NEVER);
        self.put_apart(place);
        waker
    }

    /// Refuses all waiters, parked or not. The caller wakes the returned wakers after unlocking.
    pub(crate) fn refuse_all(&mut self, why: impl Fn() -> R) -> Vec<Waker> {
        let mut wakers = Vec::with_capacity(self.len());
        for mut place in mem::take(&mut self.parked).into_values() {
            wakers.extend(place.tell(Err(why()), Moment::NEVER));
            self.put_apart(place);
        }
        while !self.is_empty() {
            wakers.extend(self.refuse_first(why()));
        }
        wakers
    }

    /// Takes the answer of this waiter. If there is none, a parked waiter waits again, and its waker stays as it is (see
    /// [`waker`](Self::waker)). After `Ready` the id is spent: the caller must drop it.
    pub(crate) fn answer(&mut self, id: &Waiter<G, R>) -> Poll<Answer<G, R>> {
        self.answer_if(id, true)
    }

    /// As [`answer`](Self::answer), but a grant is counted as fetched only if `counts` is set.
    pub(crate) fn answer_if(&mut self, id: &Waiter<G, R>, counts: bool) -> Poll<Answer<G, R>> {
        if let Some(told) = id.fetch_if(|_| counts, || None) {
            return Poll::Ready(told);
        }
        let parked = !mutation::on(Mutation::ParkedStaysParked) && id.mail.resume();
        if parked && let Some(place) = self.parked.remove(&id.ticket) {
            self.early.insert(id.ticket, place);
        }
        Poll::Pending
    }

    /// The waker of this waiter, for an owner that clones and drops wakers with nothing locked.
    pub(crate) fn waker(&mut self, id: &Waiter<G, R>) -> &mut Option<Waker> {
        if let Some(index) = self.find(id) {
            return &mut self.line[index].waker;
        }
        let apart = self.early.get_mut(&id.ticket);
        let apart = apart.or_else(|| self.parked.get_mut(&id.ticket));
        apart.map_or(&mut self.no_waker, |place| &mut place.waker)
    }

    /// Whether this waiter was told to keep a timer of its own.
    pub(crate) fn is_armed(&self, id: &Waiter<G, R>) -> bool {
        // `arm` passes each place of `line` once, so a waiter that was parked counts as armed.
        id.ticket < self.armed || self.early.contains_key(&id.ticket)
    }

    /// Removes this waiter. Returns its answer, if it has not fetched it: a grant is for the next waiter. Also returns its waker,
    /// which the caller drops with nothing locked.
    #[inline]
    pub(crate) fn cancel(&mut self, id: Waiter<G, R>) -> (Option<Answer<G, R>>, Option<Waker>) {
        let told = id.mail.leave();
        if told.is_some() {
            return (told, None);
        }
        let (mail, waker) = match self.find(&id) {
            Some(index) => self.leave_hole(index),
            None => {
                let left = self.early.remove(&id.ticket);
                let left = left.or_else(|| self.parked.remove(&id.ticket));
                left.map_or((None, None), |place| (place.who, place.waker))
            }
        };
        self.free_up(mail);
        (None, waker)
    }

    /// Takes back the grants that were not fetched within the grace. Their waiters are parked: they keep their places, and wait
    /// again as soon as their futures are polled.
    ///
    /// If a grant is taken back, the next waiter may be just as unpolled. So all waiters are then parked and told to poll again.
    /// The caller wakes the `wakers` after unlocking, and gives the returned grants to the first waiter that is polled. In this way
    /// all unpolled waiters together cost the others one grace, not one each. A live queue, however long, costs one more poll for
    /// each waiter.
    pub(crate) fn reclaim(
        &mut self,
        now: Moment,
        grace_nanos: u64,
        wakers: &mut Vec<Waker>,
    ) -> Vec<G> {
        self.hear_all();
        let mut grants = Vec::new();
        let told = self.line.iter_mut().take(self.told);
        for place in told.chain(&mut self.told_apart) {
            // Skips refused waiters, and those that are known to have fetched their grants.
            if place.granted_at == Moment::NEVER || !now.is_past(place.granted_at, grace_nanos) {
                continue;
            }
            if let Some((grant, parked)) = place.take_back() {
                self.parked.insert(parked.ticket, parked);
                grants.push(grant);
            }
        }
        if !grants.is_empty() && !mutation::on(Mutation::ReclaimParksOne) {
            self.park_all(wakers);
        }
        grants
    }

    /// Parks all waiters, and makes them poll again. The caller wakes the `wakers` after unlocking.
    pub(crate) fn park_all(&mut self, wakers: &mut Vec<Waker>) {
        let waits = self.line.len() - self.told;
        self.end = self.end.wrapping_sub(waits as u32);
        self.holes = 0;
        // Both parts are ordered by ticket, so `append` merges them in one pass.
        let in_line = self.line.drain(self.told..);
        let in_line = in_line.filter(|place| place.who.is_some());
        let mut all: BTreeMap<_, _> = in_line.map(|place| (place.ticket, place)).collect();
        all.append(&mut self.early);
        for place in all.values_mut() {
            if let Some(mail) = &place.who {
                mail.park();
            }
            if !mutation::on(Mutation::ParkedAreNotTold) {
                wakers.extend(place.waker.take());
            }
        }
        self.parked.append(&mut all);
    }

    /// Tells the waiters that joined at `before` or earlier to keep a timer of their own. Nearly all waits are shorter, and never
    /// touch the timer. The caller wakes the `wakers` after unlocking.
    pub(crate) fn arm(&mut self, before: Moment, wakers: &mut Vec<Waker>) {
        let from = self.line.partition_point(|place| place.ticket < self.armed);
        for place in self.line.range_mut(from.max(self.told)..) {
            if place.since > before {
                return;
            }
            self.armed = place.ticket + 1;
            wakers.extend(place.waker.take());
        }
    }

    /// Returns how many grants were fetched since the last call, and the lengths of the waits that were timed.
    pub(crate) fn hear(&mut self) -> (u64, impl Iterator<Item = Duration>) {
        self.hear_all();
        self.give_back_memory();
        (mem::take(&mut self.fetched), self.waits.drain(..))
    }

    /// Tells the first waiter its answer.
    #[inline(always)]
    fn tell_first(&mut self, answer: Answer<G, R>, granted_at: Moment) -> Option<Waker> {
        if let Some((_, mut place)) = self.early.pop_first() {
            let waker = place.tell(answer, granted_at);
            self.put_apart(place);
            return waker;
        }
        if mutation::on(Mutation::SecondIsServedFirst) && self.line.len() > self.told + 1 {
            self.line.swap(self.told, self.told + 1);
        }
        let waker = self.line.get_mut(self.told)?.tell(answer, granted_at);
        self.told += 1;
        if self.holes > 0 {
            self.fill_ends();
        }
        waker
    }
}

#[cfg(test)]
mod tests;
