//! The keeper of a pool: whether there is one, and how it is called.

use std::task::Waker;

use super::mutation::{self, Mutation};
use crate::{
    moment::Moment,
    sync::atomic::{AtomicBool, Ordering},
};

/// Is there a keeper? Beside the lock of the pool.
///
/// | filled | the bell | who moves it on |
/// |---|---|---|
/// | no | has no keeper | whoever has to wait, or leaves something to do: `fill`, and then starts one |
/// | yes | has none yet, or the keeper's waker, or it was called | the keeper, when it comes by: `Bell::answer` |
/// | yes | has no keeper any more | the keeper that goes: `vacate`, after `Bell::unhang` |
///
/// So a bell never loses the waker of another keeper than the one that goes. Whoever stands in line then is woken after the post
/// was vacated, and who joins the line later looks at the post after that.
#[derive(Debug)]
pub(crate) struct Post(AtomicBool);

/// How the keeper is called. Under the lock of the pool.
#[derive(Debug)]
pub(crate) struct Bell {
    /// `None`: it was called, or there is none.
    keeper: Option<Waker>,
    /// When it comes by unasked.
    next: Moment,
}

impl Post {
    pub(crate) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// A hint: `fill` decides.
    #[inline]
    pub(crate) fn is_filled(&self) -> bool {
        // Ordering: Acquire pairs with the Release of `vacate`.
        self.0.load(Ordering::Acquire)
    }

    /// Fills it. `true`: it was vacant, and the caller starts the keeper.
    pub(crate) fn fill(&self) -> bool {
        // Ordering: AcqRel, so that one of several callers sees `false`, and sees what the last keeper left.
        !self.is_filled() && !self.0.swap(true, Ordering::AcqRel)
    }

    /// The keeper goes: its runtime ended. Its waker is taken from the bell, and then `all_in_line` are woken: whoever is polled first
    /// starts another. All, since the first may be on the same runtime, and go the same way.
    pub(crate) fn vacate(
        &self,
        unhang: impl FnOnce() -> Option<Waker>,
        all_in_line: impl FnOnce() -> Vec<Waker>,
    ) {
        if mutation::on(Mutation::PostIsVacatedEarly) {
            self.0.store(false, Ordering::Release);
        }
        drop(unhang());
        // Ordering: Release, so that whoever starts the next keeper finds the bell without one.
        self.0.store(false, Ordering::Release);
        all_in_line().into_iter().for_each(Waker::wake);
    }
}

impl Bell {
    pub(crate) const fn new() -> Self {
        Self {
            keeper: None,
            next: Moment::NEVER,
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

    /// The keeper has come by, and does so again at `next`. Its last waker is to be dropped with nothing locked.
    #[must_use]
    pub(crate) fn answer(&mut self, keeper: Waker, next: Moment) -> Option<Waker> {
        self.next = next;
        self.keeper.replace(keeper)
    }

    /// The keeper goes. Its waker is to be dropped with nothing locked.
    #[must_use]
    pub(crate) fn unhang(&mut self) -> Option<Waker> {
        self.next = Moment::NEVER;
        self.keeper.take()
    }

    /// Has it a keeper that was not called?
    pub(crate) const fn is_hung(&self) -> bool {
        self.keeper.is_some()
    }
}
