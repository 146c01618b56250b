#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    io,
    pin::pin,
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::block_on::block_on;

const LONG: Duration = Duration::from_secs(20);

/// Makes the builder start threads only while `allowed` is above zero, like a system at its limit.
fn rationed(builder: BlockingBuilder, allowed: &Arc<AtomicUsize>) -> BlockingBuilder {
    let (allowed, start) = (Arc::clone(allowed), Arc::clone(&builder.spawn));
    let take = move |left: usize| left.checked_sub(1);
    let spawn = move |thread: thread::Builder, main: Box<dyn FnOnce() + Send>| {
        allowed
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
            .map_err(|_| io::Error::from(io::ErrorKind::WouldBlock))?;
        start(thread, main)
    };
    BlockingBuilder {
        spawn: Arc::new(spawn),
        ..builder
    }
}

/// Reports that it was woken.
struct Told(mpsc::Sender<()>);

impl Wake for Told {
    fn wake(self: Arc<Self>) {
        self.0.send(()).ok();
    }
}

fn eventually(what: &str, test: impl Fn() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{what} did not come true within 10 s"
        );
        thread::sleep(Duration::from_millis(1));
    }
}

// The system refuses a thread (tokio #8406, #8408: the job was orphaned; #2309: it panicked).
#[test]
fn a_job_survives_that_no_thread_could_be_started_for_it() {
    let allowed = Arc::new(AtomicUsize::new(0));
    let pool = rationed(BlockingPool::builder().max_threads(4), &allowed)
        .build()
        .unwrap();
    let jobs: Vec<_> = (0..4).map(|n| pool.try_run(move || n).unwrap()).collect();
    assert_eq!(pool.core().crew().alive(), 0);
    assert!(pool.core().counters().failed_starts.get() >= 1);
    allowed.store(1, Ordering::SeqCst);
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(block_on(job).unwrap(), n);
    }
    assert_eq!(pool.core().crew().alive(), 1);
}

// blocking #24: a failed start poisoned a mutex, and every later call panicked.
#[test]
fn a_failed_start_does_not_spoil_the_next_call() {
    let allowed = Arc::new(AtomicUsize::new(1));
    let pool = rationed(BlockingPool::builder().max_threads(4), &allowed)
        .build()
        .unwrap();
    for n in 0..100 {
        assert_eq!(pool.run_sync(move || n).unwrap(), n);
    }
}

#[test]
fn a_shutdown_drains_a_queue_that_no_thread_could_be_started_for() {
    let allowed = Arc::new(AtomicUsize::new(0));
    let pool = rationed(BlockingPool::builder().max_threads(4), &allowed)
        .build()
        .unwrap();
    let job = pool.try_run(|| 7).unwrap();
    let closing = pool.clone();
    let shutdown = thread::spawn(move || {
        closing.shutdown_sync(crate::Shutdown::Drain, Duration::from_secs(10))
    });
    eventually("closed", || pool.is_closed());
    allowed.store(1, Ordering::SeqCst);
    assert!(shutdown.join().unwrap().is_clean());
    assert_eq!(block_on(job).unwrap(), 7);
}

// The keeper ended the last job and its own thread, and the deadline of the shutdown was lost.
#[test]
fn a_shutdown_ends_with_the_last_job_that_expires_where_no_thread_is_started() {
    let pool = rationed(BlockingPool::builder(), &Arc::default())
        .build()
        .unwrap();
    let short = pool.job("").queue_timeout(Duration::from_millis(50));
    let job = short.try_run(|| ()).unwrap();
    let (done, wait) = mpsc::channel();
    for _ in 0..2 {
        let (closing, done) = (pool.clone(), done.clone());
        thread::spawn(move || done.send(closing.shutdown_sync(crate::Shutdown::Drain, LONG)));
    }
    for _ in 0..2 {
        assert!(wait.recv_timeout(LONG / 2).unwrap().is_clean());
    }
    assert!(block_on(job).unwrap_err().is_queue_timeout());
}

