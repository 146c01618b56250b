//! Long loops on a task that yield to the executor.
//!
//! Use this for work that must stay on its task (because it borrows, or is spread over many awaits) and that would hold the thread
//! for too long. Work that can leave the task belongs on a [`CpuPool`](crate::CpuPool).
//!
//! tokio's own budget counts the operations of *its* resources: sockets, channels, timers. A loop over a vector, or over a stream
//! of another crate, never uses that budget, and holds the thread until it ends. Counting items does not help either, because a
//! hundred items may take a microsecond or a second. The functions here go by time. They read the clock now and then, and yield
//! once a [`BUDGET`] is spent. Timers, sockets and other tasks then run first.
//!
//! The table shows how late a timer of 1 ms was while one task worked for a second on a one-thread runtime (`cargo test -p pool-cpu
//! --release --test coop -- --nocapture`, on two shared cores that other processes kept busy, so only the ratios matter):
//!
//! | the loop | p50 | p99 | max |
//! |---|---|---|---|
//! | `for item in items` | 1.1 s | 2.3 s | 2.3 s |
//! | the same with `tokio::task::consume_budget` after each of its thousand items | 319 ms | 839 ms | 848 ms |
//! | `coop::chunks` with [`BUDGET`] | 5.0 ms | 16 ms | 23 ms |

mod budget;
mod chunks;
mod stream;

pub use budget::{BUDGET, Budget};
pub use chunks::{Chunk, Chunks, chunks};
pub use stream::{YieldEvery, yield_every};
