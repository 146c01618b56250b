//! The builder of a `BlockingPool`.

use std::{fmt, io, thread};

use pool_core::{__Sources, __name_for, Env};

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

/// Builds a [`BlockingPool`]. It has a method for every setting of [`BlockingConfig`], and for hooks on its threads.
/// [`BlockingPool::builder`] returns it.
///
/// ```
/// use std::time::Duration;
///
/// let files = pool_cpu::BlockingPool::builder()
///     .name("files")
///     .min_threads(1)
///     .max_threads(16)
///     .idle_timeout(Duration::from_secs(5))
///     .on_thread_stop(|worker| println!("thread {worker} ends"))
///     .build()?;
/// assert_eq!(files.status().max_workers, 16);
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
#[derive(Clone)]
#[must_use = "`build` makes the pool"]
pub struct BlockingBuilder {
    pub(crate) config: BlockingConfig,
    pub(super) sources: __Sources,
    pub(crate) hooks: Hooks,
    /// Starts threads. Tests replace it by a function that fails.
    pub(super) spawn: Spawn,
}

pub(super) type Spawn =
    Arc<dyn Fn(thread::Builder, Box<dyn FnOnce() + Send>) -> io::Result<()> + Send + Sync>;

impl BlockingBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: BlockingConfig::new(),
            sources: __Sources::default(),
            hooks: Hooks::default(),
            spawn: Arc::new(|thread, main| thread.spawn(main).map(drop)),
        }
    }

    /// Takes all settings from `config`. It replaces the settings that were set before, but keeps the name if `config` has none.
    /// Settings that are set after this call override it.
    pub fn config(mut self, config: BlockingConfig) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings so far with the environment variables under `prefix`: `FILES` reads `FILES_QUEUE` and so on.
    ///
    /// # Errors
    /// A variable has a value that is invalid for its setting, or a variable under the prefix names no setting.
    pub fn env(self, prefix: &str) -> Result<Self, ConfigError> {
        self.apply(Env::read(prefix)?)
    }

    fn apply(mut self, env: Env) -> Result<Self, ConfigError> {
        self.sources.read(env, |env| self.config.apply_env(env))?;
        Ok(self)
    }

    /// Builds the pool, and starts `min_threads` threads.
    ///
    /// # Errors
    /// A setting is invalid, or the system cannot start a thread.
    pub fn build(self) -> Result<BlockingPool, ConfigError> {
        let sources = self.sources.clone();
        self.start().map_err(|error| sources.blame(error))
    }

    fn start(self) -> Result<BlockingPool, ConfigError> {
        self.config.validate()?;
        let Self {
            config,
            hooks,
            spawn,
            ..
        } = self;
        let name = config.get_name();
        let name: Arc<str> = name.map_or_else(|| __name_for("blocking"), Into::into);
        let (called, stack_size) = (name.clone(), config.stack_size);
        let start = move |core: &Arc<Core>, me: usize| {
            let mut thread = thread::Builder::new().name(format!("{called}-{me}"));
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
                name,
                workers: config.max_threads,
                queue: config.queue,
                max_waiting: config.max_waiters,
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

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::config::same_however_set;

    fn read(vars: &[(&str, &str)]) -> Result<BlockingPool, ConfigError> {
        let env = Env::from_vars("HASH", vars.iter().copied());
        BlockingPool::builder().apply(env)?.build()
    }

    #[test]
    fn every_setting_is_the_same_by_setter_by_environment_and_by_serde() {
        let second = Duration::from_secs(1);
        let table: [(&str, &str, &dyn Fn(BlockingBuilder) -> BlockingBuilder); 12] = [
            ("NAME", "hash", &|of| of.name("hash")),
            ("MIN_THREADS", "3", &|of| of.min_threads(3)),
            ("MAX_THREADS", "5", &|of| of.max_threads(5)),
            ("IDLE_TIMEOUT", "1s", &|of| of.idle_timeout(second)),
            ("QUEUE", "7", &|of| of.queue(7)),
            ("MAX_WAITERS", "0", &|of| of.max_waiters(0)),
            ("QUEUE_TIMEOUT", "1s", &|of| of.queue_timeout(second)),
            ("QUEUE_TIMEOUT", "off", &|of| of.queue_timeout(None)),
            ("BACKGROUND_AGE", "1s", &|of| of.background_age(second)),
            ("NICE", "5", &|of| of.nice(5)),
            ("STACK_SIZE", "65536", &|of| of.stack_size(65_536)),
            ("IDLE_YIELDS", "1", &|of| of.idle_yields(1)),
        ];
        same_however_set!(BlockingPool::builder, BlockingConfig, table);
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_its_variable() {
        for (name, value, says) in [
            (
                "HASH_MAX_THREADS",
                "0",
                "HASH_MAX_THREADS is 0, but must be 1 to 65535",
            ),
            (
                "HASH_QUEUE_TIMEOUT",
                "0s",
                "HASH_QUEUE_TIMEOUT is 0s, but must be longer than zero, or off",
            ),
            (
                "HASH_QUEUE_TIMOUT",
                "secret",
                "HASH_QUEUE_TIMOUT must be left out: no setting has this name; did you mean HASH_QUEUE_TIMEOUT?",
            ),
        ] {
            assert_eq!(read(&[(name, value)]).unwrap_err().to_string(), says);
        }
        #[cfg(feature = "serde")]
        {
            let error = serde_json::from_str::<BlockingConfig>(r#"{"queue_timout": "1s"}"#);
            let says = error.unwrap_err().to_string();
            assert!(says.contains("did you mean queue_timeout?"), "{says}");
        }
    }

    #[test]
    fn a_pool_is_called_by_its_prefix_or_blocking_with_a_number_and_what_kubernetes_sets_is_not_looked_at()
     {
        let vars = [
            ("HASH_MAX_THREADS", "1"),
            ("HASH_SERVICE_HOST", "10.0.0.11"),
            ("HASH_PORT", "tcp://10.0.0.11:80"),
        ];
        assert_eq!(read(&vars).unwrap().name(), "hash");
        let named = [("HASH_MAX_THREADS", "1"), ("HASH_NAME", "digest")];
        assert_eq!(read(&named).unwrap().name(), "digest");
        let [one, two] = [1, 2].map(|_| BlockingPool::builder().max_threads(1).build().unwrap());
        assert!(one.name().starts_with("blocking") && two.name().starts_with("blocking"));
        assert_ne!(one.name(), two.name());
        let kept = BlockingPool::builder()
            .name("kept")
            .config(BlockingConfig::new().max_threads(1));
        assert_eq!(kept.build().unwrap().name(), "kept");
    }
}
