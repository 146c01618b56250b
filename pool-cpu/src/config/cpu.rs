//! The settings of a `CpuPool`. Each setting is declared once.

use std::{num::NonZero, thread, time::Duration};

use pool_core::__settings;

use super::{Common, at_least_one};
use crate::ConfigError;

__settings! {
    {
        /// The settings of a [`CpuPool`](crate::CpuPool), as plain data.
        ///
        /// ```
        /// let config = pool_cpu::CpuConfig::new().queue(256).queue_timeout(None);
        /// let cpu = pool_cpu::CpuPool::builder().config(config).build()?;
        /// # Ok::<(), pool_cpu::ConfigError>(())
        /// ```
        CpuConfig for [] crate::CpuBuilder;
    }

    /// How many workers the pool has. At least 1. `None` (`auto`) means as many as this process may use cores (cgroup quotas are
    /// respected), less `reserve`. Default: `None`.
    threads / get_threads(impl Into<Option<usize>>): Option<usize> = None, "THREADS";

    /// How many cores an automatic `threads` leaves to the runtime. At least one worker remains. Default: 0.
    reserve / get_reserve(usize): usize = 0, "RESERVE";

    /// How many jobs of each priority may wait for a worker, in addition to the jobs that run. With 0, the queue has no room of its
    /// own: a job has a place only if a worker can take it. Default: 1024.
    queue / get_queue(usize): usize = 1024, "QUEUE";

    /// How many jobs may wait for a place while the queue is full. A further job fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `None` (`auto`) means 16 for each place (on a worker or in the
    /// queue), at least 1024. With 0, no job ever waits for a place. Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a job may wait for a place and a worker. A single job may have another timeout. `None` (`off`) means no limit. Not
    /// zero. Default: 30 s.
    queue_timeout / get_queue_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "QUEUE_TIMEOUT";

    /// A background job that has waited this long takes turns with normal jobs, even if normal jobs wait. Default: 500 ms.
    background_age / get_background_age(Duration): Duration = Duration::from_millis(500), "BACKGROUND_AGE";

    /// How much lower the priority of the workers is than the priority of the thread that builds the pool, from 0 to 19. Only has
    /// an effect on Linux. Default: 0.
    nice / get_nice(u16): u16 = 0, "NICE";

    /// The stack size of each worker in bytes. `None` (`auto`) means the default of the standard library, 2 MiB. Default: `None`.
    stack_size / get_stack_size(impl Into<Option<usize>>): Option<usize> = None, "STACK_SIZE";

    /// How often, at most, an idle worker yields its core and looks for work again before it sleeps. A sleeping worker takes tens
    /// of microseconds to wake. If other programs keep the cores busy, the worker sleeps after the first yield that takes long.
    /// Default: 32.
    idle_yields / get_idle_yields(usize): usize = 32, "IDLE_YIELDS";
}

impl CpuConfig {
    /// Returns how many workers these settings mean on this machine.
    ///
    /// # Errors
    /// `threads` is 0 or above 65,535.
    pub(crate) fn workers(&self) -> Result<usize, ConfigError> {
        match self.threads {
            None => Ok(self.workers_on(thread::available_parallelism().map_or(1, NonZero::get))),
            Some(threads) => at_least_one("threads", threads),
        }
    }

    /// Returns how many workers an automatic size means for `cores` cores.
    fn workers_on(&self, cores: usize) -> usize {
        cores.saturating_sub(self.reserve).max(1)
    }

    /// Checks whether a pool can be built with these settings.
    ///
    /// # Errors
    /// The error names the first setting that is invalid.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.workers()?;
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
        let message = |config: CpuConfig| config.validate().unwrap_err().to_string();
        let base = CpuConfig::new;
        assert_eq!(
            message(base().threads(0)),
            "threads is 0, but must be 1 to 65535"
        );
        assert_eq!(message(base().nice(20)), "nice is 20, but must be 0 to 19");
        assert_eq!(
            message(base().queue_timeout(Duration::ZERO)),
            "queue_timeout is 0s, but must be longer than zero, or off"
        );
        assert_eq!(
            message(base().stack_size(1)),
            "stack_size is 1, but must be at least 16384 bytes, or auto"
        );
        assert_eq!(
            message(base().name("a\0b")),
            r#"name is "a\0b", but must be text without a NUL character, because threads are named after it"#
        );
    }

    fn reserving(reserve: usize) -> CpuConfig {
        CpuConfig::new().reserve(reserve)
    }

    #[test]
    fn an_automatic_size_is_the_cores_less_those_that_are_reserved() {
        assert_eq!(reserving(0).workers_on(8), 8);
        assert_eq!(reserving(3).workers_on(8), 5);
        let cores = thread::available_parallelism().unwrap().get();
        assert_eq!(reserving(0).workers().unwrap(), cores);
        assert_eq!(reserving(1).workers().unwrap(), (cores - 1).max(1));
    }

    #[test]
    fn at_least_one_worker_remains_when_cores_are_reserved() {
        assert_eq!(reserving(8).workers_on(8), 1);
        assert_eq!(reserving(10_000).workers().unwrap(), 1);
    }

    #[test]
    fn a_size_that_was_given_counts_whatever_is_reserved() {
        assert_eq!(reserving(2).threads(3).workers().unwrap(), 3);
    }
}
