//! The keeper of a pool: whether there is one, and how it is called.

use std::{task::Waker, time::Duration};

use super::mutation::{self, Mutation};
use crate::{
    moment::Moment,
    sync::atomic::{AtomicU64, Ordering},
};

/// Is there a keeper? Beside the lock of the pool.
///
/// | filled | the bell | who moves it on |
/// |---|---|---|
/// | no | has no keeper | whoever has to wait, or leaves something to do: `enter`, and then starts one |
/// | yes | has none yet, or the keeper's waker, or it was called | the keeper, when it comes by: `Bell::answer` |
/// | yes | has no keeper any more | the keeper that goes: `leave`, after `Bell::unhang` |
/// | yes | was not answered for too long | whoever sees that: `pass_on`, and then starts another |
///
/// So a bell never loses the waker of another keeper than the one that goes. Whoever stands in line then is woken after the post
/// was vacated, and who joins the line later looks at the post after that.
///
/// A post that can be passed on is held by a number, and its bell is touched by whoever has that, under the lock of the pool, under
/// which alone the number of a filled post changes.
#[derive(Debug)]
pub(crate) struct Post(
    /// Even: it is vacant. Odd: the number of its keeper.
    AtomicU64,
);

/// How the keeper is called. Under the lock of the pool.
#[derive(Debug)]
pub(crate) struct Bell {
    /// `None`: it was called, or there is none.
    keeper: Option<Waker>,
    /// When it comes by unasked.
    next: Moment,
    /// Since when it is known that it was due, or was called, and did not come.
    missed: Option<Moment>,
}

/// A kernel that has a keeper.
pub(crate) trait Kept {
    fn post(&self) -> &Post;
    /// Looks at the bell, under the lock.
    fn with_bell<R>(&self, look: impl FnOnce(&mut Bell) -> R) -> R;
    /// The wakers of all in line, to make them poll again.
    fn all_in_line(&self) -> Vec<Waker>;
    fn is_closed(&self) -> bool;
    /// Is it closed, and everything gone that it opened?
    fn is_over(&self) -> bool;
    /// Did it panic? Then it says that it is closed.
    fn is_poisoned(&self) -> bool;

    /// Asks the keeper to come by now.
    fn ring(&self) {
        if let Some(keeper) = self.with_bell(Bell::ring) {
            keeper.wake();
        }
    }

    /// The keeper of this number is gone.
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

    /// Replaces a keeper that does not come by: its runtime is blocked, or nobody drives it. `stalled`: the tick says so already, else
    /// it is known when it is asked for the second time. The number of the next keeper, which the caller starts, before it wakes all
    /// in line ([`all_in_line`](Self::all_in_line)).
    fn replace_keeper(&self, now: Moment, stalled: bool) -> Option<u64> {
        let (number, old) = self.with_bell(|bell| {
            if !(bell.is_missed(now) || stalled) {
                return None;
            }
            let number = self.post().pass_on()?;
            Some((number, bell.unhang()))
        })?;
        // When it gets to run again it sees that it was replaced.
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

    /// A hint: `enter` decides.
    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        // Ordering: Acquire pairs with the Release of `vacate`.
        self.0.load(Ordering::Acquire) % 2 == 1
    }

    /// Fills it, if it was vacant: the number of the keeper, which the caller starts.
    pub(crate) fn enter(&self) -> Option<u64> {
        // Ordering: Acquire, as in `is_filled`.
        let vacant = self.0.load(Ordering::Acquire);
        if vacant % 2 == 1 {
            return None;
        }
        let number = vacant + 1;
        // Ordering: AcqRel, so that one of several callers succeeds, and sees what the last keeper left.
        let entered = self
            .0
            .compare_exchange(vacant, number, Ordering::AcqRel, Ordering::Relaxed);
        entered.is_ok().then_some(number)
    }

    /// Is it held by the keeper of this number? Under the lock of the pool that stays so until it is vacated.
    pub(crate) fn is_held_by(&self, number: u64) -> bool {
        // Ordering: Relaxed. What a keeper does with its number it does under the lock under which the post is passed on.
        self.0.load(Ordering::Relaxed) == number
    }

    /// Passes it on from a keeper that does not come by, if there is one: the number of the next, which the caller starts. Under the
    /// lock of the pool.
    pub(crate) fn pass_on(&self) -> Option<u64> {
        let number = self.0.load(Ordering::Relaxed);
        if number.is_multiple_of(2) {
            return None;
        }
        // Ordering: AcqRel, as in `enter`. It fails when the keeper has just gone by itself.
        let passed =
            self.0
                .compare_exchange(number, number + 2, Ordering::AcqRel, Ordering::Relaxed);
        passed.is_ok().then_some(number + 2)
    }

    /// The keeper of this number goes, because its runtime ended, if it was not replaced: `unhang` takes its waker from the bell, under the
    /// lock of the pool, after a look whether it still is the one. Then `all_in_line` are woken: whoever is polled first starts another.
    /// All, since the first may be on the same runtime, and go the same way.
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
        // Ordering: Release, so that whoever starts the next keeper finds the bell without one.
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

    /// Who is to be woken so that the keeper comes by at `at`, or earlier.
    #[must_use]
    pub(crate) fn call(&mut self, at: Moment) -> Option<Waker> {
        if at >= self.next {
            return None;
        }
        self.ring()
    }

    /// Would [`call`](Self::call) find nobody to wake? Then it need not be called: the keeper comes by then, or there is none.
    #[inline]
    pub(crate) fn is_called(&self, at: Moment) -> bool {
        at >= self.next || self.keeper.is_none()
    }

    /// Who is to be woken so that the keeper comes by now.
    #[must_use]
    pub(crate) fn ring(&mut self) -> Option<Waker> {
        let keeper = self.keeper.take()?;
        self.next = Moment::from_nanos(0);
        Some(keeper)
    }

    /// The keeper has come by. What it is called for in this round it sees at the end of it, when it says when it comes again
    /// ([`answer`](Self::answer)). It must not be woken for that: where something falls due before it may come again it would go
    /// round until that time is there.
    pub(crate) const fn comes_by(&mut self) {
        self.next = Moment::from_nanos(0);
    }

    /// The keeper has come by, and does so again at `next`. Its last waker is to be dropped with nothing locked.
    #[must_use]
    pub(crate) fn answer(&mut self, keeper: Waker, next: Moment) -> Option<Waker> {
        self.next = next;
        self.missed = None;
        self.keeper.replace(keeper)
    }

    /// The keeper goes. Its waker is to be dropped with nothing locked.
    #[must_use]
    pub(crate) fn unhang(&mut self) -> Option<Waker> {
        self.next = Moment::NEVER;
        self.missed = None;
        self.keeper.take()
    }

    /// Has the keeper not come by for `MISSED` though it was due, or called? Known when somebody asks again after that time.
    pub(crate) fn is_missed(&mut self, now: Moment) -> bool {
        if self.keeper.is_some() && now < self.next {
            return false;
        }
        now - *self.missed.get_or_insert(now) >= MISSED
    }

    /// Has it a keeper that was not called?
    pub(crate) const fn is_hung(&self) -> bool {
        self.keeper.is_some()
    }
}

/// A keeper that gets to run comes by long before that.
const MISSED: Duration = Duration::from_millis(250);
