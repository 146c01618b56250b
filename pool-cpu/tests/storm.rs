//! A million jobs that are cancelled, panic, time out, exceed their budget and are shut down, on both kinds of pool and with both
//! kinds of shutdown. No job is lost or counted twice: each counter of the pool is compared with the outcomes of the jobs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    future::{Future, poll_fn},
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU8, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::Poll,
    time::{Duration, Instant},
};

use pool_cpu::{BlockingPool, CpuPool, Ctx, Error, JobBuilder, Shutdown, Status, Workers};

const TASKS: u64 = 64;
/// How many jobs each of the four storms submits before the shutdown (`PEACEFUL`) and around it (`TROUBLED`). Each task submits the
/// same number.
const PEACEFUL: u64 = 2000 * TASKS;
const TROUBLED: u64 = 1907 * TASKS;
const LONG: Duration = Duration::from_secs(30);

/// What the caller saw of a job.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Saw {
    Ok,
    Panicked,
    Expired,
    Overrun,
    Aborted,
    Rejected,
    /// The pool was closed, and the job had no place.
    Refused,
    /// The pool was closed, and the job had a place or waited for a place. The caller cannot tell which.
    Closed,
    /// The caller dropped its future.
    GivenUp,
    /// The caller detached the job.
    Detached,
}

const SIGHTS: usize = 10;

/// The outcomes of all jobs: for each `Saw`, how many jobs did not run, and how many ran.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    /// How many closures are alive.
    alive: AtomicU64,
    /// Whether the pool is certainly closed.
    closed: AtomicBool,
    jobs: [[AtomicU64; 2]; SIGHTS],
}

/// The outcome of one job. Its caller and its closure share it, and the last drop records it.
struct Fate {
    seen: Arc<Seen>,
    saw: AtomicU8,
    ran: AtomicU8,
}

/// Each closure captures a ticket, which counts that the closure is dropped once.
struct Ticket(Arc<Fate>);

/// What a job does.
#[derive(Clone, Copy)]
enum Does {
    Nothing,
    Panics,
    /// Runs until it is cancelled, by its budget or by its caller.
    Lingers,
}

impl Fate {
    fn of_next(seen: &Arc<Seen>) -> Arc<Self> {
        seen.asked.fetch_add(1, Relaxed);
        Arc::new(Self {
            seen: Arc::clone(seen),
            saw: AtomicU8::new(Saw::GivenUp as u8),
            ran: AtomicU8::new(0),
        })
    }

    fn saw(&self, what: Saw) {
        self.saw.store(what as u8, Relaxed);
    }

    /// Records an answer. `closed` is what the error `is_closed` means here.
    fn answered(&self, answer: Result<u64, Error>, closed: Saw) {
        self.saw(match answer {
            Ok(_) => Saw::Ok,
            Err(error) if error.is_panic() => Saw::Panicked,
            Err(error) if error.is_queue_timeout() => Saw::Expired,
            Err(error) if error.is_run_timeout() => Saw::Overrun,
            Err(error) if error.is_cancelled() => Saw::Aborted,
            Err(error) if error.is_overloaded() => Saw::Rejected,
            Err(error) if error.is_closed() => closed,
            Err(error) => panic!("{error}"),
        });
    }
}

impl Drop for Fate {
    fn drop(&mut self) {
        let (saw, ran) = (*self.saw.get_mut(), *self.ran.get_mut());
        self.seen.jobs[usize::from(saw)][usize::from(ran)].fetch_add(1, Relaxed);
    }
}

impl Ticket {
    fn new(fate: &Arc<Fate>) -> Self {
        fate.seen.alive.fetch_add(1, Relaxed);
        Self(Arc::clone(fate))
    }

