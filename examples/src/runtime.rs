//! The runtime that the service runs on: tokio's, with a thread for each core.

use std::num::NonZero;
use std::thread;
use std::time::Duration;

use tokio::runtime::{self, Runtime};

use crate::failure::Failure;
use crate::meter::Meter;

/// A multi-thread runtime that counts the threads that it starts.
#[derive(Debug)]
pub(crate) struct ServiceRuntime {
    runtime: Runtime,
    threads: Meter,
}

impl ServiceRuntime {
    /// Starts one.
    ///
    /// # Errors
    /// When the system has no threads for it.
    pub(crate) fn start() -> Result<Self, Failure> {
        let threads = Meter::default();
        let started = threads.clone();
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(workers())
            .thread_name("service")
            .on_thread_start(move || started.open_for_good())
            .enable_all()
            .build()
            .map_err(|error| Failure::run("cannot start the service's runtime", &error))?;
        Ok(Self { runtime, threads })
    }

    /// tokio's own handle.
    pub(crate) fn tokio(&self) -> &Runtime {
        &self.runtime
    }

    /// Tells how many threads were started for `spawn_blocking`.
    pub(crate) fn blocking_threads(&self) -> impl Fn() -> u64 + Send + 'static {
        let started = self.threads.opens();
        move || started().saturating_sub(workers() as u64)
    }

    /// Ends it. What still runs on its threads is left to end by itself after a few seconds.
    pub(crate) fn shut_down(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(5));
    }
}

/// How many threads poll the service's tasks: one for each core.
pub(crate) fn workers() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}
