//! A manager made from a closure.

use std::fmt;

use super::Manager;
use crate::{host::Usage, keyed::KeyedManager};

/// Makes a manager that opens resources by calling `create`. It does not check or reset resources, and closes them by dropping
/// them.
///
/// ```
/// use pool_core::{Pool, manager_fn};
///
/// # async fn connect() -> std::io::Result<String> { Ok("a session".to_owned()) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(manager_fn(|| async { connect().await })).max_size(4).build()?;
/// assert_eq!(pool.get().await?.as_str(), "a session");
/// # Ok(())
/// # }
/// ```
///
/// Use [`broken_if`](ManagerFn::broken_if) if a resource itself knows that it is broken: the closure is called before each lease
/// and after it. To check a resource with I/O, to reset it after use, or to close it gracefully, implement [`Manager`].
pub fn manager_fn<F, R, T, E>(create: F) -> ManagerFn<F, fn(&mut T) -> bool>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, E>> + Send,
{
    ManagerFn {
        create,
        is_broken: |_| false,
    }
}

/// Makes a manager for a [`KeyedPool`](crate::KeyedPool) that opens a resource for a key by calling `create`.
///
/// ```
/// use pool_core::{KeyedPool, keyed_manager_fn};
///
/// # async fn connect(shard: u32) -> std::io::Result<String> { Ok(format!("a session on {shard}")) }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let shards = KeyedPool::builder(keyed_manager_fn(|shard: &u32| connect(*shard))).max_size(4).build()?;
/// assert_eq!(shards.get(&7).await?.as_str(), "a session on 7");
/// # Ok(())
/// # }
/// ```
pub fn keyed_manager_fn<K, F, R, T, E>(create: F) -> ManagerFn<F, fn(&mut T) -> bool>
where
    F: Fn(&K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, E>> + Send,
{
    ManagerFn {
        create,
        is_broken: |_| false,
    }
}

/// A manager made from closures: see [`manager_fn`] and [`keyed_manager_fn`].
#[must_use = "pass the manager to a builder"]
pub struct ManagerFn<F, B> {
    create: F,
    is_broken: B,
}

impl<F, B> ManagerFn<F, B> {
    /// Closes the resources for which `is_broken` returns true. The closure is called on every return, and before an idle resource
    /// is handed out: it must not do I/O or block. See [`Manager::is_broken`].
    ///
    /// ```
    /// use pool_core::{Pool, manager_fn};
    ///
    /// struct Session { is_closed: bool }
    ///
    /// # async fn connect() -> std::io::Result<Session> { Ok(Session { is_closed: false }) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let sessions = manager_fn(connect).broken_if(|session: &mut Session| session.is_closed);
    /// let pool = Pool::builder(sessions).max_size(1).build()?;
    /// pool.get().await?.is_closed = true;
    /// assert!(!pool.get().await?.is_closed, "another one");
    /// # Ok(())
    /// # }
    /// ```
    pub fn broken_if<T, C>(self, is_broken: C) -> ManagerFn<F, C>
    where
        C: Fn(&mut T) -> bool + Send + Sync + 'static,
    {
        ManagerFn {
            create: self.create,
            is_broken,
        }
    }
}

impl<F, B, R, T, E> Manager for ManagerFn<F, B>
where
    F: Fn() -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, E>> + Send,
    B: Fn(&mut T) -> bool + Send + Sync + 'static,
    T: Send + 'static,
    E: fmt::Debug + fmt::Display + Send + Sync + 'static,
{
    type Resource = T;
    type Error = E;

    fn create(&self) -> impl Future<Output = Result<T, E>> + Send {
        (self.create)()
    }

    async fn check(&self, _: &mut T, _: &Usage) -> Result<(), E> {
        Ok(())
    }

    fn is_broken(&self, resource: &mut T) -> bool {
        (self.is_broken)(resource)
    }
}

impl<K, F, B, R, T, E> KeyedManager<K> for ManagerFn<F, B>
where
    F: Fn(&K) -> R + Send + Sync + 'static,
    R: Future<Output = Result<T, E>> + Send,
    B: Fn(&mut T) -> bool + Send + Sync + 'static,
    T: Send + 'static,
    E: fmt::Debug + fmt::Display + Send + Sync + 'static,
{
    type Resource = T;
    type Error = E;

    fn create(&self, key: &K) -> impl Future<Output = Result<T, E>> + Send {
        (self.create)(key)
    }

    async fn check(&self, _: &mut T, _: &Usage) -> Result<(), E> {
        Ok(())
    }

    fn is_broken(&self, resource: &mut T) -> bool {
        (self.is_broken)(resource)
    }
}

impl<F, B> fmt::Debug for ManagerFn<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerFn").finish_non_exhaustive()
    }
}
