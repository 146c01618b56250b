//! Redis and Valkey, by the redis crate: connections that many use at once, and leases for what needs a connection alone.

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
