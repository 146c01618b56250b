//! What the handles of a pool by key do, whatever it lends.

use std::{
    borrow::Borrow, future::Future, hash::Hash, panic::Location, sync::Arc, task::Poll,
    time::Duration,
};

use super::{
    drives::{Drives, Item},
    get::{Get, Got},
    inner::{Inner, usage_of},
    keep::Snapshot,
    kernel::Kernel,
};
use crate::{
    config::ConfigError,
    engine::{Holder, Kept},
    host::{self, Drained, Error, Failure, Hosted, Kind, Tends, Usage},
    observe::{CloseReason, LeaseInfo, Status, Timings},
};

/// The handle of a pool by key. Its clones share one pool; the drop of the last closes it.
pub(super) struct Body<K: Send + Sync + 'static, D: Drives<K>> {
    owner: Arc<Owner<K, D>>,
}

/// Shared by all handles of one pool, and only by them. Dropping it closes the pool.
struct Owner<K: Send + Sync + 'static, D: Drives<K>> {
    inner: Arc<Inner<K, D>>,
}

impl<K: Send + Sync + 'static, D: Drives<K>> Body<K, D> {
    pub(super) fn new(inner: Arc<Inner<K, D>>) -> Self {
        Self {
            owner: Arc::new(Owner { inner }),
        }
    }

    #[inline]
    pub(super) fn inner(&self) -> &Arc<Inner<K, D>> {
        &self.owner.inner
    }

    #[inline]
    pub(super) fn get<'a, Q: ?Sized>(
        &'a self,
        key: &'a Q,
        place: &'static Location<'static>,
    ) -> Get<'a, K, D, Q> {
        Get::new(self.inner(), key, place, "")
    }

    pub(super) fn warm_up<'a, Q>(
        &'a self,
        key: &'a Q,
        count: u32,
        place: &'static Location<'static>,
    ) -> impl Future<Output = Result<(), Error<D::Error>>> + 'a
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        // Check the count first, so that a huge count does not make as many futures before it fails.
        let most = self.inner().most_of(key);
        let (count, mut refused) = if count > most {
            let kind = Kind::TooLarge(most);
            let error = self.inner().error_of(key, kind, Duration::ZERO, None);
            (0, Some(error))
        } else {
            (count, None)
        };
        let gets = (0..count).map(|_| Get::new(self.inner(), key, place, "warm-up"));
        let (mut gets, mut got): (Vec<_>, _) = (gets.collect(), Vec::new());
        std::future::poll_fn(move |context| {
            if let Some(error) = refused.take() {
                return Poll::Ready(Err(error));
            }
            let mut next = 0;
            while let Some(get) = gets.get_mut(next) {
                match get.poll(context) {
                    Poll::Ready(Ok(one)) => {
                        got.push(one);
                        drop(gets.swap_remove(next));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => next += 1,
                }
            }
            if gets.is_empty() {
                got.clear();
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        })
    }

    pub(super) fn try_get<Q>(
        &self,
        key: &Q,
        place: &'static Location<'static>,
    ) -> Result<Got<K, D>, Error<D::Error>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let inner = self.inner();
        let now = inner.rough_now();
        let holder = Holder {
            since: now,
            place,
            label: "",
        };
        let mut taken = inner.take_fit(key, inner.hash(key), now, holder);
        while taken.is_none()
            && let (Some(place), _) = inner.find(key)
            && let Some(mut lent) = inner.kernel.take_of(place, now, holder)
        {
            if inner.is_fit(&mut lent) {
                taken = Some(lent);
            } else {
                inner.never_had(lent, false);
            }
        }
        match taken {
            Some(lent) => Ok(Got::new(lent, inner, now)),
            None => {
                let closed = inner.kernel.is_closed();
                let kind = if closed { Kind::Closed } else { Kind::Busy };
                Err(inner.error_of(key, kind, Duration::ZERO, None))
            }
        }
    }

    /// Returns something of the counts of every key in use.
    pub(super) fn statuses<S>(
        &self,
        of: impl Fn(&Snapshot<Failure<D::Error>>) -> S,
    ) -> Vec<(Arc<K>, S)> {
        let (mut from, mut statuses) = (0, Vec::new());
        while let Some((next, part)) = self.inner().kernel.snapshots(from) {
            from = next;
            statuses.extend(part.into_iter().map(|(key, counts)| (key, of(&counts))));
        }
        statuses
    }

    pub(super) fn status(&self) -> Status {
        Hosted::status(&**self.inner())
    }

    pub(super) fn timings(&self) -> Timings {
        Hosted::timings(&**self.inner())
    }

    pub(super) fn leases_of<Q>(&self, key: &Q) -> Vec<LeaseInfo>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = self.inner();
        let place = inner.find(key).0;
        let leases = place.map_or_else(Vec::new, |place| inner.leases_of(Some(place)));
        leases.into_iter().map(|(_, lease)| lease).collect()
    }

    pub(super) fn reload_limits(&self) -> Result<(), ConfigError> {
        let inner = self.inner();
        let (mut from, mut outcome) = (0, Ok(()));
        while let Some((next, part)) = inner.kernel.keys(from) {
            from = next;
            for (place, key) in part {
                match inner.terms_of(&key) {
                    Ok(terms) => {
                        let now = inner.now();
                        inner.perform(Kernel::set_terms(&inner.kernel, place, terms, now));
                    }
                    Err(error) => outcome = outcome.and(Err(error)),
                }
            }
        }
        outcome
    }

    pub(super) fn retire_all(&self) {
        let inner = self.inner();
        inner.perform(Kernel::reset(&inner.kernel, None, inner.now()));
    }

    pub(super) fn retire<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let inner = self.inner();
        if let Some(place) = inner.find(key).0 {
            inner.perform(Kernel::reset(&inner.kernel, Some(place), inner.now()));
        }
    }

    pub(super) fn retain(
        &self,
        mut keep: impl FnMut(&K, &mut Item<K, D>, &Usage) -> bool,
    ) -> usize {
        let inner = self.inner();
        let (mut from, mut closed) = (0, 0);
        while let Some((next, mut slot)) = inner.kernel.next_idle(from) {
            from = next;
            let usage = usage_of(&slot, inner.now());
            if keep(slot.seat.key(), &mut slot.item, &usage) {
                inner.lay_back(slot);
            } else {
                closed += 1;
                inner.discard(slot, CloseReason::NotRetained);
            }
        }
        closed
    }

    pub(super) async fn drain(&self, deadline: Duration) -> Drained {
        self.inner().close();
        host::drain(self.inner(), deadline).await
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Drop for Owner<K, D> {
    fn drop(&mut self) {
        self.inner.close();
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Clone for Body<K, D> {
    fn clone(&self) -> Self {
        Self {
            owner: Arc::clone(&self.owner),
        }
    }
}
