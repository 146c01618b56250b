//! The wait queue: FIFO, every waiter cancellable at any point, every operation O(1).
//!
//! It is plain data. Its owner keeps it under one mutex together with whatever it hands out, and wakes only after unlocking:
//! no method here calls, clones or drops a waker, as long as the owner takes that of a waiter that goes away.
//!
//! A waiter is in one of five states, and on the list of that name (the last two are on none):
//!
//! | state | what it means | who moves it on |
//! |---|---|---|
//! | waiting | in line, next grant goes to the first | `grant`, `refuse`, `cancel` |
//! | granted | something was handed to it, its future has not fetched it | `answer`, `cancel`, `reclaim` |
//! | parked | its grant was taken back, because its future was not polled in time; keeps its place | `answer` puts it back in line |
//! | refused | told no; its future has not fetched that | `answer`, `cancel` |
//! | free | the cell is reused by the next waiter | `push` |
//!
//! In line means: parked and waiting together, ordered by ticket. A grant skips the parked ones, since nobody would fetch it.

use std::{
    mem,
    task::{Poll, Waker},
    time::Duration,
};

use super::mutation::{self, Mutation};
use crate::moment::Moment;

/// Names one waiter for as long as its future lives. Not `Clone`: `answer` and `cancel` spend it once it has an answer.
#[derive(Debug)]
pub(crate) struct WaiterId {
    index: u32,
    ticket: u64,
    since: Moment,
}

impl WaiterId {
    /// When it joined the line.
    pub(crate) const fn since(&self) -> Moment {
        self.since
    }

    /// Where it stands, for [`WaitQueue::refuse_at`].
    pub(crate) const fn place(&self) -> WaiterPlace {
        WaiterPlace {
            index: self.index,
            ticket: self.ticket,
        }
    }
}

/// Names a waiter without being it: good for nothing once it has gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WaiterPlace {
    index: u32,
    ticket: u64,
}

/// What a waiter gets: a grant `G`, or a refusal `R`.
pub(crate) type Answer<G, R> = Result<G, R>;

/// A FIFO of waiters for grants of type `G`.
#[derive(Debug)]
pub(crate) struct WaitQueue<G, R> {
    cells: Vec<Cell<G, R>>,
    /// The first free cell; each names the next.
    free: u32,
    waiting: List,
    parked: List,
    granted: List,
    /// The first waiter in line that was not yet told to arm a timer of its own.
    unarmed: u32,
    next_ticket: u64,
}

/// Aligned: one that fits a cache line is on one.
#[derive(Debug)]
#[repr(align(64))]
struct Cell<G, R> {
    prev: u32,
    next: u32,
    ticket: u64,
    since: Moment,
    armed: bool,
    state: State<G, R>,
    waker: Option<Waker>,
}

#[derive(Debug)]
enum State<G, R> {
    Free,
    Waiting,
    Parked,
    Granted(G, Moment),
    Refused(R),
}

#[derive(Debug)]
struct List {
    head: u32,
    tail: u32,
    len: usize,
}

const NIL: u32 = u32::MAX;

impl<G, R> WaitQueue<G, R> {
    pub(crate) const fn new() -> Self {
        Self {
            cells: Vec::new(),
            free: NIL,
            waiting: List::new(),
            parked: List::new(),
            granted: List::new(),
            unarmed: NIL,
            next_ticket: 0,
        }
    }

