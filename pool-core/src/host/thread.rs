//! State of each thread: its number, and how many turns it has had.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The number of this thread: small, unique, and always the same for one thread.
#[inline]
pub(crate) fn number() -> usize {
    NUMBER.with(|number| match number.get() {
        NONE => assign(number),
        number => number,
    })
}

#[cold]
fn assign(number: &Cell<usize>) -> usize {
    // Ordering: Relaxed, because the numbers only have to be distinct.
    number.set(NEXT.fetch_add(1, Ordering::Relaxed));
    number.get()
}

/// Counts a turn of this thread. Returns another number each time.
#[inline]
pub(super) fn turn() -> u32 {
    TURNS.with(|turns| {
        let turn = turns.get().wrapping_add(1);
        turns.set(turn);
        turn
    })
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    static TURNS: Cell<u32> = const { Cell::new(0) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);
const NONE: usize = usize::MAX;
