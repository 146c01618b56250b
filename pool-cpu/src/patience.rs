//! Whether a caller looks for its result for a moment before its thread goes to sleep.
//!
//! To put a runtime's thread to sleep and to wake it costs far more than a short job does. So one who runs a job after another, alone
//! on its thread, looks for the result where it stands, if a worker was looking for work when the job came: most short jobs are done
//! by then. Whether that pays is learned from how the last ones went, so long jobs do without.
//!
//! Asking the executor for a few more turns instead (tokio's `yield_now`) does worse: where nothing else is ready each turn makes
//! tokio wake another of its threads, to look for work that is not there, on a core that a worker had.

use std::{
    cell::Cell,
    hint::spin_loop,
    sync::atomic::AtomicU32,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use tokio::task::coop;

use crate::sync::{AtomicUsize, Ordering};

/// Who looks for work in one pool, and what it has learned of how long its jobs take. On cache lines of its own: it is written to whenever a
/// worker runs out of work, and what is beside it is read for each job.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Patience {
    /// Workers that are awake and look for work. A submitter starts no thread when there are enough of them, so whoever finds work
    /// sees to what else is there: `Core::take`.
    searching: AtomicUsize,
    /// So many jobs go without a look, since one was in vain. A hint: nothing is published with it, and a lost update does no harm.
    rest: AtomicU32,
}

/// A worker is awake and looks for work, as long as this lives.
#[derive(Debug)]
pub(crate) struct Searching<'a>(&'a Patience);

impl Patience {
    pub(crate) fn new() -> Self {
        Self {
            searching: AtomicUsize::new(0),
            rest: AtomicU32::new(0),
        }
    }

    pub(crate) fn search(&self) -> Searching<'_> {
        self.enlist();
        Searching(self)
    }

    /// As `search`, for a thread that is being started.
    pub(crate) fn enlist(&self) {
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread that was enlisted has started.
    pub(crate) fn enlisted(&self) -> Searching<'_> {
        Searching(self)
    }

    /// The thread that was enlisted has not started.
    pub(crate) fn discharge(&self) {
        drop(Searching(self));
    }

    /// May one more of so many workers look for work? Half of them do at most, and the others sleep at once. Each that looks in vain takes a
    /// core from those who submit, and what they submit is then so little at a time that each job wakes somebody.
    pub(crate) fn has_room(&self, workers: usize) -> bool {
        self.searching() < workers.div_ceil(2)
    }

    /// How many workers look for work, about.
    pub(crate) fn searching(&self) -> usize {
        self.searching.load(Ordering::Relaxed)
    }

    /// May `caller`, who is about to submit a job and to wait for it, look for the result?
    pub(crate) fn may_look(&self, caller: &Waker) -> bool {
        // In a model no time passes, and a look is one poll more.
        let modelled = cfg!(any(pool_loom, pool_shuttle));
        if modelled || !is_alone(caller) || self.searching() == 0 {
            return false;
        }
        let rest = self.rest.load(Ordering::Relaxed);
        if rest > 0 {
            self.rest.store(rest - 1, Ordering::Relaxed);
        }
        rest == 0
    }

    /// Looks for the result, and says what `poll` does when it is there. Then a part of the task's budget goes with it, so that one that
    /// does nothing else lets others have a turn.
    pub(crate) fn look<T>(
        &self,
        cx: &mut Context<'_>,
        is_finished: impl Fn() -> bool,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Poll::Ready(budget) = coop::poll_proceed(cx) else {
            // Others have a turn now. If they run jobs as well it is not alone.
            LAST.set((0, 0));
            return Poll::Pending;
        };
        let start = Instant::now();
        while start.elapsed() < LOOK {
            (0..PAUSES).for_each(|_| spin_loop());
            if is_finished() {
                budget.made_progress();
                return poll(cx);
            }
        }
        self.rest.store(REST, Ordering::Relaxed);
        Poll::Pending
    }
}

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.0.searching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has nobody but `caller` run a job from this thread lately, as far as can be seen?
fn is_alone(caller: &Waker) -> bool {
    let caller = caller.data().addr();
    let (last, jobs) = LAST.get();
    let jobs = if caller == last { jobs + 1 } else { 0 };
    LAST.set((caller, jobs.min(ALONE)));
    jobs >= ALONE
}

thread_local! {
    /// Who ran a job from this thread last, by its waker, and how many it had run before, in a row.
    static LAST: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Who has run so many jobs before, in a row, is taken to be alone.
const ALONE: u32 = 3;
/// How long it looks: longer than a thread of the runtime that was woken for nothing takes a worker's core away, and no longer than
/// to sleep and to be woken takes.
const LOOK: Duration = Duration::from_micros(12);
/// How often it pauses between two looks.
const PAUSES: u32 = 4;
/// So many jobs go without after a look was in vain.
const REST: u32 = 64;

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Wake};

    use super::*;

    /// A waker like no other.
    fn waker() -> Waker {
        struct Nobody;
        impl Wake for Nobody {
            fn wake(self: Arc<Self>) {}
        }
        Waker::from(Arc::new(Nobody))
    }

    #[test]
    fn nobody_looks_whose_job_meets_no_worker_that_looks_for_work() {
        let patience = Patience::new();
        let caller = waker();
        assert!((0..10).all(|_| !patience.may_look(&caller)));
        let searching = patience.search();
        assert!(patience.may_look(&caller));
        drop(searching);
        assert!(!patience.may_look(&caller));
    }

    #[test]
    fn half_of_the_workers_look_for_work_at_most() {
        let patience = Patience::new();
        assert!(patience.has_room(1) && patience.has_room(2));
        let one = patience.search();
        assert!(!patience.has_room(1) && !patience.has_room(2) && patience.has_room(3));
        drop(one);
        assert!(patience.has_room(1));
    }

    #[test]
    fn nobody_looks_who_is_not_alone_on_its_thread() {
        let patience = Patience::new();
        let _searching = patience.search();
        let (one, another) = (waker(), waker());
        for _ in 0..10 {
            assert!(!patience.may_look(&one) && !patience.may_look(&another));
        }
        let looks = (0..10).filter(|_| patience.may_look(&one)).count();
        assert_eq!(looks, 10 - ALONE as usize);
    }

    #[test]
    fn what_does_not_pay_is_tried_seldom() {
        let patience = Patience::new();
        let _searching = patience.search();
        let caller = waker();
        let mut looks = 0;
        for _ in 0..1000 {
            if patience.may_look(&caller) {
                looks += 1;
                let mut cx = Context::from_waker(&caller);
                let look = patience.look(&mut cx, || false, |_| Poll::Ready(()));
                assert!(look.is_pending());
            }
        }
        assert_eq!(looks, (1000 - ALONE).div_ceil(REST + 1));
    }

    #[tokio::test]
    async fn one_that_always_finds_its_result_lets_others_have_a_turn() {
        let patience = Patience::new();
        let mut found = 0;
        std::future::poll_fn(|cx| {
            while patience.look(cx, || true, |_| Poll::Ready(())).is_ready() {
                found += 1;
            }
            Poll::Ready(())
        })
        .await;
        assert!((1..1000).contains(&found), "{found}");
    }
}
