//! Decides whether a caller looks for its result for a short time before its thread sleeps.
//!
//! Putting a runtime's thread to sleep and waking it costs far more than a short job. So a caller that runs one job after another,
//! alone on its thread, looks for its result at once, if a worker was searching for work when the job was submitted. Most short
//! jobs are done by then. Whether the look pays is learned from earlier looks, so callers of long jobs soon stop looking.
//!
//! The alternative, asking the executor for a few more turns (tokio's `yield_now`), performs worse. If no other task is ready, each
//! turn makes tokio wake another of its threads to search for work. There is none, and the thread takes a core from a worker.

use std::{
    cell::Cell,
    hint::spin_loop,
    sync::atomic::AtomicU32,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::task::coop;

use crate::sync::{AtomicUsize, Ordering};

/// Counts the searching workers of one pool, and remembers whether looks for results paid. It has cache lines of its own: it is
/// written whenever a worker runs out of work, and the fields beside it are read for each job.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Patience {
    /// How many workers are awake and search for work. A submitter starts no thread while there are enough of them, so a worker
    /// that finds work must check for more: see `Core::take`.
    searching: AtomicUsize,
    /// How many jobs go without a look, since a look was in vain. This is a hint: it publishes no data, and a lost update does no
    /// harm.
    rest: AtomicU32,
    /// How many more searches beyond half of the workers do not take place, since a worker found its core crowded. A hint too.
    crowd: AtomicU32,
}

/// Counts a worker that is awake and searches for work, until it is dropped.
#[derive(Debug)]
pub(crate) struct Searching<'a> {
    patience: &'a Patience,
    /// How long another thread may have the worker's core during a yield. After a longer yield the worker sleeps.
    away: Duration,
}

impl Patience {
    pub(crate) fn new() -> Self {
        Self {
            searching: AtomicUsize::new(0),
            rest: AtomicU32::new(0),
            crowd: AtomicU32::new(0),
        }
    }

    /// Counts one more of `workers` workers, or returns `None` if the worker should sleep at once. Half of the workers may search.
    /// More than that may search while the machine is quiet, and only as long as no other thread wants their core. A worker that
    /// searches in vain takes the core from a thread that submits. That thread then submits so few jobs at a time that each job has
    /// to wake a worker.
    pub(crate) fn search(&self, workers: usize) -> Option<Searching<'_>> {
        let away = if self.searching() < workers.div_ceil(2) {
            CROWDED
        } else {
            let crowd = self.crowd.load(Ordering::Relaxed);
            if crowd > 0 {
                self.crowd.store(crowd - 1, Ordering::Relaxed);
                return None;
            }
            WANTED
        };
        self.enlist();
        Some(Searching {
            patience: self,
            away,
        })
    }

    /// Like `search`, for a thread that is about to be started.
    pub(crate) fn enlist(&self) {
        self.searching.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes over the count of an enlisted thread that has started.
    pub(crate) fn enlisted(&self) -> Searching<'_> {
        Searching {
            patience: self,
            away: CROWDED,
        }
    }

    /// Ends the count of an enlisted thread that was not started.
    pub(crate) fn discharge(&self) {
        drop(self.enlisted());
    }

    /// Roughly how many workers search for work.
    pub(crate) fn searching(&self) -> usize {
        self.searching.load(Ordering::Relaxed)
    }

    /// Whether `caller`, which is about to submit a job and to wait for it, may look for the result.
    pub(crate) fn may_look(&self, caller: &Waker) -> bool {
        // In a model no time passes, and a look would only be one more poll.
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

    /// Looks for the result, and returns the output of `poll` when the result is there. A look that succeeds uses up a unit of the
    /// task's tokio budget, so that a task that only runs jobs still lets other tasks have a turn.
    pub(crate) fn look<T>(
        &self,
        cx: &mut Context<'_>,
        is_finished: impl Fn() -> bool,
        poll: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Poll::Ready(budget) = coop::poll_proceed(cx) else {
            // Other tasks have a turn now. If they run jobs too, this caller is not alone.
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

impl Searching<'_> {
    /// Yields the core. Returns `false` if another thread had it for so long that the worker should sleep. A sleeping worker that
    /// is called gets a core sooner than a worker that has just yielded.
    pub(crate) fn came_back_soon(&self) -> bool {
        let left = Instant::now();
        thread::yield_now();
        let gone = left.elapsed();
        if gone >= CROWDED {
            self.patience.crowd.store(CALM, Ordering::Relaxed);
        }
        gone < self.away
    }
}

impl Drop for Searching<'_> {
    fn drop(&mut self) {
        self.patience.searching.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether, as far as is known, only `caller` has run jobs from this thread lately.
fn is_alone(caller: &Waker) -> bool {
    let caller = caller.data().addr();
    let (last, jobs) = LAST.get();
    let jobs = if caller == last { jobs + 1 } else { 0 };
    LAST.set((caller, jobs.min(ALONE)));
    jobs >= ALONE
}

thread_local! {
    /// The waker of the caller that last ran a job from this thread, and how many jobs in a row it had run before.
    static LAST: Cell<(usize, u32)> = const { Cell::new((0, 0)) };
}

/// Longer than a switch to another thread of the pool and back takes.
const CROWDED: Duration = Duration::from_micros(100);
/// Longer than another thread of the pool or the runtime needs to look for work, or to pass some jobs on.
const WANTED: Duration = Duration::from_micros(10);
/// How many searches beyond half of the workers do not take place after a core was crowded.
const CALM: u32 = 64;
/// A caller that has run this many jobs in a row before counts as alone.
const ALONE: u32 = 3;
/// How long a caller looks. This is longer than a runtime thread that was woken in vain keeps a worker's core, and no longer than
/// it takes to sleep and be woken.
const LOOK: Duration = Duration::from_micros(12);
/// How often the caller pauses between two looks.
const PAUSES: u32 = 4;
/// How many jobs go without a look after a look in vain.
const REST: u32 = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{sync::Arc, task::Wake};

    use super::*;

    /// A waker that differs from all others.
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
        let searching = patience.search(1).unwrap();
        assert!(patience.may_look(&caller));
        drop(searching);
        assert!(!patience.may_look(&caller));
    }

    #[test]
    fn half_of_the_workers_leave_their_core_when_another_thread_wants_it() {
        let patience = Patience::new();
        let searches: Vec<_> = (0..4).map(|_| patience.search(3).unwrap()).collect();
        let away: Vec<_> = searches.iter().map(|search| search.away).collect();
        assert_eq!(away, [CROWDED, CROWDED, WANTED, WANTED]);
    }

    #[test]
    fn no_more_than_half_of_the_workers_look_for_work_after_a_core_was_crowded() {
        let patience = Patience::new();
        patience.crowd.store(CALM, Ordering::Relaxed);
        let _one = patience.search(2).unwrap();
        assert!((0..CALM).all(|_| patience.search(2).is_none()));
        assert!(patience.search(2).is_some());
    }

    #[test]
    fn nobody_looks_who_is_not_alone_on_its_thread() {
        let patience = Patience::new();
        let _searching = patience.search(1).unwrap();
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
        let _searching = patience.search(1).unwrap();
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
