//! The loop of one worker, and its statistics.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use crate::{
    engine::{Core, Rested},
    job::Run,
    nice::lower_priority,
    patience::Searching,
    state,
    status::JobStatus,
    sync::{Arc, Mutex, thread_local},
};

/// The statistics of one worker. They have cache lines of their own, so that workers do not slow each other down.
#[repr(align(128))]
pub(crate) struct Worker {
    /// No other lock is taken under this lock. It is contended only while another thread reads the statistics.
    pub(crate) book: Mutex<Book>,
    pub(crate) turns: Turns,
}

/// The worker's turns at parallel work outside of a job. The models have no rayon, so they do not explore this.
#[derive(Default)]
pub(crate) struct Turns {
    /// How many turns have begun and ended. The number is odd while the worker runs a piece or looks for a piece. Only the worker
    /// writes it.
    own: AtomicU64,
    /// The value of `own` at the keeper's last look.
    seen: AtomicU64,
}

/// What a worker has done, and what it runs.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) running: Option<Running>,
    pub(crate) busy: Duration,
    pub(crate) jobs: Vec<JobStatus>,
    /// The running job, if it has a budget. The keeper uses it to end the wait of its caller.
    pub(crate) budgeted: Option<Arc<dyn Run>>,
}

/// What a worker runs now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) label: &'static str,
    pub(crate) since: Instant,
    /// When the job's budget is spent.
    pub(crate) ends: Option<Instant>,
}

impl Book {
    /// The page of this label.
    pub(crate) fn page(&mut self, label: &'static str) -> &mut JobStatus {
        // There are few labels, and the same literal mostly has the same address.
        let found = self
            .jobs
            .iter()
            .position(|page| std::ptr::eq(page.label, label) || page.label == label);
        let at = found.unwrap_or_else(|| {
            self.jobs.push(JobStatus::new(label));
            self.jobs.len() - 1
        });
        &mut self.jobs[at]
    }
}

impl Worker {
    pub(crate) fn new() -> Self {
        Self {
            book: Mutex::new(Book::default()),
            turns: Turns::default(),
        }
    }
}

impl Turns {
    #[inline]
    pub(crate) fn begin(&self) {
        self.next(Ordering::Relaxed);
    }

    /// Ends a turn. A thread that sees the end also sees what was published before it.
    #[inline]
    pub(crate) fn end(&self) {
        self.next(Ordering::Release);
    }

    #[inline]
    fn next(&self, order: Ordering) {
        self.own.store(self.own.load(Ordering::Relaxed) + 1, order);
    }

    /// Returns, for the keeper, whether the worker is in a turn, and whether it was in the same turn at the last look. A look for a
    /// piece ends soon, so a turn that spans two looks is certainly a piece.
    pub(crate) fn look(&self) -> Turn {
        let own = self.own.load(Ordering::Acquire);
        let seen = self.seen.swap(own, Ordering::Relaxed);
        match own {
            _ if own.is_multiple_of(2) => Turn::None,
            _ if own == seen => Turn::Long,
            _ => Turn::Fresh,
        }
    }
}

/// A worker's turn at parallel work, as the keeper sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    None,
    Fresh,
    Long,
}

thread_local! {
    /// The pool that this thread works for (0 for none), and its number in that pool. loom's macro takes no `const` block.
    #[allow(clippy::missing_const_for_thread_local)]
    static POOL: Cell<(usize, usize)> = Cell::new((0, 0));
}

/// Whether this thread is a worker of that pool.
#[inline]
pub(crate) fn is_worker_of(core: &Core) -> bool {
    number_in(core).is_some()
}

/// Returns the number of this thread among the workers of that pool.
#[inline]
pub(crate) fn number_in(core: &Core) -> Option<usize> {
    let (pool, me) = POOL.with(Cell::get);
    (pool == core.id()).then_some(me)
}

/// Runs the loop of `core`'s worker number `me`, until the pool is closed and empty, or the worker leaves because it is idle.
pub(crate) fn work(core: &Arc<Core>, me: usize) {
    work_with(core, me, None);
}

/// Like `work`, for a thread that was enlisted before it was started.
pub(crate) fn work_enlisted(core: &Arc<Core>, me: usize) {
    work_with(core, me, Some(core.patience().enlisted()));
}

fn work_with<'a>(core: &'a Arc<Core>, me: usize, mut searching: Option<Searching<'a>>) {
    POOL.with(|pool| pool.set((core.id(), me)));
    lower_priority(core.plan().nice);
    core.plan().hooks.started(me);
    let mut rounds = 0;
    // When the last job ended, if the next job follows at once. One reading of the clock serves both jobs.
    let mut clock = None;
    // When rayon last had a turn between two jobs.
    let mut turned = Instant::now();
    loop {
        if let Some(job) = core.take(&mut searching) {
            rounds = 0;
            clock = core.execute(me, job, clock.take());
            if let Some(now) = clock
                && now.saturating_duration_since(turned) >= TURN
            {
                turned = now;
                if give_turn(core, me) {
                    clock = None;
                }
            }
            continue;
        }
        clock = None;
        if core.is_over() {
            searching = None;
            retire(core, me);
            core.left(me);
            break;
        }
        if core.help(me, rayon_core::yield_now) {
            rounds = 0;
            continue;
        }
        let may_search = rounds < core.plan().idle_yields;
        if may_search && searching.is_none() {
            searching = core.patience().search(core.crew().alive());
        }
        if let Some(search) = searching.as_ref().filter(|_| may_search) {
            rounds += 1;
            if !search.came_back_soon() {
                rounds = core.plan().idle_yields;
            }
        } else {
            searching = None;
            rounds = 0;
            match core.rest(me) {
                Rested::Work => {}
                Rested::Leave => {
                    retire(core, me);
                    core.resigned(me);
                    break;
                }
            }
        }
    }
    drop(searching);
    POOL.with(|pool| pool.set((0, 0)));
}

/// Runs the last user code on the thread of worker `me`. The thread counts as alive until this is done.
fn retire(core: &Core, me: usize) {
    state::clear();
    core.plan().hooks.stopped(me);
}

/// Runs the pieces that jobs on this thread have left to rayon. Returns `false` if there were none.
fn give_turn(core: &Core, me: usize) -> bool {
    let pieces = (0..PIECES).take_while(|_| core.help(me, rayon_core::yield_local));
    pieces.count() > 0
}

/// The shortest time between two turns of rayon between jobs. A look for rayon's work takes as long as a short job.
const TURN: Duration = Duration::from_micros(50);

/// The most pieces that run in one turn, because each piece may leave another one.
const PIECES: usize = 64;
