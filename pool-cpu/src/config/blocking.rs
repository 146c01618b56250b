//! The settings of a `BlockingPool`, each declared once.

use std::time::Duration;

use super::{at_least_one, common, settings};
use crate::ConfigError;

settings! {
    /// The settings of a [`BlockingPool`](crate::BlockingPool): plain data.
    BlockingConfig for crate::BlockingBuilder, prefix "POOL_BLOCKING";

    /// The name of the pool: in statistics, errors and the names of its threads. Default: `blocking`.
    name(impl Into<String>): String = "blocking".to_owned(), "NAME";

    /// How many threads stay although they are idle. At most `max_threads`. Default: 0.
    min_threads(usize): usize = 0, "MIN_THREADS";

    /// How many threads there may be. At least 1. Default: 64.
    max_threads(usize): usize = 64, "MAX_THREADS";

    /// How long a thread may be idle before it ends. Not zero. Default: 10 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    idle_timeout(Duration): Duration = Duration::from_secs(10), "IDLE_TIMEOUT";

    /// How many jobs of each priority may wait beside those that run. Default: 1024.
    queue(usize): usize = 1024, "QUEUE";

    /// How many jobs may wait for a place while the queue is full; one more fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `Some(0)` means that nobody ever
    /// waits. Default (`None`, `auto`): 16 for each place, at least 64.
    max_waiting(usize): Option<usize> = None, "MAX_WAITING";

    /// How long a job may wait for a place and a thread, unless it says otherwise; `None` (`off`) for as long as it takes.
    /// Not zero. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    queue_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "QUEUE_TIMEOUT";

    /// A background job that has waited this long gets its turn although normal ones wait. Default: 500 ms.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    background_age(Duration): Duration = Duration::from_millis(500), "BACKGROUND_AGE";

    /// How much lower the threads' priority is than that of the thread that builds the pool, 0 to 19. On Linux only; elsewhere
    /// it does nothing. Default: 0.
    nice(u16): u16 = 0, "NICE";

    /// The stack of each thread in bytes. Default (`None`, `auto`): the standard library's, 2 MiB.
    stack_size(usize): Option<usize> = None, "STACK_SIZE";

    /// How often, at most, an idle thread yields the core and looks for work again before it sleeps. Default: 32.
    idle_yields(usize): usize = 32, "IDLE_YIELDS";
}

impl BlockingConfig {
    /// Can a pool be built with this?
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let max = at_least_one("max_threads", self.max_threads)?;
        if self.min_threads > max {
            let expected = format!("at most max_threads, which is {max}");
            return Err(ConfigError::new(
                "min_threads",
                self.min_threads.to_string(),
                expected,
            ));
        }
        if self.idle_timeout.is_zero() {
            return Err(ConfigError::new(
                "idle_timeout",
                "0s",
                "longer than nothing",
            ));
        }
        common(
            &self.name,
            self.queue,
            self.queue_timeout,
            self.nice,
            self.stack_size,
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_priority_is_set_from_the_environment_and_has_a_bound() {
        let mut blocking = BlockingConfig::new();
        let mut env = crate::Env::from_vars("POOL_BLOCKING", [("POOL_BLOCKING_NICE", "7")]);
        blocking.apply_env(&mut env).unwrap();
        env.finish().unwrap();
        assert_eq!(blocking.nice, 7);
        blocking.nice = 20;
        assert_eq!(
            blocking.validate().unwrap_err().to_string(),
            "nice is 20, but must be 0 to 19"
        );
    }

    #[test]
    fn a_minimum_above_the_maximum_is_an_error() {
        let blocking = BlockingConfig {
            min_threads: 3,
            max_threads: 2,
            ..BlockingConfig::new()
        };
        assert_eq!(
            blocking.validate().unwrap_err().to_string(),
            "min_threads is 3, but must be at most max_threads, which is 2"
        );
    }
}
