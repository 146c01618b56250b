//! Redis and Valkey, by the redis crate: connections that many use at once, and leases for what needs a connection alone.
//!
//! | for | take |
//! |---|---|
//! | commands, pipelines, transactions in one request (`redis::pipe().atomic()`), scripts | [`Shared`] |
//! | `WATCH`, `BLPOP` and all that waits on the server, another database or user for a while | [`Pool`] |
//! | messages | [`Pool::subscriber`](Pool::subscriber) |
//!
//! ```no_run
//! use pool_db::redis::{Pool, Shared, redis::AsyncCommands as _};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), pool_db::Error> {
//! let shared = Shared::from_env()?; // REDIS_URL=redis://cache.example, and POOL_REDIS_MAX_SIZE and so on
//! let views: u64 = (&shared).incr("views", 1).await?;
//!
//! let pool = Pool::builder().url("redis://cache.example").max_size(4).build()?;
//! let mut worker = pool.get().await?;
//! let job: Option<(String, String)> = worker.blpop("jobs", 10.0).await?;
//! # drop((views, job));
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - An answer goes to the call that asked, also if the future of a call before it was dropped.
//! - What a caller leaves on a connection of a [`Pool`] is known from its commands and the server's answers, without asking. It is undone
//!   on a task of the pool before the next caller gets the connection (`RESET`, which is in Redis since 6.2, or `DISCARD` and `UNWATCH`),
//!   or else the connection is closed.
//! - A command that waits on the server is ended there when its caller goes, and what it took is put back: see [`Connection`].
//! - No command is sent twice.
//! - Sentinels are asked for the master at each open, one after the other. The server must say of itself that it is the master, and
//!   once another master is named, connections to the former one take no new calls.
//!
//! # Settings
//! An address is `redis://user:password@host:port/db`, `rediss://` for TLS, `redis+unix:///path?db=1&user=me&pass=secret`, or
//! `redis+sentinel://host:port,host:port/service/db` (`rediss+sentinel://` for TLS with the sentinels and the servers), with
//! `valkey` in place of `redis` as well. `?protocol=resp3` sets the protocol. `%2F` and the like are decoded. The user and the password
//! are those of the servers. The variables of the driver are `{PREFIX}_USER`, `_PASSWORD`, `_DB`, `_PROTOCOL`, `_CLIENT_NAME`,
//! `_ROOT_CERTIFICATE`, `_CLIENT_CERTIFICATE`, `_CLIENT_KEY`, `_SENTINEL_USER` and `_SENTINEL_PASSWORD`; the address without a prefix is
//! `REDIS_URL`.
//!
//! # Limits
//! For a cluster, use the driver's own connection (`redis::cluster_async`). A subscription ends with its connection.

mod connection;
mod dial;
mod driver;
pub(crate) mod error;
mod handshake;
mod left;
mod location;
mod manager;
mod pool;
mod protocol;
mod secret;
mod sentinel;
mod session;
mod settings;
mod shareable;
mod shared;
mod socket;
mod tls;
mod undo;

pub use connection::Connection;
pub use driver::Redis;
pub use manager::Manager;
pub use protocol::Protocol;
pub use redis;
pub use session::Session;
pub use settings::DriverSettings;
pub use shared::{Shared, SharedBuilder, SharedConnection};

/// A pool of connections to Redis, each for one caller at a time.
pub type Pool = crate::Pool<Redis>;

/// Builds a [`Pool`] of connections to Redis.
pub type Builder = crate::Builder<Redis>;
