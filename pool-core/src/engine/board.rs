//! The board: idle slots that a get takes, and a return lays down, without a lock.
//!
//! Each seat has a cell, and a bit in a word. The bit says which thread owns the cell:
//!
//! | bit | the cell | what changes it |
//! |---|---|---|
//! | 1 | holds an idle slot | the thread that takes the slot: it clears the bit, then owns the cell and empties it |
//! | 0 | belongs to the holder of the seat's slot | a return: it fills the cell, then sets the bit |
//!
//! A word has one more bit, `CALL`: *come to the lock*. It is set and cleared under the lock only. While it is set, no get takes
//! from this word and no return lays a slot into it without the lock. Both take the lock instead, and find there why they were
//! called.
//!
//! The protocol needs one word only. Every step is one read-modify-write of the word, and these steps are in one total order. A
//! thread that sets `CALL` learns by the same step which bits were set before, and every return that comes later in the order sees
//! `CALL`. So a waiter that sets `CALL`, looks at the board and goes to sleep misses no return. See `PROTOCOL.md`.
//!
//! Seats are distributed over the words in turn, and a get begins at a word of its thread, so several cores seldom meet at one
//! word. The first 4,096 seats have a place on the board.

use std::fmt;

use super::mutation::{self, Mutation};
use crate::sync::{
    UnsafeCell,
    atomic::{AtomicU64, Ordering},
};

/// The idle slots of a pool, by seat.
pub(super) struct Board<S> {
    /// The words: a power of two of them, or none.
    words: Box<[Word]>,
    /// The binary logarithm of the number of words.
    shift: u32,
    /// A get begins its search at one of the first few words. This is the index of the last of those.
    last_start: usize,
    /// The cells, by seat. The bit of seat `n` is bit `n / words` of word `n % words`.
    cells: Box<[UnsafeCell<Option<Box<S>>>]>,
}

/// Words that two cores write at once are two cache lines apart, because processors fetch lines in pairs.
#[repr(align(128))]
struct Word(AtomicU64);

/// A value that can lie on a board.
///
/// # Safety
/// The board lives for at least as long as the value does. `seat` always returns the same number, and no other live value returns
/// it.
pub(super) unsafe trait Seated: Sized {
    fn board(&self) -> &Board<Self>;
    fn seat(&self) -> u32;
}

/// The outcome of a look at one word.
enum Look<S> {
    One(Box<S>),
    Empty,
    Called,
}

const CALL: u64 = 1 << 63;
const WIDTH: u32 = 63;
/// Seats beyond these have no place on the board, so a pool of a million does not pay for its size in advance.
const MOST_SEATS: u32 = 4096;
const MOST_PARTS: u32 = 64;

// SAFETY: a cell is touched only by the thread that owns it (see the table above), so by one at a time, and its content moves
// between threads. So `S: Send` is what both need.
unsafe impl<S: Send> Send for Board<S> {}
// SAFETY: as above.
unsafe impl<S: Send> Sync for Board<S> {}

impl<S> Board<S> {
    /// Makes a board of at least `parts` words, for at least `seats` seats or [`MOST_SEATS`] if that is less. A board for no seats
    /// has no words. Gets begin their search at one of `parts` words.
    pub(super) fn new(seats: u32, parts: u32) -> Self {
        let seats = seats.min(MOST_SEATS);
        let parts = parts.clamp(1, MOST_PARTS).next_power_of_two();
        let words = match seats {
            0 => 0,
            seats => parts.max(seats.div_ceil(WIDTH)).next_power_of_two(),
        };
        let bits = if seats == 0 { 0 } else { seats.div_ceil(words) };
        Self {
            words: (0..words).map(|_| Word(AtomicU64::new(0))).collect(),
            shift: words.max(1).trailing_zeros(),
            last_start: parts as usize - 1,
            cells: (0..words * bits).map(|_| UnsafeCell::new(None)).collect(),
        }
    }

