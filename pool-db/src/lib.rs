//! Database connections, pooled: SQLite off the executor, PostgreSQL over rustls.
//!
//! Each driver is a module and a feature of the same name, and none is on by default: a dependency asks for those that it uses.
//!
//! | feature | what it brings |
//! |---|---|
//! | `sqlite` | [`sqlite`]: rusqlite with SQLite bundled, on threads of its own. Compiles C |
//! | `postgres` | [`postgres`]: tokio-postgres, TLS by rustls with Mozilla's roots |
//! | `serde` | [`Config`] and the builders from any format, flat, with the names and the texts of the environment |
//! | `tracing` | the spans `pool.get` and `pool.connect`, warnings of slow gets, leaks and outages |
//! | `metrics` | the pools' metrics through the `metrics` facade |
//!
//! ```toml
//! pool-db = { version = "0.1", features = ["sqlite"] }
//! ```
//!
//! Both run on the engine of `pool-core`: never more connections than you allow, first come, first served, every wait with an
//! end, and a connection is only handed on when it is clean. Without a driver there are only [`Config`] and the errors.
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use pool_db::sqlite::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let pool = Pool::builder().memory().max_size(4).build()?; // or Pool::from_env(): DATABASE_URL=sqlite:app.db
//! let answer: i64 = pool.run(|sqlite| sqlite.query_row("SELECT 6 * 7", [], |row| row.get(0))).await?;
//! assert_eq!(answer, 42);
//! # Ok(())
//! # }
//! ```
//!
#![cfg_attr(feature = "postgres", doc = "```no_run")]
#![cfg_attr(not(feature = "postgres"), doc = "```ignore")]
//! use pool_db::postgres::Pool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let pool = Pool::from_env()?; // DATABASE_URL=postgres://.., or PGHOST and its kin
//! let row = pool.get().await?.query_one("SELECT 6 * 7", &[]).await?;
//! assert_eq!(row.get::<_, i32>(0), 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Limits
//! Everything runs on tokio. A pool is for one database; give each database its own, with a prefix of its own in the environment
//! (`Pool::builder().env("REPORTS_DB")`).
//!
// Where a driver is not compiled, its module is linked to where it is.
#![cfg_attr(
    not(feature = "sqlite"),
    doc = "[`sqlite`]: https://docs.rs/pool-db/latest/pool_db/sqlite/"
)]
#![cfg_attr(
    not(feature = "postgres"),
    doc = "[`postgres`]: https://docs.rs/pool-db/latest/pool_db/postgres/"
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// Without a driver there is nobody to use the rest.
#![cfg_attr(not(any(feature = "sqlite", feature = "postgres")), allow(dead_code))]

mod address;
mod bounded;
mod environment;
mod error;
mod get;
#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "sqlite")]
pub mod sqlite;

pub use error::Error;
pub use get::Get;
pub use pool_core::{Config, ConfigError, Drained, Status};

/// The example of the README, compiled and run. The front page of the documentation is the text above.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
