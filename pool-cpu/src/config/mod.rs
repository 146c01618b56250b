//! Settings: from code, from serde, from the environment, with the same names and the same checks.

mod blocking;
mod cpu;

use std::time::Duration;

pub use blocking::BlockingConfig;
pub use cpu::CpuConfig;

use crate::ConfigError;

/// Declares every setting once: field, type, default, variable. From it come the struct, the setters of the config and of the
/// builder, and the reading of the environment.
macro_rules! settings {
    (
        $(#[doc = $config_doc:literal])+
        $config:ident for $builder:ty, prefix $prefix:literal;
        $(
            $(#[doc = $doc:literal])+
            $(#[cfg_attr($cfg:meta, $attr:meta)])?
            $name:ident($arg:ty): $type:ty = $default:expr, $variable:literal;
        )+
    ) => {
        $(#[doc = $config_doc])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
        #[non_exhaustive]
        pub struct $config {
            $(
                $(#[doc = $doc])+
                $(#[cfg_attr($cfg, $attr)])?
                pub $name: $type,
            )+
        }

        impl Default for $config {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        impl $config {
            /// The defaults.
            pub fn new() -> Self {
                Self::default()
            }

            #[doc = concat!("The defaults, but for what the environment sets: `", $prefix, "_QUEUE` and so on, as the fields.")]
            ///
            /// # Errors
            /// A value that its setting cannot have, or a name under the prefix that no setting has.
            pub fn from_env() -> Result<Self, crate::ConfigError> {
                let mut env = crate::Env::read($prefix)?;
                let mut config = Self::default();
                config.apply_env(&mut env)?;
                config.validate().map_err(|error| env.blame(error))?;
                env.finish()?;
                Ok(config)
            }

            /// Reads what is set under the prefix of `env`; the rest stays as it is.
            ///
            /// # Errors
            /// A value that its setting cannot have. Names that no setting has are found by [`Env::finish`](crate::Env::finish).
            pub fn apply_env(&mut self, env: &mut crate::Env) -> Result<(), crate::ConfigError> {
                $(if let Some(value) = env.take($variable)? {
                    self.$name = value;
                })+
                Ok(())
            }
        }

        impl $builder {
            /// All settings at once.
            #[must_use]
            pub fn config(mut self, config: $config) -> Self {
                self.config = config;
                self
            }

            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $name(mut self, value: $arg) -> Self {
                    self.config.$name = value.into();
                    self
                }
            )+
        }
    };
}

pub(crate) use settings;

fn at_least_one(setting: &str, threads: usize) -> Result<usize, crate::ConfigError> {
    if (1..=MAX_THREADS).contains(&threads) {
        return Ok(threads);
    }
    Err(ConfigError::new(
        setting,
        threads.to_string(),
        format!("1 to {MAX_THREADS}"),
    ))
}

fn common(
    name: &str,
    queue: usize,
    queue_timeout: Option<Duration>,
    nice: u16,
    stack: Option<usize>,
) -> Result<(), crate::ConfigError> {
    if name.is_empty() || name.contains('\0') {
        return Err(ConfigError::new(
            "name",
            format!("{name:?}"),
            "text that is not empty and has no NUL in it",
        ));
    }
    if queue > MAX_QUEUE {
        return Err(ConfigError::new(
            "queue",
            queue.to_string(),
            format!("0 to {MAX_QUEUE}"),
        ));
    }
    if queue_timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(ConfigError::new(
            "queue_timeout",
            "0s",
            "longer than nothing, or none",
        ));
    }
    if nice > 19 {
        return Err(ConfigError::new("nice", nice.to_string(), "0 to 19"));
    }
    if let Some(stack) = stack.filter(|stack| *stack < MIN_STACK) {
        return Err(ConfigError::new(
            "stack_size",
            stack.to_string(),
            format!("at least {MIN_STACK} bytes"),
        ));
    }
    Ok(())
}

/// rayon's own limit on some machines; nobody has that many cores.
const MAX_THREADS: usize = 65_535;

/// The queue's memory is taken when the pool is built.
const MAX_QUEUE: usize = 1 << 24;

const MIN_STACK: usize = 16 * 1024;
