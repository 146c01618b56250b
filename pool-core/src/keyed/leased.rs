//! What a lease is, of whichever pool by key.

use std::sync::Arc;

use super::{
    drives::Drives,
    inner::{Inner, Slot, usage_of},
};
use crate::{
    host::{Hosted, Usage},
    moment::Moment,
};

/// A leased resource. Dropping it returns the resource.
pub(super) struct Leased<K: Send + Sync + 'static, D: Drives<K>> {
    /// `None` only while the lease is being dropped or taken apart.
    slot: Option<Box<Slot<K, D>>>,
    /// When the lease began, if it is being timed; else `NEVER`.
    timed_from: Moment,
    inner: Arc<Inner<K, D>>,
}

impl<K: Send + Sync + 'static, D: Drives<K>> Leased<K, D> {
    /// `now` may be rough.
    #[inline]
    pub(super) fn new(mut slot: Box<Slot<K, D>>, inner: Arc<Inner<K, D>>, now: Moment) -> Self {
        slot.uses = slot.uses.saturating_add(1);
        slot.used_at = now;
        let timed_from = if inner.times(now) {
            inner.now()
        } else {
            Moment::NEVER
        };
        Self {
            slot: Some(slot),
            timed_from,
            inner,
        }
    }

    pub(super) fn key(&self) -> &Arc<K> {
        self.slot().seat.key()
    }

    #[inline]
    pub(super) fn item(&self) -> &D::One {
        self.slot().item.one()
    }

    #[inline]
    pub(super) fn item_mut(&mut self) -> &mut D::One {
        self.slot_mut().item.one_mut()
    }

    pub(super) fn is_tainted(&self) -> bool {
        self.slot().tainted
    }

    /// Returns whether the resource is tainted, to set it.
    pub(super) fn tainted(&mut self) -> &mut bool {
        &mut self.slot_mut().tainted
    }

    /// Runs an operation that leaves the resource tainted if it does not run to its end.
    pub(super) async fn run<T>(&mut self, operation: impl AsyncFnOnce(&mut D::One) -> T) -> T {
        let slot = self.slot_mut();
        let was = std::mem::replace(&mut slot.tainted, true);
        let output = operation(slot.item.one_mut()).await;
        slot.tainted = was;
        output
    }

    /// Takes the resource out of the pool.
    pub(super) fn detach(mut self) -> D::One {
        let slot = self.slot.take().expect(HELD);
        let (_, lasted) = self.inner.lasted(self.timed_from);
        self.inner.kernel.count_use(&slot, lasted);
        let Slot::<K, D> { item, seat, .. } = *slot;
        drop(seat);
        item.into_one()
    }

    /// Takes the lease apart.
    #[allow(clippy::type_complexity, reason = "the parts of a lease")]
    pub(super) fn into_parts(mut self) -> (Box<Slot<K, D>>, Arc<Inner<K, D>>, Moment) {
        let slot = self.slot.take().expect(HELD);
        (slot, Arc::clone(&self.inner), self.timed_from)
    }

    pub(super) fn usage(&self) -> Usage {
        usage_of(self.slot(), self.inner.now())
    }

    pub(super) fn label(&self, label: &'static str) {
        self.inner.kernel.relabel(self.slot(), label);
    }

    pub(super) fn inner(&self) -> &Arc<Inner<K, D>> {
        &self.inner
    }

    #[inline]
    fn slot(&self) -> &Slot<K, D> {
        self.slot.as_ref().expect(HELD)
    }

    #[inline]
    fn slot_mut(&mut self) -> &mut Slot<K, D> {
        self.slot.as_mut().expect(HELD)
    }
}

const HELD: &str = "a lease holds its slot until it is dropped";

impl<K: Send + Sync + 'static, D: Drives<K>> Drop for Leased<K, D> {
    #[inline]
    fn drop(&mut self) {
        if let Some(mut slot) = self.slot.take() {
            // A panic may have interrupted a use of the resource at any point.
            slot.tainted |= std::thread::panicking();
            self.inner.give_back(slot, self.timed_from);
        }
    }
}
