//! The clock of a pool: exact, or coarse where that is enough.

use std::time::Duration;

use super::{TICK, TICK_NANOS};
use crate::{
    engine::{
        Post,
        mutation::{self, Mutation},
    },
    moment::Moment,
    rt::{self, Instant},
    sync::atomic::{AtomicU64, Ordering},
};

/// The clock of one pool: exact where that matters, and a coarse tick for the fast path.
///
/// Reading the clock costs as much as a get and return. So while the pool is in use, its keeper advances a tick every 10 ms, and
/// the fast path reads that tick. If nothing happened between two ticks, the tick stops. The next reader takes the exact time and
/// starts the tick again, so an unused pool wakes no thread.
///
/// A keeper may not get to run, because its runtime is blocked or undriven. So a reader trusts the tick only while it is young, by
/// [`rt::coarse_now`], which costs a quarter of an exact reading. A reader that finds an old tick advances it. A tick that
/// [`ticked`](Self::ticked) returns is never older than [`LAG`]. A clock that stands still (tokio's paused clock in a test) may
/// leap at any time without a change of the system clock, so its tick is never trusted.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The tick in nanoseconds, except for its lowest bit, `STOPPED`, which is set while the tick stands still. The tick never goes
    /// back.
    tick: AtomicU64,
    /// The coarse clock just before the tick was read, or earlier. 0 if the exact clock stood still then.
    stamp: AtomicU64,
    /// When the keeper last came by, while the tick runs.
    round: AtomicU64,
}

/// The time by both clocks. The coarse clock is read first, so a delay between reading the time and setting the tick makes the tick
/// look older than it is, never younger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    stamp: u64,
    pub(crate) now: Moment,
}

/// How old the tick may be for a reader: one tick, and twice the resolution of the coarse clock, which advances by up to 10 ms at a
/// time.
pub(crate) const LAG: Duration = TICK.saturating_mul(3);
/// A reader advances a tick that is older than this by the coarse clock.
const OLD_NANOS: u64 = TICK_NANOS;
/// A keeper that gets to run comes by long before this time.
const STALLED: Duration = Duration::from_millis(500);
/// The tick stands still.
const STOPPED: u64 = 1;

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            epoch: rt::now(),
            tick: AtomicU64::new(STOPPED),
            stamp: AtomicU64::new(0),
            round: AtomicU64::new(0),
        }
    }

    /// The exact time.
    pub(crate) fn now(&self) -> Moment {
        self.moment(rt::now())
    }

    /// The exact time, to set the tick with.
    pub(crate) fn read(&self) -> Reading {
        let stamp = rt::coarse_now();
        let now = rt::now();
        // A running clock does not return the same time twice.
        let stands_still = !cfg!(pool_shuttle) && now == rt::now();
        Reading {
            stamp: if stands_still { 0 } else { stamp },
            now: self.moment(now),
        }
    }

    /// The tick, if it runs and is young.
    #[inline]
    pub(crate) fn ticked(&self) -> Option<Moment> {
        // Ordering: Acquire pairs with the Release in `set`: the tick that is read below is the tick of this stamp, or a later one.
        let stamp = self.stamp.load(Ordering::Acquire);
        let tick = self.tick.load(Ordering::Relaxed);
        let old = rt::coarse_now().saturating_sub(stamp) > OLD_NANOS;
        let trusted = !old || mutation::on(Mutation::OldTickIsTrusted);
        (tick & STOPPED == 0 && trusted).then(|| Moment::from_nanos(tick))
    }

    /// The last tick, if the tick runs. It may be old.
    #[inline]
    pub(crate) fn last_tick(&self) -> Option<Moment> {
        // Ordering: as in `ticked`, except for the stamp.
        let tick = self.tick.load(Ordering::Relaxed);
        (tick & STOPPED == 0).then(|| Moment::from_nanos(tick))
    }

    /// Whether the keeper, which should advance the tick, has not come by for long.
    pub(crate) fn is_stalled(&self, now: Moment) -> bool {
        // Ordering: Relaxed, because both are hints.
        let runs = self.tick.load(Ordering::Relaxed) & STOPPED == 0;
        let round = Moment::from_nanos(self.round.load(Ordering::Relaxed));
        runs && now - round > STALLED
    }

    /// Starts the tick. Returns whether it stood still.
    pub(crate) fn start(&self, reading: Reading) -> bool {
        let started = self.set(reading, |tick| tick & STOPPED != 0);
        if started {
            self.round.store(reading.now.as_nanos(), Ordering::Relaxed);
        }
        started
    }

    /// The exact time, for a reader that found no tick or an old tick. Starts or advances the tick if there is a keeper to continue
    /// it, and calls that keeper with `ring`.
    #[cold]
    pub(crate) fn start_for(&self, post: &Post, ring: impl FnOnce()) -> Moment {
        let reading = self.read();
        if !post.is_filled() {
            return reading.now;
        }
        if self.start(reading) {
            ring();
            // A keeper that went meanwhile stopped the tick, unless it went before the start.
            if !post.is_filled() {
                self.stop();
            }
        } else {
            self.set(reading, |tick| tick & STOPPED == 0);
        }
        reading.now
    }

    /// The keeper has come by, and advances the tick. A tick that stands still is not started.
    pub(crate) fn advance(&self, reading: Reading) {
        self.round.store(reading.now.as_nanos(), Ordering::Relaxed);
        self.set(reading, |tick| tick & STOPPED == 0);
    }

    /// Sets the tick if `may` accepts its current value. Returns whether it was set.
    fn set(&self, Reading { stamp, now }: Reading, may: impl Fn(u64) -> bool) -> bool {
        let nanos = now.as_nanos() & !STOPPED;
        let later = |tick| may(tick).then_some(nanos.max(tick & !STOPPED));
        // Ordering: Acquire pairs with the Release of `stop`: a thread that starts a tick which the last keeper stopped sees that
        // this keeper went.
        let set = self
            .tick
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, later);
        if set.is_ok() {
            // Ordering: Release, after the tick: a reader that sees this stamp sees that tick, or a later one.
            self.stamp.store(stamp, Ordering::Release);
        }
        set.is_ok()
    }

    /// Stops the tick.
    pub(crate) fn stop(&self) {
        // Ordering: as in `set`.
        self.tick.fetch_or(STOPPED, Ordering::Release);
    }

    /// Converts to the runtime's clock. `NEVER` becomes a time in 30 years.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.epoch + at.since(Moment::from_nanos(0)).min(FAR)
    }

    /// Converts from the runtime's clock.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::from_nanos(0) + at.saturating_duration_since(self.epoch)
    }
}

/// The longest wait.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
