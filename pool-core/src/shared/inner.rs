//! What a shared pool, its shares and its tasks have in common.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::Notify,
    time::{Instant, Sleep, sleep_until, timeout},
};

use super::{
    Gauge, SharedManager, SharedStatus,
    gauge::{Listens, Word},
    link::LinkId,
    links::{LinkLimits, Links},
    work::Work,
};
use crate::{
    config::Config,
    engine::Refusal,
    moment::Moment,
    observe::{CloseReason, Closes, Observer, Status},
    pool::{Caught, Error, Failure, Home, Kind, OpenError, caught, lifetime_end, unless},
    rt,
};

#[cfg(feature = "metrics")]
use crate::observe::{Desk, MetricNames, Published};
#[cfg(feature = "tracing")]
use crate::pool::trace::{self, OpenTrace, Streak, Traced};

/// A connection with what tells those who share it that it died.
#[derive(Debug)]
pub(super) struct Wired<C> {
    pub(super) connection: C,
    pub(super) dead: AtomicBool,
    pub(super) alarm: Notify,
}

pub(super) type Parts<M> = Work<Wired<<M as SharedManager>::Connection>>;

/// One shared pool. Handles, shares and running tasks keep it alive; its keeper and the gauges do not.
pub(super) struct Inner<M: SharedManager> {
    pub(super) links: Links<Wired<M::Connection>, Failure<M::Error>>,
    pub(super) manager: M,
    pub(super) config: Config,
    pub(super) name: Arc<str>,
    observer: Option<Arc<dyn Observer>>,
    epoch: Instant,
    /// Tells opens that are under way that the pool was closed.
    closing: Notify,
    /// For returns on threads that have no runtime. Locked for a clone, and nothing is locked under it.
    runtime: Mutex<Option<Handle>>,
    /// Which that is.
    home: Home,
    weak: Weak<Self>,
    #[cfg(feature = "tracing")]
    streak: Streak,
    #[cfg(feature = "metrics")]
    pub(super) publisher: Desk,
}

const TICK: Duration = Duration::from_millis(10);
const ROUNDS: Duration = Duration::from_secs(30);

impl<M: SharedManager> Inner<M> {
    pub(super) fn new(
        manager: M,
        name: String,
        config: Config,
        spare: u32,
        observer: Option<Arc<dyn Observer>>,
        #[cfg(feature = "metrics")] metric_names: MetricNames,
    ) -> Arc<Self> {
        let limits = LinkLimits {
            max_links: config.max_size,
            min_links: config.min_idle,
            max_opening: config.max_opening,
            max_waiters: config.waiters(),
            spare,
            idle_timeout: config.idle_timeout,
            reclaim_after: config.reclaim_after,
            tick: TICK,
            rounds: config
                .idle_timeout
                .map_or(ROUNDS, |after| (after / 4).clamp(TICK, ROUNDS)),
        };
        Arc::new_cyclic(|weak| Self {
            links: Links::new(limits),
            manager,
            config,
            name: name.into(),
            observer,
            epoch: Instant::now(),
            closing: Notify::new(),
            runtime: Mutex::new(None),
            home: Home::new(),
            weak: Weak::clone(weak),
            #[cfg(feature = "tracing")]
            streak: Streak::default(),
            #[cfg(feature = "metrics")]
            publisher: Desk::new(metric_names),
        })
    }

    pub(super) fn now(&self) -> Moment {
        Moment::from_nanos(0) + self.epoch.elapsed()
    }

    /// Does what a decision left to do. Nothing is locked.
    pub(super) fn perform(self: &Arc<Self>, work: Parts<M>) {
        let Work {
            wakers,
            opens,
            closes,
            deaths,
            drops,
            unusable: _,
        } = work;
        // Before any code of a user's has its turn, which may panic: a token frees its place all the same.
        let closes: Vec<_> = closes
            .into_iter()
            .map(|(link, wired, reason)| (OnPlace::new(self, link), wired, reason))
            .collect();
        let opens: Vec<_> = opens
            .into_iter()
            .map(|link| OnPlace::new(self, link))
            .collect();
        for wired in deaths {
            // Ordering: Release pairs with the Acquire in `Share::is_dead`.
            wired.dead.store(true, Ordering::Release);
            drop(caught(|| wired.alarm.notify_waiters()));
            self.tell(|observer, pool| observer.closed(pool, CloseReason::Broken));
            drop(caught(|| drop(wired)));
        }
        wakers.into_iter().for_each(std::task::Waker::wake);
        for wired in drops {
            drop(caught(|| drop(wired)));
        }
        if opens.is_empty() && closes.is_empty() {
            return;
        }
        let runtime = self.runtime();
        for (place, wired, reason) in closes {
            self.tell(|observer, pool| observer.closed(pool, reason));
            match &runtime {
                Some(runtime) => drop(runtime.spawn(close(place, wired))),
                None => drop(caught(|| drop(wired))),
            }
        }
        for place in opens {
            // Without a runtime the place is dropped, which frees it: whoever is polled next finds the room.
            if let Some(runtime) = &runtime {
                drop(runtime.spawn(open(place)));
            }
        }
    }

