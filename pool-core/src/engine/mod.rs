//! The kernel: slots, accounting, the wait queue, closing. No runtime, no clock, no I/O, no user code under a lock.
//!
//! `PROTOCOL.md`, beside this file, explains the protocol, and why it loses no wake-up and keeps the bound.

#[allow(unsafe_code, reason = "cells that the bits of an atomic word guard")]
mod board;
mod gate;
#[allow(unsafe_code, reason = "says what keeps a board alive")]
mod idle;
mod inbox;
mod keep;
mod kernel;
mod line;
mod lock;
mod mail;
pub(crate) mod mutation;
mod post;

mod seat;
mod shed;
mod slab;
mod slot;
mod state;
mod stats;
#[allow(unsafe_code, reason = "reads a pointer that was a reference")]
mod tag;
mod watch;

pub(crate) use gate::{Backoff, Gate};
pub(crate) use inbox::Inbox;
pub(crate) use keep::Keeping;
pub(crate) use kernel::{
    Fast, Kernel, Limits, Opened, Polled, Put, Queued, Refusal, Take, Ticket, Work,
};
pub(crate) use line::{Line, Waiter};
pub(crate) use lock::Apart;
pub(crate) use post::{Bell, Kept, Post};
pub(crate) use seat::Seat;
pub(crate) use shed::Shed;
pub(crate) use slab::Slab;
pub(crate) use slot::Slot;
pub(crate) use stats::{Counters, Histograms, Sample};
pub(crate) use tag::Holder;
pub(crate) use watch::{Watch, Watched, Watchers};

pub(crate) use crate::sync::Arc;

#[cfg(test)]
pub(crate) mod tests;
