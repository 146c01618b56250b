//! Opens, checks, resets and closes connections that one caller has at a time.

use std::{fmt, sync::Arc, time::Duration};

use pool_core::Usage;

use super::{dial::Dial, session::Session};
use crate::Error;

/// Manages the connections of one [`Pool`](super::Pool).
pub struct Manager {
    pub(super) dial: Arc<Dial>,
    pub(super) query_timeout: Option<Duration>,
    pub(super) create_timeout: Duration,
}

impl pool_core::Manager for Manager {
    type Resource = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session, Error> {
        Session::open(&self.dial).await
    }

    async fn check(&self, session: &mut Session, _: &Usage) -> Result<(), Error> {
        session.ping().await
    }

    fn needs_reset(&self, session: &mut Session, _: &Usage) -> bool {
        session.needs_reset()
    }

    async fn reset(&self, session: &mut Session, _: &Usage) -> Result<(), Error> {
        session.reset(&self.dial).await
    }

    fn is_broken(&self, session: &mut Session) -> bool {
        session.is_broken() || session.epoch != self.dial.epoch()
    }

    fn is_interrupted(&self, session: &mut Session) -> bool {
        session.is_interrupted()
    }

    async fn close(&self, mut session: Session) {
        // Where nothing can be put back, nothing can be done about it.
        drop(session.settle(&self.dial).await);
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}
