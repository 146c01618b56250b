//! Idle ones on a board, where a get takes one and a return lays one down without a lock.
//!
//! Each seat has a cell, and a bit in a word. The bit says whose the cell is:
//!
//! | bit | the cell | who changes it |
//! |---|---|---|
//! | 1 | holds what is idle | whoever clears the bit owns it, and takes out what is in it |
//! | 0 | belongs to whoever holds the seat | that one: it fills the cell, then sets the bit |
//!
//! A word has one more bit, `CALL`: *come to the lock*. It is set and cleared under the lock alone. While it is set no get takes
//! and no return lays anything in this word by itself; both go to the lock, where they find out why they were called.
//!
//! That is all of the protocol, and one word is all that it needs: every step is one read-modify-write of it, and those are in one
//! total order. Whoever sets `CALL` learns by the same step which bits were set before, and every return that comes later in that
//! order sees `CALL`. So nobody who set it, looked, and went to sleep can be slept past. See `PROTOCOL.md`.
//!
//! Seats are dealt over the words in turn, and a get begins at a word of its thread's: on several cores they meet less often. The first
//! 4,096 seats have a place here.

use std::fmt;

use super::mutation::{self, Mutation};
use crate::sync::{
    UnsafeCell,
    atomic::{AtomicU64, Ordering},
};

/// What is idle, by seat.
pub(super) struct Board<S> {
    /// A power of two of them, or none.
    words: Box<[Word]>,
    /// The logarithm of how many.
    shift: u32,
    /// A get begins to look at one of the first few: this is the last of those.
    last_start: usize,
    /// Of seat `n`, whose bit is `n / words` of word `n % words`.
    cells: Box<[UnsafeCell<Option<Box<S>>>]>,
}

/// Words that two cores write at once are two cache lines apart: processors fetch them in pairs.
#[repr(align(128))]
struct Word(AtomicU64);

/// What can lie on a board.
///
/// # Safety
/// The board lives for as long as the value does, and `seat` is the same whenever it is asked and nobody else's meanwhile.
pub(super) unsafe trait Seated: Sized {
    fn board(&self) -> &Board<Self>;
    fn seat(&self) -> u32;
}

/// What a look at one word comes to.
enum Look<S> {
    One(Box<S>),
    Empty,
    Called,
}

const CALL: u64 = 1 << 63;
const WIDTH: u32 = 63;
/// What is more has no place on the board: a pool of a million is not made to pay for it in advance.
const MOST_SEATS: u32 = 4096;
const MOST_PARTS: u32 = 64;

// SAFETY: a cell is touched only by whoever owns it (the table above), one at a time, and what is in it moves between threads: so
// `S: Send` is what both need.
unsafe impl<S: Send> Send for Board<S> {}
// SAFETY: as above.
unsafe impl<S: Send> Sync for Board<S> {}

impl<S> Board<S> {
    /// A board for so many seats at least, up to [`MOST_SEATS`], in `parts` words at least; none for no seats. Gets begin at one of
    /// `parts` of them.
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

    /// Takes one, which is the caller's then; nothing when it is called to the lock. Begins to look at word `hint`, counted round.
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