    /// Takes an idle slot, which then belongs to the caller. Returns `None` if there is none or if `CALL` is set. The search begins
    /// at word `hint`, modulo the number of words to begin at.
    #[inline]
    pub(super) fn take(&self, hint: usize) -> Option<Box<S>> {
        let first = hint & self.last_start;
        match self.take_from(first, &self.words.get(first)?.0) {
            Look::One(slot) => Some(slot),
            Look::Called => None,
            Look::Empty if mutation::on(Mutation::TakeLooksAtOneWord) => None,
            Look::Empty => self.take_elsewhere(first),
        }
    }

    /// Takes an idle slot from a word other than `first`.
    fn take_elsewhere(&self, first: usize) -> Option<Box<S>> {
        let (before, after) = self.words.split_at(first);
        let others = after.iter().enumerate().skip(1);
        let others = others.map(|(at, word)| (first + at, word));
        for (at, Word(word)) in others.chain(before.iter().enumerate()) {
            match self.take_from(at, word) {
                Look::One(slot) => return Some(slot),
                Look::Called => return None,
                Look::Empty => {}
            }
        }
        None
    }

    #[inline]
    fn take_from(&self, at: usize, word: &AtomicU64) -> Look<S> {
        // Ordering: Relaxed. Only the exchange below acts on this value.
        let mut seen = word.load(Ordering::Relaxed);
        loop {
            if seen & CALL != 0 {
                return Look::Called;
            }
            if seen == 0 {
                return Look::Empty;
            }
            let bit = seen.trailing_zeros();
            let taken = seen & (seen - 1);
            if mutation::on(Mutation::TakeIsTwoSteps) {
                word.store(taken, Ordering::Release);
                return self.fetch(at, bit).map_or(Look::Empty, Look::One);
            }
            // Ordering: Acquire pairs with the Release that set the bit, so this thread sees what was put into the cell before. All
            // changes of the word in between are read-modify-writes, which continue the release sequence.
            match word.compare_exchange_weak(seen, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return self.fetch(at, bit).map_or(Look::Empty, Look::One),
                Err(now) => seen = now,
            }
        }
    }

    /// Whether the board has several words. One look does not see all of them at one moment, unless gets and returns are called to
    /// the lock.
    pub(super) const fn is_divided(&self) -> bool {
        self.words.len() > 1
    }

    /// How many slots are idle.
    pub(super) fn len(&self) -> usize {
        // Ordering: Relaxed. The count may be out of date at once.
        let idle = |word: &Word| (word.0.load(Ordering::Relaxed) & !CALL).count_ones() as usize;
        self.words.iter().map(idle).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        // Ordering: Relaxed, as in `len`.
        let empty = |word: &Word| word.0.load(Ordering::Relaxed) & !CALL == 0;
        self.words.iter().all(empty)
    }

    /// Sets or clears `CALL`. Under the lock.
    pub(super) fn call(&self, on: bool) {
        for Word(word) in &self.words {
            if mutation::on(Mutation::CallIsTwoSteps) && on {
                word.store(word.load(Ordering::Acquire) | CALL, Ordering::Release);
                continue;
            }
            // Ordering: AcqRel. It continues the chain of read-modify-writes, so slots that were idle before can be taken after it.
            // Which bits were set follows from the order of this one word, whatever the ordering.
            if on {
                word.fetch_or(CALL, Ordering::AcqRel);
            } else {
                word.fetch_and(!CALL, Ordering::AcqRel);
            }
            if mutation::on(Mutation::CallReachesOneWord) {
                return;
            }
        }
    }

    /// Takes the first idle slot that `fits`, even if `CALL` is set. Under the lock.
    pub(super) fn pop(&self, mut fits: impl FnMut(&S) -> bool) -> Option<Box<S>> {
        self.all_set()
            .find_map(|(at, bit)| self.claim(at, bit, &mut fits))
    }

    /// Takes an idle slot of a seat that gets try late, so it is missed little, even if `CALL` is set. Under the lock.
    pub(super) fn pop_last(&self) -> Option<Box<S>> {
        let last = |(at, word): (usize, &Word)| {
            let idle = word.0.load(Ordering::Relaxed) & !CALL;
            let bit = idle.checked_ilog2()?;
            self.claim(at, bit, |_| true)
        };
        self.words.iter().enumerate().rev().find_map(last)
    }

