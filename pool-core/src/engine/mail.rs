//! The mail: where a waiter finds its answer, without the owner's lock, which other threads are busy with.
//!
//! | state | the letter | what changes it |
//! |---|---|---|
//! | `WAITING` | none | the owner of the queue, under its lock: `tell`, `park` |
//! | `TOLD` | the answer, unless it was just taken | `fetch` or `take_back`: one of them finds the letter |
//! | `FETCHED` | none; it was a grant | the owner, for another waiter: `tell` |
//! | `DONE` | none; it was a refusal, or the waiter left | the owner, for another waiter: `tell` |
//! | `PARKED` | none; its grant, or that of a waiter before it, was taken back | the owner: `resume` |
//!
//! Only one future at a time waits on a mail. It fetches without the owner's lock, and does everything else under that lock. The
//! letter has a lock of its own. Nothing else is locked under it, and only the waiter and the owner can want it at once.

use std::{
    fmt,
    sync::{self, atomic::Ordering::Relaxed},
    time::Duration,
};

use super::mutation::{self, Mutation};
use crate::{
    moment::nanos_of,
    sync::{
        Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

/// The mail of one waiter, for an answer of type `T`.
///
/// The fields that a cancel reads come first, beside the counts of the `Arc` around the mail. So they usually share one cache line.
#[repr(C)]
pub(super) struct Mail<T> {
    state: AtomicU8,
    /// The spot of the queue at which the waiter stands, while it stands there. It is written by the thread that takes the waiter
    /// into the queue, and read and changed under the owner's lock. So it is a plain atomic, which models do not explore.
    spot: sync::atomic::AtomicU32,
    letter: Mutex<Option<T>>,
    /// How long the waiter had waited when it fetched a grant, in nanoseconds. `UNKNOWN` if the wait was not timed.
    lasted: AtomicU64,
}

/// What became of a waiter, as the owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The waiter has not fetched an answer.
    Open,
    /// The waiter fetched a grant, after this long if the wait was timed.
    Fetched(Option<Duration>),
    /// The waiter fetched a refusal, or left.
    Done,
}

const WAITING: u8 = 0;
const TOLD: u8 = 1;
const FETCHED: u8 = 2;
const DONE: u8 = 3;
const PARKED: u8 = 4;
const UNKNOWN: u64 = u64::MAX;

impl<T> Mail<T> {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(WAITING),
            spot: sync::atomic::AtomicU32::new(0),
            letter: Mutex::new(None),
            lasted: AtomicU64::new(UNKNOWN),
        }
    }

    /// The spot of the queue at which the waiter stands. Under the owner's lock.
    #[inline]
    pub(super) fn spot(&self) -> u32 {
        self.spot.load(Relaxed)
    }

    /// Sets the spot at which the waiter stands. Under the owner's lock, or before the waiter is taken into the queue.
    #[inline]
    pub(super) fn stand_at(&self, spot: u32) {
        self.spot.store(spot, Relaxed);
    }

    /// Tells the waiter its answer. Under the owner's lock, and only for a waiter that waits or is parked.
    #[inline]
    pub(super) fn tell(&self, letter: T) {
        let old = self.letter.lock().replace(letter);
        debug_assert!(old.is_none(), "told twice");
        // Ordering: Release pairs with the Acquire in `take`: a thread that sees TOLD finds the letter, unless it was taken since.
        self.state.store(TOLD, Ordering::Release);
    }

    /// Takes the answer, if there is one. `counts` says whether it is a grant that counts as fetched, `lasted` how long the wait
    /// was. Both are called while this mail is not locked.
    #[inline]
    pub(super) fn fetch(
        &self,
        counts: impl FnOnce(&mut T) -> bool,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<T> {
        let mut letter = self.take()?;
        let state = if counts(&mut letter) {
            let lasted = lasted().map_or(UNKNOWN, nanos_of);
            // Ordering: Relaxed. The store below publishes it.
            self.lasted.store(lasted, Ordering::Relaxed);
            FETCHED
        } else {
            DONE
        };
        // Ordering: Release pairs with the Acquire in `outcome`: the owner, which then gives the mail to another waiter, sees it
        // empty.
        self.state.store(state, Ordering::Release);
        Some(letter)
    }

    /// Takes back the answer, if it was not fetched, and parks the waiter. Under the owner's lock.
    pub(super) fn take_back(&self) -> Option<T> {
        let letter = self.take();
        if letter.is_none() && !mutation::on(Mutation::FetchedIsParked) {
            return None;
        }
        // Ordering: Release, as in `fetch`. The waiter reads this state under the lock.
        self.state.store(PARKED, Ordering::Release);
        letter
    }

    /// Parks a waiter that waits. Under the owner's lock.
    pub(super) fn park(&self) {
        // Ordering: Relaxed. The state is read under the owner's lock, which is held here, and only changed under it while there is
        // no letter.
        self.state.store(PARKED, Ordering::Relaxed);
    }

    /// Ends the wait of a waiter that leaves. Returns its answer, if it was not fetched. Under the owner's lock.
    pub(super) fn leave(&self) -> Option<T> {
        let letter = self.take();
        self.state.store(DONE, Ordering::Release);
        letter
    }

    /// Makes a parked waiter wait again, and returns whether it was parked. Under the owner's lock.
    pub(super) fn resume(&self) -> bool {
        // Ordering: Relaxed. A waiter is parked under the owner's lock, which is held here, and a parked one changes state only
        // under it.
        let parked = self.state.load(Ordering::Relaxed) == PARKED;
        if parked {
            self.state.store(WAITING, Ordering::Relaxed);
        }
        parked
    }

    /// What became of the waiter. Under the owner's lock.
    #[inline]
    pub(super) fn outcome(&self) -> Outcome {
        // Ordering: Acquire pairs with the Release in `fetch`, so the owner sees that the letter is out, and sees `lasted`.
        match self.state.load(Ordering::Acquire) {
            FETCHED => {
                let nanos = self.lasted.load(Ordering::Relaxed);
                Outcome::Fetched((nanos != UNKNOWN).then_some(Duration::from_nanos(nanos)))
            }
            DONE => Outcome::Done,
            _ => Outcome::Open,
        }
    }

    /// Takes the letter. If several threads want it, one of them gets it.
    #[inline]
    fn take(&self) -> Option<T> {
        // Ordering: Acquire pairs with the Release in `tell`.
        if self.state.load(Ordering::Acquire) != TOLD {
            return None;
        }
        self.letter.lock().take()
    }
}

impl<T> fmt::Debug for Mail<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").finish_non_exhaustive()
    }
}
