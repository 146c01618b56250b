//! Finds runtime workers that a task blocks, and measures how late timers are.
//!
//! A task that computes, or makes a blocking call, holds its worker thread. All other tasks of that worker wait. Timers and sockets
//! wait too if that worker is the one that polls them.
//!
//! - [`Watchdog`] reports which worker is held, and for how long. It runs on a thread of its own, because a task that samples would
//!   run on another worker and see nothing.
//! - [`LagMonitor`] reports how late timers are, which is the delay that callers notice. It has percentiles that are corrected for
//!   the samples that a stall itself prevents. Node's equivalent is `monitorEventLoopDelay`.
//!
//! Neither needs `tokio_unstable`. The watchdog took 0.1 % of a core. The monitor takes nine tenths of the time of an empty
//! `tokio::time::interval` with the same tick. At 10 ms that was 0.1 % to 0.7 %, depending on how fast the machine puts a core to
//! sleep and wakes it. A worker that was held for longer than 50 ms was reported 6 ms after that, and 9 ms at the latest. A runtime
//! that was busy but healthy for 60 s caused no false alarm (`cargo run --release -p benches --bin cpu -- --case
//! stall,watchdog,lag_monitor`).

mod monitor;
mod runtime;
mod stall;
mod watch;
mod watchdog;

pub use monitor::{Lag, LagMonitor};
pub use stall::{Cause, Stall, Stalls};
pub use watchdog::{Watchdog, WatchdogBuilder};
