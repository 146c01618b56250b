//! SQLite connections. Closures run on worker threads, never on threads of the async runtime.
//!
//! ```
//! use pool_db::sqlite::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let pool = Pool::builder().memory().max_size(4).build()?; // or .path("app.db"), or Pool::from_env()
//! pool.run(|sqlite| sqlite.execute_batch("CREATE TABLE users (name TEXT)")).await?;
//!
//! let mut connection = pool.get().await?;
//! connection.run(|sqlite| sqlite.execute("INSERT INTO users VALUES (?1)", ["Ada"])).await?;
//! let name: String = connection.run(|sqlite| sqlite.query_row("SELECT name FROM users", [], |row| row.get(0))).await?;
//! assert_eq!(name, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - A statement may block on the disk or on locks. It blocks a worker thread of the pool, and the tasks of the runtime only wait
//!   for its result. By default there is one worker thread for each connection.
//! - Readers and a writer do not block each other, because the default journal is a write-ahead log. There is still only one writer
//!   at a time. [`Pool::write`](Pool::write) has a connection of its own, for which writes wait in order of arrival;
//!   [`Pool::read`](Pool::read) cannot write. Writers in `run` wait for up to `busy_timeout`, on their worker threads. There a
//!   transaction that reads first and writes later can fail with `SQLITE_BUSY` at once; begin such a transaction with
//!   [`TransactionBehavior::Immediate`](rusqlite::TransactionBehavior::Immediate).
//! - An abandoned call is stopped. No other caller gets its connection before the call has ended (see [`Connection::run`]).
//! - A transaction that was left open is rolled back before the next caller gets the connection. Pragmas, temporary tables, attached
//!   databases and so on are undone too, or else the connection is closed ([`Reset`]). After a panic of a closure, only its connection
//!   is closed.
//! - A connection whose file was removed or replaced gives an error, within half a second, instead of working on in a file that
//!   nobody else sees (on Unix). The pool creates a missing file only when it opens it first: a file that is removed later is an error,
//!   not an empty database.
//! - [`Pool::read_stream`](Pool::read_stream) reads any number of rows in constant memory, and [`Pool::backup`](Pool::backup) copies
//!   the database while it is in use. `PRAGMA optimize` runs once in `optimize_every`, and when a connection is closed.
//!
//! # Settings
//! An address is `sqlite:PATH`, `sqlite://PATH` or `sqlite::memory:`. `?mode=ro` opens the file for reading only. With `?mode=rw` a
//! missing file is an error. With `?mode=rwc` (the default) a missing file is created. `%20` and the like are decoded. The variables
//! of the driver are `{PREFIX}_PATH`, `_READ_ONLY`, `_BUSY_TIMEOUT`, `_STATEMENT_CACHE`, `_THREADS` (or `auto`), `_RESET`,
//! `_GROUP_COMMIT` (or `off`), `_OPTIMIZE_EVERY` (or `off`) and `_PRAGMAS`.
//!
//! [`Builder::on_open`] runs a closure on each new connection, for functions, collations and extensions.
//!
//! `query_timeout` is the time that one `run` may take, including its wait for a worker.

mod backup;
mod builder;
mod connection;
mod driver;
pub(crate) mod error;
mod explain;
mod file;
mod group;
mod location;
mod manager;
mod on_open;
mod pool;
mod residue;
mod session;
mod stop;
mod stream;
mod write;

pub use connection::Connection;
pub use driver::{DriverSettings, Sqlite};
pub(crate) use explain::explain;
pub use manager::Manager;
pub(crate) use residue::Mode;
pub use residue::Reset;
pub use rusqlite;
pub use session::Session;
pub use stream::Rows;
pub use write::Writer;

/// A pool of connections to one SQLite database.
pub type Pool = crate::Pool<Sqlite>;

/// Builds a [`Pool`] of SQLite connections.
///
/// ```
/// use std::time::Duration;
/// use pool_db::sqlite::Pool;
///
/// let pool = Pool::builder()
///     .path("orders.db")
///     .name("orders")
///     .max_size(8)
///     .idle_timeout(None)
///     .query_timeout(Duration::from_secs(5))
///     .pragma("mmap_size", "0")
///     .build()?;
/// assert_eq!((pool.name(), pool.status().max_size), ("orders", 8));
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
pub type Builder = crate::Builder<Sqlite>;