    fn run(self, does: Does, is_cancelled: impl Fn() -> bool) -> u64 {
        self.0.ran.store(1, Relaxed);
        match does {
            Does::Nothing => 1,
            // Without the panic hook, which would print.
            Does::Panics => resume_unwind(Box::new("storm")),
            Does::Lingers => {
                while !is_cancelled() {
                    std::thread::yield_now();
                }
                2
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.seen.alive.fetch_sub(1, Relaxed);
    }
}

impl Seen {
    fn unrun(&self, saw: Saw) -> u64 {
        self.jobs[saw as usize][0].load(Relaxed)
    }

    fn ran(&self, saw: Saw) -> u64 {
        self.jobs[saw as usize][1].load(Relaxed)
    }

    fn all(&self, ran: usize) -> u64 {
        self.jobs.iter().map(|jobs| jobs[ran].load(Relaxed)).sum()
    }

    /// Compares the counters of a pool with the outcomes of the submitted jobs, which have all ended.
    fn reconcile(&self, status: &Status) {
        assert_eq!(self.alive.load(Relaxed), 0, "a closure is left");
        assert_eq!(
            self.all(0) + self.all(1),
            self.asked.load(Relaxed),
            "a job is left"
        );
        for saw in [Saw::Ok, Saw::Panicked, Saw::Overrun] {
            assert_eq!(self.unrun(saw), 0, "an answer without a run");
        }
        for saw in [Saw::Expired, Saw::Rejected, Saw::Refused, Saw::Closed] {
            assert_eq!(
                self.ran(saw),
                0,
                "it ran, and its caller was told that it did not"
            );
        }

        // The jobs that ran. How the detached ones ended is unknown.
        assert_eq!(status.completed + status.panicked, self.all(1));
        let alone = self.ran(Saw::GivenUp) + self.ran(Saw::Detached) + self.ran(Saw::Aborted);
        let overrun = self.ran(Saw::Overrun);
        within(
            "completed",
            status.completed,
            self.ran(Saw::Ok),
            alone + overrun,
        );
        within(
            "panicked",
            status.panicked,
            self.ran(Saw::Panicked),
            alone + overrun,
        );
        within("overrun", status.overrun, overrun, alone);
        let waits: u64 = status.jobs.iter().map(|job| job.wait.count()).sum();
        assert_eq!(waits, self.all(1));

        // The jobs that did not run. How the unseen ones ended is unknown, but each ended in one way.
        let (given_up, detached) = (self.unrun(Saw::GivenUp), self.unrun(Saw::Detached));
        let closed = self.unrun(Saw::Closed);
        assert_eq!(status.rejected, self.unrun(Saw::Rejected));
        within(
            "cancelled",
            status.cancelled,
            self.unrun(Saw::Aborted),
            given_up,
        );
        within(
            "expired",
            status.expired,
            self.unrun(Saw::Expired),
            given_up + detached,
        );
        within("dropped", status.dropped, 0, closed + given_up + detached);
        let unrun = self.all(0) - self.unrun(Saw::Refused);
        // Jobs that saw the closed pool and had no place are not counted. Before a shutdown there are none.
        within("unrun", unrun, unrun_of(status), closed);
        assert_eq!(status.failed_starts, 0);
    }

    /// Fails if one of the outcomes did not occur.
    fn was_stormy(&self, status: &Status) {
        let counters = [
            ("ok", self.ran(Saw::Ok)),
            ("panicked", status.panicked),
            ("overrun", status.overrun),
            ("aborted", self.unrun(Saw::Aborted)),
            ("given up unrun", self.unrun(Saw::GivenUp)),
            ("cancelled", status.cancelled),
            ("expired", status.expired),
            ("rejected", status.rejected),
            ("refused", self.unrun(Saw::Refused)),
        ];
        for (what, counter) in counters {
            assert!(counter > 0, "the storm had no job that was {what}");
        }
    }
}

/// Returns how many jobs a pool reports as not run.
fn unrun_of(status: &Status) -> u64 {
    status.cancelled + status.expired + status.rejected + status.dropped
}

/// Checks that `count` is at least `sure`, and at most `sure + unsure`.
fn within(what: &str, count: u64, sure: u64, unsure: u64) {
    assert!(
        (sure..=sure + unsure).contains(&count),
        "{count} {what}, and not {sure} to {}",
        sure + unsure
    );
}

/// Submits one job, in a way that `random` selects.
async fn ask_once(job: JobBuilder<'_>, is_closed: bool, fate: Arc<Fate>, does: Does, random: u64) {
    // When the pool is closed, a job that waits for a place is refused, and a job that has a place is dropped. The caller cannot
    // tell which.
    let closed = if is_closed { Saw::Refused } else { Saw::Closed };
    let ticket = Ticket::new(&fate);
    match (random >> 32) % 8 {
        // The future is dropped while the job waits or runs.
        0 | 1 => tokio::select! {
            biased;
            answer = job.run_with(run(ticket, does)) => fate.answered(answer, closed),
            () = tokio::task::yield_now() => fate.saw(Saw::GivenUp),
        },
        2 if !matches!(does, Does::Lingers) => {
            match job.try_run(move || ticket.run(does, || false)) {
                Ok(handle) => {
                    handle.abort();
                    fate.answered(handle.await, Saw::Closed);
                }
                Err(rejected) => fate.answered(Err(rejected.into_error()), Saw::Refused),
            }
        }
        3 if !matches!(does, Does::Lingers) => {
            match job.enqueue(move || ticket.run(does, || false)).await {
                Ok(handle) => {
                    fate.saw(Saw::Detached);
                    handle.detach();
                }
                Err(error) => fate.answered(Err(error), Saw::Refused),
            }
        }
        _ => fate.answered(job.run_with(run(ticket, does)).await, closed),
    }
}

fn run(ticket: Ticket, does: Does) -> impl FnOnce(&Ctx<'_>) -> u64 + Send + 'static {
    move |ctx| ticket.run(does, || ctx.is_cancelled())
}

/// Submits `jobs` jobs, each in another way.
async fn ask(pool: Workers, seen: Arc<Seen>, jobs: u64, seed: u64) {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..jobs {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let does = match random {
            _ if (random >> 40).is_multiple_of(4096) => Does::Lingers,
            _ if random.is_multiple_of(16) => Does::Panics,
            _ => Does::Nothing,
        };
        let label = match does {
            Does::Nothing => "plain",
            Does::Panics => "panics",
            Does::Lingers => "lingers",
        };
        let mut job = pool.job(label).tenant(seed % 4);
        if (random >> 8).is_multiple_of(4) {
            job = job.background();
        }
        if (random >> 16).is_multiple_of(8) {
            job = job.queue_timeout(Duration::from_micros((random >> 20) % 200 + 1));
        }
        if matches!(does, Does::Lingers) || (random >> 48).is_multiple_of(256) {
            job = job.budget(Duration::from_micros(100));
        }
        let closed = seen.closed.load(Acquire);
        ask_once(job, closed, Fate::of_next(&seen), does, random).await;
    }
}

/// Runs callers with arbitrary actions, first without a shutdown, and then with a shutdown in the middle.
async fn storm(pool: &Workers, how: Shutdown) {
    let seen = Arc::new(Seen::default());
    let callers = |jobs: u64| {
        let ask = |seed| {
            tokio::spawn(ask(
                pool.clone(),
                Arc::clone(&seen),
                jobs / TASKS,
                seed + jobs,
            ))
        };
        (1..=TASKS).map(ask).collect::<Vec<_>>()
    };
    for caller in callers(PEACEFUL) {
        caller.await.unwrap();
    }
    // Cancelled and detached jobs may still run. They are counted last, when their closures are dropped.
    let settled = || {
        let status = pool.status();
        let counted = status.completed + status.panicked + unrun_of(&status);
        status.busy == 0 && counted >= seen.asked.load(Relaxed)
    };
    let start = Instant::now();
    while !settled() && start.elapsed() < LONG {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    seen.reconcile(&pool.status());

    let callers = callers(TROUBLED);
    while seen.asked.load(Relaxed) < PEACEFUL + TROUBLED / 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut shutdown = pin!(pool.shutdown(how, LONG));
    let first = poll_fn(|cx| Poll::Ready(shutdown.as_mut().poll(cx))).await;
    seen.closed.store(true, Release);
    let report = match first {
        Poll::Ready(report) => report,
        Poll::Pending => shutdown.await,
    };
    for caller in callers {
        caller.await.unwrap();
    }
    let status = pool.status();
    assert!(
        report.still_running.is_empty() && report.threads == 0,
        "{report:?}"
    );
    assert!(report.dropped <= status.dropped, "{report:?}");
    assert_eq!(
        (status.queued, status.waiting, status.busy, status.workers),
        (0, 0, 0, 0)
    );
    seen.reconcile(&status);
    seen.was_stormy(&status);
    assert_eq!(seen.asked.load(Relaxed), PEACEFUL + TROUBLED);
}

fn cpu() -> CpuPool {
    let cpu = CpuPool::builder().threads(2).queue(16).max_waiters(40);
    cpu.build().unwrap()
}

/// A pool whose threads are started and ended all the time.
fn blocking() -> BlockingPool {
    BlockingPool::builder()
        .max_threads(3)
        .queue(15)
        .max_waiters(40)
        .idle_timeout(Duration::from_micros(50))
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_accounted_for_once_when_a_cpu_pool_drains() {
    storm(&cpu(), Shutdown::Drain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_accounted_for_once_when_a_cpu_pool_drops_what_waits() {
    storm(&cpu(), Shutdown::DropQueued).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_accounted_for_once_when_a_blocking_pool_drains() {
    storm(&blocking(), Shutdown::Drain).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_is_accounted_for_once_when_a_blocking_pool_drops_what_waits() {
    storm(&blocking(), Shutdown::DropQueued).await;
}
