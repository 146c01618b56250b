//! A running job sees its cancellation, in whatever way it was submitted.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{sync::mpsc, thread, time::Duration};

use pool_cpu::{CpuPool, Ctx, Shutdown};

const LONG: Duration = Duration::from_secs(20);

/// A job that runs until it is cancelled, and reports that it has begun and that it was cancelled.
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
    /// Checks that the job sees its cancellation after `give_up` was called, and not before.
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
        drop(cpu.shutdown_sync(Shutdown::Drain, Duration::from_millis(1)));
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
    // By now the job may already be cancelled.
    watched.begun.recv_timeout(LONG).unwrap();
    watched.told.recv_timeout(LONG).expect("nobody told it");
}

#[tokio::test]
async fn an_abort_says_whether_the_job_ran_and_one_that_did_is_counted() {
    let cpu = CpuPool::builder().name("hash").threads(1).build().unwrap();
    let (job, watched) = self::watched();
    let runs = cpu.job("login").try_run_with(job).unwrap();
    let waits = cpu.job("login").try_run(|| ()).unwrap();
    waits.abort();
    watched.is_told_by(|| assert!(runs.abort()));
    assert_eq!(
        waits.await.unwrap_err().to_string(),
        "job `login` was aborted before pool `hash` ran it"
    );
    assert_eq!(
        runs.await.unwrap_err().to_string(),
        "job `login` was aborted while pool `hash` ran it"
    );
    cpu.run(|| ()).await.unwrap();
    let status = cpu.status();
    // The job counts as completed too.
    assert_eq!(
        (status.cancelled, status.given_up, status.completed),
        (1, 1, 2)
    );
}

#[tokio::test]
async fn a_drain_runs_what_is_in_the_queue_and_refuses_what_is_in_line() {
    let cpu = CpuPool::builder().threads(1).queue(1).build().unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let runs = cpu.try_run(move || gate.recv().ok()).unwrap();
    let queued = cpu.try_run(|| 7).unwrap();
    let mut in_line = Box::pin(cpu.run(|| 8));
    assert!(futures_util::FutureExt::now_or_never(in_line.as_mut()).is_none());
    let closing = cpu.clone();
    let shutdown = thread::spawn(move || closing.shutdown_sync(Shutdown::Drain, LONG));
    assert!(in_line.await.unwrap_err().is_closed());
    assert!(cpu.try_run(|| ()).unwrap_err().error().is_closed());
    drop(go);
    assert!(shutdown.join().unwrap().is_clean());
    runs.await.unwrap();
    assert_eq!(queued.await.unwrap(), 7);
    let status = cpu.status();
    assert_eq!(
        (status.completed, status.refused, status.dropped),
        (2, 2, 0)
    );
}