    /// Takes all idle slots, even if `CALL` is set. Under the lock.
    pub(super) fn pop_all(&self) -> impl Iterator<Item = Box<S>> {
        self.all_set()
            .filter_map(|(at, bit)| self.claim(at, bit, |_| true))
    }

    /// Lays a slot down, even if `CALL` is set. Returns the slot if its seat has no place on the board. Under the lock.
    pub(super) fn lay(&self, slot: Box<S>) -> Result<(), Box<S>>
    where
        S: Seated,
    {
        let seat = slot.seat() as usize;
        let Some(cell) = self.cells.get(seat) else {
            return Err(slot);
        };
        // SAFETY: the caller holds the slot, so the bit of its seat is 0 and the cell is the caller's.
        cell.with_mut(|cell| unsafe { *cell = Some(slot) });
        let (word, bit) = self.place(seat);
        // Ordering: Release publishes the cell.
        word.fetch_or(bit, Ordering::Release);
        Ok(())
    }

    /// Lists the bits that are set, word by word. This is only a look: `claim` takes the step that counts.
    fn all_set(&self) -> impl Iterator<Item = (usize, u32)> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            // Ordering: Relaxed, because this is only a look.
            let idle = word.0.load(Ordering::Relaxed) & !CALL;
            (0..WIDTH)
                .filter(move |bit| idle >> bit & 1 == 1)
                .map(move |bit| (at, bit))
        })
    }

    fn claim(&self, at: usize, bit: u32, fits: impl FnOnce(&S) -> bool) -> Option<Box<S>> {
        let word = &self.words[at].0;
        // Ordering: Acquire, as in `take_from`.
        if word.fetch_and(!(1 << bit), Ordering::Acquire) >> bit & 1 == 0 {
            return None;
        }
        let slot = self.fetch(at, bit)?;
        if fits(&slot) {
            return Some(slot);
        }
        // SAFETY: the bit was 1 and this thread cleared it, so the cell is this thread's.
        self.cells[self.seat(at, bit)].with_mut(|cell| unsafe { *cell = Some(slot) });
        // Ordering: Release publishes the cell.
        word.fetch_or(1 << bit, Ordering::Release);
        None
    }

    /// Takes the slot out of a cell that the caller owns.
    #[inline]
    fn fetch(&self, at: usize, bit: u32) -> Option<Box<S>> {
        // SAFETY: called only by a thread that has just cleared this bit. So the thread owns the cell until it sets the bit again
        // or passes the slot on.
        self.cells[self.seat(at, bit)].with_mut(|cell| unsafe { (*cell).take() })
    }

    /// The seat that this bit belongs to.
    #[inline]
    fn seat(&self, at: usize, bit: u32) -> usize {
        ((bit as usize) << self.shift) | at
    }

    #[inline]
    fn place(&self, seat: usize) -> (&AtomicU64, u64) {
        let word = seat & (self.words.len() - 1);
        (&self.words[word].0, 1 << (seat >> self.shift))
    }
}

