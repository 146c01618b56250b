//! Parallel work inside of jobs.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{cell::Cell, collections::HashSet, sync::Mutex, thread, time::Duration};

use pool_cpu::CpuPool;
use rayon::prelude::*;

const MS: Duration = Duration::from_millis(1);

/// The threads that took part in 40 pieces of 2 ms.
fn pieces() -> usize {
    let threads = Mutex::new(HashSet::new());
    (0..40).into_par_iter().with_max_len(1).for_each(|_| {
        threads.lock().unwrap().insert(thread::current().id());
        thread::sleep(2 * MS);
    });
    threads.into_inner().unwrap().len()
}

#[test]
fn idle_workers_help_with_plain_parallel_iterators() {
    let cpu = CpuPool::builder().threads(3).build().unwrap();
    thread::sleep(20 * MS);
    assert!(cpu.run_sync(pieces).unwrap() >= 2);
}

#[tokio::test]
async fn idle_workers_help_at_once_when_they_are_called() {
    let cpu = CpuPool::builder().threads(3).build().unwrap();
    thread::sleep(20 * MS);
    let threads = cpu
        .job("pieces")
        .run_with(|ctx| ctx.parallel(pieces))
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

#[tokio::test]
async fn a_parallel_job_is_not_nested_inside_of_a_long_one() {
    thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
    }
    /// How deep in jobs this thread is while `f` runs.
    fn in_job(f: impl FnOnce()) -> u32 {
        let depth = DEPTH.get() + 1;
        DEPTH.set(depth);
        f();
        DEPTH.set(depth - 1);
        depth
    }
    let cpu = CpuPool::builder().threads(2).build().unwrap();
    let long = || {
        in_job(|| {
            (0..300)
                .into_par_iter()
                .with_max_len(1)
                .for_each(|_| thread::sleep(MS));
        })
    };
    let parallel = || {
        in_job(|| {
            pieces();
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
