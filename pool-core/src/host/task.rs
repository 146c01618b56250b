//! The tasks of a pool: open, check, reset and close.
//!
//! Each task owns what it works on. However the task ends (an error, a panic, a timeout, a runtime that ends), the slot or the seat
//! is handed on or dropped, and a dropped slot or seat frees its place. An open that fails in any way is a failed open, also if it
//! panics outside of the manager: the pool backs off.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

#[cfg(feature = "tracing")]
use super::trace::{self, OpenTrace};
use super::{Caught, Failure, Hosted, OpenError, Usage, caught};
use crate::{
    engine::{
        Opened,
        mutation::{self, Mutation},
    },
    moment::Moment,
    observe::{Cause, CloseReason},
    rt,
};

/// A pool that opens resources.
pub(crate) trait Opens: Hosted {
    /// The right to one place. Frees the place when dropped.
    type Seat: Send + 'static;
    /// The resource that is opened.
    type Item: Send + 'static;

    fn key_of(&self, seat: &Self::Seat) -> Arc<Self::Key>;
    fn terms(&self, seat: &Self::Seat) -> Terms;

    /// Whether the open on this seat is still wanted. Called before the open begins, and whenever running opens are notified.
    fn is_wanted(&self, seat: &Self::Seat, begins: bool) -> bool;

    fn create(
        &self,
        seat: &Self::Seat,
    ) -> impl Future<Output = Result<Self::Item, Self::Error>> + Send;

    fn is_broken(&self, item: &mut Self::Item) -> bool;

    /// A resource was opened. Returns it if it was drained or died meanwhile: then the open has failed.
    fn opened(
        self: &Arc<Self>,
        seat: Self::Seat,
        opened: Opened<Self::Item>,
        now: Moment,
    ) -> Result<(), (Self::Seat, Self::Item)>;

    /// An open failed. `jitter` is uniform in `0.0..1.0`.
    fn open_failed(
        self: &Arc<Self>,
        seat: Self::Seat,
        error: Failure<Self::Error>,
        now: Moment,
        jitter: f64,
    );

    /// A running open was dropped, because it is not wanted any more.
    fn called_off(self: &Arc<Self>, seat: Self::Seat) {
        let _ = self;
        drop(seat);
    }

    fn close(&self, item: Self::Item) -> impl Future<Output = ()> + Send;
    fn close_timeout(&self) -> Duration;
}

/// The terms of one open.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    pub(crate) create_timeout: Duration,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) lifetime_jitter: f64,
}

/// A pool that checks, resets and closes its resources.
pub(crate) trait Tends: Opens {
    /// An open resource on its seat.
    type Slot: Send + 'static;
    /// The place of a resource that is being closed.
    type Closing: Send;

    fn item(slot: &mut Self::Slot) -> &mut Self::Item;
    fn usage(slot: &Self::Slot, now: Moment) -> Usage;
    fn check_timeout(&self) -> Duration;
    fn reset_timeout(&self) -> Duration;

