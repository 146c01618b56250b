//! The keeper's post and its bell: whether a pool has a keeper, and how the keeper is called.

use std::{task::Waker, time::Duration};

use super::mutation::{self, Mutation};
use crate::{
    moment::Moment,
    sync::atomic::{AtomicU64, Ordering},
};

/// Whether there is a keeper. The post lies beside the pool's lock, not under it.
///
/// | filled | the bell | what changes it |
/// |---|---|---|
/// | no | has no waker | a waiter, or a thread that leaves something to do: calls `enter`, then starts a keeper |
/// | yes | has no waker yet, or the keeper's waker, or was rung | the keeper, in its round: `Bell::answer` |
/// | yes | has no waker any more | the keeper that goes: `leave`, after `Bell::unhang` |
/// | yes | was not answered for too long | the thread that sees it: calls `pass_on`, then starts another keeper |
///
/// So a keeper that goes never takes another keeper's waker out of the bell. It wakes all waiters after it vacated the post, and a
/// waiter that joins the queue later looks at the post after it joined.
///
/// A post that can be passed on is held by a number. The keeper with that number touches the bell under the lock of the pool, and
/// the number of a filled post changes under this lock only.
#[derive(Debug)]
pub(crate) struct Post(
    /// Even: the post is vacant. Odd: the number of the keeper.
    AtomicU64,
);

/// Calls the keeper. Under the lock of the pool.
#[derive(Debug)]
pub(crate) struct Bell {
    /// The keeper's waker. `None` if the keeper was called, or if there is none.
    keeper: Option<Waker>,
    /// When the keeper's next round is due without a call.
    next: Moment,
    /// When it was first noticed that the keeper was due or called, and has not come by.
    missed: Option<Moment>,
}

/// A kernel that has a keeper.
pub(crate) trait Kept {
    fn post(&self) -> &Post;
    /// Calls `look` with the bell, under the lock.
    fn with_bell<R>(&self, look: impl FnOnce(&mut Bell) -> R) -> R;
    /// Takes the wakers of all waiters in the queue, to make them poll again.
    fn all_in_line(&self) -> Vec<Waker>;
    fn is_closed(&self) -> bool;
    /// Whether the pool is closed and everything that it opened is gone.
    fn is_over(&self) -> bool;
    /// Whether the kernel panicked. After that `is_closed` returns `true`.
    fn is_poisoned(&self) -> bool;

    /// Calls the keeper to a round now.
    fn ring(&self) {
        if let Some(keeper) = self.with_bell(Bell::ring) {
            keeper.wake();
        }
    }

    /// Called when the keeper with this number is gone.
    fn keeper_left(&self, number: u64) {
        let unhang = || {
            self.with_bell(|bell| {
                let any = mutation::on(Mutation::KeeperTakesAnothersBell)
                    || mutation::on(Mutation::PostIsVacatedEarly);
                let mine = self.post().is_held_by(number) || any;
                if mine { bell.unhang() } else { None }
            })
        };
        self.post().leave(number, unhang, || self.all_in_line());
    }

    /// Replaces a keeper that does not come by, because its runtime is blocked or polls no tasks. If `stalled` is set, the tick has
    /// shown this already. Else a first call notes it, and a later one finds that the time is over. Returns the number of the next
    /// keeper. The caller starts that keeper, then wakes all waiters ([`all_in_line`](Self::all_in_line)).
    fn replace_keeper(&self, now: Moment, stalled: bool) -> Option<u64> {
        let (number, old) = self.with_bell(|bell| {
            if !(bell.is_missed(now) || stalled) {
                return None;
            }
            let number = self.post().pass_on()?;
            Some((number, bell.unhang()))
        })?;
        // When the old keeper runs again, it sees that it was replaced.
        if let Some(old) = old {
            old.wake();
        }
        Some(number)
    }
}

