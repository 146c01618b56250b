//! Settings from code, from serde and from the environment, with the same names and the same checks.

mod blocking;
mod cpu;

use std::time::Duration;

pub use blocking::BlockingConfig;
pub use cpu::CpuConfig;
use pool_core::__checks::{named, no_zeros};

use crate::ConfigError;

fn at_least_one(setting: &str, threads: usize) -> Result<usize, ConfigError> {
    if (1..=MAX_THREADS).contains(&threads) {
        return Ok(threads);
    }
    Err(ConfigError::new(
        setting,
        threads.to_string(),
        format!("1 to {MAX_THREADS}"),
    ))
}

/// The settings that both pools have.
struct Common<'a> {
    name: Option<&'a str>,
    queue: usize,
    queue_timeout: Option<Duration>,
    nice: u16,
    stack_size: Option<usize>,
}

impl Common<'_> {
    fn validate(&self) -> Result<(), ConfigError> {
        named(self.name)?;
        if let Some(name) = self.name.filter(|name| name.contains('\0')) {
            return Err(ConfigError::new(
                "name",
                format!("{name:?}"),
                "text without a NUL character, because threads are named after it",
            ));
        }
        if self.queue > MAX_QUEUE {
            return Err(ConfigError::new(
                "queue",
                self.queue.to_string(),
                format!("0 to {MAX_QUEUE}"),
            ));
        }
        no_zeros([("queue_timeout", self.queue_timeout.into())])?;
        if self.nice > 19 {
            return Err(ConfigError::new("nice", self.nice.to_string(), "0 to 19"));
        }
        if let Some(stack) = self.stack_size.filter(|stack| *stack < MIN_STACK) {
            return Err(ConfigError::new(
                "stack_size",
                stack.to_string(),
                format!("at least {MIN_STACK} bytes, or auto"),
            ));
        }
        Ok(())
    }
}

/// rayon's own limit on some machines, and more than any machine has cores.
const MAX_THREADS: usize = 65_535;

/// The memory of the queue is allocated when the pool is built.
const MAX_QUEUE: usize = 1 << 24;

const MIN_STACK: usize = 16 * 1024;

/// Holds each setting of a table, by its name and text, to what its setter does: read from the environment, and read and written by serde.
#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
macro_rules! same_however_set {
    ($begin:path, $config:ty, $table:expr) => {
        for (name, text, set) in $table {
            let by_setter = set($begin().name("hash")).config;
            let vars = [("P_NAME", "hash"), (&*format!("P_{name}"), text)];
            let by_env = $begin().apply(Env::from_vars("P", vars)).unwrap().config;
            assert_eq!(by_env, by_setter, "{name}");
            #[cfg(feature = "serde")]
            {
                let name = name.to_lowercase();
                let map = [("name", "hash"), (&*name, text)];
                let map = serde_json::to_string(&std::collections::BTreeMap::from(map)).unwrap();
                let by_serde: $config = serde_json::from_str(&map).unwrap();
                assert_eq!(by_serde, by_setter, "{name}");
                let shown = serde_json::to_string(&by_serde).unwrap();
                assert_eq!(serde_json::from_str::<$config>(&shown).unwrap(), by_setter);
            }
        }
    };
}
#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
pub(crate) use same_however_set;
