//! The waiters of a flight, and their answers.

use std::sync::Arc;

use super::board::{End, Lead};
use crate::engine::Waiter;

/// Identifies a flight, also after it has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlightId {
    pub(super) index: u32,
    pub(super) serial: u64,
}

/// Identifies one waiter, as long as its future lives.
#[derive(Debug)]
pub(super) struct Ticket<V, E> {
    pub(super) flight: FlightId,
    /// For the leader: the number of the computation that it starts.
    pub(super) attempt: u32,
    pub(super) id: Waiter<Lead, Arc<End<V, E>>>,
    /// The computation that makes this call.
    pub(super) parent: Option<FlightId>,
    /// Whether this waiter must start a task that looks whether a lead which was handed to another waiter is taken: see
    /// [`Board::unwatched`](super::board::Board::unwatched).
    pub(super) watch: bool,
}

impl<V, E> Ticket<V, E> {
    pub(super) const fn flight(&self) -> FlightId {
        self.flight
    }
}

/// The result of joining a flight.
#[derive(Debug)]
pub(super) enum Join<V, E> {
    /// No computation runs: the caller starts one, or [declines](super::board::Board::decline).
    Lead(Ticket<V, E>),
    Wait(Ticket<V, E>),
    Overloaded(usize),
    Reentrant,
}

/// The answer to a waiter.
#[derive(Debug)]
pub(super) enum Told<V, E> {
    /// The waiter is the leader now: it starts the computation, or [declines](super::board::Board::decline).
    Lead,
    End(Arc<End<V, E>>),
}
