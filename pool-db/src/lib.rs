//! A pool of database connections: SQLite on worker threads, PostgreSQL, MySQL and MariaDB with TLS by rustls.
//!
//! Each driver is a module with a feature of the same name. No driver is enabled by default; enable the drivers that you use.
//!
//! | feature | what it adds |
//! |---|---|
//! | `sqlite` | [`sqlite`]: rusqlite with a bundled SQLite, on worker threads of the pool. Needs a C compiler |
//! | `postgres` | [`postgres`]: tokio-postgres, with TLS by rustls and Mozilla's root certificates |
//! | `mysql` | [`mysql`]: mysql_async for MySQL and MariaDB, with TLS by rustls and Mozilla's root certificates |
//! | `redis` | [`redis`]: the redis crate, shared connections and exclusive ones, with TLS by rustls |
//! | `cache` | [`cache`]: a read-through cache in the process and, with `redis`, in Redis for all processes |
//! | `sqlx-postgres`, `sqlx-mysql`, `sqlx-sqlite` | [`sqlx`](mod@sqlx): the connections of sqlx on this crate's pool. Needs Rust 1.94 |
//! | `serde` | reads [`Config`] and the builders from any format, flat, with the names and texts of the environment |
//! | `tracing` | the spans `pool.get`, `pool.connect` and [`db.query`](#operations), and warnings about slow gets, leaks and outages |
//! | `metrics` | the metrics of the pools, and the [durations of operations](#operations), through the `metrics` facade |
//!
//! `Database` ([`database`]) is a pool of whichever of SQLite, PostgreSQL, MySQL and MariaDB its address names.
//!
//! ```toml
//! pool-db = { version = "0.1", features = ["sqlite"] }
//! ```
//!
//! The drivers use the engine of `pool-core`, and have one face: `sqlite::Pool` is [`Pool`]`<Sqlite>`, `postgres::Pool` is
//! [`Pool`]`<Postgres>`, `mysql::Pool` is [`Pool`]`<MySql>`, and [`Builder`], [`Get`] and [`Error`] are the same for all. A pool never has more connections than its `max_size`, and serves callers in order
//! of arrival. Every wait has a timeout. A connection is cleaned before the next caller gets it. Without a driver
//! the crate has nothing to make a pool of.
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
//! let pool = Pool::from_env()?; // DATABASE_URL=postgres://.., or PGHOST and libpq's other variables
//! let row = pool.get().await?.query_one("SELECT 6 * 7", &[]).await?;
//! assert_eq!(row.get::<_, i32>(0), 42);
//! # Ok(())
//! # }
//! ```
//!
//! # Pages
//! - [How large a pool should be](_sizing), and how to find out.
//! - Drivers of other people on the engine of this crate: [diesel](_diesel), [diesel-async](_diesel_async), [lapin](_lapin) (RabbitMQ).
//! - [MongoDB](_mongodb): why its driver keeps its own pool, and how to set its size.
//!
//! # Operations
//! What the pools report of themselves is in [`observe`]. Each operation on a connection is reported too, by the drivers: the feature
//! `tracing` makes it a span `db.query` (debug, target `pool_core`) of its caller, and the feature `metrics` records its duration, in
//! seconds, in OpenTelemetry's histogram `db.client.operation.duration` (`pool.operation.duration` with `MetricNames::Own`).
//!
//! | attribute | of | |
//! |---|---|---|
//! | `pool.name` | both | the pool, as in all its metrics and spans; SQLite's writes are those of `{name}-writer` |
//! | `db.system.name` | both | `postgresql` or `sqlite` |
//! | `db.operation.name` | both | what is known without a look at the statement: `BEGIN`, `COMMIT`, `ROLLBACK`, `SAVEPOINT`, `RELEASE`, `COPY`, `PREPARE`, and SQLite's `read` and `write` |
//! | `error.type` | both | after a failure: the SQLSTATE, SQLite's extended code, or the kind of the error in one word: `timeout`, `disconnected`, `driver`, `panicked`, `application` and so on; `cancelled` if the future was dropped |
//! | `db.response.returned_rows` | span | how many rows came, if that is known |
//! | `took_ms` | span | the duration |
//!
//! The duration begins when the connection was had, so it and the wait of `pool.get` add up. That of a stream or a copy lasts until
//! its end. Each write of a group commit is an operation. What a pool does for itself, such as checks and cleaning, is none, nor are
//! calls on the driver's own client. A call that could not be sent to a lost connection, and went to another, is two.
//!
//! Statements, parameters, rows and texts of errors are never reported. Install the recorder before the first operation.
//!
//! # Limits
//! The pools run on tokio. A pool serves one database. Give each database its own pool, with its own prefix in the environment
//! (`Pool::builder().env("REPORTS_DB")`).
//!
// Links to the module of a driver that is not compiled go to docs.rs.
#![cfg_attr(
    not(feature = "sqlite"),
    doc = "[`sqlite`]: https://docs.rs/pool-db/latest/pool_db/sqlite/"
)]
#![cfg_attr(
    not(feature = "postgres"),
    doc = "[`postgres`]: https://docs.rs/pool-db/latest/pool_db/postgres/"
)]
#![cfg_attr(
    not(feature = "mysql"),
    doc = "[`mysql`]: https://docs.rs/pool-db/latest/pool_db/mysql/"
)]
#![cfg_attr(
    not(feature = "redis"),
    doc = "[`redis`]: https://docs.rs/pool-db/latest/pool_db/redis/"
)]
#![cfg_attr(
    not(feature = "cache"),
    doc = "[`cache`]: https://docs.rs/pool-db/latest/pool_db/cache/"
)]
#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    doc = "[`database`]: https://docs.rs/pool-db/latest/pool_db/database/"
)]
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]
// What drivers share is written once, and a driver alone does not use all of it: that some of it is used by none shows where all
// of them are compiled.
#![cfg_attr(
    not(all(
        feature = "sqlite",
        feature = "postgres",
        feature = "mysql",
        feature = "redis",
        feature = "sqlx"
    )),
    allow(dead_code)
)]

