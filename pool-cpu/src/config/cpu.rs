//! The settings of a `CpuPool`, each declared once.

use std::{num::NonZero, thread, time::Duration};

use pool_core::__settings;

use super::{Common, at_least_one};
use crate::ConfigError;

__settings! {
    {
        /// The settings of a [`CpuPool`](crate::CpuPool): plain data.
        ///
        /// ```
        /// let config = pool_cpu::CpuConfig::new().queue(256).queue_timeout(None);
        /// let cpu = pool_cpu::CpuPool::builder().config(config).build()?;
        /// # Ok::<(), pool_cpu::ConfigError>(())
        /// ```
        CpuConfig for [] crate::CpuBuilder;
    }

    /// How many workers. At least 1. `None` (`auto`) means as many as this process may use cores, cgroup quotas respected, less
    /// `reserve`. Default: `None`.
    threads / get_threads(impl Into<Option<usize>>): Option<usize> = None, "THREADS";

    /// How many cores an automatic `threads` leaves to the runtime; at least one worker remains. Default: 0.
    reserve / get_reserve(usize): usize = 0, "RESERVE";

    /// How many jobs of each priority may wait beside those that run. 0 means that a job waits for nothing but a worker.
    /// Default: 1024.
    queue / get_queue(usize): usize = 1024, "QUEUE";

    /// How many jobs may wait for a place while the queue is full; one more fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `None` (`auto`) means 16 for each place (a worker's, or one in the queue),
    /// at least 1024; 0 means that no job ever waits for one. Default: `None`.
    max_waiters / get_max_waiters(impl Into<Option<usize>>): Option<usize> = None, "MAX_WAITERS";

    /// How long a job may wait for a place and a worker, unless it says otherwise. `None` (`off`): as long as it takes.
    /// Not zero. Default: 30 s.
    queue_timeout / get_queue_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "QUEUE_TIMEOUT";

    /// A background job that has waited this long gets its turn although normal ones wait. Default: 500 ms.
    background_age / get_background_age(Duration): Duration = Duration::from_millis(500), "BACKGROUND_AGE";

    /// How much lower the workers' priority is than that of the thread that builds the pool, 0 to 19. On Linux only; elsewhere
    /// it does nothing. Default: 0.
    nice / get_nice(u16): u16 = 0, "NICE";

    /// The stack of each worker in bytes. `None` (`auto`): the standard library's, 2 MiB. Default: `None`.
    stack_size / get_stack_size(impl Into<Option<usize>>): Option<usize> = None, "STACK_SIZE";

    /// How often, at most, an idle worker yields the core and looks for work again before it sleeps. A sleeping worker takes tens of
    /// microseconds to wake. Where other programs keep the cores busy it sleeps at the first yield that takes long. Default: 32.
    idle_yields / get_idle_yields(usize): usize = 32, "IDLE_YIELDS";
}

impl CpuConfig {
    /// How many workers that makes on this machine.
    ///
    /// # Errors
    /// `threads` is 0 or above 65,535.
    pub(crate) fn workers(&self) -> Result<usize, ConfigError> {
        match self.threads {
            None => Ok(self.workers_on(thread::available_parallelism().map_or(1, NonZero::get))),
            Some(threads) => at_least_one("threads", threads),
        }
    }

    /// How many workers an automatic size makes of so many cores.
    fn workers_on(&self, cores: usize) -> usize {
        cores.saturating_sub(self.reserve).max(1)
    }

    /// Can a pool be built with this?
    ///
    /// # Errors
    /// The first setting that cannot be used.
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
            r#"name is "a\0b", but must be text that has no NUL in it: threads are called by it"#
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