    /// Waiters in line: those that have no answer yet.
    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.waiting.len + self.parked.len
    }

    /// Does nobody stand in line who would fetch a grant?
    #[inline]
    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting.len == 0
    }

    /// Waiters in line whose future is being polled.
    #[inline]
    pub(crate) const fn waiting(&self) -> usize {
        self.waiting.len
    }

    /// Is there anything that [`arm`](Self::arm) or [`reclaim`](Self::reclaim) may have to do later?
    pub(crate) const fn wants_ticks(&self) -> bool {
        self.unarmed != NIL || self.granted.len > 0
    }

    /// Joins the end of the line.
    pub(crate) fn push(&mut self, waker: impl Into<Option<Waker>>, now: Moment) -> WaiterId {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let cell = Cell {
            prev: NIL,
            next: NIL,
            ticket,
            since: now,
            armed: false,
            state: State::Waiting,
            waker: waker.into(),
        };
        let index = match self.free {
            NIL => {
                self.cells.push(cell);
                // 2^32 - 1 waiters would need 350 GB: the bound of the owner comes first.
                (self.cells.len() - 1) as u32
            }
            index => {
                self.free = mem::replace(self.cell(index), cell).next;
                index
            }
        };
        self.append(index, |queue| &mut queue.waiting);
        if self.unarmed == NIL {
            self.unarmed = index;
        }
        WaiterId {
            index,
            ticket,
            since: now,
        }
    }

    /// The waker of the first waiter, to make it poll again: it keeps its place, and gives another when it is polled.
    pub(crate) fn first_waker(&mut self) -> Option<Waker> {
        self.cells.get_mut(self.waiting.head as usize)?.waker.take()
    }

    /// The wakers of all who would fetch a grant, to make them poll again: they keep their places, and give others when polled.
    pub(crate) fn all_wakers(&mut self) -> Vec<Waker> {
        let mut wakers = Vec::new();
        let mut index = self.waiting.head;
        while let Some(cell) = self.cells.get_mut(index as usize) {
            wakers.extend(cell.waker.take());
            index = cell.next;
        }
        wakers
    }

    /// Hands `grant` to the first waiter; gives it back when there is none. Wake what it returns after unlocking.
    #[inline]
    pub(crate) fn grant(&mut self, grant: G, now: Moment) -> Result<Option<Waker>, G> {
        let index = self.waiting.head;
        if index == NIL {
            return Err(grant);
        }
        self.unlink(index);
        let cell = self.cell(index);
        cell.state = State::Granted(grant, now);
        let waker = cell.waker.take();
        self.append(index, |queue| &mut queue.granted);
        Ok(waker)
    }

    /// Tells the first waiter no. Wake what it returns after unlocking.
    pub(crate) fn refuse_first(&mut self, why: R) -> Option<Waker> {
        let index = self.waiting.head;
        if index == NIL {
            return None;
        }
        self.refuse(index, why)
    }

    /// Tells this one no, wherever it stands in line. Wake what it returns after unlocking.
    pub(crate) fn refuse_at(&mut self, place: WaiterPlace, why: R) -> Option<Waker> {
        let cell = self.cells.get(place.index as usize)?;
        let in_line = matches!(cell.state, State::Waiting | State::Parked);
        if !in_line || cell.ticket != place.ticket {
            return None;
        }
        self.refuse(place.index, why)
    }

    /// Tells the last one in line no, parked or not. Wake what it returns after unlocking.
    pub(crate) fn refuse_last(&mut self, why: R) -> Option<Waker> {
        let (waiting, parked) = (self.waiting.tail, self.parked.tail);
        let ticket = |index: u32| self.cells.get(index as usize).map(|cell| cell.ticket);
        let last = if ticket(parked) > ticket(waiting) {
            parked
        } else {
            waiting
        };
        if last == NIL {
            return None;
        }
        self.refuse(last, why)
    }

    /// Tells everybody in line no: those who wait and those who are parked. Wake what it returns after unlocking.
    pub(crate) fn refuse_all(&mut self, why: impl Fn() -> R) -> Vec<Waker> {
        let mut wakers = Vec::with_capacity(self.len());
        while self.parked.head != NIL {
            wakers.extend(self.refuse(self.parked.head, why()));
        }
        while self.waiting.head != NIL {
            wakers.extend(self.refuse(self.waiting.head, why()));
        }
        wakers
    }

    /// Has this waiter an answer? If not, a parked one is back in line, and who to wake stays as it is (see
    /// [`waker`](Self::waker)). After `Ready` the id is spent: the caller forgets it.
    #[inline]
    pub(crate) fn answer(&mut self, id: &WaiterId) -> Poll<Answer<G, R>> {
        let index = id.index;
        debug_assert_eq!(
            self.cell(index).ticket,
            id.ticket,
            "a waiter id was used after its answer"
        );
        match self.cell(index).state {
            State::Granted(..) | State::Refused(..) => {}
            State::Parked => {
                if !mutation::on(Mutation::ParkedStaysParked) {
                    self.unpark(index);
                }
                return Poll::Pending;
            }
            State::Waiting | State::Free => return Poll::Pending,
        }
        match self.remove(index) {
            State::Granted(grant, _) => Poll::Ready(Ok(grant)),
            State::Refused(why) => Poll::Ready(Err(why)),
            State::Waiting | State::Parked | State::Free => Poll::Pending,
        }
    }

    /// Who to wake for this waiter, for an owner that clones and drops wakers with nothing locked.
    #[inline]
    pub(crate) fn waker(&mut self, id: &WaiterId) -> &mut Option<Waker> {
        &mut self.cell(id.index).waker
    }

    /// Was this waiter told to keep a timer of its own?
    pub(crate) fn is_armed(&self, id: &WaiterId) -> bool {
        self.cells[id.index as usize].armed
    }

    /// Gives up its place. What was granted and not fetched comes back, for the next in line.
    pub(crate) fn cancel(&mut self, id: WaiterId) -> Option<Answer<G, R>> {
        debug_assert_eq!(
            self.cell(id.index).ticket,
            id.ticket,
            "a waiter id was used after its answer"
        );
        match self.remove(id.index) {
            State::Granted(grant, _) => Some(Ok(grant)),
            State::Refused(why) => Some(Err(why)),
            State::Waiting | State::Parked | State::Free => None,
        }
    }

    /// Takes back one grant that nobody fetched for `grace`. Its waiter is parked: it keeps its place, and is back in line as
    /// soon as its future is polled.
    pub(crate) fn reclaim(&mut self, now: Moment, grace: Duration) -> Option<G> {
        let index = self.granted.head;
        match self.cells.get(index as usize)?.state {
            State::Granted(_, at) if now - at >= grace => {}
            _ => return None,
        }
        self.unlink(index);
        let state = mem::replace(&mut self.cell(index).state, State::Parked);
        self.insert_by_ticket(index, |queue| &mut queue.parked);
        match state {
            State::Granted(grant, _) => Some(grant),
            _ => None,
        }
    }

    /// Tells those who have been in line since before `before` to keep a timer of their own: short waits, which are nearly all,
    /// never touch the timer. Wake what it adds to `wakers` after unlocking.
    pub(crate) fn arm(&mut self, before: Moment, wakers: &mut Vec<Waker>) {
        while self.unarmed != NIL {
            let index = self.unarmed;
            let cell = self.cell(index);
            if cell.since > before {
                return;
            }
            cell.armed = true;
            let (waker, next) = (cell.waker.take(), cell.next);
            wakers.extend(waker);
            self.unarmed = next;
        }
    }

    fn refuse(&mut self, index: u32, why: R) -> Option<Waker> {
        self.unlink(index);
        let cell = self.cell(index);
        cell.state = State::Refused(why);
        cell.waker.take()
    }

    /// Back in line, in order of arrival. Everybody who waits came later, but for others that were parked too.
    fn unpark(&mut self, index: u32) {
        self.unlink(index);
        let cell = self.cell(index);
        cell.state = State::Waiting;
        // `arm` goes from the front to the back once and is past this place.
        cell.armed = true;
        self.insert_by_ticket(index, |queue| &mut queue.waiting);
    }

    fn remove(&mut self, index: u32) -> State<G, R> {
        self.unlink(index);
        let free = self.free;
        let cell = self.cell(index);
        cell.waker = None;
        cell.next = free;
        self.free = index;
        mem::replace(&mut self.cell(index).state, State::Free)
    }

    #[inline]
    fn cell(&mut self, index: u32) -> &mut Cell<G, R> {
        &mut self.cells[index as usize]
    }

    fn list_of(&mut self, index: u32) -> Option<&mut List> {
        match self.cell(index).state {
            State::Waiting => Some(&mut self.waiting),
            State::Parked => Some(&mut self.parked),
            State::Granted(..) => Some(&mut self.granted),
            State::Refused(..) | State::Free => None,
        }
    }

    #[inline]
    fn append(&mut self, index: u32, list: impl Fn(&mut Self) -> &mut List) {
        let tail = list(self).tail;
        self.insert_between(index, tail, NIL, list);
    }

    fn insert_by_ticket(&mut self, index: u32, list: impl Fn(&mut Self) -> &mut List) {
        let ticket = self.cell(index).ticket;
        let (mut prev, mut next) = (NIL, list(self).head);
        while next != NIL && self.cell(next).ticket < ticket {
            (prev, next) = (next, self.cell(next).next);
        }
        self.insert_between(index, prev, next, list);
    }

    #[inline]
    fn insert_between(
        &mut self,
        index: u32,
        prev: u32,
        next: u32,
        list: impl Fn(&mut Self) -> &mut List,
    ) {
        let cell = self.cell(index);
        (cell.prev, cell.next) = (prev, next);
        match prev {
            NIL => list(self).head = index,
            prev => self.cell(prev).next = index,
        }
        match next {
            NIL => list(self).tail = index,
            next => self.cell(next).prev = index,
        }
        list(self).len += 1;
    }

    #[inline]
    fn unlink(&mut self, index: u32) {
        let cell = self.cell(index);
        let (prev, next) = (cell.prev, cell.next);
        if self.unarmed == index {
            self.unarmed = next;
        }
        let Some(list) = self.list_of(index) else {
            return;
        };
        list.len -= 1;
        if list.head == index {
            list.head = next;
        }
        if list.tail == index {
            list.tail = prev;
        }
        if prev != NIL {
            self.cell(prev).next = next;
        }
        if next != NIL {
            self.cell(next).prev = prev;
        }
        let cell = self.cell(index);
        (cell.prev, cell.next) = (NIL, NIL);
    }
}

impl List {
    const fn new() -> Self {
        Self {
            head: NIL,
            tail: NIL,
            len: 0,
        }
    }
}

#[cfg(test)]
mod tests;
