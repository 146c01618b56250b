//! The guard of a leased resource.

use std::{
    fmt,
    ops::{Deref, DerefMut},
};

use super::{
    Manager,
    inner::{Inner, Slot, lasted, usage_of},
};
use crate::{
    engine::Holder,
    host::{Hosted, Usage},
};

/// A leased resource. Dropping the lease returns the resource to the pool, on any thread, with or without a runtime.
///
/// A lease borrows nothing, so it can move to another task and outlive every handle of the pool. The functions of a lease are
/// associated functions, called as `Lease::taint(&mut lease)`, so that they hide no method of the resource.
///
/// ```
/// # use pool_core::{Lease, Manager, Pool, Usage};
/// # struct Buffers;
/// # impl Manager for Buffers {
/// #     type Resource = Vec<u8>;
/// #     type Error = std::io::Error;
/// #     async fn create(&self) -> Result<Vec<u8>, std::io::Error> { Ok(Vec::new()) }
/// #     async fn check(&self, _: &mut Vec<u8>, _: &Usage) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = Pool::builder(Buffers).build()?;
/// let mut lease = pool.get().await?;
/// // If this future were dropped before its end, the lease would be tainted.
/// let written = Lease::run(&mut lease, async |buffer| {
///     buffer.push(1);
///     tokio::task::yield_now().await;
///     buffer.push(2);
///     buffer.len()
/// })
/// .await;
/// assert_eq!(written, 2);
/// # Ok(())
/// # }
/// ```
pub struct Lease<M: Manager> {
    /// `None` only while the lease is dropped or taken apart.
    slot: Option<Box<Slot<M>>>,
}

impl<M: Manager> Lease<M> {
    /// `holder.since` may be the coarse time.
    #[inline]
    pub(crate) fn new(mut slot: Box<Slot<M>>, holder: Holder) -> Self {
        slot.tag.take_up(holder);
        let now = holder.since;
        slot.used_at = now;
        // One lease of each resource in each tick is timed exactly.
        if slot.timed_at != now {
            slot.timed_at = now;
            slot.timed_from = Some(slot.item.home.now());
        }
        Self { slot: Some(slot) }
    }

    /// Taints the resource: the pool does not hand it on as it is. When the lease is returned, the resource is reset, or closed if
    /// the manager has no reset for it.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::{Pool, Lease};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// let mut connection = pool.get().await?;
    /// connection.query("begin").await?;
    /// Lease::taint(&mut connection); // if a call below fails, the next caller must not get this transaction
    /// connection.query("update stock set n = n - 1").await?;
    /// connection.query("commit").await?;
    /// Lease::untaint(&mut connection);
    /// drop(connection);
    /// assert_eq!(pool.status().idle, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn taint(lease: &mut Self) {
        lease.slot_mut().tainted = true;
    }

    /// Whether the resource is tainted.
    pub fn is_tainted(lease: &Self) -> bool {
        lease.slot().tainted
    }

    /// Removes the taint: the resource is known to be clean again.
    pub fn untaint(lease: &mut Self) {
        lease.slot_mut().tainted = false;
    }

    /// Runs an operation that leaves the resource unusable if it does not run to its end. If the future is dropped or panics, the
    /// lease is tainted.
    ///
    /// # Cancel safety
    /// Dropping the future drops the operation and taints the lease.
    pub async fn run<T>(lease: &mut Self, operation: impl AsyncFnOnce(&mut M::Resource) -> T) -> T {
        let slot = lease.slot_mut();
        let was = std::mem::replace(&mut slot.tainted, true);
        let output = operation(&mut slot.item.resource).await;
        slot.tainted = was;
        output
    }

    /// Takes the resource out of the pool. The pool may open another in its place, and never closes this one.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::{Pool, Lease};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// // A listener holds its connection as long as the service lives, so the connection should not count in the pool.
    /// let mut listener = Lease::detach(pool.get().await?);
    /// listener.query("listen orders_changed").await?;
    /// assert_eq!((pool.status().open, pool.status().dropped), (0, 1));
    /// # Ok(())
    /// # }
    /// ```
    pub fn detach(mut lease: Self) -> M::Resource {
        let mut slot = lease.slot.take().expect(HELD);
        let (_, lasted) = lasted(&mut slot);
        slot.item.home.count_use(lasted);
        let Slot::<M> { item, seat, .. } = *slot;
        drop(seat);
        item.resource
    }

    /// Returns the history of the resource.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::{Pool, Lease};
    /// # use std::time::Duration;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// let mut connection = pool.get().await?;
    /// let usage = Lease::usage(&connection);
    /// if usage.leases == 1 {
    ///     connection.query("set application_name to 'orders'").await?; // the first lease of this connection
    /// }
    /// assert!(usage.age() < Duration::from_secs(60) && !usage.tainted);
    /// # Ok(())
    /// # }
    /// ```
    pub fn usage(lease: &Self) -> Usage {
        usage_of(lease.slot(), lease.slot().item.home.now())
    }

    /// Sets the label of the holder, like [`Get::label`](super::Get::label).
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/db.rs"));
    /// # use pool_core::{Pool, Lease};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let pool = Pool::builder(Db).name("orders").max_size(4).build()?;
    /// let mut connection = pool.get().label("import: reading").await?;
    /// connection.query("select * from files").await?;
    /// Lease::label(&mut connection, "import: writing");
    /// assert_eq!(pool.leases()[0].label, "import: writing");
    /// # Ok(())
    /// # }
    /// ```
    pub fn label(lease: &mut Self, label: &'static str) {
        lease.slot().tag.relabel(label);
    }

    /// Returns the manager of the lease's pool.
    pub fn manager(lease: &Self) -> &M {
        &lease.slot().item.home.manager
    }

    /// Returns the manager, and the resource for the manager to work on.
    #[cfg(feature = "deadpool")]
    pub(crate) fn parts(lease: &mut Self) -> (&M, &mut M::Resource) {
        let slot = lease.slot.as_mut().expect(HELD);
        (&slot.item.home.manager, &mut slot.item.resource)
    }

    #[inline]
    fn slot(&self) -> &Slot<M> {
        self.slot.as_ref().expect(HELD)
    }

    #[inline]
    fn slot_mut(&mut self) -> &mut Slot<M> {
        self.slot.as_mut().expect(HELD)
    }
}

const HELD: &str = "a lease holds its slot until it is dropped";

impl<M: Manager> Deref for Lease<M> {
    type Target = M::Resource;

    #[inline]
    fn deref(&self) -> &M::Resource {
        &self.slot().item.resource
    }
}

impl<M: Manager> DerefMut for Lease<M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut M::Resource {
        &mut self.slot_mut().item.resource
    }
}

impl<M: Manager> Drop for Lease<M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            // If the thread panics, the caller may have stopped in the middle of a call.
            slot.tainted |= std::thread::panicking();
            Inner::give_back(slot);
        }
    }
}

impl<M: Manager> fmt::Debug for Lease<M>
where
    M::Resource: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}
