//! Whether the runtime of a connection is still there.

use std::convert::Infallible;

use tokio::sync::oneshot;

/// The runtime on which a connection was opened. Its socket is that runtime's, and fails when the runtime has ended: what has no
/// task there by which to know it has this.
#[derive(Debug)]
pub(crate) struct Home(oneshot::Sender<Infallible>);

impl Home {
    /// The current runtime.
    ///
    /// # Panics
    /// Panics outside of a tokio runtime.
    pub(crate) fn here() -> Self {
        let (home, ends) = oneshot::channel();
        // A task that waits for the connection to end, and that the end of the runtime drops.
        drop(tokio::spawn(ends));
        Self(home)
    }

    /// Whether the runtime has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_closed()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::runtime::Builder;

    use super::*;

    #[test]
    fn it_ends_with_its_runtime_and_leaves_no_task_behind() {
        let runtime = Builder::new_current_thread().build().unwrap();
        let (one, other) = runtime.block_on(async { (Home::here(), Home::here()) });
        assert!(!one.has_ended());
        drop(other);
        runtime.block_on(async {
            while tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks()
                > 1
            {
                tokio::task::yield_now().await;
            }
        });
        assert!(!one.has_ended());
        drop(runtime);
        assert!(one.has_ended());
    }
}
