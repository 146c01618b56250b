//! What happens to a request whose future is dropped.

use std::{sync::Arc, time::Duration};

use tokio::{runtime::Handle, time::timeout};

use super::Client;

/// A request whose answer is awaited. Its drop before [`answered`](Self::answered) abandons the request.
#[derive(Debug)]
pub(super) struct Asked<'a>(Option<&'a Client>);

impl Asked<'_> {
    pub(super) fn answered(mut self) {
        self.0 = None;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(client) = self.0 {
            client.abandon();
        }
    }
}

impl Client {
    /// Begins a request, once the server has ended what it was told to cancel.
    pub(super) async fn ask(&self) -> Asked<'_> {
        if self.cancels_on_drop {
            drop(self.cancelling.lock().await);
        }
        Asked(Some(self))
    }

    /// Nobody waits for the answer to a request any more.
    pub(super) fn abandon(&self) {
        self.session.abandon();
        if self.cancels_on_drop {
            self.cancel_soon();
        }
    }

    /// Has the server cancel what it works on, on a task, and keeps further requests waiting until it has.
    fn cancel_soon(&self) {
        // Without a runtime there is nothing to wait with. If the lock is held, the server is being told already, and nothing was
        // sent since.
        let (Ok(runtime), Ok(turn)) = (
            Handle::try_current(),
            Arc::clone(&self.cancelling).try_lock_owned(),
        ) else {
            return;
        };
        let (cancels, driver) = (self.line.cancels(), Arc::clone(&self.driver));
        runtime.spawn(async move {
            for _ in 0..TRIES {
                cancels.cancel().await;
                // The request may have been sent only now. And a round trip must lie between the cancel and the next request.
                if timeout(PATIENCE, driver.check_connection()).await.is_ok() {
                    break;
                }
            }
            drop(turn);
        });
    }
}

/// How often the server is told.
const TRIES: u32 = 3;
/// How long the server may take to end a statement, before it is told again.
const PATIENCE: Duration = Duration::from_millis(100);