impl Post {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Whether there is a keeper. This is a hint: `enter` decides.
    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        // Ordering: Acquire pairs with the Release in `vacate_from`.
        self.0.load(Ordering::Acquire) % 2 == 1
    }

    /// Fills the post if it is vacant. Returns the number of the keeper, which the caller starts.
    pub(crate) fn enter(&self) -> Option<u64> {
        // Ordering: Acquire, as in `is_filled`.
        let vacant = self.0.load(Ordering::Acquire);
        if vacant % 2 == 1 {
            return None;
        }
        let number = vacant + 1;
        // Ordering: AcqRel. One of several callers succeeds, and it sees what the last keeper left.
        let entered = self
            .0
            .compare_exchange(vacant, number, Ordering::AcqRel, Ordering::Relaxed);
        entered.is_ok().then_some(number)
    }

    /// Whether the keeper with this number holds the post. The post is not passed on while the lock of the pool is held.
    pub(crate) fn is_held_by(&self, number: u64) -> bool {
        // Ordering: Relaxed. A keeper acts on its number under the lock, and the post is passed on under the same lock.
        self.0.load(Ordering::Relaxed) == number
    }

    /// Passes the post on from a keeper that does not come by, if there is one. Returns the number of the next keeper, which the
    /// caller starts. Under the lock of the pool.
    pub(crate) fn pass_on(&self) -> Option<u64> {
        let number = self.0.load(Ordering::Relaxed);
        if number.is_multiple_of(2) {
            return None;
        }
        // Ordering: AcqRel, as in `enter`. The exchange fails if the keeper has just gone by itself.
        let passed =
            self.0
                .compare_exchange(number, number + 2, Ordering::AcqRel, Ordering::Relaxed);
        passed.is_ok().then_some(number + 2)
    }

    /// Ends the service of the keeper with this number, because its runtime ended. Does nothing to a keeper that replaced it.
    /// `unhang` checks under the lock of the pool whether the post is still this keeper's, and takes its waker from the bell. Then
    /// `all_in_line` are woken, and the first of them that is polled starts another keeper. All are woken, since the first may be
    /// on the runtime that ended.
    fn leave(
        &self,
        number: u64,
        unhang: impl FnOnce() -> Option<Waker>,
        all_in_line: impl FnOnce() -> Vec<Waker>,
    ) {
        if mutation::on(Mutation::PostIsVacatedEarly) {
            self.vacate_from(number);
        }
        drop(unhang());
        if self.vacate_from(number) || mutation::on(Mutation::PostIsVacatedEarly) {
            all_in_line().into_iter().for_each(Waker::wake);
        }
    }

    fn vacate_from(&self, number: u64) -> bool {
        // Ordering: Release, so that the thread that starts the next keeper finds the bell empty.
        let vacated =
            self.0
                .compare_exchange(number, number + 1, Ordering::Release, Ordering::Relaxed);
        vacated.is_ok()
    }
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Self {
            keeper: None,
            next: Moment::NEVER,
            missed: None,
        }
    }

    /// Returns the waker to wake so that the keeper comes by at `at` or earlier.
    #[must_use]
    pub(crate) fn call(&mut self, at: Moment) -> Option<Waker> {
        if at >= self.next {
            return None;
        }
        self.ring()
    }

    /// Whether [`call`](Self::call) would return no waker: the keeper comes by in time, or there is no waker to wake.
    #[inline]
    pub(crate) fn is_called(&self, at: Moment) -> bool {
        at >= self.next || self.keeper.is_none()
    }

    /// Returns the waker to wake so that the keeper comes by now.
    #[must_use]
    pub(crate) fn ring(&mut self) -> Option<Waker> {
        let keeper = self.keeper.take()?;
        self.next = Moment::from_nanos(0);
        Some(keeper)
    }

    /// Called when the keeper has come by. Calls during its round need not wake it: at the end of the round it decides when the
    /// next one is due ([`answer`](Self::answer)). A wake-up would make it run rounds in a loop until a time that is nearer than
    /// its next allowed round.
    pub(crate) const fn comes_by(&mut self) {
        self.next = Moment::from_nanos(0);
    }

    /// Hangs the keeper's waker in the bell at the end of a round; the next round is at `next`. Returns the keeper's last waker, to
    /// be dropped with nothing locked.
    #[must_use]
    pub(crate) fn answer(&mut self, keeper: Waker, next: Moment) -> Option<Waker> {
        self.next = next;
        self.missed = None;
        self.keeper.replace(keeper)
    }

    /// Takes the keeper's waker out of the bell, because the keeper goes. The caller drops the waker with nothing locked.
    #[must_use]
    pub(crate) fn unhang(&mut self) -> Option<Waker> {
        self.next = Moment::NEVER;
        self.missed = None;
        self.keeper.take()
    }

    /// Whether the keeper has not come by for `MISSED`, though it was due or called. The time runs from the first call that notes
    /// it.
    pub(crate) fn is_missed(&mut self, now: Moment) -> bool {
        if self.keeper.is_some() && now < self.next {
            return false;
        }
        now - *self.missed.get_or_insert(now) >= MISSED
    }

    /// Whether the bell holds the waker of a keeper that was not called.
    pub(crate) const fn is_hung(&self) -> bool {
        self.keeper.is_some()
    }
}

/// A keeper whose runtime polls it comes by long before this.
const MISSED: Duration = Duration::from_millis(250);
