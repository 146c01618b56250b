//! The settings of a `CpuPool`, each declared once.

use std::{num::NonZero, thread, time::Duration};

use super::{at_least_one, common, settings};
use crate::ConfigError;

settings! {
    /// The settings of a [`CpuPool`](crate::CpuPool): plain data.
    ///
    /// ```
    /// let mut config = pool_cpu::CpuConfig::new();
    /// config.queue = 256;
    /// let cpu = pool_cpu::CpuPool::builder().config(config).build()?;
    /// # Ok::<(), pool_cpu::ConfigError>(())
    /// ```
    CpuConfig for crate::CpuBuilder, prefix "POOL_CPU";

    /// The name of the pool: in statistics, errors and the names of its threads. Default: `cpu`.
    name(impl Into<String>): String = "cpu".to_owned(), "NAME";

    /// How many workers. At least 1. Default (`None`, `auto`): as many as this process may use cores, cgroup quotas
    /// respected, less `reserve`.
    threads(usize): Option<usize> = None, "THREADS";

    /// How many cores an automatic `threads` leaves to the runtime; at least one worker remains. Default: 0.
    reserve(usize): usize = 0, "RESERVE";

    /// How many jobs of each priority may wait beside those that run. 0 means that a job waits for nothing but a worker.
    /// Default: 1024.
    queue(usize): usize = 1024, "QUEUE";

    /// How many jobs may wait for a place while the queue is full; one more fails at once with
    /// [`Error::is_overloaded`](crate::Error::is_overloaded). `Some(0)` means that nobody ever
    /// waits. Default (`None`, `auto`): 16 for each place, at least 64.
    max_waiting(usize): Option<usize> = None, "MAX_WAITING";

    /// How long a job may wait for a place and a worker, unless it says otherwise; `None` (`off`) for as long as it takes.
    /// Not zero. Default: 30 s.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    queue_timeout(impl Into<Option<Duration>>): Option<Duration> = Some(Duration::from_secs(30)), "QUEUE_TIMEOUT";

    /// A background job that has waited this long gets its turn although normal ones wait. Default: 500 ms.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    background_age(Duration): Duration = Duration::from_millis(500), "BACKGROUND_AGE";

    /// How much lower the workers' priority is than that of the thread that builds the pool, 0 to 19. On Linux only; elsewhere
    /// it does nothing. Default: 0.
    nice(u16): u16 = 0, "NICE";

    /// The stack of each worker in bytes. Default (`None`, `auto`): the standard library's, 2 MiB.
    stack_size(usize): Option<usize> = None, "STACK_SIZE";

    /// How often, at most, an idle worker yields the core and looks for work again before it sleeps. A sleeping worker takes tens of
    /// microseconds to wake. Where other programs keep the cores busy it sleeps at the first yield that takes long. Default: 32.
    idle_yields(usize): usize = 32, "IDLE_YIELDS";
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
    use crate::Env;

    #[test]
    fn a_setting_that_cannot_be_used_is_named_with_what_it_may_be() {
        let message = |config: CpuConfig| config.validate().unwrap_err().to_string();
        let base = CpuConfig::new;
        assert_eq!(
            message(CpuConfig {
                threads: Some(0),
                ..base()
            }),
            "threads is 0, but must be 1 to 65535"
        );
        assert_eq!(
            message(CpuConfig { nice: 20, ..base() }),
            "nice is 20, but must be 0 to 19"
        );
        assert_eq!(
            message(CpuConfig {
                queue_timeout: Some(Duration::ZERO),
                ..base()
            }),
            "queue_timeout is 0s, but must be longer than nothing, or none"
        );
        assert_eq!(
            message(CpuConfig {
                stack_size: Some(1),
                ..base()
            }),
            "stack_size is 1, but must be at least 16384 bytes"
        );
    }

    #[test]
    fn the_environment_sets_what_the_code_sets() {
        let vars = [
            ("POOL_CPU_THREADS", "3"),
            ("POOL_CPU_QUEUE", "7"),
            ("POOL_CPU_QUEUE_TIMEOUT", "off"),
            ("POOL_CPU_NICE", "5"),
        ];
        let mut env = Env::from_vars("POOL_CPU", vars);
        let mut config = CpuConfig::new();
        config.apply_env(&mut env).unwrap();
        env.finish().unwrap();
        let wanted = CpuConfig {
            threads: Some(3),
            queue: 7,
            queue_timeout: None,
            nice: 5,
            ..CpuConfig::new()
        };
        assert_eq!(config, wanted);
    }

    fn reserving(reserve: usize) -> CpuConfig {
        CpuConfig {
            reserve,
            ..CpuConfig::new()
        }
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
        let given = CpuConfig {
            threads: Some(3),
            ..reserving(2)
        };
        assert_eq!(given.workers().unwrap(), 3);
    }
}
