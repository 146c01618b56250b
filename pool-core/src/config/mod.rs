//! Settings from code, from serde and from the environment, with the same names and the same checks.

pub(crate) mod checks;
mod env;
mod error;
pub(crate) mod names;
#[cfg(feature = "serde")]
mod serde;
pub(crate) mod settings;
mod sources;

pub use env::{Env, FromEnv};
pub use error::ConfigError;
#[cfg(feature = "serde")]
#[doc(hidden)]
pub use serde::__Shown;
#[doc(hidden)]
pub use settings::__default_max_size;
pub use settings::{Config, IdleOrder};
#[doc(hidden)]
pub use sources::__Sources;
