//! Managers of bb8.

use std::fmt;

use bb8::{CustomizeConnection, ManageConnection};

use super::{BoxError, ForeignError};
use crate::{Manager, Usage};

/// Any [`bb8::ManageConnection`] as a manager of this crate's.
///
/// `has_broken` is asked on every return and before an idle connection is handed out. `is_valid`, which bb8 runs before each
/// lease, runs when [`check_after`](crate::Builder::check_after) has passed since the connection was last opened or validated:
/// before a lease of what was idle for so long, and after a lease of what is too busy to be idle, on a task of the pool's. So
/// where `has_broken` sees nothing, as with bb8-redis, a dead connection is handed out for twice that time at most. Zero runs
/// it before each lease, as bb8 does, and after each.
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
    /// Adapts `manager`, whose error is an error in the sense of `std`, or text, or boxed.
    pub fn new(manager: M) -> Self
    where
        M::Error: Into<BoxError>,
    {
        Self::with_errors(manager, Into::into)
    }

    /// Adapts `manager`, whose error may be anything: `wrap` makes a real one of it, as `|error| format!("{error:?}").into()`
    /// does.
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

    /// Has every connection that was opened prepared by `customizer`, as `bb8::Builder::connection_customizer` does. When that
    /// fails, the connection was not opened. `create_timeout` is for both.
    #[must_use]
    pub fn connection_customizer(
        mut self,
        customizer: Box<dyn CustomizeConnection<M::Connection, M::Error>>,
    ) -> Self {
        self.customizer = Some(customizer);
        self
    }

    /// The manager itself.
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

    // A dead connection fails at once, so it comes back at once and is the next to go out: it is never idle for long enough to
    // be checked. Where `has_broken` does not see it, only a look at it after a lease ends that.
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
