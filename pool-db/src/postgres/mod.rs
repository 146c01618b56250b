//! PostgreSQL: tokio-postgres, encrypted by rustls.
//!
//! ```no_run
//! use pool_db::postgres::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let pool = Pool::from_env()?; // DATABASE_URL, or PGHOST and its kin; or Pool::builder().url("postgres://..")
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
//! # What it does for you
//! - Each connection keeps its statements prepared. One that no longer fits, because a table was changed, is prepared again.
//! - A connection is clean when you get it: no transaction is open, nothing that was `SET` or locked is left behind, nothing
//!   is still running. What was done with plain statements and finished transactions costs nothing for that; otherwise it is one
//!   round trip after the connection was given back.
//! - Dropping a future is safe. If the server is not done soon with what nobody waits for, it is told to stop, and the
//!   connection is replaced.
//! - Every call is bounded (`query_timeout`), so a server that is frozen or gone is an error in time. A lost connection says
//!   why it was lost; when the server is back, the next get connects again.

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
