//! What a `CpuPool` promises, through its public face.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use pool_cpu::{CpuPool, Shutdown};

fn pool(threads: usize, queue: usize) -> CpuPool {
    CpuPool::builder()
        .threads(threads)
        .queue(queue)
        .build()
        .unwrap()
}

/// A job that holds its worker until it is let go.
fn hold(cpu: &CpuPool) -> (mpsc::Sender<()>, pool_cpu::JobHandle<()>) {
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

#[tokio::test]
async fn a_job_runs_and_gives_its_result() {
    let cpu = pool(2, 8);
    assert_eq!(cpu.run(|| 6 * 7).await.unwrap(), 42);
    assert_eq!(cpu.run_sync(|| 1).unwrap_or(0), 1);
}

#[tokio::test]
async fn a_panic_is_an_error_with_its_message_and_the_worker_lives_on() {
    let cpu = pool(1, 8);
    for _ in 0..3 {
        let error = cpu
            .job("parse")
            .run(|| -> u8 { panic!("no digit in {:?}", "x") })
            .await
            .unwrap_err();
        assert!(error.is_panic());
        assert_eq!(error.panic_message(), Some("no digit in \"x\""));
        assert_eq!(error.label(), "parse");
    }
    assert_eq!(cpu.run(|| 1).await.unwrap(), 1);
}

#[tokio::test]
async fn a_full_queue_gives_the_closure_back() {
    let cpu = pool(1, 1);
    let (go, held) = hold(&cpu);
    let queued = cpu.try_run(|| 1).unwrap();
    let rejected = cpu.try_run(|| 2).unwrap_err();
    assert!(rejected.error().is_overloaded());
    assert_eq!((rejected.into_closure())(), 2);
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(queued.await.unwrap(), 1);
}

#[tokio::test]
async fn run_waits_for_a_place_in_order() {
    let cpu = pool(1, 0);
    let (go, held) = hold(&cpu);
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..5)
        .map(|n| {
            let (cpu, order) = (cpu.clone(), Arc::clone(&order));
            tokio::spawn(async move { cpu.run(move || order.lock().unwrap().push(n)).await })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(20)).await;
    go.send(()).unwrap();
    held.await.unwrap();
    for job in waiting {
        job.await.unwrap().unwrap();
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn dropping_the_future_of_a_queued_job_drops_it_and_frees_its_place_at_once() {
    let cpu = pool(1, 1);
    let (go, held) = hold(&cpu);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let queued = cpu
        .try_run(move || count.fetch_add(1, Ordering::Relaxed))
        .unwrap();
    assert_eq!(Arc::strong_count(&ran), 2);
    drop(queued);
    assert_eq!(Arc::strong_count(&ran), 1, "the closure is dropped at once");
    let next = cpu.try_run(|| 7).expect("its place is free");
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(next.await.unwrap(), 7);
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_job_that_waits_too_long_gets_an_error_and_never_runs() {
    let cpu = CpuPool::builder()
        .threads(1)
        .queue(4)
        .queue_timeout(Duration::from_millis(30))
        .build()
        .unwrap();
    let (go, held) = hold(&cpu);
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let error = cpu
        .run(move || count.fetch_add(1, Ordering::Relaxed))
        .await
        .unwrap_err();
    assert!(error.is_queue_timeout(), "{error}");
    go.send(()).unwrap();
    held.await.unwrap();
    assert_eq!(ran.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn waiting_for_ones_own_pool_is_an_error_not_a_deadlock() {
    let cpu = pool(1, 4);
    let inner = cpu.clone();
    let error = cpu
        .run(move || inner.run_sync(|| 1))
        .await
        .unwrap()
        .unwrap_err();
    assert!(error.is_self_wait());
}

#[tokio::test]
async fn a_shutdown_drains_the_queue_and_refuses_what_comes_later() {
    let cpu = pool(1, 8);
    let jobs: Vec<_> = (0..5).map(|n| cpu.try_run(move || n).unwrap()).collect();
    let report = cpu.shutdown(Shutdown::Drain, Duration::from_secs(5)).await;
    assert!(report.is_clean(), "{report:?}");
    for (n, job) in jobs.into_iter().enumerate() {
        assert_eq!(job.await.unwrap(), n);
    }
    assert!(cpu.run(|| 1).await.unwrap_err().is_closed());
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_ever_and_says_what_still_runs() {
    let cpu = pool(1, 8);
    let (go, held) = hold(&cpu);
    let queued = cpu.try_run(|| 1).unwrap();
    let report = cpu
        .shutdown(Shutdown::Drain, Duration::from_millis(30))
        .await;
    assert_eq!((report.dropped, report.still_running.len()), (1, 1));
    assert!(queued.await.unwrap_err().is_closed());
    go.send(()).unwrap();
    held.await.unwrap();
}
