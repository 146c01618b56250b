//! Opens, checks, resets and closes SQLite connections, always on worker threads.

use std::{
    fmt,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use pool_core::Usage;
use pool_cpu::BlockingPool;

use super::{
    explain,
    session::{Open, Plan, Session},
    stop::Stop,
};
use crate::{Error, operation::Operations};

/// Manages the connections of one [`Pool`](super::Pool).
pub struct Manager {
    pub(super) workers: BlockingPool,
    pub(super) query_timeout: Option<Duration>,
    /// The name of the database in error messages.
    pub(super) target: String,
    pub(super) plan: Arc<Plan>,
    pub(super) operations: Operations,
    /// Reserves the name, so that other pools without a name get another one.
    pub(super) _name: Arc<str>,
    /// Keeps a database in memory alive while the pool has no open connection.
    pub(super) _anchor: Option<Arc<Mutex<Session>>>,
}

impl Manager {
    /// The file of the database. `None` for a database in memory.
    pub fn path(&self) -> Option<&Path> {
        self.plan.path()
    }

    /// Runs `f` on a worker, which owns the connection meanwhile. If this future is dropped, the connection is not returned.
    async fn on_worker<T: Send + 'static>(
        &self,
        session: &mut Session,
        f: impl FnOnce(&mut Open) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let mut open = session.open.take().ok_or_else(Error::abandoned)?;
        let call = open.stop.begin();
        let job = self.workers.run(move || {
            let result = f(&mut open);
            (open, result)
        });
        let (open, result) = job.await?;
        call.ended();
        session.open = Some(open);
        Ok(result?)
    }
}

impl pool_core::Manager for Manager {
    type Resource = Session;
    type Error = Error;

    async fn create(&self) -> Result<Session, Error> {
        let (plan, stop) = (Arc::clone(&self.plan), Arc::new(Stop::default()));
        let call = stop.begin();
        let opened = self.workers.run(move || Session::open(&plan, stop)).await?;
        call.ended();
        opened.map_err(|error| {
            let mut says = explain(&error);
            // The target already names the file.
            if let Some(path) = self.plan.path() {
                says = says.replacen(&format!(": {}", path.display()), "", 1);
            }
            Error::refused(&self.target, &says, error)
        })
    }

    async fn check(&self, session: &mut Session, _: &Usage) -> Result<(), Error> {
        self.on_worker(session, Open::check).await
    }

    fn needs_reset(&self, session: &mut Session, _: &Usage) -> bool {
        session.needs_reset()
    }

    async fn reset(&self, session: &mut Session, _: &Usage) -> Result<(), Error> {
        self.on_worker(session, Open::reset).await
    }

    fn is_broken(&self, session: &mut Session) -> bool {
        session.is_broken()
    }

    async fn close(&self, mut session: Session) {
        if let Some(open) = session.open.take() {
            // If this future is dropped, SQLite stops to optimize. If the worker pool is closed, it has already dropped the
            // connection.
            let call = open.stop.begin();
            drop(self.workers.run(move || open.close()).await);
            call.ended();
        }
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("target", &self.target)
            .field("plan", &self.plan)
            .finish_non_exhaustive()
    }
}
