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
//!   at a time. Other writers wait for up to `busy_timeout`, on their worker threads. A transaction that reads first and writes
//!   later can fail with `SQLITE_BUSY` at once; begin such a transaction with
//!   [`TransactionBehavior::Immediate`](rusqlite::TransactionBehavior::Immediate).
//! - An abandoned call is stopped. No other caller gets its connection before the call has ended (see [`Connection::run`]).
//! - A transaction that was left open is rolled back before the next caller gets the connection. After a panic of a closure, only
//!   its connection is closed.

mod builder;
mod connection;
mod location;
mod manager;
mod pool;
mod session;
mod stop;

pub use builder::Builder;
pub use connection::Connection;
pub use manager::Manager;
pub use pool::Pool;
pub use rusqlite;
pub use session::Session;
