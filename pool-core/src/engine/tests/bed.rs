//! A kernel with resources that are counted.
#![cfg_attr(
    not(pool_loom),
    allow(dead_code, reason = "a part is for the models only")
)]

use std::{
    sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    engine::{
        Backoff, Fast, Keeping, Kernel, Limits, Opened, Polled, Put, Queued, Refusal, Seat, Slot,
        Take, Ticket, Work,
    },
    moment::Moment,
    sync::Arc,
};

pub(super) type TestKernel = Kernel<Item, &'static str>;
pub(super) type TestSlot = Box<Slot<Item, &'static str>>;

/// What the resources of one test share. The atomics are plain ones: models do not explore the bookkeeping of the test.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    alive: AtomicU32,
    opened: AtomicU32,
    /// How many opens are still to fail.
    fail: AtomicU32,
    now_ms: AtomicU32,
}

/// A resource, which counts itself.
#[derive(Debug)]
pub(super) struct Item(std::sync::Arc<Ledger>);

impl Drop for Item {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, SeqCst);
    }
}

/// A kernel, and the ledger of its resources.
#[derive(Clone, Debug)]
pub(super) struct Bed {
    pub(super) kernel: Arc<TestKernel>,
    pub(super) ledger: std::sync::Arc<Ledger>,
    max_size: u32,
    /// The word of the board at which gets begin their search.
    first_word: usize,
    /// Takes up the work that is left, for a test that does it later. If `None`, the work is done at once.
    later: Option<std::sync::Arc<Mutex<Later>>>,
}

/// Work to be done: a pool does it on tasks.
#[cfg_attr(pool_loom, allow(dead_code, reason = "no model defers"))]
#[derive(Debug, Default)]
pub(super) struct Later {
    pub(super) opens: Vec<Seat<Item, &'static str>>,
    pub(super) checks: Vec<TestSlot>,
    pub(super) closes: Vec<TestSlot>,
    /// How many resources have been closed, or are to be.
    pub(super) closed: u64,
}

pub(super) const START: Moment = Moment::from_nanos(1_000_000_000);

pub(super) fn limits(max_size: u32) -> Limits {
    let keeping = Keeping {
        min_idle: 0,
        idle_timeout: None,
        keepalive: None,
        leak_after: None,
        reclaim_after_nanos: 50_000_000,
        arm_after: Duration::from_millis(500),
        tick_nanos: 10_000_000,
        rounds: Duration::from_secs(30),
    };
    let backoff = Backoff {
        base: Duration::ZERO,
        ..Backoff::default()
    };
    Limits {
        max_size,
        max_opening: 4,
        max_waiters: 64,
        fifo: false,
        parts: 1,
        check_after_nanos: 1_000_000_000,
        open_ends_nanos: 11_000_000_000,
        shed_target: None,
        backoff,
        keeping,
    }
}

impl Bed {
    pub(super) fn new(limits: Limits) -> Self {
        let max_size = limits.max_size;
        Self {
            kernel: Arc::new(Kernel::new(limits)),
            ledger: std::sync::Arc::default(),
            max_size,
            first_word: 0,
            later: None,
        }
    }

    /// As `new`, but resources are opened, checked and closed only when the test does it.
    #[cfg_attr(pool_loom, allow(dead_code, reason = "no model defers"))]
    pub(super) fn deferring(limits: Limits) -> Self {
        Self {
            later: Some(std::sync::Arc::default()),
            ..Self::new(limits)
        }
    }

