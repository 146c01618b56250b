//! What every pool must do to be measured.

use std::path::Path;

use super::failure::Failure;

/// Looks up rows of a table of [`ROWS`], whose row `id` has the value [`value_of`]`(id)`.
pub(super) trait Lookup: Send + 'static {
    /// The value in row `id`, by a prepared statement: the one call that is measured.
    fn look_up(&self, id: i32) -> impl Future<Output = Result<i32, Failure>> + Send;
}

/// A pool of connections to a PostgreSQL server, at its best settings. A clone is another handle on the same pool.
pub(super) trait Pool: Lookup + Clone + Sync {
    /// A pool of at most `size` connections to `url`, none of which is open yet.
    fn build(url: &str, size: u32) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Opens all `size` connections, looks something up on each, and gives them back: so the statement is prepared everywhere.
    fn warm(&self, size: u32) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Readers and a writer of a SQLite file, at their best settings.
pub(super) trait ReadWrite: Lookup + Clone + Sync {
    /// At most `readers` connections to read the file, and a connection that writes to it; all of them open.
    fn open(file: &Path, readers: u32) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Adds a row in a transaction of its own.
    fn insert(&self, value: i32) -> impl Future<Output = Result<(), Failure>> + Send;
}

/// Rows of the table, by ids from 0.
pub(super) const ROWS: i32 = 10_000;

/// What row `id` holds. A lookup whose answer is another has failed, and so has the measurement.
pub(super) const fn value_of(id: i32) -> i32 {
    3 * id + 1
}
