//! The queues of a limiter: one for each key; the keys take turns.

use std::{
    collections::HashMap,
    mem,
    task::{Poll, Waker},
};

use super::permits::Refusal;
use crate::{
    engine::{
        self, Line as Places, Slab, Waiter,
        mutation::{self, Mutation},
    },
    moment::Moment,
};

/// Identifies one waiter as long as its future lives.
#[derive(Debug)]
pub(super) struct Ticket {
    line: u32,
    id: Waiter<u32, Refusal>,
}

/// The inbox: waiters that have no key and ask for one permit join there while the keyless queue is the only one.
pub(super) type Inbox = engine::Inbox<u32, Refusal, u32>;

impl Ticket {
    /// Joins by the inbox, if it is open.
    #[inline]
    pub(super) fn by(inbox: &mut Inbox, waker: &mut Option<Waker>) -> Option<Self> {
        let line = KEYLESS;
        inbox.push(1, waker).map(|id| Self { line, id })
    }

    /// The answer of a waiter, if there is one, without the lock. Only for waiters without a key: the queue of a key goes with its
    /// last ticket, and that is counted under the lock.
    #[inline]
    pub(super) fn fetch(&self) -> Option<Result<u32, Refusal>> {
        if self.line != KEYLESS {
            return None;
        }
        self.id.fetch(|| None)
    }
}

/// All waiters. Waiters without a key share one queue, which always exists. The queue of a key lives as long as a waiter is in it.
#[derive(Debug)]
pub(super) struct Lines {
    /// The keyless queue. It is not among the others: most limiters have no keys, and find it without a lookup.
    keyless: Line,
    /// The queues of keys; the first is number 1.
    keyed: Slab<Line>,
    by_key: HashMap<u64, u32>,
    /// The ring of the queues that have waiters: whose turn it is, and who had the last turn.
    first: u32,
    last: u32,
    /// All waiters, including parked waiters.
    len: usize,
    /// How many waiters with a key have fetched their grants.
    fetched: u64,
    /// Whether every acquire so far asked for one permit.
    only_ones: bool,
}

#[derive(Debug)]
struct Line {
    key: Option<u64>,
    queue: Places<u32, Refusal, u32>,
    /// Futures that hold a ticket of this queue, if it is the queue of a key.
    tickets: usize,
    takes_turns: bool,
    prev: u32,
    next: u32,
}

const NIL: u32 = u32::MAX;
const KEYLESS: u32 = 0;

