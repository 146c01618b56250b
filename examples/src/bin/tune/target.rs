//! What is tuned: a query on a database. A driver is one file with an `impl Target`.

use std::sync::Arc;

use pool_db::{ConfigError, Driver, Error, Pool};

use crate::values::Value;

/// A query on a database.
pub(crate) trait Target: Clone + Send + Sync + 'static {
    type Driver: Driver;

    /// Which database it is, without its address, which may hold a password.
    fn describe(&self) -> String;

    /// A pool of this size. `callers` may wait.
    ///
    /// # Errors
    /// When a setting of the environment does not fit.
    fn pool(&self, size: u32, callers: u32) -> Result<Pool<Self::Driver>, ConfigError>;

    /// Runs the query to its end, and fetches its rows.
    fn run(
        &self,
        connection: &mut <Self::Driver as Driver>::Connection,
        values: &Arc<[Value]>,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}
