//! The builder of a `CpuPool`.

use pool_core::{__Sources, __name_for, Env};
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

/// Builds a [`CpuPool`]. It has a method for every setting of [`CpuConfig`], and for hooks on its threads. [`CpuPool::builder`]
/// returns it.
///
/// ```
/// use std::{thread, time::Duration};
///
/// let cpu = pool_cpu::CpuPool::builder()
///     .name("hash") // its threads are hash-0, hash-1 and so on
///     .threads(2) // default: as many as cores, less `reserve`
///     .queue(64)
///     .queue_timeout(Duration::from_secs(2))
///     .nice(5) // on Linux, the executor's threads have precedence
///     .stack_size(4 << 20)
///     .on_thread_start(|worker| println!("worker {worker} has started"))
///     .build()?;
/// let name = cpu.run_sync(|| thread::current().name().map(str::to_owned)).expect("it runs");
/// assert!(name.is_some_and(|name| name.starts_with("hash-")));
/// # Ok::<(), pool_cpu::ConfigError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "`build` makes the pool"]
pub struct CpuBuilder {
    pub(crate) config: CpuConfig,
    sources: __Sources,
    pub(crate) hooks: Hooks,
}

impl CpuBuilder {
    pub(super) fn new() -> Self {
        Self {
            config: CpuConfig::new(),
            sources: __Sources::default(),
            hooks: Hooks::default(),
        }
    }

    /// Takes all settings from `config`. It replaces the settings that were set before, but keeps the name if `config` has none.
    /// Settings that are set after this call override it.
    pub fn config(mut self, config: CpuConfig) -> Self {
        self.config = config.__in_place_of(self.config);
        self
    }

    /// Overrides the settings so far with the environment variables under `prefix`: `HASHING` reads `HASHING_QUEUE` and so on.
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

    /// Builds the pool and starts its workers.
    ///
    /// # Errors
    /// A setting is invalid, or the system cannot start a thread.
    pub fn build(self) -> Result<CpuPool, ConfigError> {
        let sources = self.sources.clone();
        self.start().map_err(|error| sources.blame(error))
    }

    fn start(self) -> Result<CpuPool, ConfigError> {
        self.config.validate()?;
        let config = self.config;
        let workers = config.workers()?;
        let name = config.get_name();
        let name: Arc<str> = name.map_or_else(|| __name_for("cpu"), Into::into);
        let core = Arc::new(Core::new(
            Plan {
                name: name.clone(),
                workers,
                queue: config.queue,
                max_waiting: config.max_waiters,
                queue_timeout: config.queue_timeout,
                background_age: config.background_age,
                idle_yields: config.idle_yields,
                helpful: workers > 1,
                nice: Nice::from_here(config.nice),
                hooks: self.hooks,
            },
            Crew::fixed(workers),
        ));
        // Always set, because rayon would otherwise read its own environment variable.
        let mut threads = ThreadPoolBuilder::new()
            .num_threads(workers)
            .thread_name(move |index| format!("{name}-{index}"))
            // A panic in a task of `rayon::spawn` must not end the process, and neither must a panic in the drop of its payload.
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
        // rayon ends its threads when its pool is dropped and these calls have returned.
        rayon.spawn_broadcast(move |thread| worker::work(&core, thread.index()));
        Ok(CpuPool { workers: pool })
    }
}

#[cfg(all(test, not(any(pool_loom, pool_shuttle))))]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::config::same_however_set;

    fn read(vars: &[(&str, &str)]) -> Result<CpuPool, ConfigError> {
        let env = Env::from_vars("HASH", vars.iter().copied());
        CpuPool::builder().apply(env)?.build()
    }

    #[test]
    fn every_setting_is_the_same_by_setter_by_environment_and_by_serde() {
        let second = Duration::from_secs(1);
        let table: [(&str, &str, &dyn Fn(CpuBuilder) -> CpuBuilder); 11] = [
            ("NAME", "hash", &|of| of.name("hash")),
            ("THREADS", "3", &|of| of.threads(3)),
            ("RESERVE", "1", &|of| of.reserve(1)),
            ("QUEUE", "7", &|of| of.queue(7)),
            ("MAX_WAITERS", "0", &|of| of.max_waiters(0)),
            ("QUEUE_TIMEOUT", "1s", &|of| of.queue_timeout(second)),
            ("QUEUE_TIMEOUT", "off", &|of| of.queue_timeout(None)),
            ("BACKGROUND_AGE", "1s", &|of| of.background_age(second)),
            ("NICE", "5", &|of| of.nice(5)),
            ("STACK_SIZE", "65536", &|of| of.stack_size(65_536)),
            ("IDLE_YIELDS", "1", &|of| of.idle_yields(1)),
        ];
        same_however_set!(CpuPool::builder, CpuConfig, table);
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_its_variable() {
        for (name, value, says) in [
            (
                "HASH_THREADS",
                "0",
                "HASH_THREADS is 0, but must be 1 to 65535",
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
            let error = serde_json::from_str::<CpuConfig>(r#"{"queue_timout": "1s"}"#);
            let says = error.unwrap_err().to_string();
            assert!(says.contains("did you mean queue_timeout?"), "{says}");
        }
    }

    #[test]
    fn a_pool_is_called_by_its_prefix_or_cpu_with_a_number_and_what_kubernetes_sets_is_not_looked_at()
     {
        let vars = [
            ("HASH_THREADS", "1"),
            ("HASH_SERVICE_HOST", "10.0.0.11"),
            ("HASH_PORT", "tcp://10.0.0.11:80"),
        ];
        assert_eq!(read(&vars).unwrap().name(), "hash");
        let named = [("HASH_THREADS", "1"), ("HASH_NAME", "digest")];
        assert_eq!(read(&named).unwrap().name(), "digest");
        let [one, two] = [1, 2].map(|_| CpuPool::builder().threads(1).build().unwrap());
        assert!(one.name().starts_with("cpu") && two.name().starts_with("cpu"));
        assert_ne!(one.name(), two.name());
        let kept = CpuPool::builder()
            .name("kept")
            .config(CpuConfig::new().threads(1));
        assert_eq!(kept.build().unwrap().name(), "kept");
    }
}