#[test]
fn a_shutdown_ends_that_has_seen_a_thread_which_was_not_started() {
    let (entered, starting) = mpsc::channel();
    let (fail, gate) = mpsc::channel::<()>();
    let (entered, gate) = (Mutex::new(entered), Mutex::new(gate));
    let builder = BlockingBuilder {
        spawn: Arc::new(move |_, _| {
            entered.lock().unwrap().send(()).ok();
            gate.lock().unwrap().recv().ok();
            Err(io::ErrorKind::WouldBlock.into())
        }),
        ..BlockingPool::builder()
    };
    let pool = builder.build().unwrap();
    let submitting = pool.clone();
    let submitter = thread::spawn(move || submitting.try_run(|| ()).unwrap());
    starting.recv().unwrap();
    let (told, wait) = mpsc::channel();
    let waker = Waker::from(Arc::new(Told(told)));
    let mut cx = Context::from_waker(&waker);
    let mut shutdown = pin!(pool.shutdown(crate::Shutdown::DropQueued, LONG));
    assert!(shutdown.as_mut().poll(&mut cx).is_pending(), "one is alive");
    drop(fail);
    let job = submitter.join().unwrap();
    wait.recv_timeout(LONG / 2).unwrap();
    match shutdown.as_mut().poll(&mut cx) {
        Poll::Ready(report) => assert_eq!(report.dropped, 1),
        Poll::Pending => panic!("this was the end"),
    }
    assert!(block_on(job).unwrap_err().is_closed());
}

#[test]
fn a_minimum_that_cannot_be_started_is_an_error_from_build() {
    let allowed = Arc::new(AtomicUsize::new(1));
    let error = rationed(BlockingPool::builder().min_threads(2), &allowed)
        .build()
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("min_threads is 2, but must be as many as the system can start"),
        "{error}"
    );
}

// piscina #1037 and #1041: a cold burst got one worker after another.
#[test]
fn a_cold_burst_gets_a_thread_for_each_job_at_once() {
    let pool = BlockingPool::builder().max_threads(8).build().unwrap();
    // No job passes the barrier before all eight run.
    let barrier = Arc::new(Barrier::new(8));
    let jobs: Vec<_> = (0..8)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            pool.try_run(move || {
                barrier.wait();
            })
            .unwrap()
        })
        .collect();
    for job in jobs {
        block_on(job).unwrap();
    }
}

// blocking 1.7.0: idle threads ended only above the limit, so none ever ended.
#[test]
fn idle_threads_end_down_to_the_minimum() {
    let (started, stopped) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
    let (up, down) = (Arc::clone(&started), Arc::clone(&stopped));
    let pool = BlockingPool::builder()
        .min_threads(1)
        .max_threads(6)
        .idle_timeout(Duration::from_millis(20))
        .on_thread_start(move |_| *up.lock().unwrap() += 1)
        .on_thread_stop(move |_| *down.lock().unwrap() += 1)
        .build()
        .unwrap();
    let barrier = Arc::new(Barrier::new(6));
    let jobs: Vec<_> = (0..6)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            pool.try_run(move || {
                barrier.wait();
            })
            .unwrap()
        })
        .collect();
    for job in jobs {
        block_on(job).unwrap();
    }
    eventually("one thread left", || pool.core().crew().alive() == 1);
    eventually("five ended", || *stopped.lock().unwrap() == 5);
    assert_eq!(*started.lock().unwrap(), 6);
    assert_eq!(pool.run_sync(|| 1).unwrap(), 1);
}