    /// This thread's runtime, or the keeper's.
    fn runtime(&self) -> Option<Handle> {
        Handle::try_current().ok().or_else(|| {
            let kept = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
            kept.clone()
        })
    }

    pub(super) fn keeper_runs(&self) -> bool {
        self.links.post.is_filled()
    }

    /// Is the keeper on another runtime than this thread, which may be on a thread that is busy, or that nobody drives?
    pub(super) fn keeper_is_elsewhere(&self) -> bool {
        let here = || Handle::try_current().ok().map(|here| here.id());
        self.home.is_elsewhere(here)
    }

    /// Makes sure that there is a keeper.
    pub(super) fn ensure_keeper(self: &Arc<Self>, runtime: &Handle) {
        if !self.links.post.fill() {
            return;
        }
        let kept = Some(runtime.clone());
        *self.runtime.lock().unwrap_or_else(PoisonError::into_inner) = kept;
        self.home.set(runtime.id(), rt::drives_itself(runtime));
        let mut keeper = Keeper {
            inner: Weak::clone(&self.weak),
            sleep: None,
        };
        drop(runtime.spawn(poll_fn(move |context| keeper.poll(context))));
    }

    pub(super) fn close(self: &Arc<Self>) {
        let work = self.links.close();
        self.closing.notify_waiters();
        self.perform(work);
    }

    pub(super) fn refused(
        &self,
        refusal: Refusal<Failure<M::Error>>,
        waited: Duration,
    ) -> Error<M::Error> {
        let (kind, failure) = match refusal {
            Refusal::Closed => (Kind::Closed, None),
            Refusal::Overloaded => (Kind::Overloaded, None),
            Refusal::Shed => (Kind::Shed, None),
            Refusal::Connect(failure) => (Kind::Connect, Some(failure)),
        };
        self.error(kind, waited, failure)
    }

    pub(super) fn error(
        &self,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<M::Error>>,
    ) -> Error<M::Error> {
        match kind {
            Kind::Timeout(phase) => {
                self.tell(|observer, pool| observer.timed_out(pool, phase, waited));
            }
            Kind::Overloaded | Kind::Shed => self.tell(Observer::overloaded),
            Kind::Closed | Kind::Connect | Kind::Busy | Kind::NoRuntime => {}
        }
        let failure = failure.or_else(|| self.links.last_error());
        let status = Self::in_shares(self.status());
        Error::new(Arc::clone(&self.name), kind, waited, status, failure)
    }

    pub(super) fn status(&self) -> SharedStatus {
        let of = self.links.snapshot();
        let counters = of.counters;
        let mut status = SharedStatus {
            max_size: of.max_links,
            open: of.live,
            suspect: of.suspect,
            unused: of.unused,
            draining: of.draining,
            dead: of.dead,
            opening: of.opening,
            closing: of.closing,
            capacity: of.capacity,
            shares: of.used,
            available: of.available,
            waiting: of.waiting,
            is_closed: of.closed,
            gets: counters.gets,
            waited: counters.waited,
            opened: counters.opened,
            open_failures: counters.open_failures,
            closed: Closes::new(counters.closed),
            died: counters.died,
            overloaded: counters.overloaded,
            failed_fast: counters.failed_fast,
            cancelled: counters.cancelled,
            reclaimed: counters.reclaimed,
            last_error: self.links.last_error().map(|error| error.to_string()),
            ..SharedStatus::default()
        };
        status.set_timeouts(counters.timeouts);
        status
    }

    /// As an exclusive pool's, for an error: what its words count as open, idle and leased are shares here.
    pub(super) fn in_shares(of: SharedStatus) -> Status {
        Status {
            max_size: of.capacity,
            open: of.shares.saturating_add(of.available),
            idle: of.available,
            leased: of.shares,
            opening: of.opening,
            closing: of.closing,
            waiting: of.waiting,
            is_closed: of.is_closed,
            gets: of.gets,
            waited: of.waited,
            opened: of.opened,
            open_failures: of.open_failures,
            closed: of.closed,
            timeouts_wait: of.timeouts_wait,
            timeouts_create: of.timeouts_create,
            overloaded: of.overloaded,
            failed_fast: of.failed_fast,
            cancelled: of.cancelled,
            reclaimed: of.reclaimed,
            last_error: of.last_error,
            ..Status::default()
        }
    }

    /// Tells the observer, if there is one.
    pub(super) fn tell(&self, event: impl FnOnce(&dyn Observer, &str)) {
        if let Some(observer) = &self.observer {
            drop(caught(|| event(&**observer, &self.name)));
        }
    }
}

#[cfg(feature = "tracing")]
impl<M: SharedManager> Traced for Inner<M> {
    fn name(&self) -> &str {
        &self.name
    }

    fn slow_get(&self) -> Option<Duration> {
        self.config.slow_get
    }

    fn now(&self) -> Moment {
        Self::now(self)
    }

    fn counts(&self) -> Status {
        Self::in_shares(self.status())
    }

    fn streak(&self) -> &Streak {
        &self.streak
    }
}