/// A map with room for this many keys is not worth shrinking.
const FEW_KEYS: usize = 64;

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            keyless: Line::new(None),
            keyed: Slab::new(),
            by_key: HashMap::new(),
            first: NIL,
            last: NIL,
            len: 0,
            fetched: 0,
            only_ones: true,
        }
    }

    /// How many acquires wait.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Whether no waiter would fetch a grant.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// Whether a grant is unfetched, as far as is known.
    pub(super) fn is_answering(&mut self) -> bool {
        self.rows().any(|line| line.queue.is_answering())
    }

    /// How many grants were fetched since the last call.
    pub(super) fn hear(&mut self) -> u64 {
        let fetched = self.rows().map(|line| line.queue.hear().0).sum::<u64>();
        fetched + mem::take(&mut self.fetched)
    }

    /// Whether every acquire so far asked for one permit.
    #[inline]
    pub(super) const fn only_ones(&self) -> bool {
        self.only_ones
    }

    /// Whether only acquires wait that may join by the inbox.
    #[inline]
    pub(super) const fn are_plain(&self) -> bool {
        self.first == KEYLESS && self.last == KEYLESS && self.only_ones
    }

    /// Opens the inbox for this many waiters.
    #[inline]
    pub(super) fn open(&self, inbox: &mut Inbox, room: usize, now: Moment) {
        self.keyless.queue.open(inbox, room, now);
    }

    /// Shuts the inbox, and moves the waiters that joined there into the queue.
    pub(super) fn take_in(&mut self, inbox: &mut Inbox) {
        let joined = self.keyless.queue.take_in(inbox);
        self.len += joined;
        if joined > 0 && !self.keyless.takes_turns {
            self.link(KEYLESS, self.last, NIL);
        }
    }

    /// Joins the end of the queue of `key`.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        key: Option<u64>,
        asked: u32,
        waker: Option<Waker>,
        now: Moment,
    ) -> Ticket {
        let line = self.line_of(key);
        self.only_ones &= asked == 1;
        let row = self.row(line);
        row.tickets += usize::from(key.is_some());
        let id = row.queue.push(asked, waker, now);
        let joins = !row.takes_turns;
        self.len += 1;
        if joins {
            self.link(line, self.last, NIL);
        }
        Ticket { line, id }
    }

    /// How many permits the next waiter asks for.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        let line = match self.first {
            KEYLESS => &self.keyless,
            keyed => self.keyed.get(keyed.wrapping_sub(1))?,
        };
        line.queue.first().map(|(asked, _)| asked)
    }

    /// Grants the next waiter what it asked for, and passes the turn on.
    #[inline]
    pub(super) fn grant_first(&mut self, now: Moment) -> Option<Waker> {
        let line = self.first;
        let row = self.at(line)?;
        let (count, _) = row.queue.first()?;
        let waker = row.queue.grant(count, now).ok()?;
        let done = row.queue.is_empty();
        self.len -= 1;
        if done || line != self.last {
            self.unlink(line);
            if !done {
                self.link(line, self.last, NIL);
            }
        }
        waker
    }

    /// Refuses the next waiter.
    pub(super) fn refuse_first(&mut self, why: Refusal) -> Option<Waker> {
        let line = self.first;
        let row = self.at(line)?;
        let waker = row.queue.refuse_first(why);
        let done = row.queue.is_empty();
        self.len -= 1;
        if done {
            self.unlink(line);
        }
        waker
    }

    /// Makes room in a full queue for a waiter of `key`: refuses the last waiter of the key with the most waiters, if that key has
    /// more waiters than `key` would have. Returns `None` if there is no such key, so there is no room.
    ///
    /// Looks at every key with waiters, unless `key` has half of all waiters or more.
    pub(super) fn push_out(&mut self, key: Option<u64>, why: Refusal) -> Option<Option<Waker>> {
        let ours = match key {
            None => Some(&KEYLESS),
            Some(hash) => self.by_key.get(&hash),
        };
        let ours = ours.copied();
        let ours = ours.map_or(0, |line| self.row(line).queue.waiting());
        if 2 * ours >= self.len {
            return None;
        }
        let (mut longest, mut most) = (NIL, ours + 1);
        let mut line = self.first;
        while let Some(row) = self.at(line) {
            if row.queue.waiting() > most {
                (longest, most) = (line, row.queue.waiting());
            }
            line = row.next;
        }
        // The refused waiter is not the only one of its key, so the key keeps its turn.
        let pushed_out = self.at(longest)?.queue.refuse_last(why);
        self.len -= 1;
        Some(pushed_out)
    }

    /// Refuses all waiters.
    pub(super) fn refuse_all(&mut self, why: Refusal) -> Vec<Waker> {
        let mut wakers = Vec::with_capacity(self.len);
        for line in self.rows() {
            wakers.append(&mut line.queue.refuse_all(|| why));
            line.takes_turns = false;
        }
        (self.first, self.last) = (NIL, NIL);
        self.len = 0;
        wakers
    }

    /// The wakers of all waiters that would fetch a grant, to make them poll again.
    pub(super) fn all_wakers(&mut self) -> Vec<Waker> {
        self.rows()
            .flat_map(|line| line.queue.all_wakers())
            .collect()
    }

    /// The answer of this waiter, if there is one. `Ready` consumes the ticket.
    #[inline]
    pub(super) fn poll(&mut self, ticket: &Ticket) -> Poll<Result<u32, Refusal>> {
        let row = self.row(ticket.line);
        let answer = row.queue.answer(&ticket.id);
        match answer {
            Poll::Ready(answer) => {
                self.leave(ticket.line);
                Poll::Ready(answer)
            }
            Poll::Pending => {
                // The waiter was parked and is back: its missed turn comes next.
                let joins = !row.takes_turns;
                if joins {
                    self.link(ticket.line, NIL, self.first);
                }
                Poll::Pending
            }
        }
    }

    /// The waker of this waiter.
    pub(super) fn waker(&mut self, ticket: &Ticket) -> &mut Option<Waker> {
        self.row(ticket.line).queue.waker(&ticket.id)
    }

    /// Gives up a place. Returns a grant that was not fetched. Drop the returned waker after unlocking.
    pub(super) fn cancel(
        &mut self,
        ticket: Ticket,
    ) -> (Option<Result<u32, Refusal>>, Option<Waker>) {
        let row = self.row(ticket.line);
        let (answer, waker) = row.queue.cancel(ticket.id);
        let done = row.takes_turns && row.queue.is_empty();
        let line = ticket.line;
        if answer.is_none() {
            self.len -= 1;
            if done {
                self.unlink(line);
            }
        }
        self.leave(line);
        (answer, waker)
    }

    /// Takes back grants that were not fetched for this long. Returns how many grants, and how many permits in total. If there is
    /// any, all waiters of all keys are parked and told to poll again: wake `wakers` after unlocking.
    pub(super) fn reclaim(
        &mut self,
        now: Moment,
        grace_nanos: u64,
        wakers: &mut Vec<Waker>,
    ) -> (u64, u32) {
        let (mut grants, mut permits) = (0, 0);
        for line in self.rows() {
            for count in line.queue.reclaim(now, grace_nanos, wakers) {
                grants += 1;
                permits += count;
            }
        }
        self.len += grants;
        if grants > 0 && !mutation::on(Mutation::ReclaimParksOne) {
            for line in self.rows() {
                line.queue.park_all(wakers);
                line.takes_turns = false;
            }
            (self.first, self.last) = (NIL, NIL);
        }
        (grants as u64, permits)
    }

    #[inline]
    fn row(&mut self, line: u32) -> &mut Line {
        match line {
            KEYLESS => &mut self.keyless,
            keyed => &mut self.keyed[keyed - 1],
        }
    }

    /// The queue of this number, if it exists.
    #[inline]
    fn at(&mut self, line: u32) -> Option<&mut Line> {
        match line {
            KEYLESS => Some(&mut self.keyless),
            NIL => None,
            keyed => self.keyed.get_mut(keyed - 1),
        }
    }

    fn rows(&mut self) -> impl Iterator<Item = &mut Line> {
        std::iter::once(&mut self.keyless).chain(self.keyed.iter_mut())
    }

    fn line_of(&mut self, key: Option<u64>) -> u32 {
        let Some(hash) = key else { return KEYLESS };
        if let Some(line) = self.by_key.get(&hash) {
            return *line;
        }
        let line = self.keyed.insert(Line::new(key)) + 1;
        self.by_key.insert(hash, line);
        line
    }

    /// A ticket of this queue is consumed. A queue without tickets is removed, and its memory freed.
    #[inline]
    fn leave(&mut self, line: u32) {
        let row = self.row(line);
        let Some(key) = row.key else { return };
        row.tickets -= 1;
        if row.tickets == 0 {
            let (fetched, _) = row.queue.hear();
            self.fetched += fetched;
            self.by_key.remove(&key);
            if self.by_key.len() * 4 < self.by_key.capacity() && self.by_key.capacity() > FEW_KEYS {
                self.by_key.shrink_to(FEW_KEYS.max(self.by_key.len() * 2));
            }
            drop(self.keyed.remove(line - 1));
        }
    }

    fn link(&mut self, line: u32, prev: u32, next: u32) {
        let row = self.row(line);
        (row.prev, row.next, row.takes_turns) = (prev, next, true);
        match self.at(prev) {
            Some(prev) => prev.next = line,
            None => self.first = line,
        }
        match self.at(next) {
            Some(next) => next.prev = line,
            None => self.last = line,
        }
    }

    fn unlink(&mut self, line: u32) {
        let row = self.row(line);
        row.takes_turns = false;
        let (prev, next) = (row.prev, row.next);
        match self.at(prev) {
            Some(row) => row.next = next,
            None => self.first = next,
        }
        match self.at(next) {
            Some(row) => row.prev = prev,
            None => self.last = prev,
        }
    }
}

impl Line {
    const fn new(key: Option<u64>) -> Self {
        Self {
            key,
            queue: Places::new(),
            tickets: 0,
            takes_turns: false,
            prev: NIL,
            next: NIL,
        }
    }
}
