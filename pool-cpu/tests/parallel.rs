//! Parallel work inside of jobs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    cell::Cell,
    collections::HashSet,
    future::{Future, poll_fn},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
        mpsc,
    },
    task::Poll,
    thread,
    time::Duration,
};

use pool_cpu::CpuPool;
use rayon::prelude::*;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

/// Runs 40 pieces. No piece ends before `wanted` threads have begun one, or a time limit has passed. Returns how many threads did.
fn pieces(wanted: usize) -> usize {
    let threads = Mutex::new(HashSet::new());
    let joined = Condvar::new();
    (0..40).into_par_iter().with_max_len(1).for_each(|_| {
        let mut threads = threads.lock().unwrap();
        threads.insert(thread::current().id());
        joined.notify_all();
        let too_few = |threads: &mut HashSet<_>| threads.len() < wanted;
        drop(joined.wait_timeout_while(threads, LONG, too_few).unwrap());
    });
    threads.into_inner().unwrap().len()
}

#[test]
fn idle_workers_help_with_plain_parallel_iterators() {
    let cpu = CpuPool::builder().threads(3).build().unwrap();
    thread::sleep(20 * MS);
    assert!(cpu.run_sync(|| pieces(2)).unwrap() >= 2);
}

#[tokio::test]
async fn idle_workers_help_at_once_when_they_are_called() {
    let cpu = CpuPool::builder().threads(3).build().unwrap();
    thread::sleep(20 * MS);
    let threads = cpu
        .job("pieces")
        .run_with(|ctx| ctx.parallel(|| pieces(3)))
        .await
        .unwrap();
    assert_eq!(threads, 3);
}

#[test]
fn parallel_work_stays_in_the_pool() {
    let cpu = CpuPool::builder().threads(2).name("mine").build().unwrap();
    let names = cpu.run_sync(|| {
        let name = |_| thread::current().name().unwrap_or_default().to_owned();
        (0..1000).into_par_iter().map(name).collect::<HashSet<_>>()
    });
    let names = names.unwrap();
    assert!(
        names.iter().all(|name| name.starts_with("mine-")),
        "{names:?}"
    );
}

/// Returns what `job` sends, if it sends in time.
fn told_by<T: Send + 'static>(
    cpu: &CpuPool,
    job: impl FnOnce(mpsc::Sender<T>) + Send + 'static,
) -> Vec<T> {
    let (send, told) = mpsc::channel();
    cpu.job("").spawn(move || job(send));
    std::iter::from_fn(|| told.recv_timeout(LONG).ok()).collect()
}

#[test]
fn a_broadcast_in_a_job_reaches_every_worker_that_sleeps() {
    let cpu = CpuPool::builder().threads(4).build().unwrap();
    for _ in 0..20 {
        thread::sleep(3 * MS);
        let reached = told_by(&cpu, |send| {
            send.send(rayon::broadcast(|it| it.index())).unwrap();
        });
        assert_eq!(reached, [[0, 1, 2, 3]]);
    }
}

#[test]
fn a_broadcast_that_a_job_leaves_behind_reaches_every_worker_that_sleeps() {
    let cpu = CpuPool::builder().threads(9).build().unwrap();
    thread::sleep(20 * MS);
    let mut reached = told_by(&cpu, |send| {
        rayon::spawn_broadcast(move |it| send.send(it.index()).unwrap());
    });
    reached.sort_unstable();
    assert!(reached.into_iter().eq(0..9));
}

#[test]
fn a_broadcast_in_a_piece_that_a_job_leaves_behind_reaches_every_worker_that_sleeps() {
    let cpu = CpuPool::builder().threads(4).build().unwrap();
    thread::sleep(20 * MS);
    let reached = told_by(&cpu, |send| {
        rayon::spawn(move || {
            rayon::spawn(move || {
                thread::sleep(50 * MS);
                send.send(rayon::broadcast(|it| it.index())).unwrap();
            });
        });
    });
    assert_eq!(reached, [[0, 1, 2, 3]]);
}

