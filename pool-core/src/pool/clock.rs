//! What time it is, to the precision that it is needed.

use std::{collections::VecDeque, time::Duration};

use super::shared::TICK;
use crate::{
    engine::{
        Post,
        mutation::{self, Mutation},
    },
    moment::Moment,
    rt::{self, Instant},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

/// The clock of one pool: exact where that matters, and a coarse tick for the hot path.
///
/// Reading the clock costs as much as getting and giving back a resource. So while the pool is in use its keeper advances a
/// tick, every 10 ms, and the hot path reads that. When nothing happened between two ticks the tick stops, and the next
/// reader takes the exact time and starts it again: an unused pool wakes nobody.
#[derive(Debug)]
pub(crate) struct Clock {
    epoch: Instant,
    tick: AtomicU64,
    /// The last times when the tick was late: its keeper did not get to run. Nothing is locked under it.
    stalls: Mutex<VecDeque<Stall>>,
}

/// The tick stood for longer than it should, up to `end`.
#[derive(Clone, Copy, Debug)]
struct Stall {
    tick: Moment,
    end: Moment,
}

/// So many are remembered: more than there can be while a wait is a short one.
const STALLS: usize = 32;
/// By how much the tick lags at most while its keeper gets to run.
pub(crate) const LAG: Duration = TICK.saturating_mul(2);
/// A keeper that gets to run advances the tick long before that.
const STALLED: Duration = Duration::from_millis(500);
/// The tick stands still.
const STOPPED: u64 = u64::MAX;

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            epoch: rt::now(),
            tick: AtomicU64::new(STOPPED),
            stalls: Mutex::new(VecDeque::new()),
        }
    }

    /// The exact time.
    pub(crate) fn now(&self) -> Moment {
        let elapsed = rt::now().saturating_duration_since(self.epoch);
        Moment::from_nanos(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
    }

    /// The tick, if it runs.
    #[inline]
    pub(crate) fn ticked(&self) -> Option<Moment> {
        // Ordering: the value is all there is; nothing else is published with it.
        let nanos = self.tick.load(Ordering::Relaxed);
        (nanos != STOPPED).then(|| Moment::from_nanos(nanos))
    }

    /// Has it stood for long, though somebody was to advance it?
    pub(crate) fn is_stalled(&self, now: Moment) -> bool {
        self.ticked().is_some_and(|tick| now - tick > STALLED)
    }

    /// Starts the tick at `now`. Was it standing still?
    pub(crate) fn start(&self, now: Moment) -> bool {
        // Ordering: Acquire pairs with the Release of `stop`: who starts a tick that the last keeper stopped sees that it went.
        let stopped = self.tick.compare_exchange(
            STOPPED,
            now.as_nanos(),
            Ordering::Acquire,
            Ordering::Relaxed,
        );
        stopped.is_ok()
    }

    /// The exact time. Starts the tick, if there is a keeper to advance it, and calls that by `ring`.
    pub(crate) fn start_for(&self, post: &Post, ring: impl FnOnce()) -> Moment {
        let now = self.now();
        if post.is_filled() && self.start(now) {
            ring();
            // One that went meanwhile stopped it, unless that was before the start.
            if !post.is_filled() {
                self.stop();
            }
        }
        now
    }

    /// Advances the tick. It may stand still: then it stays so.
    pub(crate) fn advance(&self, now: Moment) {
        let running = |nanos| (nanos != STOPPED).then_some(now.as_nanos());
        self.step(|tick| {
            let before = tick.fetch_update(Ordering::Relaxed, Ordering::Relaxed, running);
            before.unwrap_or(STOPPED)
        });
    }

    /// Stops the tick.
    pub(crate) fn stop(&self) {
        // Ordering: as in `start`.
        self.step(|tick| tick.swap(STOPPED, Ordering::Release));
    }

    /// Moves the tick on, and remembers for how long it had stood if that was too long. `step` says where it stood.
    fn step(&self, step: impl FnOnce(&AtomicU64) -> u64) {
        // Locked around both, so that whoever looks finds both or neither.
        let mut stalls = self.stalls.lock();
        let before = step(&self.tick);
        // Read after the step: whoever saw the tick stand there did so by then.
        let end = self.now();
        if before == STOPPED || end - Moment::from_nanos(before) <= LAG {
            return;
        }
        if stalls.len() == STALLS {
            stalls.pop_front();
        }
        stalls.push_back(Stall {
            tick: Moment::from_nanos(before),
            end,
        });
    }

    /// How late it may have been when the tick stood at `tick`.
    pub(crate) fn latest(&self, tick: Moment) -> Moment {
        // It may be stalled now.
        self.advance(self.now());
        let stalls = self.stalls.lock();
        let stall = stalls.iter().rev().find(|stall| stall.tick == tick);
        match stall {
            Some(stall) if !mutation::on(Mutation::LateTickIsTrusted) => stall.end,
            _ => tick + LAG,
        }
    }

    /// When that is on the runtime's clock. Never is in 30 years.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        const FAR: std::time::Duration = std::time::Duration::from_secs(30 * 365 * 86_400);
        self.epoch + at.since(Moment::from_nanos(0)).min(FAR)
    }

    /// What a time on the runtime's clock is here.
    pub(crate) fn moment(&self, at: Instant) -> Moment {
        Moment::from_nanos(0) + at.saturating_duration_since(self.epoch)
    }
}