#[doc = include_str!("../docs/diesel.md")]
pub mod _diesel {}
#[doc = include_str!("../docs/diesel_async.md")]
pub mod _diesel_async {}
#[doc = include_str!("../docs/lapin.md")]
pub mod _lapin {}
#[doc = include_str!("../docs/mongodb.md")]
pub mod _mongodb {}
#[doc = include_str!("../docs/sizing.md")]
pub mod _sizing {}

// First: macros are seen below their definition only.
#[macro_use]
#[cfg(any(feature = "postgres", feature = "redis"))]
mod shared_settings;

mod address;
mod bounded;
mod builder;
#[cfg(feature = "cache")]
pub mod cache;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlx"))]
mod caught;
#[cfg(any(feature = "postgres", feature = "sqlx-postgres"))]
mod clean;
mod constraint;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub mod database;
mod driver;
mod environment;
mod error;
mod get;
#[cfg(any(feature = "mysql", feature = "sqlx"))]
mod home;
#[cfg(feature = "mysql")]
pub mod mysql;
mod one_row;
#[cfg(any(feature = "postgres", feature = "redis"))]
mod pem;
// Each feature uses its part of it.
#[allow(dead_code, unused_imports)]
mod operation;
mod pool;
#[cfg(feature = "postgres")]
pub mod postgres;
mod pulse;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "sqlite", feature = "sqlx-sqlite"))]
mod result_code;
#[cfg(any(
    feature = "sqlite",
    feature = "postgres",
    feature = "mysql",
    feature = "sqlx"
))]
mod retry;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlx"))]
mod setup;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "postgres", feature = "sqlx-postgres"))]
mod sqlstate;
#[cfg(feature = "sqlx")]
pub mod sqlx;
mod url;

pub use builder::Builder;
pub use constraint::{Constraint, ConstraintKind};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use database::Database;
pub use driver::Driver;
pub use error::Error;
pub use get::Get;
pub use pool::Pool;
pub use pool_core::{Config, ConfigError, Drained, Status, observe};

/// Compiles and runs the example of the README. The front page of the documentation is the text above.
#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../README.md")]
struct Readme;
