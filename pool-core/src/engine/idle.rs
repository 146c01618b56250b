//! What is idle, as the lock sees it: what lies on the board, and what has no place there.

use std::collections::VecDeque;

use super::{
    board::{Board, Seated},
    mutation::{self, Mutation},
    slot::Slot,
};
use crate::sync::Arc;

/// The idle ones of a pool. Guarded by the kernel's lock, but for the board, which gets and returns use without it.
#[derive(Debug)]
pub(super) struct IdleSet<T, E: Clone> {
    board: Arc<Board<Slot<T, E>>>,
    /// Those whose seat has no place on the board: all of a pool that goes round in order, and those by which a pool was made larger
    /// than it was built. Last used at the back.
    list: VecDeque<Box<Slot<T, E>>>,
    fifo: bool,
    called: bool,
}

// SAFETY: a slot owns its seat, which owns the kernel, which owns the board; it is on that seat for its whole life, and a seat is
// one token (`Seats::occupy` under the lock gives out what is free).
unsafe impl<T, E: Clone> Seated for Slot<T, E> {
    #[inline]
    fn board(&self) -> &Board<Self> {
        self.seat.board()
    }

    #[inline]
    fn seat(&self) -> u32 {
        self.seat.index()
    }
}

impl<T, E: Clone> IdleSet<T, E> {
    pub(super) const fn new(board: Arc<Board<Slot<T, E>>>, fifo: bool) -> Self {
        Self {
            board,
            list: VecDeque::new(),
            fifo,
            called: false,
        }
    }

    /// What comes in its place after a panic of the kernel. What lies on the board stays there: everybody is called to the lock, which
    /// gives nothing out.
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "in a model a panic is the end")
    )]
    pub(super) fn emptied(&self) -> Self {
        Self::new(Arc::clone(&self.board), self.fifo)
    }

    /// Are gets and returns to come to the lock? What was laid down before is seen by whoever looks after this.
    #[inline]
    pub(super) fn call(&mut self, on: bool) {
        if self.called != on {
            self.called = on;
            self.board.call(on);
        }
    }

    /// Gets and returns come to the lock until that is released: so that what is counted in one word of the board after the other is
    /// counted once.
    pub(super) fn hold_still(&mut self) {
        if self.board.is_divided() && !mutation::on(Mutation::CountsAreTakenInMotion) {
            self.call(true);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.board.len() + self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty() && self.board.is_empty()
    }

    /// Makes it idle.
    pub(super) fn lay(&mut self, slot: Box<Slot<T, E>>) {
        slot.tag.lay_down();
        if let Err(slot) = self.board.lay(slot) {
            self.list.push_back(slot);
        }
    }

    /// The next that `fits`: of those on the board the one on the first seat; else the one used last, or in a pool that goes round
    /// the one used first.
    pub(super) fn pop(&mut self, fits: impl Fn(&Slot<T, E>) -> bool) -> Option<Box<Slot<T, E>>> {
        if let Some(slot) = self.board.pop(&fits) {
            return Some(slot);
        }
        let mut slots = self.list.iter();
        let index = if self.fifo {
            slots.position(|slot| fits(slot))
        } else {
            slots.rposition(|slot| fits(slot))
        };
        self.list.remove(index?)
    }

    /// The one that is missed least.
    pub(super) fn pop_last(&mut self) -> Option<Box<Slot<T, E>>> {
        self.list.pop_front().or_else(|| self.board.pop_last())
    }

    /// All of them, the one that was used first in front.
    pub(super) fn take_all(&mut self) -> Vec<Box<Slot<T, E>>> {
        let mut all: Vec<_> = self.list.drain(..).collect();
        all.extend(self.board.pop_all());
        all.sort_by_key(|slot| slot.idle_since);
        all
    }
}
