//! Renewing a connection in place: the caller of a broken one gets the next, on the same seat.

use std::{
    future::poll_fn,
    hash::Hash,
    panic::Location,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    drives::Drives,
    get::{Get, Got},
    inner::{Opening, Slot},
    kernel::Kernel,
    leased::Leased,
};
use crate::{
    engine::Holder,
    host::{self, Error, Failure, Hosted, Kind, Tends, say_goodbye},
    observe::{CloseReason, Phase},
    rt,
};

/// Where the outcome of an open goes that is for one caller alone. Told once; dropped untold, it says that the open is lost.
pub(super) struct Reserved<K: Send + Sync + 'static, D: Drives<K>> {
    promise: Arc<Promise<K, D>>,
    /// Who holds the lease from then on.
    pub(super) holder: Holder,
}

/// What became of a reserved open.
pub(super) enum Outcome<K: Send + Sync + 'static, D: Drives<K>> {
    Opened(Got<K, D>),
    Failed(Failure<D::Error>),
    /// What was opened may not be used, or the task of the open has gone.
    Lost,
}

struct Promise<K: Send + Sync + 'static, D: Drives<K>> {
    outcome: Mutex<Option<Outcome<K, D>>>,
    told: rt::Notify,
}

impl<K: Send + Sync + 'static, D: Drives<K>> Promise<K, D> {
    fn take(&self) -> Option<Outcome<K, D>> {
        let outcome = self.outcome.lock();
        outcome.unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn outcome(&self) -> Outcome<K, D> {
        loop {
            let told = self.told.notified();
            // Look after `notified` was called, so that nothing that is told between the two is missed.
            if let Some(outcome) = self.take() {
                return outcome;
            }
            told.await;
        }
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Reserved<K, D> {
    /// Tells the caller. What it does not fetch any more goes back to the pool.
    pub(super) fn tell(&self, outcome: Outcome<K, D>) {
        {
            let place = &mut *self
                .promise
                .outcome
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if place.is_none() {
                *place = Some(outcome);
            }
        }
        self.promise.told.notify_waiters();
    }
}

impl<K: Send + Sync + 'static, D: Drives<K>> Drop for Reserved<K, D> {
    fn drop(&mut self) {
        self.tell(Outcome::Lost);
    }
}

/// Closes a connection and opens another in its place, for the same caller. If the pool may not open one there at the moment, the
/// caller gets one as any other does.
pub(super) async fn reopen<K, D>(
    leased: Leased<K, D>,
    place: &'static Location<'static>,
) -> Result<Got<K, D>, Error<D::Error>>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    D: Drives<K>,
{
    let (slot, inner, timed_from) = leased.into_parts();
    let key = Arc::clone(slot.seat.key());
    let (now, lasted) = inner.lasted(timed_from);
    let runtime = rt::Handle::try_current();
    let begun = match &runtime {
        Ok(_) => Kernel::begin_reopen(&inner.kernel, &slot, lasted, now),
        Err(_) => {
            inner.kernel.count_use(&slot, lasted);
            None
        }
    };
    let mut get = Get::new(&inner, &*key, place, "");
    let (Ok(runtime), Some((terms, work))) = (runtime, begun) else {
        inner.discard(slot, CloseReason::Broken);
        return poll_fn(|context| get.poll(context)).await;
    };
    inner.perform(work);
    inner.tell(&key, |observer, pool| {
        observer.closed(pool, CloseReason::Broken);
    });
    let promise = Arc::new(Promise {
        outcome: Mutex::new(None),
        told: rt::Notify::new(),
    });
    let holder = Holder {
        since: now,
        place,
        label: "",
    };
    let within = terms.acquire_timeout;
    let Slot::<K, D> { item, seat, .. } = *slot;
    let to = Reserved {
        promise: Arc::clone(&promise),
        holder,
    };
    let opening = Opening::reserved(seat, terms, to);
    let pool = Arc::clone(&inner);
    drop(runtime.spawn(async move {
        say_goodbye(&*pool, item).await;
        host::open(pool, opening).await;
    }));
    let outcome = rt::timeout(within, promise.outcome()).await;
    let error = |kind, failure| {
        let waited = inner.now() - now;
        Err(inner.error_of(&*key, kind, waited, failure))
    };
    match outcome {
        Ok(Outcome::Opened(got)) => Ok(got),
        Ok(Outcome::Failed(failure)) => error(Kind::Connect, Some(failure)),
        Ok(Outcome::Lost) => poll_fn(|context| get.poll(context)).await,
        Err(_) => {
            let of = inner.find(&*key).0;
            inner.kernel.count_timeout(of, Phase::Create);
            error(Kind::Timeout(Phase::Create), None)
        }
    }
}