/// Lays a slot down on its board, without the lock. Returns the slot if `CALL` is set, or if its seat has no place on the board.
///
/// The slot may be all that keeps the board alive. Once the bit is set, another thread may take the slot and drop it, and with it
/// the board. So setting the bit is the last step.
#[inline]
pub(super) fn lay<S: Seated>(slot: Box<S>) -> Result<(), Box<S>> {
    let board = slot.board();
    let seat = slot.seat() as usize;
    let Some(cell) = board.cells.get(seat) else {
        return Err(slot);
    };
    let (word, bit) = board.place(seat);
    let (word, cell): (*const AtomicU64, *const UnsafeCell<Option<Box<S>>>) = (word, cell);
    // SAFETY: the slot keeps the board alive (`Seated`), and no thread can drop the slot before the exchange below has set its bit.
    // Nothing is touched after that. As in the drop of an `Arc`, the memory that may be freed during the exchange has interior
    // mutability.
    let (word, cell) = unsafe { (&*word, &*cell) };
    // Ordering: Relaxed, because this is only a look: the exchange below decides.
    let mut seen = word.load(Ordering::Relaxed);
    if seen & CALL != 0 {
        return Err(slot);
    }
    // SAFETY: the caller holds the slot, so the bit of its seat is 0 and the cell is the caller's.
    cell.with_mut(|cell| unsafe { *cell = Some(slot) });
    loop {
        // Ordering: Release publishes the cell.
        match word.compare_exchange_weak(seen, seen | bit, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(now) if now & CALL != 0 && !mutation::on(Mutation::LayIgnoresCall) => {
                // SAFETY: the bit is still 0, so the cell is the caller's.
                return match cell.with_mut(|cell| unsafe { (*cell).take() }) {
                    Some(slot) => Err(slot),
                    None => Ok(()),
                };
            }
            Err(now) => seen = now,
        }
    }
}

impl<S> fmt::Debug for Board<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("words", &self.words.len())
            .field("seats", &self.cells.len())
            .field("idle", &self.len())
            .finish()
    }
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// A value for a board, which keeps its board alive as a slot does.
    struct Thing(u32, Arc<Board<Self>>);

    // SAFETY: the value keeps the board alive, and a test uses each number for one value at a time.
    unsafe impl Seated for Thing {
        fn board(&self) -> &Board<Self> {
            &self.1
        }

        fn seat(&self) -> u32 {
            self.0
        }
    }

    fn board(seats: u32, parts: u32) -> Arc<Board<Thing>> {
        Arc::new(Board::new(seats, parts))
    }

    fn thing(board: &Arc<Board<Thing>>, seat: u32) -> Box<Thing> {
        Box::new(Thing(seat, Arc::clone(board)))
    }

    fn taken(board: &Board<Thing>, hint: usize) -> Option<u32> {
        board.take(hint).map(|thing| thing.0)
    }

    #[test]
    fn every_seat_has_a_place_of_its_own_up_to_the_most() {
        for (seats, parts) in [(1, 1), (16, 2), (63, 1), (64, 1), (200, 8), (5000, 8)] {
            let board = board(seats, parts);
            let places = seats.min(MOST_SEATS);
            for seat in 0..places {
                assert!(lay(thing(&board, seat)).is_ok(), "{seat} of {seats}");
            }
            assert!(lay(thing(&board, u32::MAX)).is_err());
            assert_eq!(board.len(), places as usize);
            let mut seen: Vec<_> = std::iter::from_fn(|| taken(&board, 5)).collect();
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..places));
        }
    }

    #[test]
    fn the_largest_pool_costs_no_more_than_the_most() {
        let board = board(u32::MAX, u32::MAX);
        assert!(board.cells.len() <= 2 * MOST_SEATS as usize);
        assert!(board.words.len() <= 128);
    }

    #[test]
    fn low_seats_are_used_first_and_a_pool_that_goes_round_has_no_board() {
        let lifo = board(8, 1);
        for seat in [3, 0, 5] {
            assert!(lay(thing(&lifo, seat)).is_ok());
        }
        assert_eq!(
            [(); 4].map(|()| taken(&lifo, 0)),
            [Some(0), Some(3), Some(5), None]
        );
        let fifo = board(0, 1);
        assert!(lay(thing(&fifo, 0)).is_err());
        assert_eq!(taken(&fifo, 0), None);
    }

    #[test]
    fn who_is_called_to_the_lock_neither_takes_nor_lays_down() {
        let board = board(100, 2);
        assert!(lay(thing(&board, 7)).is_ok());
        board.call(true);
        assert_eq!(taken(&board, 0), None);
        assert!(lay(thing(&board, 8)).is_err_and(|thing| thing.0 == 8));
        assert_eq!(
            board.pop(|_| true).map(|thing| thing.0),
            Some(7),
            "under the lock"
        );
        board.call(false);
        assert!(lay(thing(&board, 8)).is_ok());
        assert_eq!(taken(&board, 1), Some(8));
    }
}
