//! The inbox: where waiters join a queue whose owner is busy. It is the open end of the queue, under a lock of its own.
//!
//! Two groups of threads want the lock of a busy pool: those that return and those that join the queue. While a waiter is in the
//! queue the two need not meet, since a return serves the first waiter and a newcomer joins after the last. So the owner keeps the
//! inbox open while all that can be done for a newcomer is to let it wait, and looks into the inbox when that may have changed.
//!
//! | inbox | content | what changes it |
//! |---|---|---|
//! | shut | nothing: a newcomer goes to the owner | the owner, when it releases its lock: [`Line::open`] |
//! | open | the waiters that joined since | the next thread that locks the owner: [`Line::take_in`] shuts it |
//!
//! The owner's lock is taken first, then this one.

use std::task::Waker;

use super::{
    line::{Answer, Line, Place, Waiter},
    mail::Mail,
};
use crate::{moment::Moment, sync::Arc};

/// Where waiters join a [`Line`] while all they need is a place in it.
#[derive(Debug)]
pub(crate) struct Inbox<G, R, A = ()> {
    /// How many more waiters may join. Zero when the inbox is shut.
    room: usize,
    /// The time of the owner's clock at which the inbox was opened. The waiters that join count as waiting since then.
    tick: Moment,
    next_ticket: u64,
    next_spot: u32,
    joined: Vec<Place<G, R, A>>,
    /// Mails that are not in use.
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

    /// The tick at which the owner opened the inbox.
    #[inline]
    pub(crate) const fn tick(&self) -> Moment {
        self.tick
    }

    /// Joins the end of the queue with this waker. Returns `None`, and leaves the waker, if the inbox is shut or full: then the
    /// owner decides.
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
    /// Called when the owner panicked: shuts the inbox for good. Returns the wakers of its waiters, to be woken with nothing
    /// locked.
    pub(super) fn abandon(&mut self) -> Vec<Waker> {
        self.room = 0;
        let mut joined = std::mem::take(&mut self.joined);
        joined.iter_mut().filter_map(Place::take_waker).collect()
    }
}

impl<G, R, A: Copy> Line<G, R, A> {
    /// Opens `inbox` at `tick`, for up to `room` waiters.
    #[inline]
    pub(crate) fn open(&self, inbox: &mut Inbox<G, R, A>, room: usize, tick: Moment) {
        (inbox.room, inbox.tick) = (room.min(BATCH), tick);
        (inbox.next_ticket, inbox.next_spot) = self.next();
    }

    /// Shuts `inbox`, appends its waiters to the queue, and returns how many there were. The inbox gets free mails in exchange.
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

/// How many waiters may join by the inbox before one goes to the owner, whose lock is held while they are appended. In tests the
/// number is small, so that the inbox is full at times.
const BATCH: usize = if cfg!(test) { 2 } else { 64 };