    fn check(
        &self,
        item: &mut Self::Item,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    fn reset(
        &self,
        item: &mut Self::Item,
        usage: &Usage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// The resource was reset: except for its age, it is as good as new.
    fn was_reset(slot: &mut Self::Slot, now: Moment);

    /// A resource that was being checked or reset is good.
    fn put_clean(self: &Arc<Self>, slot: Self::Slot, now: Moment, took: Duration);

    /// Closes a resource for a reason that the kernel did not find itself.
    fn discard(self: &Arc<Self>, slot: Self::Slot, reason: CloseReason);

    /// Splits a slot that is being closed into its resource and its place.
    fn part(slot: Self::Slot) -> (Self::Item, Self::Closing);

    /// A close has ended.
    fn closed(self: &Arc<Self>, seat: Self::Closing) {
        let _ = self;
        drop(seat);
    }
}

/// Opens a resource on `seat`.
pub(crate) async fn open<P: Opens>(pool: Arc<P>, seat: P::Seat) {
    let (key, started) = (pool.key_of(&seat), pool.now());
    let mut seat = Some(seat);
    let attempt = Caught::new(attempt(&pool, &key, &mut seat, started));
    let (error, trace) = match attempt.await {
        Ok(Ok(())) => return,
        Ok(Err(failed)) => failed,
        Err(panic) => (OpenError::Panicked(panic), Trace::default()),
    };
    // The resource was handed to the pool, or the open is not wanted any more.
    let Some(seat) = seat else { return };
    if mutation::on(Mutation::PanickedOpenKeepsSeat) && matches!(error, OpenError::Panicked(_)) {
        return std::mem::forget(seat);
    }
    let (error, now) = (Arc::new(error), pool.now());
    pool.open_failed(seat, Arc::clone(&error), now, fastrand::f64());
    #[cfg(feature = "tracing")]
    if let Some(trace) = trace {
        trace::failed(&*pool, trace, now - started, &error);
    }
    #[cfg(not(feature = "tracing"))]
    let () = trace;
    pool.tell(&key, |observer, name| {
        observer.open_failed(name, &Cause::of(&*error));
    });
}

#[cfg(feature = "tracing")]
type Trace = Option<OpenTrace>;
#[cfg(not(feature = "tracing"))]
type Trace = ();

/// One attempt to open a resource. Leaves the seat in `place` if it fails.
async fn attempt<P: Opens>(
    pool: &Arc<P>,
    key: &P::Key,
    place: &mut Option<P::Seat>,
    started: Moment,
) -> Result<(), (OpenError<P::Error>, Trace)> {
    let Some(seat) = &*place else { return Ok(()) };
    // Registered before the check, so that this open is notified if it stops being wanted after the check.
    let mut called = Box::pin(pool.host().calls.notified());
    // The waiter of this open may have gone before the task was first polled.
    let mut wanted = pool.is_wanted(seat, true);
    let terms = pool.terms(seat);
    let outcome = if wanted {
        let create = Caught::new(async { pool.create(seat).await });
        #[cfg(feature = "tracing")]
        let (trace, create) = OpenTrace::around(&**pool, key, create);
        #[cfg(not(feature = "tracing"))]
        let trace = ();
        let mut create = pin!(rt::timeout(terms.create_timeout, create));
        loop {
            if !wanted {
                break None;
            }
            if let Some(outcome) = unless(called.as_mut(), create.as_mut()).await {
                #[cfg(feature = "tracing")]
                let trace = Some(trace);
                break Some((outcome, trace));
            }
            called = Box::pin(pool.host().calls.notified());
            wanted = pool.is_wanted(seat, false);
        }
    } else {
        None
    };
    let Some((outcome, trace)) = outcome else {
        // The running open was dropped: now its place is free.
        if let Some(seat) = place.take() {
            pool.called_off(seat);
        }
        return Ok(());
    };
    let error = match outcome {
        Ok(Ok(Ok(item))) => match settle(pool, key, place, item, terms, started).await {
            Ok(took) => {
                #[cfg(feature = "tracing")]
                if let Some(trace) = trace {
                    trace::opened(&**pool, trace, took);
                }
                pool.tell(key, |observer, name| observer.opened(name, took));
                return Ok(());
            }
            Err(error) => error,
        },
        Ok(Ok(Err(error))) => OpenError::Manager(error),
        Ok(Err(panic)) => OpenError::Panicked(panic),
        Err(_) => OpenError::TimedOut(terms.create_timeout),
    };
    Err((error, trace))
}

/// Puts an opened resource into the pool, unless it is already broken.
async fn settle<P: Opens>(
    pool: &Arc<P>,
    _key: &P::Key,
    place: &mut Option<P::Seat>,
    mut item: P::Item,
    terms: Terms,
    started: Moment,
) -> Result<Duration, OpenError<P::Error>> {
    // A resource that is broken or dead from the start is closed, and counts as a failed open. Otherwise it would be opened again
    // at once.
    if caught(|| pool.is_broken(&mut item)).unwrap_or(true) {
        say_goodbye(&**pool, item).await;
        return Err(OpenError::Broken);
    }
    let now = pool.now();
    let took = now - started;
    let expires_at = lifetime_end(now, terms.max_lifetime, terms.lifetime_jitter);
    let opened = Opened {
        item,
        expires_at,
        took,
    };
    let Some(seat) = place.take() else {
        return Ok(took);
    };
    match pool.opened(seat, opened, now) {
        Ok(()) => Ok(took),
        Err((seat, item)) => {
            *place = Some(seat);
            say_goodbye(&**pool, item).await;
            Err(OpenError::Gone)
        }
    }
}

/// Checks a resource before a lease, or for `keepalive`.
pub(crate) async fn check<P: Tends>(pool: Arc<P>, mut slot: P::Slot) {
    let started = pool.now();
    let usage = P::usage(&slot, started);
    let passed = match caught(|| pool.is_broken(P::item(&mut slot))) {
        Ok(false) => {
            bounded(pool.check_timeout(), async {
                pool.check(P::item(&mut slot), &usage).await
            })
            .await
        }
        Ok(true) | Err(_) => false,
    };
    finish(&pool, slot, passed, started, CloseReason::CheckFailed);
}

/// Resets a resource for the next caller.
pub(crate) async fn reset<P: Tends>(pool: Arc<P>, mut slot: P::Slot) {
    let started = pool.now();
    let usage = P::usage(&slot, started);
    let passed = bounded(pool.reset_timeout(), async {
        pool.reset(P::item(&mut slot), &usage).await
    })
    .await;
    let passed = passed || mutation::on(Mutation::FailedResetIsHandedOn);
    P::was_reset(&mut slot, started);
    finish(&pool, slot, passed, started, CloseReason::ResetFailed);
}

/// Closes a resource, and only then frees its seat.
pub(crate) async fn close<P: Tends>(pool: Arc<P>, slot: P::Slot) {
    let (item, seat) = P::part(slot);
    say_goodbye(&*pool, item).await;
    pool.closed(seat);
}

/// Closes a resource. However the close ends, nothing is left to close.
pub(crate) async fn say_goodbye<P: Opens>(pool: &P, item: P::Item) {
    let goodbye = Caught::new(async { pool.close(item).await });
    if mutation::on(Mutation::CloseHasNoEnd) {
        return drop(goodbye.await);
    }
    drop(rt::timeout(pool.close_timeout(), goodbye).await);
}

fn finish<P: Tends>(
    pool: &Arc<P>,
    slot: P::Slot,
    passed: bool,
    started: Moment,
    otherwise: CloseReason,
) {
    let now = pool.now();
    if passed {
        pool.put_clean(slot, now, now - started);
    } else {
        pool.discard(slot, otherwise);
    }
}

/// Runs `work`. Returns `None` if `stop` completes first.
pub(crate) async fn unless<T>(
    stop: impl Future<Output = ()>,
    work: impl Future<Output = T>,
) -> Option<T> {
    let (mut stop, mut work) = (pin!(stop), pin!(work));
    poll_fn(|context| match work.as_mut().poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => stop.as_mut().poll(context).map(|()| None),
    })
    .await
}

/// Whether the work succeeded in time and without a panic.
async fn bounded<E>(limit: Duration, work: impl Future<Output = Result<(), E>>) -> bool {
    matches!(rt::timeout(limit, Caught::new(work)).await, Ok(Ok(Ok(()))))
}

/// When the lifetime of a resource that is opened `now` ends. It is shortened at random, by at most the fraction `jitter`.
fn lifetime_end(now: Moment, lifetime: Option<Duration>, jitter: f64) -> Moment {
    let Some(lifetime) = lifetime else {
        return Moment::NEVER;
    };
    // Converts to seconds in a float and back. The longest duration cannot be converted back, and its end is never reached anyway.
    let share = (jitter * fastrand::f64()).clamp(0.0, 1.0);
    let shorter = Duration::try_from_secs_f64(lifetime.as_secs_f64() * (1.0 - share));
    now + shorter.unwrap_or(lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_lifetime_never_ends_whatever_the_jitter() {
        let now = Moment::from_nanos(7);
        assert_eq!(lifetime_end(now, Some(Duration::MAX), 0.0), Moment::NEVER);
        for jitter in [0.0, 0.1, 0.5, 1.0] {
            let end = lifetime_end(now, Some(Duration::MAX), jitter);
            assert!(end >= now, "{jitter}");
        }
        assert_eq!(lifetime_end(now, None, 1.0), Moment::NEVER);
    }

    #[test]
    fn a_lifetime_is_shortened_by_the_jitter_at_most() {
        let (now, hour) = (Moment::from_nanos(0), Duration::from_secs(3600));
        for _ in 0..1000 {
            let lasts = lifetime_end(now, Some(hour), 0.25) - now;
            assert!(lasts <= hour && lasts >= hour * 3 / 4, "{lasts:?}");
        }
        assert_eq!(lifetime_end(now, Some(hour), 0.0) - now, hour);
    }
}
