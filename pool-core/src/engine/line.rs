//! The wait queue: FIFO, every waiter cancellable at any point, a push, a grant and a fetch O(1), a cancel amortised O(1).
//!
//! Its owner keeps it under one mutex together with whatever it hands out, and wakes only after unlocking: no method here calls,
//! clones or drops a waker. What a waiter is handed lies in its [`Mail`]: so a waiter can [`fetch`](Waiter::fetch) its answer without
//! the owner's lock, which others are busy with. While it can but wait it joins without that too: by the
//! [`Inbox`](super::inbox::Inbox).
//!
//! A waiter is in one of five states, which its mail knows:
//!
//! | state | what it means | who moves it on |
//! |---|---|---|
//! | waiting | in line, next grant goes to the first | `grant`, `refuse`, `cancel` |
//! | granted | something was handed to it, its future has not fetched it | `fetch`, `answer`, `cancel`, `reclaim` |
//! | parked | its grant, or that of one before it, was taken back, because a future was not polled in time; keeps its place | `answer` puts it back in line |
//! | refused | told no; its future has not fetched that | `fetch`, `answer`, `cancel` |
//! | done | it fetched what it was told, or left; the mail is used again by another waiter | `push` |
//!
//! In line means: parked and waiting together, ordered by ticket. A grant skips the parked ones, since nobody would fetch it.
//!
//! Who leaves from the middle of the line leaves a hole. When half of the line is holes they are taken out, which moves the others
//! forward: a mail says at which *spot* its waiter stands, so a cancel finds it without a search. Memory follows those who wait: see
//! `line/holes.rs`.

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

/// Names one waiter for as long as its future lives. Not `Clone`: `fetch`, `answer` and `cancel` spend it once it has an answer.
#[derive(Debug)]
pub(crate) struct Waiter<G, R> {
    mail: Arc<Mail<Answer<G, R>>>,
    ticket: u64,
    since: Moment,
    /// At which spot it joined.
    spot: u32,
}

/// What a waiter gets: a grant `G`, or a refusal `R`.
pub(crate) type Answer<G, R> = Result<G, R>;

/// A FIFO of waiters for grants of type `G`, each of which asked for `A` (nothing, or how many).
///
/// Who waits stands in `line` by ticket, after those in front of it who were told something: so a grant moves nobody.
#[derive(Debug)]
pub(crate) struct Line<G, R, A = ()> {
    line: VecDeque<Place<G, R, A>>,
    /// The spot of whoever joins next. The last in line stands one before it, and so on to the front. It wraps around.
    end: u32,
    /// So many at the front of it were told, oldest first. Those who are known to have fetched it since are holes.
    told: usize,
    /// So many of those who wait have left, and are holes; the first and the last are none.
    holes: usize,
    /// Those who wait again after they were parked: by ticket, ahead of the line.
    early: BTreeMap<u64, Place<G, R, A>>,
    parked: BTreeMap<u64, Place<G, R, A>>,
    /// Who was told something while not in `line`, oldest first.
    told_apart: Vec<Place<G, R, A>>,
    /// Whoever in line has an older ticket was told to keep a timer of its own.
    armed: u64,
    pub(super) next_ticket: u64,
    /// Mails that nobody uses.
    free: Vec<Arc<Mail<Answer<G, R>>>>,
    /// Those who fetched a grant, and how long they had waited if they said so, since the owner last asked.
    fetched: u64,
    waits: Vec<Duration>,
    /// For those who need none.
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
    /// When it was granted something; never, if it waits or was refused.
    granted_at: Moment,
}

impl<G, R, A> Place<G, R, A> {
    /// Of one who joined at `since`, at this spot, and how that is named.
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
    /// Tells this waiter. Wake what it returns after unlocking.
    #[inline(always)]
    fn tell(&mut self, answer: Answer<G, R>, granted_at: Moment) -> Option<Waker> {
        self.granted_at = granted_at;
        if let Some(mail) = &self.who {
            mail.tell(answer);
        }
        self.waker.take()
    }

