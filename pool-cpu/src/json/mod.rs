//! JSON encoding and decoding, on a pool if the document is large.
//!
//! Encoding or decoding a document of some megabytes takes some milliseconds. On an executor's thread, all other tasks would wait
//! for that. Sending every small document to a worker would cost more than it saves. So [`encode`] and [`decode`] handle small
//! documents in place (up to [`INLINE`] bytes) and larger documents on the pool. [`lines`] turns any number of rows into chunks of
//! NDJSON with constant memory.

mod codec;
mod error;
mod guard;
mod lines;

pub use codec::{INLINE, decode, encode};
pub use error::JsonError;
pub use lines::{Lines, lines, try_lines};
