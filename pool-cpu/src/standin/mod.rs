//! Until pool-core has them.

mod env;
mod error;

pub use env::Env;
pub use error::ConfigError;
