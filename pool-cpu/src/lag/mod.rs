//! Who blocks the executor, and how much it hurts.
//!
//! A task that computes, or calls something that waits, holds its worker thread: every other task
//! of that worker waits, and so do timers and sockets when it is the one that polls them.
//!
//! - [`Watchdog`] says which worker is held right now, and for how long. It is a thread of its own:
//!   a task that samples would run on another worker and see nothing.
//! - [`LagMonitor`] says how late timers are, which is what callers feel: percentiles, corrected
//!   for the samples that a stall itself prevents. It is what Node calls `monitorEventLoopDelay`.
//!
//! Both need no `tokio_unstable`. The watchdog took 0.1 % of a core; the monitor takes nine tenths of what a `tokio::time::interval`
//! of the same tick takes that does nothing, which at 10 ms was 0.1 % to 0.7 %, as the machine is quick to put a core to sleep and to wake it.
//! A worker that was held for longer than 50 ms was seen 6 ms after that, 9 ms at the latest, and 60 s of a runtime that was
//! busy and well gave no false alarm (`cargo run --release -p benches --bin cpu -- --case stall,watchdog,lag_monitor`).

mod monitor;
mod runtime;
mod stall;
mod watch;
mod watchdog;

pub use monitor::{Lag, LagMonitor};
pub use stall::{Cause, Stall, Stalls};
pub use watchdog::{Watchdog, WatchdogBuilder};