    /// Takes one of another word than `first`.
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
        // Ordering: what it says is acted on only by the exchange below.
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
            // Ordering: Acquire pairs with the Release by which the bit was set, and so sees what was put into the cell before; all
            // that changed the word between the two are read-modify-writes, which pass it on.
            match word.compare_exchange_weak(seen, taken, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return self.fetch(at, bit).map_or(Look::Empty, Look::One),
                Err(now) => seen = now,
            }
        }
    }

    /// Has it several words? Then what is in all of them is not seen in one look, unless gets and returns are called to the lock.
    pub(super) const fn is_divided(&self) -> bool {
        self.words.len() > 1
    }

    /// How many are idle.
    pub(super) fn len(&self) -> usize {
        // Ordering: a count of what may change at once.
        let idle = |word: &Word| (word.0.load(Ordering::Relaxed) & !CALL).count_ones() as usize;
        self.words.iter().map(idle).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        // Ordering: as in `len`.
        let empty = |word: &Word| word.0.load(Ordering::Relaxed) & !CALL == 0;
        self.words.iter().all(empty)
    }

    /// Calls gets and returns to the lock, or calls them no longer. Under the lock.
    pub(super) fn call(&self, on: bool) {
        for Word(word) in &self.words {
            if mutation::on(Mutation::CallIsTwoSteps) && on {
                word.store(word.load(Ordering::Acquire) | CALL, Ordering::Release);
                continue;
            }
            // Ordering: AcqRel, so that the chain of read-modify-writes goes on, and what was idle before can be taken after. Which
            // bits were set is in the order of this word alone, whatever the ordering.
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

    /// Takes the first one that `fits`, whether called or not. Under the lock.
    pub(super) fn pop(&self, mut fits: impl FnMut(&S) -> bool) -> Option<Box<S>> {
        self.all_set()
            .find_map(|(at, bit)| self.claim(at, bit, &mut fits))
    }

    /// Takes one that is missed little, whether called or not: of a seat that is tried late. Under the lock.
    pub(super) fn pop_last(&self) -> Option<Box<S>> {
        let last = |(at, word): (usize, &Word)| {
            let idle = word.0.load(Ordering::Relaxed) & !CALL;
            let bit = idle.checked_ilog2()?;
            self.claim(at, bit, |_| true)
        };
        self.words.iter().enumerate().rev().find_map(last)
    }

    /// Takes all there are, whether called or not. Under the lock.
    pub(super) fn pop_all(&self) -> impl Iterator<Item = Box<S>> {
        self.all_set()
            .filter_map(|(at, bit)| self.claim(at, bit, |_| true))
    }

    /// Lays one down, whether called or not; gives it back if its seat has no place here. Under the lock.
    pub(super) fn lay(&self, slot: Box<S>) -> Result<(), Box<S>>
    where
        S: Seated,
    {
        let seat = slot.seat() as usize;
        let Some(cell) = self.cells.get(seat) else {
            return Err(slot);
        };
        // SAFETY: the bit of a seat whose slot somebody holds is 0, so the cell is theirs: ours.
        cell.with_mut(|cell| unsafe { *cell = Some(slot) });
        let (word, bit) = self.place(seat);
        // Ordering: Release publishes the cell.
        word.fetch_or(bit, Ordering::Release);
        Ok(())
    }

    /// The bits that are set, word for word: a look before the step that counts.
    fn all_set(&self) -> impl Iterator<Item = (usize, u32)> {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            // Ordering: Relaxed, see above.
            let idle = word.0.load(Ordering::Relaxed) & !CALL;
            (0..WIDTH)
                .filter(move |bit| idle >> bit & 1 == 1)
                .map(move |bit| (at, bit))
        })
    }

    fn claim(&self, at: usize, bit: u32, fits: impl FnOnce(&S) -> bool) -> Option<Box<S>> {
        let word = &self.words[at].0;
        // Ordering: Acquire, as in `take`.
        if word.fetch_and(!(1 << bit), Ordering::Acquire) >> bit & 1 == 0 {
            return None;
        }
        let slot = self.fetch(at, bit)?;
        if fits(&slot) {
            return Some(slot);
        }
        // SAFETY: the bit was 1 and this thread cleared it: the cell is ours.
        self.cells[self.seat(at, bit)].with_mut(|cell| unsafe { *cell = Some(slot) });
        // Ordering: Release publishes the cell.
        word.fetch_or(1 << bit, Ordering::Release);
        None
    }

    /// Takes out what is in a cell that is the caller's.
    #[inline]
    fn fetch(&self, at: usize, bit: u32) -> Option<Box<S>> {
        // SAFETY: called only by a thread that has just cleared this bit, which makes it the owner of the cell until it sets the bit
        // again or passes the slot on.
        self.cells[self.seat(at, bit)].with_mut(|cell| unsafe { (*cell).take() })
    }

    /// Whose bit that is.
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

/// Lays one down on its board, unless called to the lock: then it comes back. Without the lock.
///
/// Whoever calls this may have nothing else that keeps the board alive: once the bit is set somebody may take the slot, drop it, and
/// with it the board. So setting the bit is the last thing that is done.
#[inline]
pub(super) fn lay<S: Seated>(slot: Box<S>) -> Result<(), Box<S>> {
    let board = slot.board();
    let seat = slot.seat() as usize;
    let Some(cell) = board.cells.get(seat) else {
        return Err(slot);
    };
    let (word, bit) = board.place(seat);
    let (word, cell): (*const AtomicU64, *const UnsafeCell<Option<Box<S>>>) = (word, cell);
    // SAFETY: the slot keeps the board alive (`Seated`), and nobody can drop the slot before the exchange below has set its bit;
    // nothing is touched after that. As in the drop of an `Arc`, what is freed during the exchange are cells of interior mutability.
    let (word, cell) = unsafe { (&*word, &*cell) };
    // Ordering: Relaxed, a look before the step that counts.
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
                // SAFETY: the bit is still 0.
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

    /// Something for a board. It keeps that alive, as a slot does.
    struct Thing(u32, Arc<Board<Self>>);

    // SAFETY: it keeps the board alive, and each number is used by one at a time.
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
