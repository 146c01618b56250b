//! What the handles, shares and tasks of a shared pool have in common.

use std::{
    sync::{Arc, Weak},
    task::{Context, Waker},
    time::Duration,
};

use super::{
    SharedConfig, SharedManager, SharedStatus,
    links::{LinkLimits, Links, Ticket},
    places,
    work::Work,
};
use crate::{
    engine::{Holder, Kept, Opened, Refusal},
    gauge::{Gauge, LinkId, Listens, Word},
    host::{
        self, ARM_AFTER, Alarm, Error, Failure, Host, Hosted, Kind, OpenError, Opens, Polled,
        Round, Setup, TICK, Terms, Waits, Words, caught, kind_of, rounds_of, say_goodbye,
    },
    moment::Moment,
    observe::{CloseReason, Closes, LeaseInfo, Phase, Status, Timings},
};

/// A connection, with the alarm that tells the holders of its shares that it died.
#[derive(Debug)]
pub(super) struct Wired<C> {
    pub(super) connection: C,
    pub(super) death: Alarm,
}

type Connections<M> =
    Links<Wired<<M as SharedManager>::Resource>, Failure<<M as SharedManager>::Error>>;
pub(super) type Parts<M> = Work<Wired<<M as SharedManager>::Resource>>;

/// One shared pool. Handles, shares and running tasks keep it alive; its keeper and the gauges do not.
pub(super) struct Inner<M: SharedManager> {
    pub(super) links: Connections<M>,
    pub(super) manager: M,
    pub(super) config: SharedConfig,
    pub(super) host: Host,
    weak: Weak<Self>,
}

impl<M: SharedManager> Inner<M> {
    pub(super) fn new(manager: M, config: SharedConfig, setup: Setup) -> Arc<Self> {
        let limits = LinkLimits {
            max_links: config.max_size,
            min_links: config.min_idle,
            max_opening: config.max_opening,
            max_waiters: config.waiters(),
            spare: config.spare_shares,
            idle_timeout: config.idle_timeout,
            reclaim_after: config.reclaim_after,
            arm_after: ARM_AFTER,
            tick: TICK,
            rounds: rounds_of([config.idle_timeout]),
        };
        Arc::new_cyclic(|weak| Self {
            links: Links::new(limits),
            manager,
            config,
            host: Host::new(setup),
            weak: Weak::clone(weak),
        })
    }

    pub(super) fn close(self: &Arc<Self>) {
        let work = self.links.close();
        self.host.calls.notify_waiters();
        self.perform(work);
    }

    pub(super) fn refused(
        &self,
        refusal: Refusal<Failure<M::Error>>,
        waited: Duration,
    ) -> Error<M::Error> {
        let (kind, failure) = kind_of(refusal);
        self.error_of(kind, waited, failure)
    }

    pub(super) fn error_of(
        &self,
        kind: Kind,
        waited: Duration,
        failure: Option<Failure<M::Error>>,
    ) -> Error<M::Error> {
        let failure = failure.or_else(|| self.links.last_error());
        self.error(&(), kind, waited, failure, self.counts())
    }