#[test]
fn a_thread_keeps_its_number_until_its_stop_hook_is_done_and_a_shutdown_waits_for_that() {
    let (entered, stopping) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (entered, gate) = (Mutex::new(entered), Mutex::new(gate));
    let pool = BlockingPool::builder()
        .max_threads(2)
        .idle_timeout(Duration::from_millis(1))
        .on_thread_stop(move |worker| {
            entered.lock().unwrap().send(worker).ok();
            gate.lock().unwrap().recv().ok();
        })
        .build()
        .unwrap();
    pool.run_sync(|| ()).unwrap();
    assert_eq!(stopping.recv_timeout(LONG), Ok(0));
    let next = pool.job("").run_with(|ctx| ctx.worker());
    assert_eq!(block_on(next).unwrap(), 1, "the first still has its number");
    let report = pool.shutdown_sync(crate::Shutdown::Drain, Duration::from_millis(20));
    assert!(!report.is_clean() && report.threads >= 1, "{report:?}");
    drop(go);
    assert!(pool.shutdown_sync(crate::Shutdown::Drain, LONG).is_clean());
    assert_eq!(pool.status().workers, 0);
}

// At the cap a job finds no room until that thread has left. Then it gets a thread.
#[test]
fn a_job_that_comes_while_the_only_thread_stops_gets_the_next() {
    let (entered, stopping) = mpsc::channel();
    let (go, gate) = mpsc::channel::<()>();
    let (entered, gate) = (Mutex::new(entered), Mutex::new(gate));
    let pool = BlockingPool::builder()
        .max_threads(1)
        .idle_timeout(Duration::from_millis(1))
        .on_thread_stop(move |_| {
            entered.lock().unwrap().send(()).ok();
            gate.lock().unwrap().recv().ok();
        })
        .build()
        .unwrap();
    pool.run_sync(|| ()).unwrap();
    stopping.recv_timeout(LONG).unwrap();
    let job = pool.try_run(|| 7).unwrap();
    drop(go);
    assert_eq!(block_on(job).unwrap(), 7);
}

// The workers of this pool cannot help, so a call for help must not wake them and keep them from ending.
#[test]
fn idle_threads_end_while_a_job_calls_for_help_with_parallel_work() {
    let pool = BlockingPool::builder()
        .max_threads(4)
        .idle_timeout(Duration::from_millis(20))
        .build()
        .unwrap();
    let barrier = Arc::new(Barrier::new(4));
    let (go, gate) = mpsc::channel::<()>();
    let meeting = Arc::clone(&barrier);
    let parallel = pool.job("").run_with(move |ctx| {
        ctx.parallel(|| {
            meeting.wait();
            gate.recv().ok();
        });
    });
    let mut parallel = pin!(parallel);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(parallel.as_mut().poll(&mut cx).is_pending());
    for _ in 0..3 {
        let barrier = Arc::clone(&barrier);
        pool.try_run(move || barrier.wait()).unwrap().detach();
    }
    eventually("one thread left", || pool.status().workers == 1);
    assert_eq!(pool.status().busy, 1, "the parallel work goes on");
    drop(go);
    block_on(parallel).unwrap();
}

// piscina #818: the idle timer ended a worker that had just been given work.
#[test]
fn a_thread_that_is_about_to_end_does_not_take_a_job_with_it() {
    let pool = BlockingPool::builder()
        .max_threads(1)
        .idle_timeout(Duration::from_nanos(1))
        .idle_yields(0)
        .build()
        .unwrap();
    for n in 0..2000 {
        assert_eq!(pool.run_sync(move || n).unwrap(), n);
    }
}

// piscina #584: closing a pool that has no worker yet hung.
#[test]
fn a_pool_without_a_thread_shuts_down_at_once() {
    let pool = BlockingPool::builder().build().unwrap();
    let report = pool.shutdown_sync(crate::Shutdown::Drain, Duration::from_secs(10));
    assert!(report.is_clean());
}

#[test]
fn threads_start_only_when_there_is_work_for_them() {
    let pool = BlockingPool::builder().max_threads(8).build().unwrap();
    for n in 0..200 {
        assert_eq!(pool.run_sync(move || n).unwrap(), n);
        // A worker that loses its core just after its job has ended cannot take the next job yet.
        eventually("nobody works", || pool.status().busy == 0);
    }
    let alive = pool.core().crew().alive();
    assert!(alive < 8, "{alive} threads for one job at a time");
}
