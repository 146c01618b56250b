//! What is known of a running pool: counts, durations, reasons, holders, events.

mod histogram;
mod observer;
mod reason;
mod status;

pub use histogram::Histogram;
pub use observer::Observer;
pub use reason::{CloseReason, Phase};
pub use status::{Closes, LeaseInfo, Status, Timings};
