//! SQLite: closures run on worker threads, never on the executor's.
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
//! # What it does for you
//! - A statement waits for the disk and for locks. It does so on one of the pool's own threads, one for each connection;
//!   the executor's threads only wait for the result.
//! - Readers and a writer do not wait for each other: the journal is a write-ahead log, unless you say otherwise. There is
//!   still only one writer at a time: others wait for up to `busy_timeout`, on their threads. A transaction that reads first
//!   and writes later can fail with `SQLITE_BUSY` at once; begin such a one with
//!   [`TransactionBehavior::Immediate`](rusqlite::TransactionBehavior::Immediate).
//! - A call that was given up is stopped, and the connection is with nobody else before it has ended
//!   ([`Connection::run`] says how).
//! - A transaction left open is rolled back before the next user gets the connection. A closure that panics costs its
//!   connection, nothing more.

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
