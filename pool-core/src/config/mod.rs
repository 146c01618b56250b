//! Settings: from code, from serde, from the environment, with the same names and the same checks.

mod env;
mod error;
pub(crate) mod settings;

pub use env::{Env, FromEnv};
pub use error::ConfigError;
pub use settings::{Config, IdleOrder};
