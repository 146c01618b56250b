//! What a user does to each new connection.

use std::{fmt, sync::Arc};

use rusqlite::Connection;

use super::session::refused;

/// A closure that runs on each new connection.
#[derive(Clone)]
pub(super) struct OnOpen(Arc<Run>);

type Run = dyn Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync;

impl OnOpen {
    pub(super) fn new(
        run: impl Fn(&mut Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(run))
    }

    /// Runs the closure. Blocks.
    ///
    /// # Errors
    /// Those of the closure, and one if it has left a transaction open.
    pub(super) fn run(&self, connection: &mut Connection) -> rusqlite::Result<()> {
        (self.0)(connection)?;
        if connection.is_autocommit() {
            return Ok(());
        }
        Err(refused("on_open has left a transaction open".to_owned()))
    }
}

impl fmt::Debug for OnOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnOpen")
    }
}
