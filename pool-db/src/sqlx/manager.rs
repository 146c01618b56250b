//! Opens, checks, resets and closes connections of sqlx.

use std::{fmt, pin::pin, sync::Arc, time::Duration};

use pool_core::Usage;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};
use sqlx_core::transaction::TransactionManager as _;
use tokio::{sync::Mutex, time::timeout};

use super::{
    Database, Reset,
    database::{Cleaned, GRACE, Options, PATIENCE},
    doubt::Doubt,
    session::{Session, Track},
};
use crate::{Error, home::Home, setup::Hook};

/// Manages the connections of one [`Pool`](super::Pool).
pub struct Manager<DB: Database> {
    pub(super) options: Options<DB>,
    /// The name of the server or the file in error messages.
    pub(super) target: String,
    pub(super) query_timeout: Option<Duration>,
    pub(super) reset: Reset,
    pub(super) cancels: bool,
    pub(super) keeps: bool,
    pub(super) on_connect: String,
    pub(super) hook: Option<Hook<DB::Connection, sqlx::Error>>,
    pub(super) doubt: Arc<Doubt>,
    /// A connection that keeps a database in memory alive.
    pub(super) anchor: Mutex<Option<DB::Connection>>,
}

impl<DB: Database> pool_core::Manager for Manager<DB> {
    type Resource = Session<DB>;
    type Error = Error;

    async fn create(&self) -> Result<Session<DB>, Error> {
        let era = self.doubt.era();
        let (connection, known) = self.open().await?;
        let mut track = Track::new(Arc::clone(&self.doubt));
        track.is_good_in(era);
        Ok(Session {
            connection,
            known,
            track,
            home: DB::HAS_SOCKET.then(Home::here),
            query_timeout: self.query_timeout,
            keeps: self.keeps,
        })
    }

    async fn check(&self, session: &mut Session<DB>, _: &Usage) -> Result<(), Error> {
        let era = self.doubt.era();
        let pinged = session.connection.ping().await;
        self.heeded(session, pinged)?;
        session.track.is_good_in(era);
        Ok(())
    }

    fn needs_reset(&self, session: &mut Session<DB>, usage: &Usage) -> bool {
        let track = &session.track;
        usage.tainted
            || track.is_asked
            || track.has_begun
            || track.is_abandoned
            || self.reset == Reset::Always
            || track.is_doubted()
    }

    async fn reset(&self, session: &mut Session<DB>, usage: &Usage) -> Result<(), Error> {
        let era = self.doubt.era();
        session.track.is_asked |= usage.tainted || self.reset == Reset::Always;
        self.quiet(session).await?;
        self.clean(session).await?;
        session.track.was_cleaned();
        session.track.is_good_in(era);
        session.query_timeout = self.query_timeout;
        Ok(())
    }

    fn is_broken(&self, session: &mut Session<DB>) -> bool {
        session.track.is_broken || session.home.as_ref().is_some_and(Home::has_ended)
    }

    async fn close(&self, session: Session<DB>) {
        if session.track.is_abandoned && self.cancels {
            // The server would go on with what nobody waits for.
            drop(timeout(PATIENCE, DB::cancel(&self.options, &session.known)).await);
        }
        // The connection is closed in any case. What remains is whether the other side was told.
        drop(session.connection.close().await);
    }
}

impl<DB: Database> Manager<DB> {
    async fn open(&self) -> Result<(DB::Connection, DB::Known), Error> {
        let refused = |error| Error::connect(&self.target, error);
        let mut connection = self.options.connect().await.map_err(refused)?;
        if DB::is_volatile(&mut connection).await.map_err(refused)? {
            let mut anchor = self.anchor.lock().await;
            if anchor.is_none() {
                *anchor = Some(self.options.connect().await.map_err(refused)?);
            }
        }
        let mut known = DB::learn(&mut connection).await.map_err(refused)?;
        if !self.on_connect.is_empty() {
            let sql = AssertSqlSafe(self.on_connect.clone()).into_sql_str();
            let done = DB::run(&mut connection, sql).await;
            done.map_err(|error| Error::step(&self.target, "on_connect", error))?;
        }
        self.run_hook(&mut connection).await?;
        let remembered = DB::remember(&mut connection, &mut known).await;
        remembered.map_err(refused)?;
        Ok((connection, known))
    }

    async fn run_hook(&self, connection: &mut DB::Connection) -> Result<(), Error> {
        let Some(hook) = &self.hook else {
            return Ok(());
        };
        match hook.run(connection).await {
            Ok(done) => done.map_err(|error| Error::step(&self.target, "after_connect", error)),
            Err(panic) => Err(Error::hook_panicked(&self.target, &panic)),
        }
    }

    /// Waits until the session does nothing. What goes on is told to stop. Bounded by `reset_timeout`.
    async fn quiet(&self, session: &mut Session<DB>) -> Result<(), Error> {
        loop {
            match self.quiet_once(session).await {
                // The answer to what nobody waits for. There may be more.
                Err(sqlx::Error::Database(of)) if !DB::is_fatal(&*of) => {}
                done => return self.heeded(session, done),
            }
        }
    }

    async fn quiet_once(&self, session: &mut Session<DB>) -> Result<(), sqlx::Error> {
        // It is dropped only if the connection is closed.
        let mut quiet = pin!(DB::quiet(&mut session.connection));
        if let Ok(done) = timeout(GRACE, &mut quiet).await {
            return done;
        }
        session.track.is_abandoned = true;
        for _ in 0..CANCELS * u32::from(self.cancels) {
            // The database has its own word whether it heeds that.
            drop(DB::cancel(&self.options, &session.known).await);
            let done = timeout(PATIENCE, &mut quiet).await;
            if let Ok(done) = done {
                DB::cancelled(&session.known);
                return done;
            }
        }
        quiet.await
    }

    async fn clean(&self, session: &mut Session<DB>) -> Result<(), Error> {
        let connection = &mut session.connection;
        let track = &session.track;
        let cleans = self.reset != Reset::Nothing && (track.is_asked || track.is_abandoned);
        let cleaned = async {
            // What sqlx itself counts as open: a transaction that was forgotten.
            while connection.is_in_transaction() {
                DB::TransactionManager::rollback(connection).await?;
            }
            DB::clean(connection, &session.known, cleans, &self.on_connect).await
        };
        match cleaned.await {
            Ok(Cleaned::WithSetup) => self.run_hook(&mut session.connection).await,
            Ok(Cleaned::WithoutSetup) => Ok(()),
            Err(error) => self.heeded(session, Err(error)),
        }
    }

    /// Notes what an error says of the session.
    fn heeded(
        &self,
        session: &mut Session<DB>,
        done: Result<(), sqlx::Error>,
    ) -> Result<(), Error> {
        done.map_err(|error| {
            session.track.failed::<DB>(&error);
            Error::from(error)
        })
    }
}

impl<DB: Database> fmt::Debug for Manager<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

/// How often the database is told to stop.
const CANCELS: u32 = 3;
