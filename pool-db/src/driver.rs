//! What a driver adds to the face that all drivers share.

use std::fmt;

use pool_core::{ConfigError, Env, Lease};

use crate::{Builder, Error, Pool};

/// A database driver. Each driver is a module of this crate: `postgres` has `Postgres`, `sqlite` has `Sqlite`.
///
/// A [`Pool`], its [`Builder`] and its [`Get`](crate::Get) are written once, over this trait. A driver says how its connections are
/// opened and kept, and which settings it has beside those of every pool. So a function may take a pool of any driver:
///
#[cfg_attr(feature = "sqlite", doc = "```")]
#[cfg_attr(not(feature = "sqlite"), doc = "```ignore")]
/// use pool_db::{Driver, Error, Pool};
///
/// /// The readiness of a service: whether a connection can be had.
/// async fn is_ready<D: Driver>(pool: &Pool<D>) -> Result<(), Error> {
///     drop(pool.get().await?);
///     Ok(())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let pool = pool_db::sqlite::Pool::builder().memory().build()?;
/// is_ready(&pool).await
/// # }
/// ```
///
/// The trait is sealed: only this crate implements it. For a database that has no driver here, implement
/// [`pool_core::Manager`](https://docs.rs/pool-core/latest/pool_core/trait.Manager.html) and use its pool.
pub trait Driver: sealed::Sealed + Sized + Send + Sync + 'static {
    /// Opens, checks, resets and closes connections.
    type Manager: pool_core::Manager<Error = Error>;
    /// A leased connection. Its drop returns it to the pool.
    type Connection: From<Lease<Self::Manager>> + Send;
    /// The settings that only this driver has.
    type Settings: Clone + Default + fmt::Debug + Send + Sync;
    /// What a pool of this driver has beside its connections.
    #[doc(hidden)]
    type Beside: Clone + Send + Sync;

    /// The name of the driver. A pool that is given no name is called by it, with a number if there are several.
    const WORD: &'static str;
    /// The prefix of the variables that [`Pool::from_env`] reads.
    const PREFIX: &'static str = "POOL_DB";
    /// The variable with the address that a pool has whose prefix has none.
    const URL: &'static str = "DATABASE_URL";
    /// The variables outside a prefix that the driver reads, beside [`URL`](Self::URL).
    #[doc(hidden)]
    const VARIABLES: &'static [&'static str] = &[];

    /// Reads the driver's own settings from `env`. `url` is the address in the environment, with the variable that it came from.
    #[doc(hidden)]
    fn read(
        builder: &mut Builder<Self>,
        url: Option<(String, String)>,
        env: &mut Env,
    ) -> Result<(), ConfigError>;

    /// Builds the pool. The settings that all drivers have were checked.
    #[doc(hidden)]
    fn build(builder: Builder<Self>) -> Result<Pool<Self>, ConfigError>;

    /// The further pools that are closed, drained and retired together with the pool.
    #[doc(hidden)]
    fn pools(beside: &Self::Beside) -> &[pool_core::Pool<Self::Manager>] {
        let _ = beside;
        &[]
    }
}

pub(crate) mod sealed {
    /// Implemented by the drivers of this crate.
    #[expect(unnameable_types, reason = "no other crate shall name it")]
    pub trait Sealed {}
}