    /// What has come of it.
    #[inline]
    fn outcome(&self) -> Outcome {
        self.who
            .as_ref()
            .map_or(Outcome::Done, |mail| mail.outcome())
    }

    /// Takes back what it was granted, if nobody fetched it. Its waiter is parked, in the place that comes back beside it.
    fn take_back(&mut self) -> Option<(G, Self)> {
        // Its waiter may be fetching it at this moment.
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
    /// When it joined the line.
    pub(crate) const fn since(&self) -> Moment {
        self.since
    }

    /// Names it without being it: see [`refuse_ticket`](Line::refuse_ticket).
    pub(crate) const fn ticket(&self) -> u64 {
        self.ticket
    }

    /// What it was told, if anything yet. Without the owner's lock; the owner hears of it later, and of how long it `lasted`.
    #[inline]
    pub(crate) fn fetch(&self, lasted: impl FnOnce() -> Option<Duration>) -> Option<Answer<G, R>> {
        self.fetch_if(|_| true, lasted)
    }

    /// The same for a grant that may turn out to be none: the owner hears of it only if it `counts`, which is asked with nothing locked.
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

    /// Waiters in line: those that have no answer yet.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.waiting() + self.parked.len()
    }

    /// Does nobody stand in line who would fetch a grant?
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.line.len() == self.told && self.early.is_empty()
    }

    /// Waiters in line whose future is being polled.
    #[inline]
    pub(crate) fn waiting(&self) -> usize {
        self.line.len() - self.told - self.holes + self.early.len()
    }

    /// Is there anything that [`arm`](Self::arm) or [`reclaim`](Self::reclaim) may have to do later?
    pub(crate) fn wants_ticks(&self) -> bool {
        let unarmed = self
            .line
            .back()
            .is_some_and(|last| last.ticket >= self.armed);
        unarmed || self.is_answering()
    }

    /// Joins the end of the line.
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

    /// The ticket and the spot of whoever joins next.
    #[inline]
    pub(super) const fn next(&self) -> (u64, u32) {
        (self.next_ticket, self.end)
    }

    /// Those joined who were told that these tickets and spots are next.
    #[inline]
    pub(super) fn extend(&mut self, joined: &mut Vec<Place<G, R, A>>, next_ticket: u64) {
        self.make_room(joined.len());
        self.next_ticket = next_ticket;
        self.end = self.end.wrapping_add(joined.len() as u32);
        self.line.extend(joined.drain(..));
    }

    /// What the first waiter that would fetch a grant asked for, and since when it has been in line.
    #[inline]
    pub(crate) fn first(&self) -> Option<(A, Moment)> {
        let early = self.early.values().next();
        let place = early.or_else(|| self.line.get(self.told))?;
        Some((place.asked, place.since))
    }

    /// Is this waiter one of the first `few` who would fetch a grant?
    pub(crate) fn is_among_first(&self, id: &Waiter<G, R>, few: usize) -> bool {
        let waiting = self.line.range(self.told..);
        let all = self.early.values().chain(waiting);
        all.filter(|place| place.who.is_some())
            .take(few)
            .any(|place| place.ticket == id.ticket)
    }

    /// The waker of the first waiter, to make it poll again: it keeps its place, and gives another when it is polled.
    pub(crate) fn first_waker(&mut self) -> Option<Waker> {
        let first = match self.early.first_entry() {
            Some(early) => early.into_mut(),
            None => self.line.get_mut(self.told)?,
        };
        first.waker.take()
    }

    /// Is anything on its way to somebody, as far as is known?
    pub(crate) fn is_answering(&self) -> bool {
        self.told > 0 || !self.told_apart.is_empty()
    }

    /// The wakers of all who would fetch a grant, to make them poll again.
    pub(crate) fn all_wakers(&mut self) -> Vec<Waker> {
        let all = self.early.values_mut().chain(&mut self.line);
        all.filter_map(|place| place.waker.take()).collect()
    }

    /// Hands `grant` to the first waiter; gives it back when there is none. Wake what it returns after unlocking.
    #[inline]
    pub(crate) fn grant(&mut self, grant: G, now: Moment) -> Result<Option<Waker>, G> {
        if self.is_empty() {
            return Err(grant);
        }
        Ok(self.tell_first(Ok(grant), now))
    }

    /// Tells the first waiter no. Wake what it returns after unlocking.
    pub(crate) fn refuse_first(&mut self, why: R) -> Option<Waker> {
        self.tell_first(Err(why), Moment::NEVER)
    }

    /// Tells the last in line no, parked or not. Wake what it returns after unlocking.
    pub(crate) fn refuse_last(&mut self, why: R) -> Option<Waker> {
        let waits = self.line.len() > self.told;
        let in_line = self.line.back().filter(|_| waits).map(|last| last.ticket);
        let early = self.early.last_key_value().map(|(ticket, _)| *ticket);
        let parked = self.parked.last_key_value().map(|(ticket, _)| *ticket);
        let last = in_line.max(early).max(parked)?;
        self.refuse_ticket(last, why)
    }

    /// Tells the one with this ticket no, wherever it stands in line. Wake what it returns after unlocking.
    pub(crate) fn refuse_ticket(&mut self, ticket: u64, why: R) -> Option<Waker> {
        let mut place = self.take_apart(ticket)?;
        let waker = place.tell(Err(why), Moment::NEVER);
        self.put_apart(place);
        waker
    }

    /// Tells everybody in line no: those who wait and those who are parked. Wake what it returns after unlocking.
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

    /// Has this waiter an answer? If not, a parked one is back in line, and who to wake stays as it is (see
    /// [`waker`](Self::waker)). After `Ready` the id is spent: the caller forgets it.
    pub(crate) fn answer(&mut self, id: &Waiter<G, R>) -> Poll<Answer<G, R>> {
        self.answer_if(id, true)
    }

    /// The same; a grant is counted as fetched only if it `counts`.
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

    /// Who to wake for this waiter, for an owner that clones and drops wakers with nothing locked.
    pub(crate) fn waker(&mut self, id: &Waiter<G, R>) -> &mut Option<Waker> {
        if let Some(index) = self.find(id) {
            return &mut self.line[index].waker;
        }
        let apart = self.early.get_mut(&id.ticket);
        let apart = apart.or_else(|| self.parked.get_mut(&id.ticket));
        apart.map_or(&mut self.no_waker, |place| &mut place.waker)
    }

    /// Was this waiter told to keep a timer of its own?
    pub(crate) fn is_armed(&self, id: &Waiter<G, R>) -> bool {
        // `arm` goes through the line once; who was parked is past that.
        id.ticket < self.armed || self.early.contains_key(&id.ticket)
    }

    /// Gives up its place. What was granted and not fetched comes back, for the next in line; and its waker, which is to be dropped
    /// with nothing locked.
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

    /// Takes back what was granted and not fetched for so long. Its waiters are parked: they keep their places, and are back in line
    /// as soon as their futures are polled.
    ///
    /// Where there is any, the next in line may be as little polled as those: so all in line are parked as well, and told to poll
    /// again. Wake what it adds to `wakers` after unlocking, and give what comes back to the first that is polled. So those who are
    /// not polled cost the others one grace in all, and not one each; and a live line, however long, one more poll each.
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
            // Those who were refused, and those who are known to have fetched theirs.
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

    /// Parks all in line, and has them poll again. Wake what it adds to `wakers` after unlocking.
    pub(crate) fn park_all(&mut self, wakers: &mut Vec<Waker>) {
        let waits = self.line.len() - self.told;
        self.end = self.end.wrapping_sub(waits as u32);
        self.holes = 0;
        // Both are in order, so that they are put together in one pass.
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

    /// Tells those who have been in line since before `before` to keep a timer of their own: short waits, which are nearly all,
    /// never touch the timer. Wake what it adds to `wakers` after unlocking.
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

    /// How many have fetched a grant since this was asked last, and how long those had waited that told.
    pub(crate) fn hear(&mut self) -> (u64, impl Iterator<Item = Duration>) {
        self.hear_all();
        self.give_back_memory();
        (mem::take(&mut self.fetched), self.waits.drain(..))
    }

    /// Tells the first in line.
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