    pub(super) fn later(&self) -> MutexGuard<'_, Later> {
        let later = self.later.as_ref().expect("it defers");
        later.lock().expect("no test panics with it")
    }

    /// The same bed, as seen by a thread whose gets begin at this word of the board.
    pub(super) fn beginning_at(&self, first_word: usize) -> Self {
        Self {
            first_word,
            ..self.clone()
        }
    }

    pub(super) fn fail_first(&self, opens: u32) {
        self.ledger.fail.store(opens, SeqCst);
    }

    pub(super) fn alive(&self) -> u32 {
        self.ledger.alive.load(SeqCst)
    }

    pub(super) fn opened(&self) -> u32 {
        self.ledger.opened.load(SeqCst)
    }

    /// Opens a resource, and checks the bound.
    pub(super) fn open(&self) -> Result<Item, &'static str> {
        if self
            .ledger
            .fail
            .fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err("down");
        }
        let alive = self.ledger.alive.fetch_add(1, SeqCst) + 1;
        assert!(
            alive <= self.max_size,
            "the bound was exceeded: {alive} of {}",
            self.max_size
        );
        self.ledger.opened.fetch_add(1, SeqCst);
        Ok(Item(std::sync::Arc::clone(&self.ledger)))
    }

    /// Does at once what the pool does on its tasks.
    pub(super) fn perform(&self, work: Work<Item, &'static str>) {
        work.wakers.into_iter().for_each(std::task::Waker::wake);
        for (slot, _) in work.closes {
            self.close_one(slot);
        }
        if self.later.is_some() {
            let mut later = self.later();
            later.checks.extend(work.checks);
            later.opens.extend(work.opens);
            return;
        }
        for slot in work.checks {
            self.settle(self.kernel.put_clean(slot, self.now(), Duration::ZERO));
        }
        for seat in work.opens {
            match self.open() {
                Ok(item) => {
                    let opened = Opened {
                        item,
                        expires_at: Moment::NEVER,
                        took: Duration::ZERO,
                    };
                    let (put, work) = Kernel::opened(&self.kernel, seat, opened, self.now());
                    self.settle(put);
                    self.perform(work);
                }
                Err(error) => self.perform(Kernel::open_failed(
                    &self.kernel,
                    seat,
                    error,
                    self.now(),
                    0.0,
                )),
            }
        }
    }

    pub(super) fn settle(&self, put: Put<Item, &'static str>) {
        match put {
            Put::Kept => {}
            Put::Wake(waker) => waker.wake(),
            Put::Close(slot, _) => self.close_one(slot),
            Put::Work(work) => self.perform(*work),
        }
    }

    /// Begins the close of a slot.
    pub(super) fn close_one(&self, slot: TestSlot) {
        if self.later.is_some() {
            let mut later = self.later();
            later.closed += 1;
            later.closes.push(slot);
        }
    }

    /// Returns a slot as the pool's lease does: without the lock, unless it is called to the lock.
    pub(super) fn put(&self, slot: TestSlot) {
        if let Err(slot) = Kernel::put_fast(slot, self.now()) {
            self.settle(self.kernel.put(slot, self.now(), None));
        }
    }

    /// Takes a slot without the lock, if there is one that can be handed out as it is.
    pub(super) fn take(&self) -> Option<TestSlot> {
        match self.kernel.take(self.now(), self.first_word) {
            Fast::Ready(slot) => Some(slot),
            Fast::Stale(slot) => {
                self.perform(Kernel::put_unused(&self.kernel, slot, self.now()));
                None
            }
            Fast::Nothing => None,
        }
    }

    pub(super) fn close(&self) {
        self.perform(self.kernel.close());
    }

    pub(super) fn wait(&self) -> Wait {
        Wait {
            bed: self.clone(),
            id: None,
        }
    }

    /// The current time, which the test sets.
    pub(super) fn now(&self) -> Moment {
        START + Duration::from_millis(self.ledger.now_ms.load(SeqCst).into())
    }

    #[cfg_attr(pool_loom, allow(dead_code, reason = "in a model no time passes"))]
    pub(super) fn advance(&self, ms: u32) {
        self.ledger.now_ms.fetch_add(ms, SeqCst);
    }

    /// Takes an idle slot, or panics.
    pub(super) fn lease(&self) -> TestSlot {
        let mut context = Context::from_waker(std::task::Waker::noop());
        for _ in 0..4 {
            let mut wait = self.wait();
            for _ in 0..4 {
                if let Poll::Ready(answer) = wait.poll(&mut context) {
                    return answer.expect("it can be opened");
                }
            }
        }
        panic!("nothing came");
    }

    /// Closes the pool after everything was returned.
    pub(super) fn finish(self) {
        self.close();
        let snapshot = self.kernel.snapshot();
        let left = [
            snapshot.idle,
            snapshot.leased,
            snapshot.opening,
            snapshot.checking,
            snapshot.resetting,
            snapshot.closing,
        ];
        assert_eq!(
            (left, snapshot.waiting),
            ([0; 6], 0),
            "something was left behind"
        );
        assert_eq!(self.alive(), 0, "a resource was lost");
    }
}

/// One get, run as the pool's future runs it.
pub(super) struct Wait {
    bed: Bed,
    id: Option<Ticket<Item, &'static str>>,
}

impl Wait {
    #[cfg(pool_loom)]
    pub(super) fn bed(&self) -> &Bed {
        &self.bed
    }

    pub(super) fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<TestSlot, Refusal<&'static str>>> {
        let bed = self.bed.clone();
        let Some(id) = &self.id else {
            if let Some(slot) = bed.take() {
                return Poll::Ready(Ok(slot));
            }
            return match Kernel::take_or_wait(
                &bed.kernel,
                bed.now(),
                || bed.now(),
                context.waker().clone(),
            ) {
                Take::Ready(slot) => Poll::Ready(Ok(slot)),
                Take::Refused(refusal, work) => {
                    work.into_iter().for_each(|work| bed.perform(*work));
                    Poll::Ready(Err(refusal))
                }
                Take::Queued(Queued { id, work, .. }) => {
                    self.id = Some(id);
                    work.into_iter().for_each(|work| bed.perform(*work));
                    Poll::Pending
                }
            };
        };
        let answer = match id.fetch(|| None) {
            Some(answer) => answer,
            None => match Kernel::poll(&bed.kernel, id, context.waker(), bed.now()) {
                Polled::Granted(slot) => {
                    bed.kernel.count_wait(None);
                    Ok(slot)
                }
                Polled::Refused(refusal) => Err(refusal),
                Polled::Pending { work, .. } => {
                    work.into_iter().for_each(|work| bed.perform(*work));
                    return Poll::Pending;
                }
            },
        };
        self.id = None;
        Poll::Ready(answer)
    }
}

impl Wait {
    /// Ends the wait at its deadline.
    #[cfg(not(any(pool_loom, pool_shuttle)))]
    pub(super) fn time_out(
        &mut self,
    ) -> Result<TestSlot, (Option<Refusal<&'static str>>, crate::observe::Phase)> {
        let id = self.id.take().expect("it is in line");
        self.bed.kernel.time_out(id, Duration::ZERO)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if let Some(id) = self.id.take().filter(|_| !std::thread::panicking()) {
            self.bed
                .settle(self.bed.kernel.cancel(id, || self.bed.now()));
        }
    }
}
