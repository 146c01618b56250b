//! The idle slots as the lock sees them: those on the board, and those that have no place there.

use std::collections::VecDeque;

use super::{
    board::{Board, Seated},
    mutation::{self, Mutation},
    slot::Slot,
};
use crate::sync::Arc;

/// The idle slots of a pool. The kernel's lock guards all of it except the board, which gets and returns use without the lock.
#[derive(Debug)]
pub(super) struct IdleSet<T, E: Clone> {
    board: Arc<Board<Slot<T, E>>>,
    /// Idle slots whose seats have no place on the board: all slots of a FIFO pool, and those of seats that a resize added or that
    /// lie beyond the board's size. The slot that became idle last is at the back.
    list: VecDeque<Box<Slot<T, E>>>,
    fifo: bool,
    called: bool,
}

// SAFETY: a slot owns its seat, which owns the kernel, which owns the board. The slot stays on this seat for its whole life, and a
// seat is one token: `Seats::occupy` gives out only free ones, under the lock.
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

    /// The set that replaces this one after a panic of the kernel. Slots on the board stay there: every get and return is called to
    /// the lock, under which nothing is handed out.
    #[cfg_attr(
        any(pool_loom, pool_shuttle),
        allow(dead_code, reason = "in a model a panic is the end")
    )]
    pub(super) fn emptied(&self) -> Self {
        Self::new(Arc::clone(&self.board), self.fifo)
    }

    /// Sets or clears `CALL`, if that is a change. A look at the board after this sees every slot that was laid down before.
    #[inline]
    pub(super) fn call(&mut self, on: bool) {
        if self.called != on {
            self.called = on;
            self.board.call(on);
        }
    }

    /// Calls gets and returns to the lock until it is released, so that a count that goes from word to word counts each slot once.
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

    /// Makes the slot idle.
    pub(super) fn lay(&mut self, slot: Box<Slot<T, E>>) {
        slot.tag.lay_down();
        if let Err(slot) = self.board.lay(slot) {
            self.list.push_back(slot);
        }
    }

    /// Takes the next idle slot that `fits`: first from the board, in the order of its words, then the one in the list that became
    /// idle last, or in a FIFO pool first.
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

    /// Takes the idle slot that is missed least.
    pub(super) fn pop_last(&mut self) -> Option<Box<Slot<T, E>>> {
        self.list.pop_front().or_else(|| self.board.pop_last())
    }

    /// Takes all idle slots, the longest idle first.
    pub(super) fn take_all(&mut self) -> Vec<Box<Slot<T, E>>> {
        let mut all: Vec<_> = self.list.drain(..).collect();
        all.extend(self.board.pop_all());
        all.sort_by_key(|slot| slot.idle_since);
        all
    }
}
