//! Tokio's paused clock does not advance while a caller waits for a job, as with `spawn_blocking`.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{future::Future, sync::mpsc, thread, time::Duration};

use pool_cpu::{BlockingPool, CpuPool, Shutdown};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};

const MS: Duration = Duration::from_millis(1);
/// On a paused clock this time is over at once, unless the clock is held.
const SOON: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// Work that takes long enough that the clock must be held for it.
fn work() -> u32 {
    thread::sleep(20 * MS);
    7
}

fn pool() -> CpuPool {
    CpuPool::builder().threads(1).build().unwrap()
}

/// A current-thread runtime whose clock is paused.
fn paused() -> Runtime {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().start_paused(true);
    builder.max_blocking_threads(2).build().unwrap()
}

/// Awaits the future, and checks that the clock has not advanced meanwhile.
async fn held<F: Future>(way: &str, future: F) -> F::Output {
    let start = Instant::now();
    let answer = timeout(SOON, future).await;
    assert!(answer.is_ok(), "the clock did not wait for {way}");
    assert_eq!(start.elapsed(), Duration::ZERO, "{way}");
    answer.unwrap()
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_job_however_that_is_run() {
    let cpu = pool();
    let job = cpu.job("slow");
    held("spawn_blocking", tokio::task::spawn_blocking(work))
        .await
        .unwrap();
    held("run", cpu.run(work)).await.unwrap();
    held("run_with", job.run_with(|_| work())).await.unwrap();
    held("try_run", cpu.try_run(work).unwrap()).await.unwrap();
    let enqueued = async { job.enqueue(work).await.unwrap().await };
    held("enqueue", enqueued).await.unwrap();
    held("spawn", job.spawn(work)).await.unwrap();
    held("the free spawn", pool_cpu::spawn(work)).await.unwrap();
    held("the free spawn_blocking", pool_cpu::spawn_blocking(work))
        .await
        .unwrap();
    let chunks = cpu.for_each_chunk(0..3, 1, |_| assert_eq!(work(), 7));
    held("chunks", chunks).await.unwrap();
    held("state", cpu.with_state(|| ()).run(|()| work()))
        .await
        .unwrap();
    let files = BlockingPool::builder().build().unwrap();
    held("a blocking pool", files.run(work)).await.unwrap();
    let last = cpu.job("").spawn(work);
    let end = held("a shutdown", cpu.shutdown(Shutdown::Drain, HOUR)).await;
    assert!(end.is_clean() && last.is_finished());
}

#[cfg(feature = "json")]
#[tokio::test(start_paused = true)]
async fn it_waits_for_json() {
    use futures_util::{StreamExt, stream};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    struct Slow;
    impl Serialize for Slow {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            work();
            serializer.serialize_str(&"x".repeat(2 * pool_cpu::json::INLINE))
        }
    }
    impl<'de> Deserialize<'de> for Slow {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            work();
            String::deserialize(deserializer).map(|_| Self)
        }
    }
    let cpu = pool();
    let text = held("encode", pool_cpu::json::encode(&cpu, Slow))
        .await
        .unwrap();
    held("decode", pool_cpu::json::decode::<Slow>(&cpu, text))
        .await
        .unwrap();
    let rows = pool_cpu::json::lines(&cpu, stream::iter([Slow, Slow]));
    assert_eq!(held("lines", rows.count()).await, 2);
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_job_that_is_in_line_for_a_place() {
    let cpu = CpuPool::builder().threads(1).queue(0).build().unwrap();
    let (go, gate) = mpsc::channel();
    let other = cpu.clone();
    // This job was not requested on the runtime.
    let (began, begun) = mpsc::channel();
    let before = thread::spawn(move || {
        let gated = other.try_run(move || gate.recv().unwrap()).unwrap();
        began.send(()).unwrap();
        gated.detach();
    });
    begun.recv().unwrap();
    let opener = thread::spawn(move || {
        thread::sleep(20 * MS);
        go.send(()).unwrap();
    });
    let both = async { tokio::join!(cpu.run(work), cpu.job("").spawn(work)) };
    let (run, spawned) = held("the line", both).await;
    assert_eq!((run.unwrap(), spawned.unwrap()), (7, 7));
    before.join().unwrap();
    opener.join().unwrap();
}

#[test]
fn it_waits_for_a_job_that_was_asked_for_outside_of_the_runtime() {
    let cpu = pool();
    let handle = cpu.try_run(work).unwrap();
    let spawned = cpu.job("").spawn(work);
    paused().block_on(async {
        let both = async { tokio::join!(handle, spawned) };
        let (handle, spawned) = held("them", both).await;
        assert_eq!((handle.unwrap(), spawned.unwrap()), (7, 7));
    });
}

#[tokio::test(start_paused = true)]
async fn it_waits_for_a_spawned_job_that_nobody_awaits_as_tokios_does() {
    let cpu = pool();
    let (send, receive) = mpsc::channel();
    drop(cpu.job("").spawn(move || send.send(work()).unwrap()));
    sleep(HOUR).await;
    assert_eq!(receive.try_recv(), Ok(7));
}

#[tokio::test(start_paused = true)]
async fn it_goes_on_when_a_job_has_ended_or_was_given_up() {
    let cpu = pool();
    cpu.run(|| ()).await.unwrap();
    sleep(HOUR).await;
    let (started, begun) = tokio::sync::oneshot::channel();
    let (go, gate) = mpsc::channel::<()>();
    let stuck = cpu
        .try_run(move || (started.send(()), gate.recv()))
        .unwrap();
    begun.await.unwrap();
    let queued = cpu.try_run(|| ()).unwrap();
    let start = Instant::now();
    // The only worker is busy. Dropping the handles cancels the queued job and the running job.
    drop((queued, stuck));
    sleep(HOUR).await;
    assert_eq!(start.elapsed(), HOUR);
    drop(go);
}

#[test]
fn it_takes_one_blocking_thread_however_many_jobs_there_are() {
    let cpu = CpuPool::builder().threads(1).queue(64).build().unwrap();
    paused().block_on(async {
        let (go, gate) = mpsc::channel();
        let first = cpu.job("").spawn(move || gate.recv().unwrap());
        let others: Vec<_> = (0..32).map(|n| cpu.job("").spawn(move || n)).collect();
        // There are two blocking threads. The second thread is free for the task that ends the first job.
        tokio::task::spawn_blocking(move || go.send(()).unwrap())
            .await
            .unwrap();
        first.await.unwrap();
        for (n, job) in others.into_iter().enumerate() {
            assert_eq!(job.await.unwrap(), n);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn it_does_not_leap_between_the_end_of_a_job_and_its_answer() {
    let cpu = pool();
    let start = Instant::now();
    for n in 0..500 {
        assert_eq!(timeout(SOON, cpu.run(move || n)).await.unwrap().unwrap(), n);
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
}
