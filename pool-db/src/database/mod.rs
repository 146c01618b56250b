//! A program that runs on whichever database its address names: SQLite, PostgreSQL, MySQL or MariaDB.
//!
#![cfg_attr(feature = "sqlite", doc = "```")]
#![cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
//! use pool_db::Database;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let database = Database::connect("sqlite::memory:").await?; // or Database::from_env(): DATABASE_URL=postgres://..
//! database.execute("CREATE TABLE users (id BIGINT PRIMARY KEY, name VARCHAR(40) NOT NULL)", ()).await?;
//! database.execute("INSERT INTO users (id, name) VALUES ($1, $2)", (7, "Ada")).await?;
//!
//! let row = database.fetch_one("SELECT name FROM users WHERE id = $1", [7]).await?;
//! assert_eq!(row.get::<&str>("name")?, "Ada");
//!
//! database
//!     .transaction(|tx| async move {
//!         let users: i64 = tx.fetch_one("SELECT count(*) AS users FROM users", ()).await?.get("users")?;
//!         tx.execute("INSERT INTO users (id, name) VALUES ($1, $2)", (users + 7, "Grace")).await
//!     })
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! The address chooses the driver: [`Builder::url`]. The placeholders are `$1`, `$2` everywhere. SQL itself is not translated: a
//! portable program writes what its databases have in common. Who wants more of one of them matches on [`Database`], and has the
//! pool of the driver.
//!
//! # Values
//! What a column becomes, as a [`Value`]. [`FromValue`] says what [`Row::get`] makes of it: the same for all databases, where they
//! have the same.
//!
//! | value | SQLite, by what is stored | PostgreSQL, by type | MySQL and MariaDB, by type |
//! |---|---|---|---|
//! | [`Null`](Value::Null) | `NULL` | `NULL`, `void` | `NULL` |
//! | [`Bool`](Value::Bool) | (1 and 0) | `boolean` | (`BOOLEAN` is `TINYINT(1)`: 1 and 0) |
//! | [`I64`](Value::I64) | `INTEGER` | `smallint`, `integer`, `bigint`, `oid` | all integers, `YEAR`, `BIT`; above `i64::MAX` as `Decimal` |
//! | [`F64`](Value::F64) | `REAL` | `real`, `double precision` | `FLOAT`, `DOUBLE` |
//! | [`Decimal`](Value::Decimal) | (`INTEGER`, `REAL`) | `numeric` | `DECIMAL` |
//! | [`Text`](Value::Text) | `TEXT` | `text`, `varchar`, `char`, `name`, `citext`, enums, `xml` | `CHAR`, `VARCHAR`, `TEXT`, `ENUM`, `SET` |
//! | [`Text`](Value::Text), JSON | `TEXT` | `json`, `jsonb` | `JSON` |
//! | [`Text`](Value::Text), as `67e55044-10b1-426f-9247-bb680e5fe0c8` | `TEXT` | `uuid` | `UUID` (MariaDB) |
//! | [`Text`](Value::Text), as `2024-02-29`, `12:34:56.789`, `2024-02-29 12:34:56.789` | `TEXT` | `date`, `time`, `timestamp`, `timestamptz` (in UTC) | `DATE`, `TIME`, `DATETIME`, `TIMESTAMP` (in the zone of the session) |
//! | [`Bytes`](Value::Bytes) | `BLOB` | `bytea` | `BINARY`, `VARBINARY`, `BLOB` |
//! | an error that says to cast | | all others | all others |
//!
//! A parameter is what the column makes of it: SQLite by the affinity of the column, PostgreSQL by the type that it infers for the
//! placeholder, MySQL by its conversions. So a text may be a `uuid`, `jsonb` or `timestamptz`, and an integer an `int4` (if it fits:
//! otherwise the error names the placeholder). Give a text for a `timestamptz` its zone (`2024-02-29 12:34:56+00`): without one, it is
//! in the zone of the session. Where nothing says what a placeholder is, as in `SELECT $1`, PostgreSQL takes it for text;
//! `CAST($1 AS BIGINT)` says it.
//!
//! Numbers that are not finite are refused as parameters, because SQLite would store NaN as `NULL`, and MySQL none of them.
//!
//! # Limits
//! - MySQL reads texts as it does by default: the modes `ANSI_QUOTES` and `NO_BACKSLASH_ESCAPES` are not supported. It commits a
//!   transaction at a `CREATE TABLE` and the like, so these are no part of one.
//! - A text that MySQL's column cannot hold is an error: its database needs the character set `utf8mb4`.
//! - One statement a call. No transactions by hand, no `LISTEN`, no `COPY`, no `VACUUM`: they are of the driver.
//! - [`Database::transaction`] on SQLite has the connection for writes until its closure has ended: keep it short.

mod any;
mod builder;
#[cfg(any(feature = "postgres", feature = "mysql"))]
mod calendar;
#[cfg(feature = "postgres")]
mod decimal;
#[cfg(feature = "mysql")]
mod mysql;
mod params;
mod placeholders;
#[cfg(feature = "postgres")]
mod postgres;
mod row;
mod rows;
#[cfg(feature = "sqlite")]
mod sqlite;
mod tx;
mod value;

pub use any::Database;
pub use builder::Builder;
pub use params::Params;
pub use row::{ColumnIndex, Row};
pub use rows::Rows;
pub use tx::{TransactionPlan, Tx};
pub use value::{FromValue, Value};
