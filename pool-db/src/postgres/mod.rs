//! PostgreSQL connections by tokio-postgres, encrypted by rustls.
//!
//! ```no_run
//! use pool_db::postgres::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let pool = Pool::from_env()?; // DATABASE_URL, or PGHOST and libpq's other variables; or Pool::builder().url("postgres://..")
//! let mut connection = pool.get().await?;
//! let row = connection.query_one("SELECT name FROM users WHERE id = $1", &[&7_i64]).await?;
//! println!("{}", row.get::<_, String>("name"));
//!
//! let transaction = connection.transaction().await?;
//! transaction.execute("DELETE FROM users WHERE id = $1", &[&7_i64]).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - Each connection keeps its prepared statements. A statement that became invalid because a table was changed is prepared again.
//! - A connection is clean when a caller gets it: no transaction is open, no `SET` or lock is left, and no statement is running.
//!   For a connection that only ran plain statements and finished transactions, this costs nothing. Otherwise it costs one round
//!   trip after the connection was returned.
//! - Dropping a future is safe. If the server does not soon end an abandoned statement, the pool cancels the statement and replaces
//!   the connection.
//! - Every call has a timeout (`query_timeout`), so a server that hangs or is unreachable causes an error in time. The error of a
//!   lost connection says why it was lost. When the server is back, the next get connects again.

mod builder;
mod client;
mod connection;
mod manager;
mod pool;
mod settings;
mod state;
mod statements;
mod tls;
mod transaction;

pub use builder::Builder;
pub use client::{Client, Query};
pub use connection::Connection;
pub use manager::Manager;
pub use pool::Pool;
pub use tls::SslMode;
pub use tokio_postgres;
pub use transaction::{Transaction, TransactionBuilder};