#[test]
fn what_a_job_gives_to_rayon_has_its_turn_beside_jobs_that_never_end() {
    for threads in [1, 2] {
        let cpu = CpuPool::builder().threads(threads).build().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        /// Submits itself again, so that its worker always has a next job.
        fn again(cpu: CpuPool, over: Arc<AtomicBool>) {
            if !over.load(Relaxed) {
                let next = cpu.clone();
                cpu.job("").spawn(move || again(next, over));
            }
        }
        for _ in 0..2 * threads {
            again(cpu.clone(), Arc::clone(&over));
        }
        let told = told_by(&cpu, |send| {
            for n in 0..100 {
                let send = send.clone();
                rayon::spawn(move || send.send(n).unwrap());
            }
        });
        over.store(true, Relaxed);
        assert_eq!(told.len(), 100);
    }
}

#[test]
fn a_piece_that_always_leaves_the_next_one_lets_jobs_have_their_turn() {
    /// Spawns itself again on rayon until `over` is set.
    fn again(over: Arc<AtomicBool>) {
        if !over.load(Relaxed) {
            rayon::spawn(move || again(over));
        }
    }
    let cpu = CpuPool::builder().threads(1).build().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let piece = Arc::clone(&over);
    // Runs long enough that rayon gets a turn after it.
    cpu.run_sync(move || {
        rayon::spawn(move || again(piece));
        thread::sleep(MS);
    })
    .unwrap();
    let turns = told_by(&cpu, |send| send.send(()).unwrap());
    over.store(true, Relaxed);
    assert_eq!(turns.len(), 1);
}

/// Calls `f`, and returns how deeply jobs were nested on this thread meanwhile.
fn depth_of(f: impl FnOnce()) -> u32 {
    thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
    }
    let depth = DEPTH.get() + 1;
    DEPTH.set(depth);
    f();
    DEPTH.set(depth - 1);
    depth
}

#[tokio::test]
async fn no_job_is_nested_inside_of_one_that_waits_for_its_pieces() {
    let cpu = CpuPool::builder().threads(2).build().unwrap();
    let long = || {
        depth_of(|| {
            let pieces = (0..300).into_par_iter().with_max_len(1);
            pieces.for_each(|_| thread::sleep(MS));
        })
    };
    let parallel = || {
        depth_of(|| {
            let pieces = (0..40).into_par_iter().with_max_len(1);
            pieces.for_each(|_| thread::sleep(2 * MS));
        })
    };
    let jobs = [
        cpu.try_run(long).unwrap(),
        cpu.try_run(parallel).unwrap(),
        cpu.try_run(long).unwrap(),
        cpu.try_run(parallel).unwrap(),
    ];
    for job in jobs {
        assert_eq!(job.await.unwrap(), 1);
    }
}

// On rayon's own queue such a job sometimes took 320 ms, because a thread that waited for a stolen piece began a long job
// meanwhile.
#[tokio::test]
async fn a_parallel_job_does_not_wait_for_long_ones_beside_it_and_behind_it() {
    let cpu = CpuPool::builder().threads(2).build().unwrap();
    let ended = Arc::new((Mutex::new(false), Condvar::new()));
    // Each long job lasts until the parallel job has ended. If a thread of the parallel job began a long job meanwhile, the
    // parallel job would never end.
    let long = || {
        let ended = Arc::clone(&ended);
        move || {
            depth_of(|| {
                let (ended, told) = &*ended;
                let before = |ended: &mut bool| !*ended;
                let (_guard, waited) = told
                    .wait_timeout_while(ended.lock().unwrap(), LONG, before)
                    .unwrap();
                assert!(!waited.timed_out(), "the parallel job waits for this one");
            })
        }
    };
    let (started, begun) = tokio::sync::oneshot::channel();
    let first = long();
    let first = cpu.try_run(move || {
        started.send(()).unwrap();
        first()
    });
    begun.await.unwrap();
    let parallel = cpu.job("").run_with(|ctx| {
        ctx.parallel(|| {
            let pieces = (0..20).into_par_iter().with_max_len(1);
            pieces.for_each(|_| thread::sleep(2 * MS));
        });
    });
    let mut parallel = std::pin::pin!(parallel);
    let polled = poll_fn(|cx| Poll::Ready(parallel.as_mut().poll(cx).is_pending()));
    assert!(polled.await);
    // The long jobs wait behind the parallel job for a free thread.
    let others: Vec<_> = (0..4).map(|_| cpu.try_run(long()).unwrap()).collect();
    parallel.await.unwrap();
    *ended.0.lock().unwrap() = true;
    ended.1.notify_all();
    assert_eq!(first.unwrap().await.unwrap(), 1);
    for job in others {
        assert_eq!(job.await.unwrap(), 1);
    }
}
