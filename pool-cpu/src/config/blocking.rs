//! The settings of a `BlockingPool`. Each setting is declared once.

use std::time::Duration;

use pool_core::{__checks::no_zeros, __settings};

use super::{Common, at_least_one};
use crate::ConfigError;

__settings! {
    {
        /// The settings of a [`BlockingPool`](crate::BlockingPool), as plain data.
        ///
        /// ```
        /// let config = pool_cpu::BlockingConfig::new().max_threads(16).queue_timeout(None);
        /// let files = pool_cpu::BlockingPool::builder().config(config).build()?;
        /// # Ok::<(), pool_cpu::ConfigError>(())
        /// ```
        BlockingConfig for [] crate::BlockingBuilder;
    }

    /// How many idle threads the pool keeps. At most `max_threads`. Default: 0.
    min_threads / get_min_threads(usize): usize = 0, "MIN_THREADS";

    /// How many threads the pool may have. At least 1. Default: 64.
    max_threads / get_max_threads(usize): usize = 64, "MAX_THREADS";

    /// How long a thread may be idle before it ends. Not zero. Default: 10 s.
    idle_timeout / get_idle_timeout(Duration): Duration = Duration::from_secs(10), "IDLE_TIMEOUT";

    /// How many jobs of each priority may wait for a thread, in addition to the jobs that run. Default: 1024.
    queue / get_queue(usize): usize = 1024, "QUEUE";

    /// How many jobs may wait for a place while the queue is full. A further job fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `None` (`auto`) means 16 for each place (on a thread or in the
    /// queue), at least 1024. With 0, no job ever waits for a place. Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a job may wait for a place and a thread. A single job may have another timeout. `None` (`off`) means no limit. Not
    /// zero. Default: 30 s.
    queue_timeout / get_queue_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "QUEUE_TIMEOUT";

    /// A background job that has waited this long takes turns with normal jobs, even if normal jobs wait. Default: 500 ms.
    background_age / get_background_age(Duration): Duration = Duration::from_millis(500), "BACKGROUND_AGE";

    /// How much lower the priority of the threads is than the priority of the thread that builds the pool, from 0 to 19. Only has
    /// an effect on Linux. Default: 0.
    nice / get_nice(u16): u16 = 0, "NICE";

    /// The stack size of each thread in bytes. `None` (`auto`) means the default of the standard library, 2 MiB. Default: `None`.
    stack_size / get_stack_size(impl Into<Option<usize>>): Option<usize> = None, "STACK_SIZE";

    /// How often, at most, an idle thread yields its core and looks for work again before it sleeps. Default: 32.
    idle_yields / get_idle_yields(usize): usize = 32, "IDLE_YIELDS";
}

impl BlockingConfig {
    /// Checks whether a pool can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is invalid.
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
        no_zeros([("idle_timeout", self.idle_timeout.into())])?;
        let common = Common {
            name: self.get_name(),
            queue: self.queue,
            queue_timeout: self.queue_timeout,
            nice: self.nice,
            stack_size: self.stack_size,
        };
        common.validate()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_setting_that_cannot_be_used_is_named_with_what_it_may_be() {
        let message = |config: BlockingConfig| config.validate().unwrap_err().to_string();
        let base = BlockingConfig::new;
        assert_eq!(message(base().nice(20)), "nice is 20, but must be 0 to 19");
        assert_eq!(
            message(base().idle_timeout(Duration::ZERO)),
            "idle_timeout is 0s, but must be longer than zero"
        );
        assert_eq!(
            message(base().min_threads(3).max_threads(2)),
            "min_threads is 3, but must be at most max_threads, which is 2"
        );
    }
}
