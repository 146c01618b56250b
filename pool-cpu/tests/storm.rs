//! A million jobs that are given up, panic, time out and are shut down, and not one that is lost or
//! counted twice.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use pool_cpu::{CpuPool, Error, Shutdown};

const JOBS: u64 = 1_000_000;
const TASKS: u64 = 64;

/// What became of the jobs, as their callers saw it.
#[derive(Default)]
struct Seen {
    asked: AtomicU64,
    /// Closures that are alive.
    alive: AtomicU64,
    ran: AtomicU64,
    ok: AtomicU64,
    panicked: AtomicU64,
    expired: AtomicU64,
    aborted: AtomicU64,
    closed: AtomicU64,
    rejected: AtomicU64,
    /// Nobody waited to see.
    unseen: AtomicU64,
}

/// Goes with each closure, and counts that it goes once.
struct Ticket(Arc<Seen>);

impl Ticket {
    fn new(seen: &Arc<Seen>) -> Self {
        seen.asked.fetch_add(1, Relaxed);
        seen.alive.fetch_add(1, Relaxed);
        Self(Arc::clone(seen))
    }

    fn run(self, panics: bool) -> u64 {
        self.0.ran.fetch_add(1, Relaxed);
        if panics {
            // Without the hook, which would print.
            resume_unwind(Box::new("storm"));
        }
        1
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Relaxed);
    }
}

impl Seen {
    fn count(&self, answer: Result<u64, Error>) {
        let counter = match answer {
            Ok(_) => &self.ok,
            Err(error) if error.is_panic() => &self.panicked,
            Err(error) if error.is_queue_timeout() => &self.expired,
            Err(error) if error.is_cancelled() => &self.aborted,
            Err(error) if error.is_closed() => &self.closed,
            Err(error) if error.is_overloaded() => &self.rejected,
            Err(error) => panic!("{error}"),
        };
        counter.fetch_add(1, Relaxed);
    }
}

/// Asks for `jobs` jobs, each in another way.
async fn ask(cpu: CpuPool, seen: Arc<Seen>, jobs: u64, seed: u64) {
    let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for _ in 0..jobs {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let ticket = Ticket::new(&seen);
        let panics = random.is_multiple_of(16);
        let mut job = cpu
            .job(if panics { "panics" } else { "plain" })
            .tenant(seed % 4);
        if (random >> 8).is_multiple_of(4) {
            job = job.background();
        }
        if (random >> 16).is_multiple_of(8) {
            job = job.queue_timeout(Duration::from_micros((random >> 20) % 200 + 1));
        }
        match (random >> 32) % 8 {
            // Given up while it waits or runs.
            0 | 1 => {
                let run = job.run(move || ticket.run(panics));
                tokio::select! {
                    biased;
                    answer = run => seen.count(answer),
                    () = tokio::task::yield_now() => {
                        seen.unseen.fetch_add(1, Relaxed);
                    }
                }
            }
            2 => match job.try_run(move || ticket.run(panics)) {
                Ok(handle) => {
                    handle.abort();
                    seen.count(handle.await);
                }
                Err(rejected) => seen.count(Err(rejected.into_error())),
            },
            3 => match job.enqueue(move || ticket.run(panics)).await {
                Ok(handle) => {
                    handle.detach();
                    seen.unseen.fetch_add(1, Relaxed);
                }
                Err(error) => seen.count(Err(error)),
            },
            _ => seen.count(job.run(move || ticket.run(panics)).await),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_of_a_million_is_accounted_for_once() {
    let cpu = CpuPool::builder().threads(2).queue(16).build().unwrap();
    let seen = Arc::new(Seen::default());
    let ask = |seed| tokio::spawn(ask(cpu.clone(), Arc::clone(&seen), JOBS / TASKS, seed));
    let tasks: Vec<_> = (1..=TASKS).map(ask).collect();
    while seen.asked.load(Relaxed) < JOBS / 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let report = cpu.shutdown(Shutdown::Drain, Duration::from_secs(30)).await;
    assert!(report.still_running.is_empty(), "{report:?}");
    for task in tasks {
        task.await.unwrap();
    }

    let of = |counter: &AtomicU64| counter.load(Relaxed);
    assert_eq!(of(&seen.alive), 0, "every closure was dropped once");
    let answers = [
        &seen.ok,
        &seen.panicked,
        &seen.expired,
        &seen.aborted,
        &seen.closed,
        &seen.rejected,
    ];
    let answered: u64 = answers.map(of).iter().sum();
    assert_eq!(answered + of(&seen.unseen), of(&seen.asked));
    assert_eq!(of(&seen.asked), JOBS);
    let stats = cpu.stats();
    assert_eq!(
        stats.completed + stats.panicked,
        of(&seen.ran),
        "each that ran was counted once"
    );
    assert!(stats.completed >= of(&seen.ok) && stats.panicked >= of(&seen.panicked));
    assert_eq!(
        (stats.queued, stats.waiting, stats.busy, stats.workers),
        (0, 0, 0, 0)
    );
    let waits: u64 = stats.jobs.iter().map(|job| job.wait.count()).sum();
    assert_eq!(waits, of(&seen.ran));
    for (what, counter) in [
        ("closed", &seen.closed),
        ("aborted", &seen.aborted),
        ("expired", &seen.expired),
    ] {
        assert!(of(counter) > 0, "the storm had no job that was {what}");
    }
}
