//! Who waits for a flight, and what they are told.

use std::sync::Arc;

use super::board::{End, Lead};
use crate::engine::Waiter;

/// Names a flight, also after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId {
    pub(super) index: u32,
    pub(super) serial: u64,
}

/// Names one who waits, for as long as its future lives.
#[derive(Debug)]
pub(super) struct Ticket<V, E> {
    pub(super) flight: FlightId,
    /// Of the one who leads: which computation it starts.
    pub(super) attempt: u32,
    pub(super) id: Waiter<Lead, Arc<End<V, E>>>,
    /// The computation that makes this call.
    pub(super) parent: Option<FlightId>,
    /// It is to see to it that somebody looks whether the lead is taken, which was handed to another: see
    /// [`Board::unwatched`](super::board::Board::unwatched).
    pub(super) watch: bool,
}

impl<V, E> Ticket<V, E> {
    pub(super) const fn flight(&self) -> FlightId {
        self.flight
    }
}

/// What came of asking for a key.
#[derive(Debug)]
pub(super) enum Join<V, E> {
    /// Nothing is under way: the caller starts it, or [declines](super::board::Board::decline).
    Lead(Ticket<V, E>),
    Wait(Ticket<V, E>),
    Overloaded(usize),
    Reentrant,
}

/// What a waiter is told.
#[derive(Debug)]
pub(super) enum Told<V, E> {
    /// It is the leader now, and starts the computation, or [declines](super::board::Board::decline).
    Lead,
    End(Arc<End<V, E>>),
}