    pub(super) fn shared_status(&self) -> SharedStatus {
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
}

/// Converts the counts to those of an exclusive pool: shares are counted as open, idle and leased.
fn in_shares(of: SharedStatus) -> Status {
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

impl<M: SharedManager> Hosted for Inner<M> {
    type Kernel = Connections<M>;
    type Error = M::Error;
    type Key = ();
    type Work = Parts<M>;

    fn host(&self) -> &Host {
        &self.host
    }

    fn kernel(&self) -> &Self::Kernel {
        &self.links
    }

    #[cfg(feature = "tracing")]
    fn slow_get(&self) -> Option<Duration> {
        self.config.slow_get
    }

    fn status(&self) -> Status {
        in_shares(self.shared_status())
    }

    fn counts(&self) -> (Status, Words) {
        let of = self.shared_status();
        let words = Words::Shares {
            open: of.open + of.draining,
            draining: of.draining,
            max: of.max_size,
        };
        (in_shares(of), words)
    }

    fn timings(&self) -> Timings {
        self.links.timings()
    }

    /// The holders of shares are not recorded.
    fn leases(&self) -> Vec<LeaseInfo> {
        Vec::new()
    }

    fn left(&self) -> u32 {
        let of = self.shared_status();
        of.open + of.draining + of.dead + of.opening + of.closing
    }

    fn perform(self: &Arc<Self>, work: Parts<M>) {
        let Work {
            wakers,
            opens,
            closes,
            deaths,
            drops,
            unusable: _,
        } = work;
        // Make the tokens before any user code runs, which may panic: the drop of a token frees its place in any case.
        let closes: Vec<_> = closes
            .into_iter()
            .map(|(link, wired, reason)| (OnPlace::new(self, link), wired, reason))
            .collect();
        let opens: Vec<_> = opens
            .into_iter()
            .map(|link| OnPlace::new(self, link))
            .collect();
        for wired in deaths {
            wired.death.ring();
            self.tell(&(), |observer, pool| {
                observer.closed(pool, CloseReason::Broken);
            });
            drop(caught(|| drop(wired)));
        }
        wakers.into_iter().for_each(Waker::wake);
        for wired in drops {
            drop(caught(|| drop(wired)));
        }
        if opens.is_empty() && closes.is_empty() {
            return;
        }
        let runtime = self.host.runtime();
        for (place, wired, reason) in closes {
            self.tell(&(), |observer, pool| observer.closed(pool, reason));
            match &runtime {
                Some(runtime) => drop(runtime.spawn(close(place, wired))),
                None => drop(caught(|| drop(wired))),
            }
        }
        for place in opens {
            // Without a runtime, the place is dropped, which frees it. A waiter that is polled later finds the room.
            if let Some(runtime) = &runtime {
                drop(runtime.spawn(host::open(Arc::clone(self), place)));
            }
        }
    }

    fn round(self: &Arc<Self>, number: u64, now: Moment, context: &Context<'_>) -> Option<Round> {
        let (next, closed, work) = self.links.round(number, now, context.waker().clone())?;
        self.perform(work);
        // A get of a share does not wake the keeper, but it changes the published metrics. So publish as long as anything is open.
        #[cfg(feature = "metrics")]
        let next = if self.links.alive() > 0 {
            next.min(now + crate::observe::INTERVAL)
        } else {
            next
        };
        Some(Round {
            next,
            closed,
            activity: 0,
        })
    }

    #[cfg(feature = "metrics")]
    fn for_publishing(&self) -> crate::observe::Snapshot {
        let of = self.shared_status();
        let shares = crate::observe::Shares {
            used: of.shares,
            free: of.available,
        };
        let open = of.open + of.draining + of.dead;
        let status = Status {
            max_size: of.max_size,
            open,
            idle: of.unused,
            leased: open - of.unused,
            ..in_shares(of)
        };
        crate::observe::Snapshot {
            status,
            timings: self.links.timings(),
            min_idle: self.config.min_idle,
            shares: Some(shares),
        }
    }
}

impl<M: SharedManager> Waits for Inner<M> {
    type Ticket = Ticket<Failure<M::Error>>;
    type Grant = places::Share;

    fn since(ticket: &Ticket<Failure<M::Error>>) -> Moment {
        ticket.since()
    }

    fn poll(
        self: &Arc<Self>,
        ticket: &Ticket<Failure<M::Error>>,
        waker: &Waker,
        holder: Holder,
        _: impl FnOnce() -> Option<Duration>,
    ) -> (Polled<Self>, Parts<M>) {
        let (answer, work) = self.links.poll(ticket, waker, holder.since);
        let polled = match answer {
            std::task::Poll::Ready(answer) => Polled::Told(answer),
            std::task::Poll::Pending => Polled::Pending {
                armed: self.links.is_armed(ticket),
            },
        };
        (polled, work)
    }

    fn time_out(
        self: &Arc<Self>,
        ticket: Ticket<Failure<M::Error>>,
        holder: Holder,
        _: Duration,
    ) -> Result<Result<places::Share, Refusal<Failure<M::Error>>>, Phase> {
        self.links.time_out(ticket, holder.since)
    }

    fn cancel(self: &Arc<Self>, ticket: Ticket<Failure<M::Error>>) {
        self.perform(self.links.cancel(ticket, self.now()));
    }
}

impl<M: SharedManager> Opens for Inner<M> {
    type Seat = OnPlace<M>;
    type Item = M::Resource;

    fn key_of(&self, _: &OnPlace<M>) -> Arc<()> {
        Arc::new(())
    }

    fn terms(&self, _: &OnPlace<M>) -> Terms {
        Terms {
            create_timeout: self.config.create_timeout,
            max_lifetime: self.config.max_lifetime,
            lifetime_jitter: self.config.lifetime_jitter,
        }
    }

    fn is_wanted(&self, _: &OnPlace<M>, _: bool) -> bool {
        !self.links.is_closed()
    }

    async fn create(&self, place: &OnPlace<M>) -> Result<M::Resource, M::Error> {
        let pool: Weak<dyn Listens> = self.weak.clone();
        let link = place.link;
        self.manager.create(Gauge { pool, link }).await
    }

    /// The gauge of a connection says whether it is dead.
    fn is_broken(&self, _: &mut M::Resource) -> bool {
        false
    }

    fn opened(
        self: &Arc<Self>,
        mut place: OnPlace<M>,
        opened: Opened<M::Resource>,
        now: Moment,
    ) -> Result<(), (OnPlace<M>, M::Resource)> {
        let wired = Arc::new(Wired {
            connection: opened.item,
            death: Alarm::new(),
        });
        let link = place.link;
        let mut work = self.links.opened(link, wired, opened.expires_at, now);
        let unusable = work.unusable.take().and_then(Arc::into_inner);
        place.vacates = unusable.is_some();
        self.perform(work);
        match unusable {
            Some(wired) => Err((place, wired.connection)),
            None => Ok(()),
        }
    }

    fn open_failed(
        self: &Arc<Self>,
        mut place: OnPlace<M>,
        error: Failure<M::Error>,
        now: Moment,
        jitter: f64,
    ) {
        place.vacates = false;
        self.perform(self.links.open_failed(place.link, error, now, jitter));
    }

    async fn close(&self, item: M::Resource) {
        self.manager.close(item).await;
    }

    fn close_timeout(&self) -> Duration {
        self.config.close_timeout
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
            Word::Drain => {
                let error = Arc::new(OpenError::Gone);
                self.links.go_away(link, error, now, fastrand::f64())
            }
            Word::Dead => {
                let error = Arc::new(OpenError::Broken);
                self.links.fail(link, error, now, fastrand::f64())
            }
        });
    }
}

#[cfg(feature = "metrics")]
impl<M: SharedManager> Drop for Inner<M> {
    fn drop(&mut self) {
        host::Published::retire(self);
    }
}

/// The token of a place on which a connection is opened or closed. Dropping it frees the place.
pub(super) struct OnPlace<M: SharedManager> {
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

/// Closes a connection, and only then frees its place.
async fn close<M: SharedManager>(place: OnPlace<M>, wired: Arc<Wired<M::Resource>>) {
    // Every share has given its handle back.
    if let Some(wired) = Arc::into_inner(wired) {
        say_goodbye(&*place.inner, wired.connection).await;
    }
    drop(place);
}
