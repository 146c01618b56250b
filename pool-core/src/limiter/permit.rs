//! The guard of held permits.

use std::{fmt, mem, sync::Arc};

use super::Handle;

/// One or more permits of a [`Limiter`](super::Limiter). Dropping the `Permit` returns them, on any thread.
///
/// A permit borrows nothing, so it can move with the work that it admits, and outlive every handle of the limiter.
///
/// ```
/// # use pool_core::{LimitError, Limiter};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), LimitError> {
/// let limiter = Limiter::new(8);
/// let mut batch = limiter.acquire_many(3).await?; // three rows, each finished on its own
/// let row = batch.split(1).expect("three are more than one");
/// drop(row);
/// assert_eq!((batch.count(), limiter.status().available), (2, 6));
/// # Ok(())
/// # }
/// ```
#[must_use = "a permit is returned when it is dropped"]
pub struct Permit {
    handle: Arc<Handle>,
    count: u32,
}

impl Permit {
    #[inline]
    pub(super) const fn new(handle: Arc<Handle>, count: u32) -> Self {
        Self { handle, count }
    }

    /// How many permits this value holds.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Takes `count` permits out, as a permit of its own. Returns `None`, and changes nothing, if there are fewer.
    pub fn split(&mut self, count: u32) -> Option<Self> {
        self.count = self.count.checked_sub(count)?;
        Some(Self::new(Arc::clone(&self.handle), count))
    }

    /// Consumes this value without returning its permits: they stay taken until as many are [put back](super::Limiter::put_back).
    /// Returns how many.
    ///
    /// ```
    /// # use pool_core::Limiter;
    /// let limiter = Limiter::new(3);
    /// let permit = limiter.try_acquire_many(2).expect("all permits are free");
    /// assert_eq!(permit.forget(), 2);
    /// assert_eq!(limiter.status().in_use, 2);
    /// limiter.put_back(2);
    /// assert_eq!(limiter.status().in_use, 0);
    /// ```
    #[doc(hidden)]
    pub fn forget(mut self) -> u32 {
        // No permit is left for `drop`; the handle is dropped as usual.
        mem::take(&mut self.count)
    }

    /// Adds the permits of `other`.
    ///
    /// # Errors
    /// The permits of `other` belong to another limiter. The error returns them.
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if !Arc::ptr_eq(&self.handle.inner, &other.handle.inner) {
            return Err(other);
        }
        // All held permits of one limiter fit into its count.
        self.count += mem::take(&mut other.count);
        Ok(())
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        self.handle.permits.put(self.count);
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Permit")
            .field("limiter", &self.handle.name)
            .field("count", &self.count)
            .finish()
    }
}
