//! The lines of those who wait: one for each key, and the keys take turns.

use std::{
    collections::HashMap,
    task::{Poll, Waker},
    time::Duration,
};

use super::permits::Refusal;
use crate::{
    engine::queue::{WaitQueue, WaiterId},
    moment::Moment,
};

/// Names one waiter for as long as its future lives.
#[derive(Debug)]
pub(super) struct Ticket {
    line: u32,
    id: WaiterId,
}

/// All who wait. Those without a key share one line, which is there from the start; the line of a key lives as long as anybody
/// in it.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    by_key: HashMap<u64, u32>,
    free: Vec<u32>,
    /// The ring of the lines in which somebody waits: whose turn it is, and who had the last.
    first: u32,
    last: u32,
    /// In line, in all, those who are parked included.
    len: usize,
    /// Grants on their way, in all.
    granted: usize,
}

#[derive(Debug)]
struct Line {
    key: Option<u64>,
    queue: WaitQueue<u32, Refusal, u32>,
    /// Futures that hold a ticket of this line.
    tickets: usize,
    takes_turns: bool,
    prev: u32,
    next: u32,
}

const NIL: u32 = u32::MAX;
const KEYLESS: u32 = 0;

impl Lines {
    pub(super) fn new() -> Self {
        Self {
            lines: vec![Line::new(None)],
            by_key: HashMap::new(),
            free: Vec::new(),
            first: NIL,
            last: NIL,
            len: 0,
            granted: 0,
        }
    }

