//! The connections of sqlx on this crate's pool: `Pool<sqlx::Postgres>`, `Pool<sqlx::MySql>` and `Pool<sqlx::Sqlite>`.
//!
#![cfg_attr(feature = "sqlx-sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlx-sqlite"), doc = "```ignore")]
//! use pool_db::sqlx::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), sqlx::Error> {
//! let pool = Pool::<sqlx::Sqlite>::builder().url("sqlite::memory:").build().map_err(pool_db::Error::from)?; // or Pool::from_env()
//! sqlx::query("CREATE TABLE users (name TEXT)").execute(&pool).await?; // the pool is an `Executor`
//!
//! let mut lease = pool.get().await?;
//! sqlx::query("INSERT INTO users VALUES ($1)").bind("Ada").execute(&mut lease).await?; // and so is a lease
//! drop(lease);
//!
//! let mut tx = pool.begin().await?; // and a transaction; its drop rolls back
//! let name: String = sqlx::query_scalar("SELECT name FROM users").fetch_one(&mut tx).await?;
//! tx.commit().await?;
//! assert_eq!(name, "Ada");
//! # Ok(())
//! # }
//! ```
//!
//! Statements, types, macros (`query!`) and migrations stay those of sqlx. Who comes from sqlx's own pool finds each of its options
//! and calls on [a page of its own](_from_sqlx).
//!
//! # Guarantees
//! - A lease costs no round trip before it, and none after it if its calls were plain and ran by the pool, `&mut lease` or `&mut tx`.
//!   Otherwise it costs one, after its return and while nobody waits. (sqlx's own pool asks before and after each lease.) [`Reset`]
//!   says what is cleaned.
//! - A connection is clean when a caller gets it. The database is asked whether a transaction is open: what sqlx counts is wrong
//!   after a `BEGIN` whose future was dropped.
//! - Dropping a future is safe. What goes on for more than 100 ms after its lease was returned is cancelled, and the connection keeps
//!   its place until that has ended. A MySQL connection whose call was dropped is closed: sqlx may read on at the wrong place.
//! - Calls by the pool, a lease (`&mut lease`) or a transaction (`&mut tx`) have a timeout (`query_timeout`).
//! - When a connection is lost, the others are checked before their next lease.
//! - A commit of a transaction that has failed is an error.
//! - A statement whose text does not fit the cache leaves nothing on the server.
//!
//! # Errors
//! Methods of the pool return [`Error`](crate::Error), which has the same predicates for all databases. As an `Executor` must return
//! [`sqlx::Error`], the two are made of each other, and nothing is lost: a refused get is an `sqlx::Error::Io` from which
//! `pool_db::Error::from` takes the pool's error again. `?` does both.
//!
//! # Settings
//! An address is that of sqlx; [`Builder::options`] takes its options. The variables of the driver are `{PREFIX}_STATEMENT_CACHE`,
//! `_ON_CONNECT`, `_RESET` and `_CANCEL`. [`Builder::after_connect`] runs an async function on each new connection. sqlx itself reads
//! libpq's variables (`PGHOST` and so on) for what an address leaves open.
//!
//! # Limits
//! - `sqlx::Acquire` cannot be had for the pool: its transaction wants sqlx's own lease. [`Pool::begin`](crate::Pool::begin) is ours,
//!   and a lease and a transaction can be acquired.
//! - What uses `sqlx::PgPool` by its type, such as `PgListener::connect_with`, stays with sqlx's pool.
//! - Behind a proxy that lends a server's connection for one transaction, `SET` and prepared statements of sqlx do not work; nor does
//!   cleaning. Let the proxy pool by session.

#[doc = include_str!("../../docs/from_sqlx.md")]
pub mod _from_sqlx {}
mod asked;
mod builder;
mod connection;
mod database;
mod doubt;
mod driver;
pub(crate) mod error;
// Without a database there is nothing to implement.
#[cfg_attr(
    not(any(
        feature = "sqlx-postgres",
        feature = "sqlx-mysql",
        feature = "sqlx-sqlite"
    )),
    allow(unused_imports, unused_macros)
)]
mod executor;
mod manager;
#[cfg(feature = "sqlx-mysql")]
mod mysql;
mod passing;
mod plain;
#[cfg(feature = "sqlx-postgres")]
mod postgres;
mod reset;
mod session;
#[cfg(feature = "sqlx-sqlite")]
mod sqlite;
mod transaction;
mod tx;

pub use connection::Connection;
pub use database::Database;
pub use driver::{DriverSettings, Sqlx};
pub use manager::Manager;
pub use reset::Reset;
pub use session::Session;
pub use sqlx;
pub use transaction::Transaction;
pub use tx::TransactionPlan;

/// A pool of connections of sqlx to one database.
pub type Pool<DB> = crate::Pool<Sqlx<DB>>;

/// Builds a [`Pool`] of connections of sqlx.
pub type Builder<DB> = crate::Builder<Sqlx<DB>>;
