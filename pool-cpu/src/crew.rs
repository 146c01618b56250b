//! The number of workers of a pool: a fixed number, or as many as there is work for.
//!
//! Before a thread that has been idle for long ends, it runs the user's code for the end of a thread, gives its number back, and
//! then looks at the queue once more. A submitter puts its job into the queue, and then looks at the count of numbers. Each side
//! has a `SeqCst` fence between the two steps, so one side sees what the other did: either the submitter or the leaving thread
//! starts another thread. At the cap no count decides whether a job runs, because a thread that is about to sleep looks at the
//! queue itself.

use std::{fmt, io, time::Duration};

use crate::{
    engine::Core,
    sync::{Arc, AtomicUsize, Mutex, Ordering},
};

/// The workers of one pool, by number.
#[derive(Debug)]
pub(crate) struct Crew {
    /// How many workers have a number, because they are alive or being started. Written under the lock, read without it.
    alive: AtomicUsize,
    /// No other lock is taken under this lock.
    roll: Mutex<Roll>,
    elastic: Option<Elastic>,
}

/// Which numbers are taken.
#[derive(Debug, Default)]
struct Roll {
    /// The numbers that no worker has.
    free: Vec<usize>,
    /// How many workers are about to give their number back.
    leaving: usize,
}

/// How an elastic crew grows and shrinks.
pub(crate) struct Elastic {
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) idle_timeout: Duration,
    /// Starts the thread of a worker, which must run [`work_enlisted`](crate::worker::work_enlisted).
    pub(crate) start: Start,
}

/// Starts the thread of the worker with this number.
pub(crate) type Start = Box<dyn Fn(&Arc<Core>, usize) -> io::Result<()> + Send + Sync>;

impl Crew {
    /// A crew whose workers all exist from the beginning and stay.
    pub(crate) fn fixed(workers: usize) -> Self {
        Self {
            alive: AtomicUsize::new(workers),
            roll: Mutex::new(Roll::default()),
            elastic: None,
        }
    }

    /// A crew without workers at first.
    pub(crate) fn elastic(elastic: Elastic) -> Self {
        // Sorted so that the lowest number is taken first.
        let free = (0..elastic.max).rev().collect();
        Self {
            alive: AtomicUsize::new(0),
            roll: Mutex::new(Roll { free, leaving: 0 }),
            elastic: Some(elastic),
        }
    }

    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Acquire)
    }

    /// Whether threads are started and ended as needed.
    pub(crate) fn is_elastic(&self) -> bool {
        self.elastic.is_some()
    }

    /// How long an idle thread sleeps before it asks to leave.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.elastic.as_ref().map(|elastic| elastic.idle_timeout)
    }

    /// Whether another worker may be started. Call this after the work was published, with a `SeqCst` fence in between.
    pub(crate) fn has_room(&self) -> bool {
        self.elastic
            .as_ref()
            .is_some_and(|elastic| self.alive() < elastic.max)
    }

    /// Starts another worker if there is room.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn grow(&self, core: &Arc<Core>) -> io::Result<()> {
        let Some(elastic) = &self.elastic else {
            return Ok(());
        };
        let Some(worker) = self.join() else {
            return Ok(());
        };
        // From here on the worker counts as searching for work, so that the next submitter does not start another one for the same
        // job.
        core.patience().enlist();
        (elastic.start)(core, worker).inspect_err(|_| {
            core.patience().discharge();
            self.leave(worker);
        })
    }

    /// Starts the workers that always exist.
    ///
    /// # Errors
    /// The system cannot start a thread.
    pub(crate) fn muster(&self, core: &Arc<Core>) -> io::Result<()> {
        let min = self.elastic.as_ref().map_or(0, |elastic| elastic.min);
        (0..min).try_for_each(|_| self.grow(core))
    }

    /// Asks for a worker that has been idle for long whether it may leave. If this returns `true`, the worker must call
    /// [`resign`](Self::resign) when it has nothing more to do.
    pub(crate) fn may_leave(&self, has_work: impl FnOnce() -> bool) -> bool {
        let Some(elastic) = &self.elastic else {
            return false;
        };
        // The job would be found later as well, but it would have to wait until then.
        if has_work() {
            return false;
        }
        let mut roll = self.roll.lock();
        let may = self.alive.load(Ordering::Relaxed) - roll.leaving > elastic.min;
        roll.leaving += usize::from(may);
        may
    }

    /// Gives back the number of worker `me`, which was allowed to leave. The caller must look at the queue afterwards, with a
    /// `SeqCst` fence in between.
    pub(crate) fn resign(&self, me: usize) {
        self.give_back(me, 1);
    }

    /// Gives back the number of worker `me`, which has ended or was not started.
    pub(crate) fn leave(&self, me: usize) {
        self.give_back(me, 0);
    }

    fn give_back(&self, me: usize, leaving: usize) {
        let mut roll = self.roll.lock();
        self.alive
            .store(self.alive.load(Ordering::Relaxed) - 1, Ordering::Release);
        roll.leaving -= leaving;
        roll.free.push(me);
    }

    /// Takes a free number for another worker.
    fn join(&self) -> Option<usize> {
        let mut roll = self.roll.lock();
        let worker = roll.free.pop()?;
        self.alive
            .store(self.alive.load(Ordering::Relaxed) + 1, Ordering::Release);
        Some(worker)
    }
}

impl fmt::Debug for Elastic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elastic")
            .field("min", &self.min)
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
