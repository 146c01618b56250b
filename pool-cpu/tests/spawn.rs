//! A spawned job runs, even if the pool is full and no caller waits for the job.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use futures_util::FutureExt;
use pool_cpu::{BlockingPool, CpuPool, Error, JobHandle, Shutdown};

const LONG: Duration = Duration::from_secs(20);

/// A pool with one place, and a job that has the place until it is released.
fn full() -> (CpuPool, mpsc::Sender<()>, JobHandle<()>) {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(0)
        .max_waiters(4)
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    (cpu, go, held)
}

fn hold(cpu: &CpuPool) -> (mpsc::Sender<()>, JobHandle<()>) {
    let (go, gate) = mpsc::channel::<()>();
    let (started, begun) = mpsc::channel();
    let job = cpu.try_run(move || {
        started.send(()).unwrap();
        gate.recv().ok();
    });
    begun.recv().unwrap();
    (go, job.unwrap())
}

fn eventually(what: &str, test: impl Fn() -> bool) {
    let start = Instant::now();
    while !test() {
        assert!(start.elapsed() < LONG, "{what} did not come true");
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn what_is_spawned_on_a_full_pool_runs_in_order_although_every_handle_is_dropped() {
    let (cpu, go, held) = full();
    let (send, receive) = mpsc::channel();
    for n in 0..4 {
        let send = send.clone();
        drop(cpu.job("").spawn(move || send.send(n).unwrap()));
    }
    drop(send);
    assert_eq!((cpu.status().waiting, cpu.status().rejected), (4, 0));
    go.send(()).unwrap();
    assert_eq!(receive.iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    drop(held);
    eventually("five jobs ran", || cpu.status().completed == 5);
    assert_eq!((cpu.status().waiting, cpu.status().cancelled), (0, 0));
}

#[tokio::test]
async fn a_handle_has_the_result_whether_it_was_polled_in_line_or_not() {
    let (cpu, go, held) = full();
    let mut polled = cpu.job("").spawn(|| 1);
    let later = cpu.job("").spawn_with(|ctx| (2, ctx.is_cancelled()));
    assert!((&mut polled).now_or_never().is_none());
    assert!(!polled.is_finished() && !later.is_finished());
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(polled.await.unwrap(), 1);
    eventually("the other is done", || later.is_finished());
    assert_eq!(later.await.unwrap(), (2, false));
}

#[tokio::test]
async fn one_that_is_aborted_in_line_gives_its_place_in_line_up_and_does_not_run() {
    let (cpu, go, held) = full();
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let job = cpu.job("").spawn(move || count.fetch_add(1, Relaxed));
    job.abort();
    assert_eq!(Arc::strong_count(&ran), 1, "the closure is dropped at once");
    assert_eq!((cpu.status().waiting, cpu.status().cancelled), (0, 1));
    assert!(job.await.unwrap_err().is_cancelled());
    go.send(()).unwrap();
    held.await.unwrap();
    cpu.run(|| ()).await.unwrap();
    assert_eq!(ran.load(Relaxed), 0);
}

#[tokio::test]
async fn one_that_is_aborted_while_it_runs_is_told() {
    let (cpu, go, held) = full();
    let (started, begun) = mpsc::channel();
    let job = cpu.job("").spawn_with(move |ctx| {
        started.send(()).unwrap();
        while !ctx.is_cancelled() {
            thread::yield_now();
        }
    });
    go.send(()).unwrap();
    begun.recv_timeout(LONG).unwrap();
    job.abort();
    assert!(job.await.unwrap_err().is_cancelled());
    held.await.unwrap();
    assert_eq!(cpu.run(|| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn an_abort_handle_gives_a_job_up_while_somebody_else_awaits_it() {
    let (cpu, go, held) = full();
    let in_line = cpu.job("").spawn(|| unreachable!());
    let stop = in_line.abort_handle();
    let answer = tokio::spawn(in_line.map(|answer: Result<(), Error>| answer));
    tokio::task::yield_now().await;
    assert!(!stop.is_finished());
    assert!(stop.abort() && stop.is_finished());
    assert!(answer.await.unwrap().unwrap_err().is_cancelled());
    assert!(!stop.abort(), "it has its answer");

    // The handle was made while the job waited for a place, and is used while the job runs.
    let (started, begun) = mpsc::channel();
    let runs = cpu.job("").spawn_with(move |ctx| {
        started.send(()).unwrap();
        while !ctx.is_cancelled() {
            thread::yield_now();
        }
    });
    let stop = runs.abort_handle();
    let answer = tokio::spawn(runs);
    go.send(()).unwrap();
    held.await.unwrap();
    begun.recv_timeout(LONG).unwrap();
    tokio::task::yield_now().await;
    assert!(stop.clone().abort());
    assert!(answer.await.unwrap().unwrap_err().is_cancelled());

    let done = cpu.job("").enqueue(|| 7).await.unwrap();
    let stop = done.abort_handle();
    assert_eq!(done.await.unwrap(), 7);
    assert!(stop.is_finished() && !stop.abort());
}

#[tokio::test]
async fn a_full_line_says_so_at_once() {
    let (cpu, go, held) = full();
    let waiting: Vec<_> = (0..4).map(|n| cpu.job("").spawn(move || n)).collect();
    let late = cpu.job("").spawn(|| 4);
    assert!(late.is_finished());
    assert!(late.await.unwrap_err().is_overloaded());
    assert_eq!(cpu.status().rejected, 1);
    go.send(()).unwrap();
    held.await.unwrap();
    for (n, job) in waiting.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), n);
    }
}

#[tokio::test]
async fn the_wait_in_line_has_an_end_although_nobody_polls() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::resume_unwind(Box::new("a closure may"));
        }
    }
    let (cpu, go, held) = full();
    let short = Duration::from_millis(1);
    let late = cpu.job("late").queue_timeout(short).spawn(|| ());
    let bomb = Bomb;
    let loud = cpu
        .job("loud")
        .queue_timeout(short)
        .spawn(move || drop(bomb));
    eventually("both expired", || late.is_finished() && loud.is_finished());
    assert!(late.await.unwrap_err().is_queue_timeout());
    assert!(loud.await.is_err());
    assert_eq!((cpu.status().waiting, cpu.status().expired), (0, 2));
    go.send(()).unwrap();
    held.await.unwrap();
}

