//! Tests for bugs of other pools. Each would show the same bug in this crate.
//!
//! Tests that need a system that fails to start threads, or that count threads, are in `src/blocking/tests.rs`. The races are in
//! the models.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use pool_cpu::{BlockingPool, CpuPool, JobHandle, Shutdown};
use rayon::prelude::*;

const LONG: Duration = Duration::from_secs(20);

fn pool(threads: usize, queue: usize) -> CpuPool {
    CpuPool::builder()
        .threads(threads)
        .queue(queue)
        .build()
        .unwrap()
}

/// Submits a job that holds its worker until it is released.
fn hold(cpu: &CpuPool) -> (mpsc::Sender<()>, JobHandle<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let (started, begun) = mpsc::channel();
    let job = cpu
        .try_run(move || {
            started.send(()).unwrap();
            gate.recv().ok();
        })
        .unwrap();
    begun.recv().unwrap();
    (go, job)
}

/// Runs `f` on its own thread, and fails if `f` takes long. So a deadlock fails the test.
fn in_time<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(f()));
    wait.recv_timeout(LONG).expect(HANGS)
}

/// Runs `f` `times` times on its own thread, and fails if one run takes long.
fn each_in_time(times: usize, mut f: impl FnMut(usize) + Send + 'static) {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || {
        (0..times).try_for_each(|n| {
            f(n);
            done.send(())
        })
    });
    for _ in 0..times {
        wait.recv_timeout(LONG).expect(HANGS);
    }
}

const HANGS: &str = "it hangs, or has panicked";

fn poll_once<F: Future + Unpin>(future: &mut F, waker: &Waker) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(waker))
}

// tokio #8056: a submitter saw a worker as busy while it became idle, and the job stayed behind.
#[test]
fn a_job_that_comes_as_the_only_worker_goes_to_sleep_is_run() {
    let cpu = CpuPool::builder()
        .threads(1)
        .idle_yields(0)
        .build()
        .unwrap();
    each_in_time(5000, move |n| {
        assert_eq!(cpu.run_sync(move || n).unwrap(), n);
    });
}

// tokio #7910, #6439: a shutdown counted idle threads twice, and went wrong.
#[test]
fn a_shutdown_among_threads_that_leave_anyway_counts_each_once() {
    each_in_time(200, |_| {
        let pool = BlockingPool::builder()
            .max_threads(4)
            .idle_timeout(Duration::from_micros(100))
            .idle_yields(0)
            .build()
            .unwrap();
        for job in (0..4)
            .map(|_| pool.try_run(|| ()).unwrap())
            .collect::<Vec<_>>()
        {
            job.detach();
        }
        assert!(pool.shutdown_sync(Shutdown::Drain, LONG).is_clean());
        assert_eq!((pool.status().workers, pool.status().completed), (0, 4));
    });
}

// tokio #1923, #5338, ldk-node #1007: a shutdown waited for ever for a job that had started.
#[test]
fn a_shutdown_does_not_wait_for_a_job_that_does_not_end() {
    let cpu = pool(1, 8);
    let (go, held) = hold(&cpu);
    let closing = cpu.clone();
    let within = Duration::from_millis(20);
    let report = in_time(move || closing.shutdown_sync(Shutdown::Drain, within));
    assert_eq!(report.still_running.len(), 1);
    go.send(()).unwrap();
    held.detach();
}

// The same for a shutdown by a job of the pool, which cannot end before the shutdown.
#[test]
fn a_job_that_shuts_down_its_own_pool_does_not_wait_for_itself_or_its_like() {
    let cpu = pool(2, 8);
    let (go, held) = hold(&cpu);
    // The worker of this job waits too.
    let other = cpu.clone();
    let closing = move || other.shutdown_sync(Shutdown::Drain, Duration::MAX);
    let first = cpu.try_run(closing).unwrap();
    while !cpu.is_closed() {
        thread::yield_now();
    }
    go.send(()).unwrap();
    let report = in_time(move || block_on(first)).unwrap();
    assert_eq!((report.still_running.len(), report.dropped), (1, 0));
    block_on(held).unwrap();

    let cpu = pool(2, 8);
    let (go, held) = hold(&cpu);
    let (go_too, held_too) = hold(&cpu);
    let closers: Vec<_> = (0..3)
        .map(|_| {
            let closing = cpu.clone();
            let shut_down = move || closing.shutdown_sync(Shutdown::Drain, Duration::MAX);
            cpu.try_run(shut_down).unwrap()
        })
        .collect();
    drop((go, go_too, held, held_too));
    // At most two jobs wait for the end, and the third waits for them, so no worker is left to run it.
    let reports = in_time(move || closers.into_iter().map(block_on).collect::<Vec<_>>());
    assert!(reports.iter().flatten().all(|report| !report.is_clean()));
    assert!(in_time(move || cpu.shutdown_sync(Shutdown::Drain, LONG)).threads == 0);
}

