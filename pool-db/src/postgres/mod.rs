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
//! Who comes from deadpool-postgres finds each call on [a page of its own](_from_deadpool_postgres).
//!
//! # Guarantees
//! - Each connection keeps its prepared statements. A statement that became invalid because a table was changed is prepared again.
//! - A connection is clean when a caller gets it: no transaction is open, no `SET` or lock is left, and no statement is running. The
//!   pool knows that from the answers of the server, not from the text of the statements. For a connection that only ran plain
//!   statements and finished transactions, it costs nothing. Otherwise it costs one round trip after the connection was returned.
//!   [`Reset`] has the policies.
//! - Dropping a future is safe. A statement that was abandoned and does not end within 100 ms is cancelled on the server.
//! - The server never has more connections than `max_size`: a connection keeps its place until the server has closed it, for up to
//!   `close_timeout`.
//! - Every call has a timeout (`query_timeout`), so a server that hangs or is unreachable causes an error in time. The error of a
//!   lost connection says why it was lost. When the server is back, the next get connects again.
//!
//! # Many tasks on few connections
//! [`Shared`] runs the statements of many tasks on a few connections at the same time, which takes about half the work of exclusive
//! connections. It takes statements that leave nothing on a session ([`Shareable`]), and nothing else.
//!
//! # Several processes
//! With `max_size = "auto"` ([`Builder::fleet`]), the processes of a service share the connections that the server can serve, and never
//! have more: see the page of the [fleet](_fleet).
//!
//! # Several hosts
//! `target_session_attrs` chooses among the hosts of the address. What one connection learns of its server, all of the pool heed:
//!
//! - A server that no longer has the wanted role is left by all: it refuses a write (25006), or reports `in_hot_standby` or
//!   `default_transaction_read_only`. Idle connections to it are closed at once, leased ones when they are returned. A session or a
//!   transaction that its own caller has made read-only closes nothing. A pool that takes any server only leaves with the one
//!   connection.
//! - A server that ends a connection because it stops (57P01, 57P02), that is not ready (57P03), or whose connection is lost in use,
//!   makes the others be checked before their next lease. They are not closed: an administrator may have ended one backend.
//! - Every 30 s (`resolve_every`) names are looked up again. Connections to addresses that are gone are retired.
//!
//! A [`Shared`] pool and a [`Listener`] leave a server by the same verdicts: the calls of a shared connection end where they have begun,
//! and a listener tells of a [`Event::Gap`].
//!
//! A pool with `read-write` over all hosts so follows a failover as soon as a server is promoted. [`Router`] adds reads at replicas.
//!
//! # Settings
//! The variables of the driver are `{PREFIX}_SSL_MODE`, `_TARGET_SESSION_ATTRS`, `_ROOT_CERTIFICATE`, `_PREPARE`, `_STATEMENT_CACHE`,
//! `_ON_CONNECT`, `_RESET`, `_CANCEL_ON_DROP` and `_RESOLVE_EVERY`. Where the environment is read ([`Builder::env`], [`Pool::from_env`]), what the address leaves open is
//! read from the service that `PGSERVICE` names, from libpq's variables, and from libpq's files in the home directory. Where it is
//! not read, these have no effect.
//!
//! `query_timeout` is the time that one statement may take, from its request to its last row.
//!
//! The server's own limits are `_STATEMENT_TIMEOUT`, `_LOCK_TIMEOUT` and `_IDLE_IN_TRANSACTION_SESSION_TIMEOUT` (or `off`):
//! [`Builder::statement_timeout`] says how they are set. `_CREDENTIALS_TIMEOUT` bounds the provider of [`Builder::credentials`].
//!
//! # New connections
//! [`Builder::credentials`] takes the user and password from an async function, [`Pool::rotate_credentials`] forgets them.
//! [`Builder::after_connect`] runs an async function on each new connection.
//!
//! # Notifications
//! [`Pool::listen`] returns a [`Listener`], which has a connection of its own, connects again by itself, and tells by
//! [`Event::Gap`] where notifications may be missing. [`Pool::notify`] sends one.
//!
#![doc = include_str!("proxies.md")]
#![doc = include_str!("settings/options.md")]

#[doc = include_str!("../../docs/from_deadpool_postgres.md")]
pub mod _from_deadpool_postgres {}
#[doc = include_str!("../../docs/fleet.md")]
pub mod _fleet {
    #[cfg(doc)]
    use super::{Builder, Connection, Fleet, FleetState, Listener, Shared};
}
mod builder;
mod cancel;
mod client;
mod connection;
mod copy;
mod credentials;
mod dial;
mod driver;
pub(crate) mod error;
mod fleet;
mod keyring;
mod length;
mod limits;
mod line;
mod listen;
mod manager;
mod passfile;
mod pool;
mod prepare;
mod query;
mod reset;
mod resolve;
mod router;
mod rows;
mod service;
mod session;
mod session_attrs;
mod settings;
mod setup;
mod shared;
mod socket;
mod statements;
mod tls;
mod transaction;
mod trust;
mod tx;
mod unfit;
mod unnamed;
mod watch;
mod wire;

pub use client::Client;
pub use connection::Connection;
pub use copy::{CopyIn, CopyOut};
pub use credentials::Credentials;
pub use driver::{DriverSettings, Postgres};
pub use fleet::{Fleet, FleetLimit, FleetState, FleetStatus};
pub use keyring::CredentialsRequest;
pub use listen::{Channels, Event, Listener, ListenerBuilder, Notification};
pub use manager::Manager;
pub use prepare::Prepare;
pub use query::Query;
pub use reset::Reset;
pub use router::{HostStatus, InvalidToken, Role, Router, RouterBuilder, RouterStatus, Token};
pub use rows::Rows;
pub use session_attrs::SessionAttrs;
pub use shared::{Shareable, Shared, SharedBuilder, SharedConnection};
pub use tls::SslMode;
pub use tokio_postgres;
pub use tokio_postgres::IsolationLevel;
pub use transaction::{Transaction, TransactionBuilder};
pub use tx::{TransactionPlan, Tx};
pub(crate) use unfit::Unfit;

/// A pool of connections to one PostgreSQL server.
pub type Pool = crate::Pool<Postgres>;

/// Builds a [`Pool`] of PostgreSQL connections.
///
/// ```
/// use std::time::Duration;
/// use pool_db::postgres::{Pool, SslMode};
///
/// let pool = Pool::builder()
///     .url("postgres://me@db.example/orders")
///     .ssl_mode(SslMode::VerifyFull)
///     .name("orders")
///     .max_size(8)
///     .idle_timeout(None)
///     .query_timeout(Duration::from_secs(5))
///     .build()?;
/// assert_eq!((pool.name(), pool.status().max_size), ("orders", 8));
/// # Ok::<(), pool_db::ConfigError>(())
/// ```
pub type Builder = crate::Builder<Postgres>;
