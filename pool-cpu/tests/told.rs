//! A job that runs is told when nobody wants it any more, however it was submitted.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{sync::mpsc, thread, time::Duration};

use pool_cpu::{CpuPool, Ctx, Shutdown};

const LONG: Duration = Duration::from_secs(20);

/// A job that ends when it is told, and who says that it runs, and that it was told.
struct Watched {
    begun: mpsc::Receiver<()>,
    told: mpsc::Receiver<()>,
}

fn watched() -> (impl Fn(&Ctx<'_>) + Send + Sync + 'static, Watched) {
    let (begin, begun) = mpsc::channel();
    let (tell, told) = mpsc::channel();
    let job = move |ctx: &Ctx<'_>| {
        begin.send(()).unwrap();
        while !ctx.is_cancelled() {
            thread::yield_now();
        }
        tell.send(()).unwrap();
    };
    (job, Watched { begun, told })
}

impl Watched {
    /// It runs, and goes on until `give_up` has been called.
    fn is_told_by(&self, give_up: impl FnOnce()) {
        self.begun.recv_timeout(LONG).unwrap();
        assert!(self.told.try_recv().is_err(), "told before its time");
        give_up();
        self.told.recv_timeout(LONG).expect("nobody told it");
    }
}

fn pool() -> CpuPool {
    CpuPool::builder().threads(1).build().unwrap()
}

#[tokio::test]
async fn a_job_of_try_run_with_is_told_of_an_abort_and_of_a_drop() {
    let cpu = pool();
    let (job, watched) = self::watched();
    let handle = cpu.job("aborted").try_run_with(job).unwrap();
    watched.is_told_by(|| assert!(handle.abort()));
    assert!(handle.await.unwrap_err().is_cancelled());
    let (job, watched) = self::watched();
    let handle = cpu.job("dropped").try_run_with(job).unwrap();
    watched.is_told_by(|| drop(handle));
    assert_eq!(cpu.run(|| 7).await.unwrap(), 7);
}

#[tokio::test]
async fn a_job_of_enqueue_with_is_told_of_an_abort() {
    let cpu = pool();
    let (job, watched) = self::watched();
    let handle = cpu.job("").enqueue_with(job).await.unwrap();
    watched.is_told_by(|| assert!(handle.abort()));
    assert!(handle.await.unwrap_err().is_cancelled());
}

#[test]
fn a_detached_job_is_told_of_a_shutdown_that_waits_no_longer() {
    let cpu = pool();
    let (job, watched) = self::watched();
    let handle = cpu.job("detached").try_run_with(job).unwrap();
    handle.detach();
    watched.is_told_by(|| {
        let report = cpu.shutdown_sync(Shutdown::Drain, Duration::from_millis(1));
        assert_eq!(report.still_running[0].label, "detached");
    });
}

#[tokio::test]
async fn a_job_with_the_workers_state_is_told() {
    let cpu = pool();
    let state = cpu.with_state(|| 1);
    let (job, watched) = self::watched();
    let with_state = state.with_ctx(move |value, ctx| {
        job(ctx);
        *value
    });
    let handle = cpu.job("").try_run_with(with_state).unwrap();
    watched.is_told_by(|| assert!(handle.abort()));
    let seen = state.run_with(|value, ctx| (*value, ctx.is_cancelled()));
    assert_eq!(seen.await.unwrap(), (1, false));
}

#[test]
fn a_chunk_that_runs_is_told_that_its_caller_is_gone() {
    let cpu = pool();
    let (job, watched) = self::watched();
    let chunks = cpu
        .job("")
        .for_each_chunk_with(0..10, 1, move |ctx, _| job(ctx));
    let mut chunks = Box::pin(chunks);
    assert!(futures_util::FutureExt::now_or_never(chunks.as_mut()).is_none());
    watched.is_told_by(|| drop(chunks));
}

#[test]
fn a_job_that_a_thread_waits_for_is_told_that_its_budget_is_spent() {
    let cpu = pool();
    let (job, watched) = self::watched();
    let late = cpu.job("").budget(Duration::from_millis(1));
    assert!(late.run_sync_with(job).unwrap_err().is_run_timeout());
    watched.is_told_by(|| ());
}