// tokio #2528, restate #562: all submitters went through one lock, so a submitter that held the lock for long delayed all others.
// In this crate no user code of a submitter runs under a lock of the pool.
#[test]
fn a_submitter_that_is_held_up_in_its_waker_holds_up_nobody() {
    struct Slow(Mutex<mpsc::Receiver<()>>, thread::ThreadId);
    impl Wake for Slow {
        fn wake(self: Arc<Self>) {
            // A future may wake itself while it is polled, to be polled once more. That happens on its own thread.
            if thread::current().id() != self.1 {
                self.0.lock().unwrap().recv().ok();
            }
        }
    }
    let cpu = pool(2, 8);
    let (go, gate) = mpsc::channel::<()>();
    let waker = Waker::from(Arc::new(Slow(Mutex::new(gate), thread::current().id())));
    let mut job = Box::pin(cpu.run(|| 1));
    assert!(poll_once(&mut job, &waker).is_pending());
    // By now, or soon, a worker is held in that waker.
    let other = cpu.clone();
    each_in_time(200, move |n| {
        assert_eq!(other.run_sync(move || n).unwrap(), n)
    });
    drop(go);
}

// solana-private-channels #247: the permit belonged to the request. A caller that disconnected freed it while the work went on, so
// the cap did not hold.
#[test]
fn a_caller_who_hangs_up_does_not_free_the_place_of_a_running_job() {
    let cpu = pool(1, 0);
    let (go, held) = hold(&cpu);
    drop(held);
    assert!(cpu.try_run(|| ()).unwrap_err().error().is_overloaded());
    go.send(()).unwrap();
    cpu.run_sync(|| ()).unwrap();
}

// argon2_elixir #19: requests that had timed out stayed in the queue, and all of them were computed.
#[tokio::test]
async fn requests_that_timed_out_are_not_computed() {
    let cpu = pool(1, 100);
    let (go, held) = hold(&cpu);
    let ran = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let ran = Arc::clone(&ran);
        let job = cpu.run(move || ran.fetch_add(1, Ordering::Relaxed));
        assert!(
            tokio::time::timeout(Duration::from_micros(10), job)
                .await
                .is_err()
        );
    }
    assert_eq!((cpu.status().queued, cpu.status().cancelled), (0, 100));
    go.send(()).unwrap();
    held.await.unwrap();
    cpu.run(|| ()).await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

// lance #7423, lancedb #3568: a job waited on a channel whose other end needed the only thread.
#[tokio::test]
async fn what_waits_for_a_worker_that_waits_for_it_gets_an_error_in_time() {
    let cpu = pool(1, 8);
    let (send, receive) = mpsc::channel::<u8>();
    let consumer = cpu.try_run(move || receive.recv().is_ok()).unwrap();
    let producer = cpu.job("producer").queue_timeout(Duration::from_millis(50));
    let error = producer.run(move || send.send(1)).await.unwrap_err();
    assert!(error.is_queue_timeout());
    assert!(
        !consumer.await.unwrap(),
        "the sender went with the job that never ran"
    );
}

// rayon #592, #1251: a lock was held over parallel work. Another job that rayon ran meanwhile, on the same stack, took the lock
// again.
#[test]
fn no_job_runs_inside_of_another_that_waits_for_its_parallel_work() {
    let cpu = pool(2, 64);
    let lock = Arc::new(Mutex::new(0_u64));
    let jobs: Vec<_> = (0..50)
        .map(|n| {
            let lock = Arc::clone(&lock);
            let sum = move || {
                let mut total = lock.lock().unwrap();
                *total += (0..2000_u64).into_par_iter().map(|k| k * n).sum::<u64>();
            };
            cpu.try_run(sum).unwrap()
        })
        .collect();
    in_time(move || {
        for job in jobs {
            block_on(job).unwrap();
        }
    });
    assert_eq!(*lock.lock().unwrap(), 1999 * 1000 * (49 * 25));
}

