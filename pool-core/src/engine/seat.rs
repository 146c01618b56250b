//! Seats. A seat is one unit of the pool's bound.
//!
//! Each resource that is opening, open or closing has exactly one seat, and a seat is in exactly one state. A [`Seat`] is the token
//! for it. If the token is dropped anywhere, the seat is free: by a panic, with a cancelled task, or with a runtime that ends.
//! Counts are never kept by paired calls.

use super::{
    board::Board,
    kernel::Kernel,
    slot::Slot,
    tag::{Holder, Tag},
};
use crate::{moment::Moment, sync::Arc};

/// The state of a seat, and of the resource on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum SeatState {
    /// There is no resource on this seat.
    Free,
    /// The resource is being opened.
    Opening,
    /// The resource is good: idle, leased, or granted to a waiter that has not fetched it yet. [`IdleSet`](super::idle::IdleSet)
    /// knows which of them are idle, since gets and returns change that without the lock.
    Open,
    /// The resource is being checked before it may be used.
    Checking,
    /// The resource is being reset for its next lease.
    Resetting,
    /// The resource is being closed.
    Closing,
}

impl SeatState {
    pub(crate) const COUNT: usize = 6;
}

/// The token of one seat. Its drop frees the seat.
#[derive(Debug)]
pub(crate) struct Seat<T, E: Clone> {
    kernel: Arc<Kernel<T, E>>,
    index: u32,
}

impl<T, E: Clone> Seat<T, E> {
    pub(super) const fn new(kernel: Arc<Kernel<T, E>>, index: u32) -> Self {
        Self { kernel, index }
    }

    #[inline]
    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    #[inline]
    pub(super) fn board(&self) -> &Board<Slot<T, E>> {
        &self.kernel.board
    }

    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.kernel.generation()
    }

    /// Drops the token without freeing the seat, which was vacated under the lock already.
    pub(super) fn spent(mut self) {
        self.index = SPENT;
    }
}

impl<T, E: Clone> Drop for Seat<T, E> {
    fn drop(&mut self) {
        // A loom or shuttle model that failed is being torn down: its mutexes are gone.
        let torn_down = cfg!(any(pool_loom, pool_shuttle)) && std::thread::panicking();
        // A thread that unwinds from under the kernel's lock must not take it again. Its seats are leaked with the rest of the old
        // state.
        if self.index != SPENT && !torn_down && !self.kernel.state.0.unwinds_here() {
            self.kernel.vacate(self.index);
        }
    }
}

const SPENT: u32 = u32::MAX;

/// All seats of one pool, and how many of them are in each state. Calls about an unknown seat do nothing: after a panic of the
/// kernel, old seats are still held.
#[derive(Debug)]
pub(crate) struct Seats {
    rows: Vec<Row>,
    free: Vec<u32>,
    counts: [u32; SeatState::COUNT],
    /// The opens that run or are about to: `max_opening` at most.
    opening: Vec<Opening>,
    /// The seats whose resources are being checked, and when each check began.
    checking: Vec<(u32, Moment)>,
    /// The leases of resources that are gone.
    past_uses: u64,
}

#[derive(Debug)]
struct Opening {
    index: u32,
    since: Moment,
    /// The pool's generation when the open began.
    generation: u64,
}

#[derive(Debug)]
struct Row {
    state: SeatState,
    expires_at: Moment,
    tag: Option<std::sync::Arc<Tag>>,
}

