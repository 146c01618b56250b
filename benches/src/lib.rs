//! This toolkit and its peers on the same work, in one run.
//!
//! Every benchmark is a binary (`cargo run --release -p benches --bin pools`) over the same few
//! pieces, so that all of them measure and report alike:
//!
//! - [`rounds`]: contestants take turns, in another order each round; medians and percentiles.
//! - [`table`]: a table of at most 100 columns, and how times are written in it.
//! - [`line`](mod@line): the same result as one JSON object a line.
//! - [`alloc`]: an allocator that counts for the thread that asks.
//! - [`machine`]: whether others were using the machine meanwhile.
//!
//! Figures come from whatever machine runs them: the ratios carry over, the times do not.

pub mod alloc;
pub mod line;
pub mod machine;
pub mod pools;
pub mod rounds;
pub mod shared;
pub mod table;