// gam #3466: injected jobs waited for the whole of a parallel fold.
#[test]
fn a_short_job_does_not_wait_for_a_long_parallel_one() {
    const PIECES: usize = 400;
    let cpu = pool(2, 8);
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let (started, begun) = mpsc::channel();
    let other_started = started.clone();
    let (free, freed) = mpsc::channel::<()>();
    // One worker is held, so that it cannot help. The other worker folds.
    let held = cpu.run(move || {
        other_started.send(()).unwrap();
        freed.recv().unwrap();
    });
    let long = cpu.job("fold").run_with(move |ctx| {
        started.send(()).unwrap();
        ctx.parallel(|| {
            (0..PIECES).into_par_iter().with_max_len(1).for_each(|_| {
                thread::sleep(Duration::from_millis(1));
                count.fetch_add(1, Ordering::Relaxed);
            });
        });
    });
    thread::scope(|scope| {
        let held = scope.spawn(|| block_on(held));
        begun.recv().unwrap();
        let fold = scope.spawn(|| block_on(long));
        begun.recv().unwrap();
        // This job is queued before that worker is free, so the worker takes it before it could help with the fold.
        let mut short = Box::pin(cpu.run(|| ()));
        assert!(
            short
                .as_mut()
                .poll(&mut Context::from_waker(Waker::noop()))
                .is_pending()
        );
        free.send(()).unwrap();
        block_on(short).unwrap();
        assert!(
            done.load(Ordering::Relaxed) < PIECES,
            "it waited for the whole fold"
        );
        held.join().unwrap().unwrap();
        fold.join().unwrap().unwrap();
    });
}

// reth #22993, tantivy #2411: a panic in a task of `rayon::spawn` ended the process.
#[test]
fn a_panic_in_a_task_that_a_job_spawned_on_rayon_ends_nothing() {
    let cpu = pool(2, 8);
    let (ended, wait) = mpsc::channel::<()>();
    let spawn = move || {
        rayon::spawn(move || {
            // Dropped while the panic unwinds, which wakes the receiver.
            let _ended = ended;
            std::panic::resume_unwind(Box::new("no"));
        });
    };
    cpu.run_sync(spawn).unwrap();
    assert_eq!(
        wait.recv_timeout(LONG),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
    for n in 0..100 {
        assert_eq!(cpu.run_sync(move || n).unwrap(), n);
    }
}

// The same with a payload that panics in its drop. rayon drops it where any panic would abort the process.
#[test]
fn a_panic_in_what_such_a_panic_leaves_behind_ends_nothing() {
    /// The field is dropped while the panic of `Drop` unwinds.
    struct Bomb(#[allow(dead_code)] mpsc::Sender<()>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in drop"));
        }
    }
    let cpu = pool(2, 8);
    let (bomb, wait) = mpsc::channel();
    cpu.run_sync(move || {
        rayon::spawn(move || std::panic::resume_unwind(Box::new(Bomb(bomb))));
    })
    .unwrap();
    assert_eq!(
        wait.recv_timeout(LONG),
        Err(mpsc::RecvTimeoutError::Disconnected)
    );
    for n in 0..100 {
        assert_eq!(cpu.run_sync(move || n).unwrap(), n);
    }
}

// affinitypool #45: a job submitted another job to its own pool, woke no worker, and waited.
#[test]
fn a_job_that_submits_another_wakes_a_worker_for_it() {
    let cpu = CpuPool::builder()
        .threads(2)
        .idle_yields(0)
        .build()
        .unwrap();
    each_in_time(1000, move |_| {
        let inner = cpu.clone();
        let (send, receive) = mpsc::channel();
        let waits_for_its_child = move || {
            inner.try_run(move || send.send(1)).unwrap().detach();
            receive.recv_timeout(LONG)
        };
        assert_eq!(cpu.run_sync(waits_for_its_child).unwrap(), Ok(1));
    });
}

// piscina #805: cancelling a waiting task lost the tasks behind it; #1030: no counter counted it.
#[tokio::test]
async fn giving_up_one_that_waits_loses_nobody_and_is_counted() {
    let cpu = pool(1, 16);
    let (go, held) = hold(&cpu);
    let mut jobs: Vec<_> = (0..16)
        .map(|n| Some(cpu.try_run(move || n).unwrap()))
        .collect();
    for n in [0, 5, 6, 15] {
        drop(jobs[n].take());
    }
    go.send(()).unwrap();
    held.await.unwrap();
    let mut results = Vec::new();
    for job in jobs.into_iter().flatten() {
        results.push(job.await.unwrap());
    }
    assert_eq!(results, [1, 2, 3, 4, 7, 8, 9, 10, 11, 12, 13, 14]);
    let status = cpu.status();
    assert_eq!(
        (status.cancelled, status.completed, status.queued),
        (4, 13, 0)
    );
}

