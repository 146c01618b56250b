//! Where waiters join a line whose owner is busy: its other end, under a lock of its own.
//!
//! Two crowds want the lock of a busy pool, those who give back and those who join the line, and neither has to do with the other
//! as long as somebody is in line: who gives back serves the first, who joins comes after the last. So the owner keeps an inbox
//! open while all that could be done for a newcomer is to let it wait, and looks into it when that may not be so any more.
//!
//! | inbox | what is in it | who moves it on |
//! |---|---|---|
//! | shut | nothing: who wants to join goes to the owner | the owner, when it lets go of its lock: [`Line::open`] |
//! | open | those who joined since, after all who are in line | whoever locks the owner next: [`Line::take_in`] shuts it |
//!
//! The owner's lock is taken first, then this one.

use std::task::Waker;

use super::{
    line::{Answer, Line, Place, Waiter},
    mail::Mail,
};
use crate::{moment::Moment, sync::Arc};

/// Where waiters join a [`Line`] while they need nothing but a place in it.
#[derive(Debug)]
pub(crate) struct Inbox<G, R, A = ()> {
    /// So many more may join; none, when it is shut.
    room: usize,
    /// When it was opened, by the owner's clock: since when those wait who join.
    tick: Moment,
    next_ticket: u64,
    next_spot: u32,
    joined: Vec<Place<G, R, A>>,
    /// Mails that nobody uses.
    free: Vec<Arc<Mail<Answer<G, R>>>>,
}

impl<G, R, A> Inbox<G, R, A> {
    pub(crate) const fn new() -> Self {
        Self {
            room: 0,
            tick: Moment::NEVER,
            next_ticket: 0,
            next_spot: 0,
            joined: Vec::new(),
            free: Vec::new(),
        }
    }

    /// The tick at which its owner opened it.
    #[inline]
    pub(crate) const fn tick(&self) -> Moment {
        self.tick
    }

    /// Joins the end of the line, with this waker; `None`, and the waker stays, where that is for the owner to decide.
    #[inline]
    pub(crate) fn push(&mut self, asked: A, waker: &mut Option<Waker>) -> Option<Waiter<G, R>> {
        if self.room == 0 {
            return None;
        }
        self.room -= 1;
        let mail = self.free.pop().unwrap_or_else(|| Arc::new(Mail::new()));
        let (ticket, spot) = (self.next_ticket, self.next_spot);
        let (id, place) = Place::new(ticket, spot, mail, asked, waker.take(), self.tick);
        self.next_ticket += 1;
        self.next_spot = self.next_spot.wrapping_add(1);
        self.joined.push(place);
        Some(id)
    }
}

impl<G, R, A> Inbox<G, R, A> {
    /// The owner panicked: nobody joins here any more. Who did comes back, to be woken with nothing locked.
    pub(super) fn abandon(&mut self) -> Vec<Waker> {
        self.room = 0;
        let mut joined = std::mem::take(&mut self.joined);
        joined.iter_mut().filter_map(Place::take_waker).collect()
    }
}

impl<G, R, A: Copy> Line<G, R, A> {
    /// Opens `inbox` for so many, at `tick`.
    #[inline]
    pub(crate) fn open(&self, inbox: &mut Inbox<G, R, A>, room: usize, tick: Moment) {
        (inbox.room, inbox.tick) = (room.min(BATCH), tick);
        (inbox.next_ticket, inbox.next_spot) = self.next();
    }

    /// Shuts `inbox`, and lets those in who joined there: so many. It gets the mails that are free instead.
    pub(crate) fn take_in(&mut self, inbox: &mut Inbox<G, R, A>) -> usize {
        inbox.room = 0;
        let joined = inbox.joined.len();
        if joined == 0 {
            return 0;
        }
        let used = (0..joined).map_while(|_| self.used_mail());
        inbox.free.extend(used);
        let more = joined.saturating_sub(inbox.free.len());
        inbox.free.extend(self.free_mails(more));
        self.extend(&mut inbox.joined, inbox.next_ticket);
        joined
    }
}

/// So many join by the inbox before one goes to the owner, whose lock is held while they are let in. In tests it is full at times.
const BATCH: usize = if cfg!(test) { 2 } else { 64 };
