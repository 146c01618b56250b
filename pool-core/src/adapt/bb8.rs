//! The adapter for managers of bb8.

use std::fmt;

use bb8::{CustomizeConnection, ManageConnection};

use super::{BoxError, ForeignError};
use crate::{Manager, Usage};

/// Adapts any [`bb8::ManageConnection`] to this crate's [`Manager`](crate::Manager).
///
/// `has_broken` is called on every return, and before an idle connection is handed out. bb8 calls `is_valid` before each lease.
/// Here `is_valid` runs when [`check_after`](crate::Builder::check_after) has passed since the connection was last opened or
/// validated. It runs before a lease if the connection was idle for that long, and after a lease, on a task of the pool, if the
/// connection is too busy to be idle. If `has_broken` does not detect a dead connection, as with bb8-redis, the connection is
/// handed out for at most twice that time. With a `check_after` of zero, `is_valid` runs before each lease, as in bb8, and after
/// each lease.
///
/// ```
/// use bb8::ManageConnection;
/// use pool_core::{Pool, adapt::Bb8};
///
/// struct Computers;
///
/// impl ManageConnection for Computers {
///     type Connection = u32;
///     type Error = std::io::Error;
///
///     async fn connect(&self) -> Result<u32, Self::Error> {
///         Ok(42)
///     }
///
///     async fn is_valid(&self, _: &mut u32) -> Result<(), Self::Error> {
///         Ok(())
///     }
///
///     fn has_broken(&self, answer: &mut u32) -> bool {
///         *answer != 42
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Bb8::new(Computers)).max_size(4).build()?;
/// assert_eq!(*pool.get().await?, 42);
/// # Ok(())
/// # }
/// ```
pub struct Bb8<M: ManageConnection> {
    manager: M,
    wrap: fn(M::Error) -> BoxError,
    customizer: Option<Box<dyn CustomizeConnection<M::Connection, M::Error>>>,
}

impl<M: ManageConnection> Bb8<M> {
    /// Adapts `manager`. Its error must convert into a boxed error: it implements `std::error::Error`, is text, or is boxed.
    pub fn new(manager: M) -> Self
    where
        M::Error: Into<BoxError>,
    {
        Self::with_errors(manager, Into::into)
    }

    /// Adapts `manager` with an error of any type. `wrap` converts the error, for example `|error| format!("{error:?}").into()`.
    pub fn with_errors(
        manager: M,
        wrap: fn(M::Error) -> Box<dyn std::error::Error + Send + Sync>,
    ) -> Self {
        Self {
            manager,
            wrap,
            customizer: None,
        }
    }

    /// Runs `customizer` on every connection that was opened, like `bb8::Builder::connection_customizer`. If it fails, the open has
    /// failed. `create_timeout` bounds both together.
    #[must_use]
    pub fn connection_customizer(
        mut self,
        customizer: Box<dyn CustomizeConnection<M::Connection, M::Error>>,
    ) -> Self {
        self.customizer = Some(customizer);
        self
    }

    /// Returns the manager.
    pub fn inner(&self) -> &M {
        &self.manager
    }

    async fn open(&self) -> Result<M::Connection, M::Error> {
        let mut connection = self.manager.connect().await?;
        if let Some(customizer) = &self.customizer {
            customizer.on_acquire(&mut connection).await?;
        }
        Ok(connection)
    }

    async fn validate(&self, connection: &mut M::Connection) -> Result<(), ForeignError> {
        let valid = self.manager.is_valid(connection).await;
        valid.map_err(|error| ForeignError((self.wrap)(error)))
    }
}

impl<M: ManageConnection> Manager for Bb8<M> {
    type Resource = M::Connection;
    type Error = ForeignError;

    async fn create(&self) -> Result<M::Connection, ForeignError> {
        let opened = self.open().await;
        opened.map_err(|error| ForeignError((self.wrap)(error)))
    }

    async fn check(&self, connection: &mut M::Connection, _: &Usage) -> Result<(), ForeignError> {
        self.validate(connection).await
    }

    // A dead connection fails at once, so it is returned at once and is the next to be handed out: it is never idle long enough to
    // be checked. If `has_broken` does not detect that, only a check after a lease does.
    fn needs_reset(&self, _: &mut M::Connection, usage: &Usage) -> bool {
        usage.check_due && !usage.tainted
    }

    async fn reset(&self, connection: &mut M::Connection, _: &Usage) -> Result<(), ForeignError> {
        self.validate(connection).await
    }

    fn is_broken(&self, connection: &mut M::Connection) -> bool {
        self.manager.has_broken(connection)
    }
}

impl<M: ManageConnection + fmt::Debug> fmt::Debug for Bb8<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bb8").field(&self.manager).finish()
    }
}