// piscina #934: aborting one task ended its thread, and so the other tasks on that thread.
#[tokio::test]
async fn aborting_a_running_job_leaves_its_neighbours_alone() {
    let cpu = pool(2, 16);
    let (go_one, one) = hold(&cpu);
    let (go_two, two) = hold(&cpu);
    let queued: Vec<_> = (0..8).map(|n| cpu.try_run(move || n).unwrap()).collect();
    assert!(one.abort());
    assert!(one.await.unwrap_err().is_cancelled());
    go_one.send(()).unwrap();
    go_two.send(()).unwrap();
    two.await.unwrap();
    for (n, job) in queued.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), n);
    }
}

// crossbeam-channel #1187 (RUSTSEC-2025-0024): dropping a channel freed its content twice.
#[test]
fn what_is_in_the_queue_when_a_pool_ends_is_dropped_once() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let cpu = pool(1, 100);
    let (go, held) = hold(&cpu);
    for _ in 0..100 {
        let counted = Counted(Arc::clone(&dropped));
        cpu.try_run(move || drop(counted)).unwrap().detach();
    }
    let report = cpu.shutdown_sync(Shutdown::DropQueued, Duration::ZERO);
    assert_eq!(
        (report.dropped, dropped.load(Ordering::Relaxed)),
        (100, 100)
    );
    go.send(()).unwrap();
    drop((held, cpu));
    let manifest = include_str!("../../Cargo.toml");
    let version = manifest.split("crossbeam-channel = \"0.5.").nth(1).unwrap();
    let patch: u32 = version.split('"').next().unwrap().parse().unwrap();
    assert!(patch >= 15, "0.5.{patch} has the bug");
}

// embassy #6964, shuttle #167: the first waiter was cancelled, and the waiters behind it were not served.
#[tokio::test]
async fn the_next_in_line_is_served_when_the_first_goes_away() {
    let cpu = pool(1, 0);
    let (go, held) = hold(&cpu);
    let mut first = Box::pin(cpu.run(|| 1));
    let mut second = Box::pin(cpu.run(|| 2));
    assert!(poll_once(&mut first, Waker::noop()).is_pending());
    assert!(poll_once(&mut second, Waker::noop()).is_pending());
    go.send(()).unwrap();
    held.await.unwrap();
    // By now the place was handed to the first waiter, which is dropped with it.
    drop(first);
    assert_eq!(second.await.unwrap(), 2);
}

// tokio #4129: a waker was cloned under a lock, and its clone took the same lock again.
#[test]
fn a_waker_may_use_the_pool_whatever_is_done_with_it() {
    struct Nosy(CpuPool, AtomicUsize);
    impl Wake for Nosy {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, Ordering::Relaxed);
            self.0.status();
            self.0.try_run(|| ()).map_or_else(|_| (), JobHandle::detach);
        }
    }
    impl Drop for Nosy {
        fn drop(&mut self) {
            self.0.status();
        }
    }
    let cpu = pool(1, 1);
    let nosy = Arc::new(Nosy(cpu.clone(), AtomicUsize::new(0)));
    in_time(move || {
        for _ in 0..100 {
            let waker = Waker::from(Arc::clone(&nosy));
            let mut job = Box::pin(cpu.run(|| ()));
            let polled = Instant::now();
            while poll_once(&mut job, &waker).is_pending() && polled.elapsed() < LONG {
                thread::yield_now();
            }
        }
        assert!(nosy.1.load(Ordering::Relaxed) > 0);
    });
}

// tokio #7884, #7886: a dropped receiver left its waker behind, and with it the values that the waker kept alive.
#[test]
fn giving_up_a_job_drops_its_waker_at_once() {
    struct Quiet;
    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }
    let cpu = pool(1, 8);
    let (go, mut running) = hold(&cpu);
    let mut queued = cpu.try_run(|| ()).unwrap();
    let quiet = Arc::new(Quiet);
    let waker = Waker::from(Arc::clone(&quiet));
    assert!(poll_once(&mut running, &waker).is_pending());
    assert!(poll_once(&mut queued, &waker).is_pending());
    drop((running, queued, waker));
    assert_eq!(Arc::strong_count(&quiet), 1);
    go.send(()).unwrap();
}

