//! Building a `BlockingPool`.

use std::{fmt, io, thread};

use super::BlockingPool;
use crate::{
    BlockingConfig, ConfigError, Workers,
    crew::{Crew, Elastic},
    engine::{Core, Plan},
    hooks::Hooks,
    nice::Nice,
    sync::Arc,
    worker,
};

/// Settings of a [`BlockingPool`], and what runs on its threads. From [`BlockingPool::builder`].
///
/// ```
/// use std::time::Duration;
///
/// let files = pool_cpu::BlockingPool::builder()
///     .name("files")
///     .min_threads(1)
///     .max_threads(16)
///     .idle_timeout(Duration::from_secs(5))
///     .on_thread_stop(|worker| println!("thread {worker} has nothing to do"))
///     .build()?;
/// assert_eq!(files.stats().max_workers, 16);
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct BlockingBuilder {
    pub(crate) config: BlockingConfig,
    pub(crate) hooks: Hooks,
    /// Starts threads. Tests put something else here that fails.
    pub(super) spawn: Spawn,
}

pub(super) type Spawn =
    Arc<dyn Fn(thread::Builder, Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

impl BlockingBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: BlockingConfig::new(),
            hooks: Hooks::default(),
            spawn: Arc::new(|thread, main| thread.spawn(main).map(drop)),
        }
    }

    /// Starts the pool, and `min_threads` of its threads.
    ///
    /// # Errors
    /// A setting that cannot be used; a thread that the system does not start.
    pub fn build(self) -> Result<BlockingPool, ConfigError> {
        self.config.validate()?;
        let Self {
            config,
            hooks,
            spawn,
        } = self;
        let (name, stack_size) = (config.name.clone(), config.stack_size);
        let start = move |core: &Arc<Core>, me: usize| {
            let mut thread = thread::Builder::new().name(format!("{name}-{me}"));
            if let Some(size) = stack_size {
                thread = thread.stack_size(size);
            }
            let core = Arc::clone(core);
            spawn(thread, Box::new(move || worker::work_enlisted(&core, me)))
        };
        let crew = Crew::elastic(Elastic {
            min: config.min_threads,
            max: config.max_threads,
            idle_timeout: config.idle_timeout,
            start: Box::new(start),
        });
        let core = Arc::new(Core::new(
            Plan {
                name: Arc::from(config.name.as_str()),
                workers: config.max_threads,
                queue: config.queue,
                max_waiting: config.max_waiting,
                queue_timeout: config.queue_timeout,
                background_age: config.background_age,
                idle_yields: config.idle_yields,
                helpful: false,
                nice: Nice::from_here(config.nice),
                hooks,
            },
            crew,
        ));
        let workers = Workers::start(&core)?;
        let refused = |error: io::Error| {
            let expected = format!("as many as the system can start ({error})");
            ConfigError::new("min_threads", config.min_threads.to_string(), expected)
        };
        core.crew().muster(&core).map_err(refused)?;
        Ok(BlockingPool { workers })
    }
}

impl fmt::Debug for BlockingBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingBuilder")
            .field("config", &self.config)
            .field("hooks", &self.hooks)
            .finish_non_exhaustive()
    }
}
