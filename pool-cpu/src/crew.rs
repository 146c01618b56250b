//! How many workers there are: a fixed number, or as many as there is work for.
//!
//! A thread that has been idle for long does what it has to do for users before it ends, gives its number back, and then looks at the
//! queue once more; a submitter puts its job into the queue and then looks at the count of numbers. Each has a `SeqCst` fence between
//! the two, so one of them sees what the other did: either the submitter starts another thread, or the one that has left does. No
//! count decides whether a job runs at the cap: there a thread that is about to sleep looks at the queue itself.

use std::{fmt, io, time::Duration};

use crate::{
    engine::Core,
    sync::{Arc, AtomicUsize, Mutex, Ordering},
};

/// The workers of one pool, by number.
#[derive(Debug)]
pub(crate) struct Crew {
    /// How many have a number: they are alive or being started. Written under the lock, read without.
    alive: AtomicUsize,
    /// No other lock is taken under it.
    roll: Mutex<Roll>,
    elastic: Option<Elastic>,
}

/// Who is there.
#[derive(Debug, Default)]
struct Roll {
    /// Numbers that nobody has.
    free: Vec<usize>,
    /// How many are about to give theirs back.
    leaving: usize,
}

/// How a crew grows and shrinks.
pub(crate) struct Elastic {
    pub(crate) min: usize,
    pub(crate) max: usize,
    pub(crate) idle_timeout: Duration,
    /// Starts the thread of a worker, which is to run [`work_enlisted`](crate::worker::work_enlisted).
    pub(crate) start: Start,
}

/// Starts the thread of the worker with this number.
pub(crate) type Start = Box<dyn Fn(&Arc<Core>, usize) -> io::Result<()> + Send + Sync>;

impl Crew {
    /// All of them are there from the beginning, and stay.
    pub(crate) fn fixed(workers: usize) -> Self {
        Self {
            alive: AtomicUsize::new(workers),
            roll: Mutex::new(Roll::default()),
            elastic: None,
        }
    }

    /// Nobody is there yet.
    pub(crate) fn elastic(elastic: Elastic) -> Self {
        // The lowest number is taken first.
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

    /// Do threads come and go?
    pub(crate) fn is_elastic(&self) -> bool {
        self.elastic.is_some()
    }

    /// How long an idle one sleeps before it asks to leave.
    pub(crate) fn idle_timeout(&self) -> Option<Duration> {
        self.elastic.as_ref().map(|elastic| elastic.idle_timeout)
    }

    /// Can it take one more? To be asked after the work was published, with a `SeqCst` fence between.
    pub(crate) fn has_room(&self) -> bool {
        self.elastic
            .as_ref()
            .is_some_and(|elastic| self.alive() < elastic.max)
    }

    /// Starts one more worker if there is room.
    ///
    /// # Errors
    /// The system does not start a thread.
    pub(crate) fn grow(&self, core: &Arc<Core>) -> io::Result<()> {
        let Some(elastic) = &self.elastic else {
            return Ok(());
        };
        let Some(worker) = self.join() else {
            return Ok(());
        };
        // Counted as one that looks for work from here on, so that the next submitter does not start another one for the same job.
        core.patience().enlist();
        (elastic.start)(core, worker).inspect_err(|_| {
            core.patience().discharge();
            self.leave(worker);
        })
    }

    /// Starts those who are always there.
    ///
    /// # Errors
    /// The system does not start a thread.
    pub(crate) fn muster(&self, core: &Arc<Core>) -> io::Result<()> {
        let min = self.elastic.as_ref().map_or(0, |elastic| elastic.min);
        (0..min).try_for_each(|_| self.grow(core))
    }

    /// A worker has been idle for long. `true` if it may leave: it is to give its number back when it has nothing more to do, by
    /// [`resign`](Self::resign).
    pub(crate) fn may_leave(&self, has_work: impl FnOnce() -> bool) -> bool {
        let Some(elastic) = &self.elastic else {
            return false;
        };
        // Not for the sake of the job, which would be seen later as well, but of the time until then.
        if has_work() {
            return false;
        }
        let mut roll = self.roll.lock();
        let may = self.alive.load(Ordering::Relaxed) - roll.leaving > elastic.min;
        roll.leaving += usize::from(may);
        may
    }

    /// Worker `me`, which may leave, is gone. To be followed by a look at the queue, with a `SeqCst` fence between.
    pub(crate) fn resign(&self, me: usize) {
        self.give_back(me, 1);
    }

    /// Worker `me` is gone, or was not started.
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

    /// Counts one in, and gives it a number.
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