    /// How many stand in line.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Would nobody fetch a grant?
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.first == NIL
    }

    /// Grants on their way.
    pub(super) const fn granted(&self) -> usize {
        self.granted
    }

    /// Joins the end of the line of `key`, asking for `count`.
    pub(super) fn push(
        &mut self,
        key: Option<u64>,
        count: u32,
        waker: Waker,
        now: Moment,
    ) -> Ticket {
        let line = self.line_of(key);
        let row = &mut self.lines[line as usize];
        row.tickets += 1;
        let id = row.queue.push(count, waker, now);
        self.len += 1;
        if !self.lines[line as usize].takes_turns {
            self.link(line, self.last, NIL);
        }
        Ticket { line, id }
    }

    /// What the next one asks for.
    #[inline]
    pub(super) fn first(&self) -> Option<u32> {
        let line = self.lines.get(self.first as usize)?;
        line.queue.first().map(|(count, _)| *count)
    }

    /// Hands the next one what it asked for; the turn passes on.
    #[inline]
    pub(super) fn grant_first(&mut self, now: Moment) -> Option<Waker> {
        let line = self.first;
        let row = self.lines.get_mut(line as usize)?;
        let count = *row.queue.first()?.0;
        let waker = row.queue.grant(count, now).ok()?;
        self.len -= 1;
        self.granted += 1;
        let done = row.queue.is_empty();
        if done || line != self.last {
            self.unlink(line);
            if !done {
                self.link(line, self.last, NIL);
            }
        }
        waker
    }

    /// Tells the next one no.
    pub(super) fn refuse_first(&mut self, why: Refusal) -> Option<Waker> {
        let line = self.first;
        let row = self.lines.get_mut(line as usize)?;
        let waker = row.queue.refuse_first(why);
        self.len -= 1;
        if row.queue.is_empty() {
            self.unlink(line);
        }
        waker
    }

    /// Tells everybody no.
    pub(super) fn refuse_all(&mut self, why: Refusal) -> Vec<Waker> {
        let mut wakers = Vec::with_capacity(self.len);
        for line in &mut self.lines {
            wakers.append(&mut line.queue.refuse_all(|| why));
            line.takes_turns = false;
        }
        (self.first, self.last) = (NIL, NIL);
        self.len = 0;
        wakers
    }

    /// Has this waiter an answer? After `Ready` its ticket is spent.
    #[inline]
    pub(super) fn poll(&mut self, ticket: &Ticket) -> Poll<Result<u32, Refusal>> {
        let row = &mut self.lines[ticket.line as usize];
        let answer = row.queue.answer(&ticket.id);
        match answer {
            Poll::Ready(answer) => {
                self.granted -= usize::from(answer.is_ok());
                self.leave(ticket.line);
                Poll::Ready(answer)
            }
            Poll::Pending => {
                // It was parked and is back: the turn that it missed comes next.
                if !row.takes_turns {
                    self.link(ticket.line, NIL, self.first);
                }
                Poll::Pending
            }
        }
    }

    /// Who to wake for this waiter.
    pub(super) fn waker(&mut self, ticket: &Ticket) -> &mut Option<Waker> {
        self.lines[ticket.line as usize].queue.waker(&ticket.id)
    }

    /// Gives up its place. What was granted and not fetched comes back; the waker is to be dropped after unlocking.
    pub(super) fn cancel(
        &mut self,
        ticket: Ticket,
    ) -> (Option<Result<u32, Refusal>>, Option<Waker>) {
        let row = &mut self.lines[ticket.line as usize];
        let waker = row.queue.waker(&ticket.id).take();
        let answer = row.queue.cancel(ticket.id);
        match answer {
            Some(Ok(_)) => self.granted -= 1,
            Some(Err(_)) => {}
            None => {
                self.len -= 1;
                if row.takes_turns && row.queue.is_empty() {
                    self.unlink(ticket.line);
                }
            }
        }
        self.leave(ticket.line);
        (answer, waker)
    }

    /// Takes back what nobody fetched for `grace`: how many grants, and how many permits in all.
    pub(super) fn reclaim(&mut self, now: Moment, grace: Duration) -> (u64, u32) {
        let (mut grants, mut permits) = (0, 0);
        for line in &mut self.lines {
            while let Some(count) = line.queue.reclaim(now, grace) {
                grants += 1;
                permits += count;
                self.granted -= 1;
                self.len += 1;
            }
        }
        (grants, permits)
    }

    fn line_of(&mut self, key: Option<u64>) -> u32 {
        let Some(hash) = key else { return KEYLESS };
        if let Some(line) = self.by_key.get(&hash) {
            return *line;
        }
        let line = match self.free.pop() {
            Some(line) => {
                self.lines[line as usize] = Line::new(key);
                line
            }
            None => {
                self.lines.push(Line::new(key));
                (self.lines.len() - 1) as u32
            }
        };
        self.by_key.insert(hash, line);
        line
    }

    /// One ticket of this line is spent. A line that nobody is in any more goes, with its memory.
    #[inline]
    fn leave(&mut self, line: u32) {
        let row = &mut self.lines[line as usize];
        row.tickets -= 1;
        if row.tickets == 0
            && let Some(key) = row.key
        {
            *row = Line::new(None);
            self.by_key.remove(&key);
            self.free.push(line);
        }
    }

    fn link(&mut self, line: u32, prev: u32, next: u32) {
        let row = &mut self.lines[line as usize];
        (row.prev, row.next, row.takes_turns) = (prev, next, true);
        match self.lines.get_mut(prev as usize) {
            Some(prev) => prev.next = line,
            None => self.first = line,
        }
        match self.lines.get_mut(next as usize) {
            Some(next) => next.prev = line,
            None => self.last = line,
        }
    }

    fn unlink(&mut self, line: u32) {
        let row = &mut self.lines[line as usize];
        row.takes_turns = false;
        let (prev, next) = (row.prev, row.next);
        match self.lines.get_mut(prev as usize) {
            Some(row) => row.next = next,
            None => self.first = next,
        }
        match self.lines.get_mut(next as usize) {
            Some(row) => row.prev = prev,
            None => self.last = prev,
        }
    }
}

impl Line {
    const fn new(key: Option<u64>) -> Self {
        Self {
            key,
            queue: WaitQueue::new(),
            tickets: 0,
            takes_turns: false,
            prev: NIL,
            next: NIL,
        }
    }
}
