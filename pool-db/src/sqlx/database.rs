//! What differs between the databases of sqlx.

use std::time::Duration;

use sqlx::{Connection, SqlStr};

/// A database of sqlx whose connections the pool keeps: `sqlx::Postgres`, `sqlx::MySql` and `sqlx::Sqlite`, each with its feature.
///
/// The trait is sealed: only this crate implements it.
pub trait Database: sqlx::Database<Connection: Connection, Statement: Clone> + Sealed {
    /// The name of the driver.
    #[doc(hidden)]
    const WORD: &'static str;
    /// What an address looks like.
    #[doc(hidden)]
    const EXPECTED: &'static str;
    /// Whether sqlx reads on at the right place after a future was dropped while it waited for the server.
    #[doc(hidden)]
    const SURVIVES_DROPS: bool;
    /// Whether a commit of a transaction that has failed is answered as if all were well.
    #[doc(hidden)]
    const COMMITS_FAILED: bool;
    /// Whether an error that the database calls retryable has ended the whole transaction.
    #[doc(hidden)]
    const LOSES_TRANSACTION: bool;
    /// Whether a connection is a socket of the runtime on which it was opened.
    #[doc(hidden)]
    const HAS_SOCKET: bool;
    /// Words of a statement that say that it leaves something on the session, beside those that all databases have.
    #[doc(hidden)]
    const LEAVING: &'static [&'static str];

    /// What is known of a session: how it can be told to stop, and what it was like when it was new.
    #[doc(hidden)]
    type Known: Send + Sync + 'static;

    /// The server or the file, for error messages. Without a password.
    #[doc(hidden)]
    fn target(options: &Options<Self>) -> String;

    #[doc(hidden)]
    fn with_cache(options: Options<Self>, capacity: usize) -> Options<Self>;

    /// Whether the database lives only as long as a connection to it.
    #[doc(hidden)]
    fn is_volatile(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        let _ = connection;
        async { Ok(false) }
    }

    /// Asks a new session for what is needed to stop what it does.
    #[doc(hidden)]
    fn learn(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<Self::Known, sqlx::Error>> + Send;

    /// Remembers what the session is like. It is set up, and no caller has had it.
    #[doc(hidden)]
    fn remember(
        connection: &mut Self::Connection,
        known: &mut Self::Known,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Runs statements that have no parameters.
    #[doc(hidden)]
    fn run(
        connection: &mut Self::Connection,
        sql: SqlStr,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Waits until the connection does nothing. It sends nothing, but what sqlx has yet to send.
    #[doc(hidden)]
    fn quiet(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Has the database stop what the session is doing.
    #[doc(hidden)]
    fn cancel(
        options: &Options<Self>,
        known: &Self::Known,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// What was to be stopped has stopped.
    #[doc(hidden)]
    fn cancelled(known: &Self::Known) {
        let _ = known;
    }

    /// Asks the database whether a transaction is open, and ends it. If `cleans`, also cleans what else is left on the session, and
    /// runs `setup`.
    ///
    /// # Errors
    /// The session cannot be cleaned, or the connection is lost: it must be closed.
    #[doc(hidden)]
    fn clean(
        connection: &mut Self::Connection,
        known: &Self::Known,
        cleans: bool,
        setup: &str,
    ) -> impl Future<Output = Result<Cleaned, sqlx::Error>> + Send;

    /// Whether the transaction has failed, so that it can only be rolled back.
    #[doc(hidden)]
    fn has_failed(
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<bool, sqlx::Error>> + Send {
        let _ = connection;
        async { Ok(false) }
    }

    /// Whether the server has ended the connection with this error.
    #[doc(hidden)]
    fn is_fatal(error: &(dyn sqlx::error::DatabaseError + 'static)) -> bool;
}

/// Whether the statements of the setup have run as a part of the cleaning.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(unnameable_types, reason = "no other crate shall name it")]
#[non_exhaustive]
pub enum Cleaned {
    WithSetup,
    WithoutSetup,
}

/// The options that open a connection.
pub(crate) type Options<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// Implemented by the databases of this crate.
#[expect(unnameable_types, reason = "no other crate shall name it")]
pub trait Sealed {}

/// How long a call that nobody waits for may go on before it is cancelled.
pub(super) const GRACE: Duration = Duration::from_millis(100);
/// How long the database may take to stop what it was told to.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);
