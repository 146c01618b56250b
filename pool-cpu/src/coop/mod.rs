//! Long loops on a task, that let the executor have its turn.
//!
//! For work that must stay on the task (it borrows, or is spread over many awaits) and is too long
//! to hold the thread. What can leave is better off on a [`CpuPool`](crate::CpuPool).
//!
//! tokio's own budget counts the operations of *its* resources: sockets, channels, timers. A loop
//! over a vector, or over a stream of something else, never touches it, and holds the thread for
//! as long as it takes. Counting items is no cure either: a hundred of them take a microsecond one
//! day and a second the next. What is here goes by time: it looks at the clock now and then, and
//! once a [`BUDGET`] is spent it yields, after which timers, sockets and other tasks come first.
//!
//! One task that works for a second on a one-thread runtime, and how late a timer of 1 ms was
//! meanwhile (`cargo test -p pool-cpu --release --test coop -- --nocapture`, two shared cores
//! that others kept busy, so the ratios are what counts):
//!
//! | the loop | p50 | p99 | max |
//! |---|---|---|---|
//! | `for item in items` | 1.1 s | 2.3 s | 2.3 s |
//! | the same with `tokio::task::consume_budget` at each of its thousand items | 319 ms | 839 ms | 848 ms |
//! | `coop::chunks` with [`BUDGET`] | 5.0 ms | 16 ms | 23 ms |

mod budget;
mod chunks;
mod stream;

pub use budget::{BUDGET, Budget};
pub use chunks::{Chunk, Chunks, chunks};
pub use stream::{YieldEvery, yield_every};
