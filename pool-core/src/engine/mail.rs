//! Where a waiter finds what it was told, without the lock that everybody else is busy with.
//!
//! | state | what lies in it | who moves it on |
//! |---|---|---|
//! | `WAITING` | nothing | the owner of the line, under its lock: `tell` |
//! | `TOLD` | the answer | the waiter: `fetch`; or the owner: `take_back`. Whoever exchanges it for `TAKING` has the answer |
//! | `TAKING` | the answer, on its way out | the one who is taking it |
//! | `FETCHED` | nothing; it was a grant | the owner: `renew`, for another waiter |
//! | `DONE` | nothing; it was a refusal, or the waiter left | the owner: `renew` |
//! | `PARKED` | nothing; the grant was taken back | the owner: `resume` |
//!
//! Only one future waits on a mail at a time. It fetches without the owner's lock and does everything else under it.

use std::{fmt, time::Duration};

use super::mutation::{self, Mutation};
use crate::{
    moment::nanos_of,
    sync::{
        UnsafeCell,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
};

/// The mail of one waiter, for an answer of type `T`. On a line of the cache of its own.
#[repr(align(64))]
pub(super) struct Mail<T> {
    state: AtomicU8,
    letter: UnsafeCell<Option<T>>,
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
const TAKING: u8 = 2;
const FETCHED: u8 = 3;
const DONE: u8 = 4;
const PARKED: u8 = 5;
const UNKNOWN: u64 = u64::MAX;

// SAFETY: the letter is touched only by the owner of the line, under its lock, while the state is not `TOLD` or `TAKING`, and by
// whoever made it `TAKING`: one at a time. What is in it moves from one thread to another.
unsafe impl<T: Send> Send for Mail<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Mail<T> {}

impl<T> Mail<T> {
    pub(super) fn new() -> Self {
        Self {
            state: AtomicU8::new(WAITING),
            letter: UnsafeCell::new(None),
            lasted: AtomicU64::new(UNKNOWN),
        }
    }

    /// Tells the waiter. Under the owner's lock, and only one who waits or is parked.
    #[inline]
    pub(super) fn tell(&self, letter: T) {
        // SAFETY: the state is neither `TOLD` nor `TAKING`, and the owner's lock is held.
        let old = self.letter.with_mut(|it| unsafe { (*it).replace(letter) });
        debug_assert!(old.is_none(), "told twice");
        // Ordering: Release publishes the letter to whoever takes it.
        self.state.store(TOLD, Ordering::Release);
    }

    /// What this waiter was told, if anything yet. `is_grant` says what kind it is, `lasted` how long the wait was.
    #[inline]
    pub(super) fn fetch(
        &self,
        is_grant: impl FnOnce(&T) -> bool,
        lasted: impl FnOnce() -> Option<Duration>,
    ) -> Option<T> {
        let letter = self.take()?;
        let state = if is_grant(&letter) {
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
        let letter = self.take()?;
        // Ordering: Release, as in `fetch`; the waiter looks on under the lock.
        self.state.store(PARKED, Ordering::Release);
        Some(letter)
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

    /// For another waiter, when the last one is done with it. Under the owner's lock.
    #[inline]
    pub(super) fn renew(&self) {
        // Ordering: Relaxed. The next waiter learns of this mail under the lock.
        self.state.store(WAITING, Ordering::Relaxed);
    }

    /// Only one of those who want it takes it.
    #[inline]
    fn take(&self) -> Option<T> {
        // Ordering: Relaxed, a look before the step that counts.
        if self.state.load(Ordering::Relaxed) != TOLD {
            return None;
        }
        if mutation::on(Mutation::LetterIsTakenInTwoSteps) {
            self.state.store(TAKING, Ordering::Relaxed);
            // SAFETY: there is none: this is a seeded bug, compiled into models alone.
            return self.letter.with_mut(|it| unsafe { (*it).take() });
        }
        // Ordering: Acquire pairs with the Release in `tell`, and so sees the letter.
        self.state
            .compare_exchange(TOLD, TAKING, Ordering::Acquire, Ordering::Relaxed)
            .ok()?;
        // SAFETY: the exchange made this thread the one that takes it; nobody else touches it until the state changes again.
        self.letter.with_mut(|it| unsafe { (*it).take() })
    }
}

impl<T> fmt::Debug for Mail<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mail").finish_non_exhaustive()
    }
}
