//! Where a waiter finds what it was told, without the lock that everybody else is busy with.
//!
//! | state | the letter | who moves it on |
//! |---|---|---|
//! | `WAITING` | there is none | the owner of the line, under its lock: `tell`, `park` |
//! | `TOLD` | the answer, or whoever took it is about to say so | the waiter: `fetch`; or the owner: `take_back`. One of them finds the letter |
//! | `FETCHED` | there is none; it was a grant | the owner, for another waiter: `tell` |
//! | `DONE` | there is none; it was a refusal, or the waiter left | the owner, for another waiter: `tell` |
//! | `PARKED` | there is none; the grant was taken back, or that of one before it | the owner: `resume` |
//!
//! Only one future waits on a mail at a time. It fetches without the owner's lock and does everything else under it. The letter has a
//! lock of its own, under which nothing else is locked, and which only a waiter and the owner can want at once.

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
/// What a cancel looks at comes first, beside the counts of the `Arc` that it is in: then it is on one line of the cache, as a rule.
#[repr(C)]
pub(super) struct Mail<T> {
    state: AtomicU8,
    /// At which spot of the line the waiter stands, as long as it stands there. Written by who takes it into the line, and read and
    /// moved under the owner's lock: a plain atomic, which models do not explore.
    spot: sync::atomic::AtomicU32,
    letter: Mutex<Option<T>>,
    /// How long the waiter had waited when it fetched a grant, in nanoseconds; `UNKNOWN` if it did not say.
    lasted: AtomicU64,
}

/// What has come of a waiter, as the owner sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing yet.
    Open,
    /// It fetched a grant, after so long if it said so.
    Fetched(Option<Duration>),
    /// It fetched a refusal, or left.
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

    /// At which spot of the line its waiter stands. Under the owner's lock.
    #[inline]
    pub(super) fn spot(&self) -> u32 {
        self.spot.load(Relaxed)
    }

    /// Its waiter stands at this spot from now on. Under the owner's lock, or before its waiter is let into the line.
    #[inline]
    pub(super) fn stand_at(&self, spot: u32) {
        self.spot.store(spot, Relaxed);
    }

    /// Tells the waiter. Under the owner's lock, and only one who waits or is parked.
    #[inline]
    pub(super) fn tell(&self, letter: T) {
        let old = self.letter.lock().replace(letter);
        debug_assert!(old.is_none(), "told twice");
        // Ordering: Release. Whoever sees this finds the letter, unless it was taken since.
        self.state.store(TOLD, Ordering::Release);
    }

    /// What this waiter was told, if anything yet. `counts`: is it a grant that counts as fetched? `lasted`: how long the wait was. Both are
    /// asked with nothing locked by `self`.
    #[inline]
    pub(super) fn fetch(
        &self,
        counts: impl FnOnce(&mut T) -> bool,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<T> {
        let mut letter = self.take()?;
        let state = if counts(&mut letter) {
            let lasted = lasted().map_or(UNKNOWN, nanos_of);
            // Ordering: Relaxed, published by the store below.
            self.lasted.store(lasted, Ordering::Relaxed);
            FETCHED
        } else {
            DONE
        };
        // Ordering: Release: whoever uses the mail again finds it empty.
        self.state.store(state, Ordering::Release);
        Some(letter)
    }

    /// Takes back what was told and not fetched; the waiter is parked. Under the owner's lock.
    pub(super) fn take_back(&self) -> Option<T> {
        let letter = self.take();
        if letter.is_none() && !mutation::on(Mutation::FetchedIsParked) {
            return None;
        }
        // Ordering: Release, as in `fetch`; the waiter looks on under the lock.
        self.state.store(PARKED, Ordering::Release);
        letter
    }

    /// One who waits is parked. Under the owner's lock.
    pub(super) fn park(&self) {
        // Ordering: Relaxed. It is looked at under the lock that is held, and nobody else changes it but under that.
        self.state.store(PARKED, Ordering::Relaxed);
    }

    /// The waiter leaves, with what it was told and had not fetched. Under the owner's lock.
    pub(super) fn leave(&self) -> Option<T> {
        let letter = self.take();
        self.state.store(DONE, Ordering::Release);
        letter
    }

    /// Was it parked? Then it waits again. Under the owner's lock.
    pub(super) fn resume(&self) -> bool {
        // Ordering: Relaxed. It became so under the lock that is held, and only under that does it change.
        let parked = self.state.load(Ordering::Relaxed) == PARKED;
        if parked {
            self.state.store(WAITING, Ordering::Relaxed);
        }
        parked
    }

    /// What has come of it. Under the owner's lock.
    #[inline]
    pub(super) fn outcome(&self) -> Outcome {
        // Ordering: Acquire pairs with the Release of who fetched, and so sees that the letter is out, and `lasted`.
        match self.state.load(Ordering::Acquire) {
            FETCHED => {
                let nanos = self.lasted.load(Ordering::Relaxed);
                Outcome::Fetched((nanos != UNKNOWN).then_some(Duration::from_nanos(nanos)))
            }
            DONE => Outcome::Done,
            _ => Outcome::Open,
        }
    }

    /// Only one of those who want it takes it.
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