#[tokio::test]
async fn a_shutdown_refuses_what_stands_in_line() {
    let (cpu, go, held) = full();
    let job = cpu.job("").spawn(|| ());
    let closing = cpu.clone();
    let shutdown = thread::spawn(move || closing.shutdown_sync(Shutdown::Drain, LONG));
    assert!(job.await.unwrap_err().is_closed());
    go.send(()).unwrap();
    held.await.unwrap();
    drop(shutdown.join().unwrap());
    assert!(cpu.job("").spawn(|| ()).await.unwrap_err().is_closed());
}

#[test]
fn what_stands_in_line_when_the_last_handle_is_dropped_still_runs() {
    let (cpu, go, held) = full();
    let (send, receive) = mpsc::channel();
    drop(cpu.job("").spawn(move || send.send(7).unwrap()));
    drop(cpu);
    held.detach();
    go.send(()).unwrap();
    assert_eq!(receive.recv_timeout(LONG).unwrap(), 7);
}

#[tokio::test]
async fn a_job_may_spawn_on_its_own_full_pool_and_not_await_it() {
    let cpu = CpuPool::builder().threads(1).queue(0).build().unwrap();
    let (send, receive) = mpsc::channel();
    let inner = cpu.clone();
    let awaited = cpu.run(move || {
        drop(inner.job("").spawn(move || send.send(7).unwrap()));
        let mut job = inner.job("").spawn(|| unreachable!());
        (&mut job).now_or_never()
    });
    let answer: Option<Result<(), _>> = awaited.await.unwrap();
    assert!(answer.unwrap().unwrap_err().is_self_wait());
    assert_eq!(receive.recv_timeout(LONG).unwrap(), 7);
    cpu.run(|| ()).await.unwrap();
}

#[test]
fn nothing_is_lost_when_many_spawn_at_a_full_pool() {
    let cpu = CpuPool::builder()
        .threads(2)
        .queue(1)
        .max_waiters(4_000)
        .build()
        .unwrap();
    let ran = Arc::new(AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..1_000 {
                    let ran = Arc::clone(&ran);
                    let job = cpu.job("").spawn(move || ran.fetch_add(1, Relaxed));
                    if n % 5 == 0 {
                        job.abort();
                    }
                }
            });
        }
    });
    let sum = || {
        let status = cpu.status();
        status.completed + status.cancelled
    };
    eventually("all are accounted for", || sum() >= 4_000);
    let status = cpu.status();
    assert_eq!((status.waiting, status.queued, status.busy), (0, 0, 0));
    assert_eq!(status.completed, ran.load(Relaxed) as u64);
    assert!(status.completed >= 3_200, "{status:?}");
}

#[tokio::test]
async fn the_free_functions_run_on_the_pools_that_were_set() {
    let cpu = CpuPool::builder().name("ours").threads(1).build().unwrap();
    let files = BlockingPool::builder().name("files").build().unwrap();
    pool_cpu::set_default_pool(cpu).unwrap();
    pool_cpu::set_default_blocking_pool(files.clone()).unwrap();
    assert!(pool_cpu::set_default_blocking_pool(files).is_err());
    let name = || thread::current().name().map(str::to_owned);
    let names = [
        pool_cpu::spawn(name).await.unwrap(),
        pool_cpu::spawn_blocking(name).await.unwrap(),
    ];
    assert_eq!(names.map(Option::unwrap), ["ours-0", "files-0"]);
    assert_eq!(pool_cpu::default_blocking_pool().unwrap().name(), "files");
}
