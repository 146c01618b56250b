//! MySQL and MariaDB connections by mysql_async, encrypted by rustls.
//!
//! ```no_run
//! use pool_db::mysql::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let pool = Pool::from_env()?; // DATABASE_URL=mysql://.., or Pool::builder().url("mysql://..")
//! let mut connection = pool.get().await?;
//! let row = connection.query_one("SELECT name FROM users WHERE id = ?", (7,)).await?;
//! println!("{:?}", row.get::<String, _>("name"));
//!
//! let mut transaction = connection.transaction().await?;
//! transaction.execute("DELETE FROM users WHERE id = ?", (7,)).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - A connection is clean when a caller gets it: [`Reset`] says what that means, and what it costs.
//! - Dropping a future is safe. Its connection is closed, and the server is told to end what it still works on (`KILL`, on a
//!   connection for that alone, outside `max_size`). The connection keeps its place until the server has ended the session, for up
//!   to `close_timeout`.
//! - Every call has a timeout (`query_timeout`), so a server that hangs or is unreachable causes an error in time. When the server
//!   is back, the next get connects again.
//! - No server can make the pool read a file: `LOAD DATA LOCAL` is refused, and costs the connection.
//!
//! # Settings
//! The address is `mysql://USER:PASSWORD@HOST:PORT/DATABASE`, or the same with `mariadb://`. Its options are `ssl-mode`, `ssl-ca`,
//! `ssl-cert`, `ssl-key`, `socket`, `statement-cache` and `time-zone`. (`charset` is known as well, and must be `utf8mb4`.)
//!
//! The variables of the driver are `{PREFIX}_SSL_MODE`, `_ROOT_CERTIFICATE`, `_CLIENT_CERTIFICATE`, `_CLIENT_KEY`,
//! `_STATEMENT_CACHE`, `_TIME_ZONE`, `_ON_CONNECT` and `_RESET`. Where the environment is read, what the address leaves open is read
//! from the variables of MySQL's own clients: `MYSQL_HOST`, `MYSQL_TCP_PORT`, `MYSQL_UNIX_PORT` and `MYSQL_PWD`.
//!
//! `query_timeout` is the time that one statement may take, from its request to its last row.
//!
//! The driver takes the cryptography of rustls that the process has installed. If none is installed when the first connection uses
//! TLS, the pool installs that of `ring`.

mod builder;
mod call;
mod client;
mod close;
mod connection;
mod dial;
mod driver;
pub(crate) mod error;
mod manager;
mod pool;
mod reset;
mod rows;
mod settings;
mod setup;
mod ssl;
mod transaction;
mod tx;

pub use client::Client;
pub use connection::Connection;
pub use driver::{DriverSettings, MySql};
pub use manager::Manager;
pub use mysql_async;
pub use mysql_async::{IsolationLevel, Params, Row, Value, params};
pub use reset::Reset;
pub use rows::Rows;
pub use ssl::SslMode;
pub use transaction::{Transaction, TransactionBuilder};
pub use tx::{TransactionPlan, Tx};

/// A pool of connections to one MySQL or MariaDB server.
pub type Pool = crate::Pool<MySql>;

/// Builds a [`Pool`] of MySQL connections.
///
/// ```
/// use std::time::Duration;
/// use pool_db::mysql::{Pool, SslMode};
///
/// let pool = Pool::builder()
///     .url("mysql://me@db.example/orders")
///     .ssl_mode(SslMode::VerifyFull)
///     .name("orders")
///     .max_size(8)
///     .query_timeout(Duration::from_secs(5))
///     .build()?;
/// assert_eq!((pool.name(), pool.status().max_size), ("orders", 8));
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
pub type Builder = crate::Builder<MySql>;
