//! What one worker does, and what it keeps about it.

use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    thread,
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

/// One worker's book. On lines of its own, so that workers do not slow each other down.
#[repr(align(128))]
pub(crate) struct Worker {
    /// No other lock is taken under it. Contended only while somebody reads it.
    pub(crate) book: Mutex<Book>,
    pub(crate) turns: Turns,
}

/// Its turns at parallel work outside of a job. The models have no rayon: this is not for them to explore.
#[derive(Default)]
pub(crate) struct Turns {
    /// How many have begun and ended: odd while it runs a piece, or looks for one. Only the worker writes it.
    own: AtomicU64,
    /// As the keeper saw it last.
    seen: AtomicU64,
}

/// What a worker has done.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) running: Option<Running>,
    pub(crate) busy: Duration,
    pub(crate) jobs: Vec<JobStatus>,
    /// The job that runs, if it has a budget: the keeper ends its caller's wait.
    pub(crate) budgeted: Option<Arc<dyn Run>>,
}

/// What a worker does now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Running {
    pub(crate) label: &'static str,
    pub(crate) since: Instant,
    /// When its budget is spent.
    pub(crate) ends: Option<Instant>,
}

impl Book {
    /// The page of this label.
    pub(crate) fn page(&mut self, label: &'static str) -> &mut JobStatus {
        // Few labels, and the same literal is mostly the same address.
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

    /// What was published before is seen by who sees that it has ended.
    #[inline]
    pub(crate) fn end(&self) {
        self.next(Ordering::Release);
    }

    #[inline]
    fn next(&self, order: Ordering) {
        self.own.store(self.own.load(Ordering::Relaxed) + 1, order);
    }

    /// For the keeper: whether it is in a turn, and for how long. A look for a piece is over soon, so only one that was going on at the
    /// last look as well is a piece for sure.
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

/// A turn at parallel work, as the keeper sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Turn {
    None,
    Fresh,
    Long,
}

thread_local! {
    /// The pool that this thread works for, 0 for none, and its number there. Loom's macro takes no `const` block.
    #[allow(clippy::missing_const_for_thread_local)]
    static POOL: Cell<(usize, usize)> = Cell::new((0, 0));
}

/// Does this thread work for that pool?
#[inline]
pub(crate) fn is_worker_of(core: &Core) -> bool {
    number_in(core).is_some()
}

/// Which worker of that pool this thread is.
#[inline]
pub(crate) fn number_in(core: &Core) -> Option<usize> {
    let (pool, me) = POOL.with(Cell::get);
    (pool == core.id()).then_some(me)
}

/// Works for `core` as its worker number `me`, until there is nothing to stay for.
pub(crate) fn work(core: &Arc<Core>, me: usize) {
    work_with(core, me, None);
}

/// As `work`, for a thread that was enlisted before it was started.
pub(crate) fn work_enlisted(core: &Arc<Core>, me: usize) {
    work_with(core, me, Some(core.patience().enlisted()));
}

fn work_with<'a>(core: &'a Arc<Core>, me: usize, mut searching: Option<Searching<'a>>) {
    POOL.with(|pool| pool.set((core.id(), me)));
    lower_priority(core.plan().nice);
    core.plan().hooks.started(me);
    let mut rounds = 0;
    // When the last job ended, if the next one follows at once: one look at the clock serves both.
    let mut clock = None;
    // When rayon has last had a turn between two jobs.
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
        } else if rounds < core.plan().idle_yields
            && (searching.is_some() || core.patience().has_room(core.crew().alive()))
        {
            searching.get_or_insert_with(|| core.patience().search());
            rounds += 1;
            if !came_back_soon() {
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

/// The last that the thread of worker `me` does for users. It counts as alive until this is done.
fn retire(core: &Core, me: usize) {
    state::clear();
    core.plan().hooks.stopped(me);
}

/// Yields the core. `false` if others had it for long: they keep the machine busy, and a sleeper that is called gets a core sooner
/// than whoever has just given one away.
fn came_back_soon() -> bool {
    let left = Instant::now();
    thread::yield_now();
    left.elapsed() < CROWDED
}

/// Runs what jobs on this thread have left to rayon. `false` if that was nothing.
fn give_turn(core: &Core, me: usize) -> bool {
    let pieces = (0..PIECES).take_while(|_| core.help(me, rayon_core::yield_local));
    pieces.count() > 0
}

/// Rayon has a turn between two jobs so often at most: a look for its work takes as long as a short job.
const TURN: Duration = Duration::from_micros(50);

/// So many pieces at most, before others have a turn: one may leave the next.
const PIECES: usize = 64;

/// Longer than a switch to another thread of ours and back takes.
const CROWDED: Duration = Duration::from_micros(100);
