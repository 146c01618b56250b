//! Redis and Valkey, by the redis crate: connections that many use at once, and leases for what needs a connection alone.

mod dial;
pub(crate) mod error;
mod location;
mod protocol;
mod secret;
mod settings;
mod shareable;
mod shared;
mod socket;
mod tls;

pub use protocol::Protocol;
pub use redis;
pub use settings::DriverSettings;
pub use shared::{Shared, SharedBuilder, SharedConnection};
