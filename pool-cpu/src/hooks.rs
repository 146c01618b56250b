//! Hooks that run when a worker's thread starts and ends.

use std::fmt;

use crate::{BlockingBuilder, CpuBuilder, quiet::contain, sync::Arc};

/// The user's hooks for the start and the end of a thread.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    start: Option<Hook>,
    stop: Option<Hook>,
}

type Hook = Arc<dyn Fn(usize) + Send + Sync>;

impl Hooks {
    /// Runs first on the thread of worker `me`.
    pub(crate) fn started(&self, me: usize) {
        if let Some(start) = &self.start {
            contain(|| start(me));
        }
    }

    /// Runs last on the thread of worker `me`.
    pub(crate) fn stopped(&self, me: usize) {
        if let Some(stop) = &self.stop {
            contain(|| stop(me));
        }
    }
}

macro_rules! setters {
    ($builder:ty) => {
        impl $builder {
            /// Sets a hook that runs on each worker's thread when it starts, with the worker's number. Use it to pin the thread to
            /// a core, or to register it with a profiler. The panic hook reports a panic of the hook, and the panic is contained.
            pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
                self.hooks.start = Some(Arc::new(hook));
                self
            }

            /// Sets a hook that runs on each worker's thread before it ends, with the worker's number. A panic is handled as in
            /// [`on_thread_start`](Self::on_thread_start). Until the hook returns, the thread counts as a thread of the pool, no
            /// other thread gets its number, and a shutdown waits for it.
            pub fn on_thread_stop(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
                self.hooks.stop = Some(Arc::new(hook));
                self
            }
        }
    };
}

setters!(CpuBuilder);
setters!(BlockingBuilder);

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("start", &self.start.is_some())
            .field("stop", &self.stop.is_some())
            .finish()
    }
}
