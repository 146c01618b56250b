//! JSON, away from the executor where it is large.
//!
//! A document of some megabytes takes some milliseconds to encode or decode: on the executor's
//! thread everybody else waits for that. Sending every small one to a worker would cost more than
//! it saves. So [`encode`] and [`decode`] do the small ones in place (up to [`INLINE`] bytes) and
//! the others on the pool, and [`lines`] turns any number of rows into chunks of NDJSON with
//! constant memory.

mod codec;
mod error;
mod guard;
mod lines;

pub use codec::{INLINE, decode, encode};
pub use error::JsonError;
pub use lines::{Lines, lines, try_lines};