impl Seats {
    pub(super) const fn new() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
            counts: [0; SeatState::COUNT],
            opening: Vec::new(),
            checking: Vec::new(),
            past_uses: 0,
        }
    }

    /// How many seats are in this state.
    #[inline]
    pub(super) const fn count(&self, state: SeatState) -> u32 {
        self.counts[state as usize]
    }

    /// How many seats are not free. The bound limits this number.
    pub(super) fn taken(&self) -> u32 {
        self.rows.len() as u32 - self.free.len() as u32
    }

    /// How many resources are open and not being closed.
    pub(super) fn alive(&self) -> u32 {
        self.taken() - self.count(SeatState::Opening) - self.count(SeatState::Closing)
    }

    /// How many opens began at `since` or earlier.
    pub(super) fn opening_since(&self, since: Moment) -> u32 {
        let all = self.opening.iter();
        all.filter(|opening| opening.since <= since).count() as u32
    }

    /// How many opens of this generation began after `late`. `None` stands for any generation, or any begin.
    pub(super) fn opening_after(&self, late: Option<Moment>, generation: Option<u64>) -> u32 {
        let of_it = |opening: &&Opening| {
            generation.is_none_or(|generation| opening.generation == generation)
                && late.is_none_or(|late| opening.since > late)
        };
        self.opening.iter().filter(of_it).count() as u32
    }

    /// The begin of the first open that began after `late`.
    pub(super) fn first_opening_after(&self, late: Option<Moment>) -> Option<Moment> {
        let all = self.opening.iter().map(|opening| opening.since);
        all.filter(|since| late.is_none_or(|late| *since > late))
            .min()
    }

    /// How many checks began at `since` or earlier.
    pub(super) fn checking_since(&self, since: Moment) -> u32 {
        let all = self.checking.iter();
        all.filter(|(_, began)| *began <= since).count() as u32
    }

    /// The begin of the first check that began after `late`.
    pub(super) fn first_check_after(&self, late: Option<Moment>) -> Option<Moment> {
        let all = self.checking.iter().map(|(_, began)| *began);
        all.filter(|began| late.is_none_or(|late| *began > late))
            .min()
    }

    /// Begins a check of the idle resource on this seat.
    pub(super) fn check(&mut self, index: u32, now: Moment) {
        self.set(index, SeatState::Checking);
        self.checking.push((index, now));
    }

    /// The generation of the open on this seat.
    pub(super) fn generation(&self, index: u32) -> Option<u64> {
        let mut all = self.opening.iter();
        all.find(|opening| opening.index == index)
            .map(|opening| opening.generation)
    }

    /// Sets the generation of the open on this seat, which begins now.
    pub(super) fn begin(&mut self, index: u32, generation: u64) {
        let mut all = self.opening.iter_mut();
        if let Some(opening) = all.find(|opening| opening.index == index) {
            opening.generation = generation;
        }
    }

    /// Takes a free seat for an open.
    pub(super) fn occupy(&mut self, now: Moment, generation: u64) -> u32 {
        let row = Row {
            state: SeatState::Opening,
            expires_at: Moment::NEVER,
            tag: None,
        };
        self.counts[SeatState::Opening as usize] += 1;
        let index = match self.free.pop() {
            Some(index) => {
                self.rows[index as usize] = row;
                index
            }
            None => {
                self.rows.push(row);
                (self.rows.len() - 1) as u32
            }
        };
        self.opening.push(Opening {
            index,
            since: now,
            generation,
        });
        index
    }

    /// Ends the open on this seat with success. Returns the tag of the resource.
    pub(super) fn opened(&mut self, index: u32, expires_at: Moment) -> std::sync::Arc<Tag> {
        self.set(index, SeatState::Open);
        let Some(row) = self.rows.get_mut(index as usize) else {
            return std::sync::Arc::new(Tag::new());
        };
        row.expires_at = expires_at;
        let tag = row.tag.insert(std::sync::Arc::new(Tag::new()));
        std::sync::Arc::clone(tag)
    }

    pub(super) fn state(&self, index: u32) -> SeatState {
        let row = self.rows.get(index as usize);
        row.map_or(SeatState::Closing, |row| row.state)
    }

    #[inline]
    pub(super) fn set(&mut self, index: u32, state: SeatState) {
        let Some(row) = self.rows.get_mut(index as usize) else {
            return;
        };
        match row.state {
            SeatState::Opening => self.opening.retain(|opening| opening.index != index),
            SeatState::Checking => self.checking.retain(|(checked, _)| *checked != index),
            _ => {}
        }
        self.counts[row.state as usize] -= 1;
        self.counts[state as usize] += 1;
        row.state = state;
    }

    pub(super) fn vacate(&mut self, index: u32) {
        self.set(index, SeatState::Free);
        let Some(row) = self.rows.get_mut(index as usize) else {
            return;
        };
        self.counts[SeatState::Free as usize] -= 1;
        row.expires_at = Moment::NEVER;
        self.past_uses += row.tag.take().map_or(0, |tag| tag.uses());
        self.free.push(index);
    }

    /// How many leases there were so far.
    pub(super) fn uses(&self) -> u64 {
        let uses: u64 = self.tags().map(|tag| tag.uses()).sum();
        self.past_uses + uses
    }

    /// The next end of a lifetime after `now`.
    pub(super) fn next_expiry(&self, now: Moment) -> Moment {
        let ends = self.rows.iter().map(|row| row.expires_at);
        ends.filter(|end| *end > now).min().unwrap_or(Moment::NEVER)
    }

    /// The holders of all resources that are leased now.
    pub(super) fn holders(&self) -> impl Iterator<Item = Holder> {
        self.tags().filter_map(Tag::holder)
    }

    /// The holders of leases that began at `before` or earlier. Each lease is reported once.
    pub(super) fn report_before(&self, before: Moment) -> Vec<Holder> {
        self.tags()
            .filter_map(|tag| tag.report_before(before))
            .collect()
    }

    fn tags(&self) -> impl Iterator<Item = &Tag> {
        self.rows.iter().filter_map(|row| row.tag.as_deref())
    }
}
