//! What runs when a worker's thread starts and ends.

use std::fmt;

use crate::{BlockingBuilder, CpuBuilder, quiet::contain, sync::Arc};

/// A user's code for the start and the end of a thread.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    start: Option<Hook>,
    stop: Option<Hook>,
}

type Hook = Arc<dyn Fn(usize) + Send + Sync>;

impl Hooks {
    /// Runs on the thread of worker `me`, first.
    pub(crate) fn started(&self, me: usize) {
        if let Some(start) = &self.start {
            contain(|| start(me));
        }
    }

    /// Runs on the thread of worker `me`, last.
    pub(crate) fn stopped(&self, me: usize) {
        if let Some(stop) = &self.stop {
            contain(|| stop(me));
        }
    }
}

macro_rules! setters {
    ($builder:ty) => {
        impl $builder {
            /// Runs on each worker's thread when it starts, with the worker's number: to pin it to
            /// a core, to register it with a profiler. A panic in it is reported by the panic hook
            /// and goes no further.
            pub fn on_thread_start(mut self, hook: impl Fn(usize) + Send + Sync + 'static) -> Self {
                self.hooks.start = Some(Arc::new(hook));
                self
            }

            /// Runs on each worker's thread before it ends, with the worker's number. As
            /// [`on_thread_start`](Self::on_thread_start) with panics. Until it returns the thread counts as
            /// one of the pool's, nobody else gets its number, and a shutdown waits for it.
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
