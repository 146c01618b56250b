//! What the watchdog reports for a runtime that is short of cores.

#![cfg(all(feature = "lag", target_os = "linux"))]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    hint::spin_loop,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use pool_cpu::lag::{Cause, Watchdog};
use tokio::runtime::Builder;

const MS: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(20);

/// Restricts this thread, and the threads that it starts, to one core.
fn keep_to_one_core() {
    // SAFETY: a set of cores is plain data, and both calls get its size. 0 means the current thread.
    #[allow(unsafe_code)]
    unsafe {
        let mut cores: libc::cpu_set_t = mem::zeroed();
        let size = mem::size_of_val(&cores);
        assert_eq!(libc::sched_getaffinity(0, size, &mut cores), 0);
        let first = (0..1024)
            .find(|core| libc::CPU_ISSET(*core, &cores))
            .unwrap();
        libc::CPU_ZERO(&mut cores);
        libc::CPU_SET(first, &mut cores);
        assert_eq!(libc::sched_setaffinity(0, size, &cores), 0);
    }
}

fn spin(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        spin_loop();
    }
}

#[test]
fn a_runtime_that_shares_its_core_with_twelve_others_has_no_task_to_blame() {
    let over = Arc::new(AtomicBool::new(false));
    let watched = thread::spawn({
        let over = Arc::clone(&over);
        move || {
            keep_to_one_core();
            let runtime = Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            let watchdog = Watchdog::builder()
                .threshold(50 * MS)
                .watch(runtime.handle())
                .unwrap();
            let polls = Arc::new(AtomicU64::new(0));
            let healthy = {
                let (over, polls) = (Arc::clone(&over), Arc::clone(&polls));
                runtime.spawn(async move {
                    while !over.load(Relaxed) {
                        polls.fetch_add(1, Relaxed);
                        spin(Duration::from_micros(50));
                        tokio::task::yield_now().await;
                    }
                })
            };
            // The worker's thread is identified before the other threads start: by a task that runs within some hundred polls after
            // a look.
            for _ in 0..2 {
                thread::sleep(100 * MS);
                let until = polls.load(Relaxed) + 1000;
                while polls.load(Relaxed) < until {
                    thread::sleep(MS);
                }
            }
            let met = watchdog.stalls();
            let others: Vec<_> = (0..12)
                .map(|_| {
                    let over = Arc::clone(&over);
                    thread::spawn(move || {
                        while !over.load(Relaxed) {
                            spin_loop();
                        }
                    })
                })
                .collect();
            thread::sleep(3000 * MS);
            let beside = watchdog.stalls();
            println!("beside twelve others: {beside:?}, before: {met:?}");
            over.store(true, Relaxed);
            others.into_iter().for_each(|other| other.join().unwrap());
            runtime.block_on(healthy).unwrap();
            // Now a task holds the worker.
            while watchdog
                .stalls()
                .now
                .iter()
                .any(|stall| stall.cause == Cause::Task)
            {
                thread::sleep(MS);
            }
            let before = watchdog.stalls().count;
            let watchdog = Arc::new(watchdog);
            let held = runtime.spawn({
                let watchdog = Arc::clone(&watchdog);
                async move {
                    // Runs until the stall is seen, because the watchdog shares the core too, and on a busy machine with other
                    // processes.
                    let start = Instant::now();
                    while watchdog.stalls().count == before && start.elapsed() < LONG {
                        thread::sleep(MS);
                    }
                }
            });
            runtime.block_on(held).unwrap();
            (beside.count - met.count, watchdog.stalls().count - before)
        }
    });
    let (beside, held) = watched.join().unwrap();
    assert_eq!((beside, held), (0, 1));
}