impl<M: SharedManager> Listens for Inner<M> {
    fn said(&self, link: LinkId, word: Word) {
        let Some(inner) = self.weak.upgrade() else {
            return;
        };
        let now = self.now();
        inner.perform(match word {
            Word::Capacity(shares) => self.links.set_capacity(link, shares, now),
            Word::Suspect(suspect) => self.links.set_suspect(link, suspect, now),
            Word::Drain => self.links.drain(link, CloseReason::GoingAway, now),
            Word::Dead => self.links.fail(link, now),
        });
    }
}

/// The token of a place on which something is opened or closed. Frees the place when dropped.
struct OnPlace<M: SharedManager> {
    inner: Arc<Inner<M>>,
    link: LinkId,
    vacates: bool,
}

impl<M: SharedManager> OnPlace<M> {
    fn new(inner: &Arc<Inner<M>>, link: LinkId) -> Self {
        Self {
            inner: Arc::clone(inner),
            link,
            vacates: true,
        }
    }
}

impl<M: SharedManager> Drop for OnPlace<M> {
    fn drop(&mut self) {
        if self.vacates {
            let work = self.inner.links.vacate(self.link, self.inner.now());
            self.inner.perform(work);
        }
    }
}

/// Opens one.
async fn open<M: SharedManager>(mut place: OnPlace<M>) {
    let inner = Arc::clone(&place.inner);
    let closing = inner.closing.notified();
    if inner.links.is_closed() {
        return;
    }
    let pool: Weak<dyn Listens> = inner.weak.clone();
    let link = place.link;
    let gauge = Gauge { pool, link };
    let (started, limit) = (inner.now(), inner.config.create_timeout);
    let connect = Caught::new(async { inner.manager.connect(gauge).await });
    #[cfg(feature = "tracing")]
    let (trace, connect) = OpenTrace::around(&inner.name, connect);
    // `None`: nobody wants it any more, and what was half open is dropped.
    let Some(outcome) = unless(closing, timeout(limit, connect)).await else {
        return;
    };
    let now = inner.now();
    let error = match outcome {
        Ok(Ok(Ok(connection))) => {
            let wired = Arc::new(Wired {
                connection,
                dead: AtomicBool::new(false),
                alarm: Notify::new(),
            });
            let config = &inner.config;
            let expires_at = lifetime_end(now, config.max_lifetime, config.lifetime_jitter);
            let mut work = inner.links.opened(link, wired, expires_at, now);
            let unusable = work.unusable.take();
            place.vacates = unusable.is_some();
            inner.perform(work);
            let Some(wired) = unusable else {
                #[cfg(feature = "tracing")]
                trace::opened(&inner, trace, now - started);
                return inner.tell(|observer, pool| observer.opened(pool, now - started));
            };
            say_goodbye(&inner, wired).await;
            OpenError::Gone
        }
        Ok(Ok(Err(error))) => OpenError::Manager(error),
        Ok(Err(panic)) => OpenError::Panicked(panic),
        Err(_) => OpenError::TimedOut(limit),
    };
    let error = Arc::new(error);
    place.vacates = false;
    let failure = Arc::clone(&error);
    let work = inner.links.open_failed(link, failure, now, fastrand::f64());
    inner.perform(work);
    #[cfg(feature = "tracing")]
    trace::failed(&inner, trace, now - started, &error);
    inner.tell(|observer, pool| observer.open_failed(pool, &*error));
}

/// Closes one, and only then frees its place.
async fn close<M: SharedManager>(place: OnPlace<M>, wired: Arc<Wired<M::Connection>>) {
    say_goodbye(&place.inner, wired).await;
    drop(place);
}

async fn say_goodbye<M: SharedManager>(inner: &Inner<M>, wired: Arc<Wired<M::Connection>>) {
    // Every share has given its handle back.
    if let Some(wired) = Arc::into_inner(wired) {
        let goodbye = Caught::new(async { inner.manager.close(wired.connection).await });
        // However that ended, there is nothing left to close.
        drop(timeout(inner.config.close_timeout, goodbye).await);
    }
}

/// The one task that a shared pool keeps. Holds it weakly.
struct Keeper<M: SharedManager> {
    inner: Weak<Inner<M>>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<M: SharedManager> Keeper<M> {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let Some(inner) = self.inner.upgrade() else {
                return Poll::Ready(());
            };
            if inner.links.is_drained() {
                #[cfg(feature = "metrics")]
                inner.publish();
                return Poll::Ready(());
            }
            let now = inner.now();
            let (next, work) = inner.links.tick(now, context.waker().clone());
            inner.perform(work);
            #[cfg(feature = "metrics")]
            let next = next.min(inner.publish_round(now));
            if next == Moment::NEVER {
                self.sleep = None;
                return Poll::Pending;
            }
            // Never so late that the clock cannot say it.
            let at = inner.epoch
                + (next - Moment::from_nanos(0)).min(now - Moment::from_nanos(0) + ROUNDS);
            drop(inner);
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(at)));
            sleep.as_mut().reset(at);
            if sleep.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<M: SharedManager> Drop for Keeper<M> {
    fn drop(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            inner.links.keeper_left();
        }
    }
}
