//! A number for each thread.

use std::{
    cell::Cell,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The number of this thread: small, its own, and the same whenever it asks.
#[inline]
pub(super) fn number() -> usize {
    NUMBER.with(|number| match number.get() {
        NONE => assign(number),
        number => number,
    })
}

#[cold]
fn assign(number: &Cell<usize>) -> usize {
    // Ordering: Relaxed, each gets another number and that is all.
    number.set(NEXT.fetch_add(1, Ordering::Relaxed));
    number.get()
}

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(NONE) };
}

static NEXT: AtomicUsize = AtomicUsize::new(0);
const NONE: usize = usize::MAX;
