//! Building a `CpuPool`.

use rayon_core::ThreadPoolBuilder;

use super::CpuPool;
use crate::{
    ConfigError, CpuConfig, Workers,
    crew::Crew,
    engine::{Core, Plan},
    hooks::Hooks,
    nice::Nice,
    quiet::drop_quietly,
    sync::Arc,
    worker,
};

/// Settings of a [`CpuPool`], and what runs on its threads. From [`CpuPool::builder`].
///
/// ```
/// use std::{thread, time::Duration};
///
/// let cpu = pool_cpu::CpuPool::builder()
///     .name("hash") // its threads are hash-0, hash-1 and so on
///     .threads(2) // else as many as cores, less `reserve`
///     .queue(64)
///     .queue_timeout(Duration::from_secs(2))
///     .nice(5) // the executor's threads come first, on Linux
///     .stack_size(4 << 20)
///     .on_thread_start(|worker| println!("worker {worker} has started"))
///     .build()?;
/// let name = cpu.run_sync(|| thread::current().name().map(str::to_owned)).expect("it runs");
/// assert!(name.is_some_and(|name| name.starts_with("hash-")));
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
pub struct CpuBuilder {
    pub(crate) config: CpuConfig,
    pub(crate) hooks: Hooks,
}

impl CpuBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: CpuConfig::new(),
            hooks: Hooks::default(),
        }
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// A setting that cannot be used; a thread that the system does not start.
    pub fn build(self) -> Result<CpuPool, ConfigError> {
        self.config.validate()?;
        let config = self.config;
        let workers = config.workers()?;
        let core = Arc::new(Core::new(
            Plan {
                name: Arc::from(config.name.as_str()),
                workers,
                queue: config.queue,
                max_waiting: config.max_waiting,
                queue_timeout: config.queue_timeout,
                background_age: config.background_age,
                idle_yields: config.idle_yields,
                helpful: workers > 1,
                nice: Nice::from_here(config.nice),
                hooks: self.hooks,
            },
            Crew::fixed(workers),
        ));
        let name = config.name.clone();
        // Always a number: else rayon's own variable would decide.
        let mut threads = ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(move |index| format!("{name}-{index}"))
            // A panic in a task that a job gave to `rayon::spawn` must not end the process, nor must one in what it leaves behind.
            .panic_handler(drop_quietly);
        if let Some(size) = config.stack_size {
            threads = threads.stack_size(size);
        }
        let refused = |error: &dyn std::error::Error| {
            ConfigError::new(
                "threads",
                workers.to_string(),
                format!("as many as the system can start ({error})"),
            )
        };
        let rayon = threads.build().map_err(|error| refused(&error))?;
        let pool = Workers::start(&core)?;
        // Rayon ends its threads when the pool is dropped and these have returned.
        rayon.spawn_broadcast(move |thread| worker::work(&core, thread.index()));
        Ok(CpuPool { workers: pool })
    }
}