// affinitypool, tokio-rayon, quickwit: a panic ended a worker, aborted the pool, or lost its payload.
#[test]
fn a_panic_anywhere_in_a_job_costs_nothing_but_the_job() {
    struct Bomb(Arc<AtomicBool>);
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
            if !thread::panicking() {
                std::panic::resume_unwind(Box::new("in drop"));
            }
        }
    }
    let cpu = pool(1, 8);
    let dropped = || Arc::new(AtomicBool::new(false));
    // A panic in the drop of what the closure has captured.
    let (gone, bomb) = (dropped(), dropped());
    let captured = Bomb(Arc::clone(&gone));
    let error = cpu.run_sync(move || drop(captured)).unwrap_err();
    assert_eq!(error.panic_message(), Some("in drop"));
    // A panic in the drop of a result that no caller wants.
    let unwanted = Bomb(Arc::clone(&bomb));
    cpu.try_run(move || unwanted).unwrap().detach();
    // The same for a result that was there before its handle was detached. It is dropped on the caller's thread, and the panic is
    // contained.
    let late = Bomb(dropped());
    let job = cpu.try_run(move || late).unwrap();
    while !job.is_finished() {
        thread::yield_now();
    }
    job.detach();
    // A panic in the drop of the payload itself.
    let payload = Bomb(dropped());
    drop(cpu.run_sync::<(), _>(move || std::panic::resume_unwind(Box::new(payload))));
    assert_eq!(cpu.run_sync(|| 7).unwrap(), 7);
    assert!(gone.load(Ordering::Relaxed) && bomb.load(Ordering::Relaxed));
    let status = cpu.status();
    assert_eq!(
        (
            status.completed,
            status.panicked,
            status.busy,
            status.workers
        ),
        (3, 2, 0, 1)
    );
}

// The same for a closure that never runs. The thread of the pool that drops it survives.
#[test]
fn a_closure_whose_drop_panics_costs_nothing_when_it_is_dropped_unrun() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("in drop"));
        }
    }
    let cpu = pool(1, 8);
    let (go, held) = hold(&cpu);
    // The job waits too long, and the keeper drops it.
    let bomb = Bomb;
    let late = cpu.job("late").queue_timeout(Duration::from_millis(5));
    let error = late.run_sync(move || drop(bomb)).unwrap_err();
    assert!(error.is_queue_timeout());
    // The caller cancels its job, and gets the panic, because the closure is the caller's own.
    let bomb = Bomb;
    let given_up = cpu.try_run(move || drop(bomb)).unwrap();
    let caller = std::panic::AssertUnwindSafe(|| drop(given_up));
    assert!(std::panic::catch_unwind(caller).is_err());
    // The shutdown drops it.
    let bomb = Bomb;
    let queued = cpu.try_run(move || drop(bomb)).unwrap();
    // The job that waited too long got its error while the queue was swept.
    while cpu.status().queued > 1 {
        std::thread::yield_now();
    }
    assert_eq!((cpu.status().queued, cpu.status().busy), (1, 1));
    let report = cpu.shutdown_sync(Shutdown::DropQueued, Duration::from_millis(5));
    assert_eq!((report.dropped, report.still_running.len()), (1, 1));
    assert!(block_on(queued).unwrap_err().is_closed());
    go.send(()).unwrap();
    block_on(held).unwrap();
    let status = cpu.status();
    assert_eq!(
        (
            status.expired,
            status.cancelled,
            status.dropped,
            status.completed
        ),
        (1, 1, 1, 1)
    );
}

// tokio #7884 again, for waiters for the end of a pool, and for waiters for a place.
#[test]
fn giving_up_a_wait_drops_its_waker_at_once() {
    struct Quiet;
    impl Wake for Quiet {
        fn wake(self: Arc<Self>) {}
    }
    let cpu = pool(1, 0);
    let (go, held) = hold(&cpu);
    let quiet = Arc::new(Quiet);
    let waker = Waker::from(Arc::clone(&quiet));
    let mut in_line = Box::pin(cpu.run(|| ()));
    let mut end = Box::pin(cpu.shutdown(Shutdown::Drain, LONG));
    assert!(poll_once(&mut in_line, &waker).is_pending());
    drop(in_line);
    assert_eq!(cpu.status().cancelled, 1, "it waited for a place");
    for _ in 0..3 {
        assert!(poll_once(&mut end, &waker).is_pending());
    }
    assert!(
        Arc::strong_count(&quiet) <= 4,
        "one for the end, one for its timer"
    );
    drop((end, waker));
    assert_eq!(Arc::strong_count(&quiet), 1);
    go.send(()).unwrap();
    block_on(held).unwrap();
}

/// Blocks this thread on a future.
fn block_on<F: Future>(future: F) -> F::Output {
    futures_util::pin_mut!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park_timeout(Duration::from_millis(10));
    }
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
