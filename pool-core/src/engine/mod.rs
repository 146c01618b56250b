//! The kernel: slots, accounting, the wait queue, closing. No runtime, no clock, no I/O, no user code under a lock.
//!
//! The protocol, and why it loses no wake-up and keeps the bound, is written out in `ARCHITECTURE.md`.

mod gate;
mod keep;
mod kernel;
pub(crate) mod mutation;
pub(crate) mod queue;
mod seat;
mod shed;
mod slot;
mod stats;

pub(crate) use gate::{Backoff, Gate};
pub(crate) use keep::Keeping;
pub(crate) use kernel::{Kernel, Limits, Opened, Polled, Put, Queued, Refusal, Take, Work};
pub(crate) use queue::WaiterId;
pub(crate) use seat::{Holder, Seat};
pub(crate) use slot::Slot;

pub(crate) use crate::sync::Arc;

#[cfg(test)]
pub(crate) mod tests;
