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
//! Both need no `tokio_unstable`, and less than 0.5 % of a core: the watchdog took 0.1 %, the monitor 0.1 % at a tick every 10 ms.
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
