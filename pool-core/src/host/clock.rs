//! What time it is, to the precision that it is needed.

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

/// The clock of one pool: exact where that matters, and a coarse tick for the hot path.
///
/// Reading the clock costs as much as getting and giving back a resource. So while the pool is in use its keeper advances a
/// tick, every 10 ms, and the hot path reads that. When nothing happened between two ticks the tick stops, and the next
/// reader takes the exact time and starts it again: an unused pool wakes nobody.
///
/// A keeper may not get to run: its runtime is blocked, or nobody drives it. So a reader trusts the tick only while it is
/// young, by [`rt::coarse_now`], which costs a quarter of an exact reading; a reader that finds it old advances it. A tick that
/// [`ticked`](Self::ticked) returns is never older than [`LAG`]. A clock that stands still (tokio's, when a test has paused it) may leap
/// at any time without the system's knowing: its tick is never trusted.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    /// The tick in nanoseconds, but for its lowest bit: `STOPPED` while it stands still. It never goes back.
    tick: AtomicU64,
    /// The coarse clock as it was just before the tick was read, or earlier. 0 if the exact clock stood still then.
    stamp: AtomicU64,
    /// When the keeper came by last, while the tick runs.
    round: AtomicU64,
}

/// What time it was by both clocks: by the coarse one first. Whoever is held up between reading the time and setting the tick so makes it
/// look older than it is, and never younger.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    stamp: u64,
    pub(crate) now: Moment,
}

/// How old the tick may be for a reader: as long as one is, and twice the resolution of the coarse clock, of which the slowest advances by
/// 10 ms at a time.
pub(crate) const LAG: Duration = TICK.saturating_mul(3);
/// Older than that by the coarse clock, and a reader advances it.
const OLD_NANOS: u64 = TICK_NANOS;
/// A keeper that gets to run comes by long before that.
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

    /// The exact time, to set the tick by.
    pub(crate) fn read(&self) -> Reading {
        let stamp = rt::coarse_now();
        let now = rt::now();
        // A clock that runs does not say the same twice.
        let stands_still = !cfg!(pool_shuttle) && now == rt::now();
        Reading {
            stamp: if stands_still { 0 } else { stamp },
            now: self.moment(now),
        }
    }

    /// The tick, if it runs and is young.
    #[inline]
    pub(crate) fn ticked(&self) -> Option<Moment> {
        // Ordering: Acquire pairs with the Release in `set`: the tick that is read below is the one of this stamp, or a later one.
        let stamp = self.stamp.load(Ordering::Acquire);
        let tick = self.tick.load(Ordering::Relaxed);
        let old = rt::coarse_now().saturating_sub(stamp) > OLD_NANOS;
        let trusted = !old || mutation::on(Mutation::OldTickIsTrusted);
        (tick & STOPPED == 0 && trusted).then(|| Moment::from_nanos(tick))
    }

    /// The tick as it stands, if it runs: it may be old.
    #[inline]
    pub(crate) fn last_tick(&self) -> Option<Moment> {
        // Ordering: as in `ticked`, but for the stamp.
        let tick = self.tick.load(Ordering::Relaxed);
        (tick & STOPPED == 0).then(|| Moment::from_nanos(tick))
    }

    /// Has the keeper not come by for long, though it was to advance the tick?
    pub(crate) fn is_stalled(&self, now: Moment) -> bool {
        // Ordering: Relaxed, both are hints.
        let runs = self.tick.load(Ordering::Relaxed) & STOPPED == 0;
        let round = Moment::from_nanos(self.round.load(Ordering::Relaxed));
        runs && now - round > STALLED
    }

    /// Starts the tick. Was it standing still?
    pub(crate) fn start(&self, reading: Reading) -> bool {
        let started = self.set(reading, |tick| tick & STOPPED != 0);
        if started {
            self.round.store(reading.now.as_nanos(), Ordering::Relaxed);
        }
        started
    }

    /// The exact time, for a reader that found no tick, or an old one. Starts or advances the tick, if there is a keeper to go on with
    /// that, which `ring` calls.
    #[cold]
    pub(crate) fn start_for(&self, post: &Post, ring: impl FnOnce()) -> Moment {
        let reading = self.read();
        if !post.is_filled() {
            return reading.now;
        }
        if self.start(reading) {
            ring();
            // One that went meanwhile stopped it, unless that was before the start.
            if !post.is_filled() {
                self.stop();
            }
        } else {
            self.set(reading, |tick| tick & STOPPED == 0);
        }
        reading.now
    }

    /// The keeper has come by, and advances the tick. It may stand still: then it stays so.
    pub(crate) fn advance(&self, reading: Reading) {
        self.round.store(reading.now.as_nanos(), Ordering::Relaxed);
        self.set(reading, |tick| tick & STOPPED == 0);
    }

    /// Sets the tick, if it is one that `may` be set. Was it?
    fn set(&self, Reading { stamp, now }: Reading, may: impl Fn(u64) -> bool) -> bool {
        let nanos = now.as_nanos() & !STOPPED;
        let later = |tick| may(tick).then_some(nanos.max(tick & !STOPPED));
        // Ordering: Acquire pairs with the Release of `stop`: who starts a tick that the last keeper stopped sees that it went.
        let set = self
            .tick
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, later);
        if set.is_ok() {
            // Ordering: Release, after the tick: whoever sees this stamp sees that tick, or a later one.
            self.stamp.store(stamp, Ordering::Release);
        }
        set.is_ok()
    }

    /// Stops the tick.
    pub(crate) fn stop(&self) {
        // Ordering: as in `set`.
        self.tick.fetch_or(STOPPED, Ordering::Release);
    }

    /// When that is on the runtime's clock. Never is in 30 years.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.epoch + at.since(Moment::from_nanos(0)).min(FAR)
    }

    /// What a time on the runtime's clock is here.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::from_nanos(0) + at.saturating_duration_since(self.epoch)
    }
}

/// No wait is longer.
pub(crate) const FAR: Duration = Duration::from_secs(30 * 365 * 86_400);
