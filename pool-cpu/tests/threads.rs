//! The threads of a pool: hooks, names, stacks and priorities.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use pool_cpu::{BlockingPool, CpuPool, Shutdown};

const LONG: Duration = Duration::from_secs(20);

type Log = Arc<Mutex<Vec<(&'static str, usize, String)>>>;

fn name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

/// A hook that records its worker and its thread, and then panics.
fn note(log: &Log, what: &'static str) -> impl Fn(usize) + Send + Sync + 'static {
    let log = Arc::clone(log);
    move |worker| {
        log.lock().unwrap().push((what, worker, name()));
        std::panic::resume_unwind(Box::new("a hook may"));
    }
}

#[test]
fn hooks_run_once_on_each_worker_of_a_cpu_pool_even_if_they_panic() {
    let log = Log::default();
    let cpu = CpuPool::builder()
        .name("hooked")
        .threads(2)
        .on_thread_start(note(&log, "start"))
        .on_thread_stop(note(&log, "stop"))
        .build()
        .unwrap();
    assert_eq!(cpu.run_sync(|| 7).unwrap(), 7);
    assert!(cpu.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    let mut seen = log.lock().unwrap().clone();
    seen.sort();
    let hook = |what, worker| (what, worker, format!("hooked-{worker}"));
    let hooks = [
        hook("start", 0),
        hook("start", 1),
        hook("stop", 0),
        hook("stop", 1),
    ];
    assert_eq!(seen, hooks);
}

#[test]
fn hooks_run_on_each_thread_of_a_blocking_pool() {
    let log = Log::default();
    let files = BlockingPool::builder()
        .name("files")
        .max_threads(1)
        .on_thread_start(note(&log, "start"))
        .on_thread_stop(note(&log, "stop"))
        .build()
        .unwrap();
    assert_eq!(files.run_sync(name).unwrap(), "files-0");
    assert!(files.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    let seen = log.lock().unwrap().clone();
    assert_eq!(
        seen.iter().map(|(what, ..)| *what).collect::<Vec<_>>(),
        ["start", "stop"]
    );
}

#[test]
fn a_pool_has_as_many_threads_as_there_are_cores_unless_it_is_told_otherwise() {
    let cores = thread::available_parallelism().unwrap().get();
    for (reserve, wanted) in [(0, cores), (1, (cores - 1).max(1))] {
        let log = Log::default();
        let started = Arc::clone(&log);
        let cpu = CpuPool::builder()
            .reserve(reserve)
            .on_thread_start(move |me| started.lock().unwrap().push(("start", me, name())))
            .build()
            .unwrap();
        let status = cpu.status();
        assert_eq!((status.max_workers, status.workers), (wanted, wanted));
        assert!(cpu.shutdown_sync(Shutdown::Drain, LONG).is_clean());
        assert_eq!(log.lock().unwrap().len(), wanted);
    }
}

#[test]
fn a_job_has_the_stack_that_was_asked_for() {
    /// Uses at least `depth` KiB of stack.
    fn dig(depth: usize) -> usize {
        let level = std::hint::black_box([depth as u8; 1024]);
        match depth {
            0 => usize::from(level[0]),
            _ => dig(depth - 1) + usize::from(std::hint::black_box(&level)[1023] > 0),
        }
    }
    // Far beyond the default stack of 2 MiB.
    const DEPTH: usize = 8 * 1024;
    let cpu = CpuPool::builder()
        .threads(1)
        .stack_size(64 << 20)
        .build()
        .unwrap();
    assert!(cpu.run_sync(|| dig(DEPTH)).unwrap() > 0);
    let files = BlockingPool::builder()
        .stack_size(64 << 20)
        .build()
        .unwrap();
    assert!(files.run_sync(|| dig(DEPTH)).unwrap() > 0);
}

/// The 19th field of a thread's `stat`, which is the 17th field after the name in brackets.
#[cfg(target_os = "linux")]
fn niceness() -> i32 {
    let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap();
    fields.split_whitespace().nth(16).unwrap().parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn workers_are_nicer_than_the_thread_that_builds_the_pool() {
    let ours = niceness();
    let cpu = CpuPool::builder().threads(2).nice(4).build().unwrap();
    for _ in 0..8 {
        assert_eq!(cpu.run_sync(niceness).unwrap(), (ours + 4).min(19));
    }
    let plain = CpuPool::builder().threads(1).build().unwrap();
    assert_eq!(plain.run_sync(niceness).unwrap(), ours);
    assert_eq!(niceness(), ours);
}

// A submitter or another thread of the pool starts the threads of a `BlockingPool`. The latter already has the lower priority.
#[cfg(target_os = "linux")]
#[test]
fn threads_of_a_blocking_pool_are_equally_nice_whoever_has_started_them() {
    let ours = niceness();
    let files = BlockingPool::builder()
        .min_threads(1)
        .max_threads(4)
        .nice(4)
        .build()
        .unwrap();
    let deeper = files.clone();
    let (first, rest) = files
        .run_sync(move || {
            // This job holds its thread, so the next job starts another thread.
            let (send, receive) = std::sync::mpsc::channel();
            fn go(files: &BlockingPool, depth: u32, send: std::sync::mpsc::Sender<i32>) {
                let next = files.clone();
                let (done, wait) = std::sync::mpsc::channel::<()>();
                let job = files.try_run(move || {
                    send.send(niceness()).unwrap();
                    if depth > 0 {
                        go(&next, depth - 1, send);
                    }
                    drop(done);
                });
                job.unwrap().detach();
                wait.recv_timeout(LONG).ok();
            }
            go(&deeper, 2, send);
            (niceness(), receive.iter().collect::<Vec<_>>())
        })
        .unwrap();
    let lower = (ours + 4).min(19);
    assert_eq!((first, rest), (lower, vec![lower; 3]));
    let plain = BlockingPool::builder().build().unwrap();
    assert_eq!(plain.run_sync(niceness).unwrap(), ours);
    assert_eq!(niceness(), ours);
}

// Work that a job leaves to rayon runs too, even if there is only one worker and no other worker could steal it.
#[test]
fn a_task_that_a_job_spawned_on_rayon_runs_after_it() {
    let cpu = CpuPool::builder().threads(1).name("left").build().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    cpu.run_sync(move || rayon::spawn(move || send.send(name()).unwrap()))
        .unwrap();
    assert_eq!(receive.recv_timeout(LONG).unwrap(), "left-0");
}
