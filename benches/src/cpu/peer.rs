//! Who takes part, and how each runs a job.

use std::{error::Error, future::Future, pin::Pin, sync::Arc};

use clap::ValueEnum;
use pool_cpu::CpuPool;
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokio::{
    runtime::{Builder, Runtime},
    sync::oneshot,
};
use tokio_rayon::AsyncThreadPool;

use super::case::Case;

/// A way to get work off the executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Peer {
    /// This toolkit, two workers.
    #[value(name = "pool-cpu")]
    PoolCpu,
    /// This toolkit, with workers of the same priority as the runtime: only where that matters.
    #[value(name = "pool-cpu-nice0")]
    PoolCpuNice0,
    /// tokio's own, as it comes: up to 512 threads.
    #[value(name = "spawn_blocking")]
    SpawnBlocking,
    /// tokio's own with as many threads as the others.
    #[value(name = "spawn_blocking-2")]
    SpawnBlocking2,
    /// `rayon::ThreadPool::spawn` and tokio's oneshot channel.
    #[value(name = "rayon+oneshot")]
    RayonOneshot,
    /// The crate of that name.
    #[value(name = "tokio-rayon")]
    TokioRayon,
    /// smol's pool, as it comes: up to 500 threads.
    #[value(name = "blocking")]
    Blocking,
    /// Nobody: what the runtime does by itself.
    #[value(name = "idle")]
    Idle,
}

/// One that is ready, and a runtime of two threads for those who call it.
pub(super) struct Ready {
    pub(super) runtime: Runtime,
    pub(super) way: Way,
}

#[derive(Clone)]
pub(super) enum Way {
    Pool(CpuPool),
    Tokio,
    Rayon(Arc<ThreadPool>),
    TokioRayon(Arc<ThreadPool>),
    Blocking,
    Idle,
}

/// A job's answer, on its way.
pub(super) type Answer<T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send>>;

impl Peer {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::PoolCpu => "pool-cpu",
            Self::PoolCpuNice0 => "pool-cpu-nice0",
            Self::SpawnBlocking => "spawn_blocking",
            Self::SpawnBlocking2 => "spawn_blocking-2",
            Self::RayonOneshot => "rayon+oneshot",
            Self::TokioRayon => "tokio-rayon",
            Self::Blocking => "blocking",
            Self::Idle => "idle",
        }
    }

    pub(super) fn takes_part(self, case: Case) -> bool {
        match case {
            Case::Lag => true,
            // Nobody else has these.
            Case::Stall | Case::Watchdog | Case::LagMonitor => self == Self::PoolCpu,
            _ => !matches!(self, Self::Idle | Self::PoolCpuNice0),
        }
    }

    /// Makes it, with so many workers where that can be said. `nice` is for ours: no other has it.
    pub(super) fn ready(self, workers: usize, nice: u16) -> Result<Ready, Box<dyn Error>> {
        let blocking = if self == Self::SpawnBlocking2 {
            workers
        } else {
            512
        };
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(blocking)
            .enable_all()
            .build()?;
        let rayon = || {
            ThreadPoolBuilder::new()
                .num_threads(workers)
                .build()
                .map(Arc::new)
        };
        let way = match self {
            Self::PoolCpu => Way::Pool(CpuPool::builder().threads(workers).nice(nice).build()?),
            Self::PoolCpuNice0 => Way::Pool(CpuPool::builder().threads(workers).build()?),
            Self::SpawnBlocking | Self::SpawnBlocking2 => Way::Tokio,
            Self::RayonOneshot => Way::Rayon(rayon()?),
            Self::TokioRayon => Way::TokioRayon(rayon()?),
            Self::Blocking => Way::Blocking,
            Self::Idle => Way::Idle,
        };
        Ok(Ready { runtime, way })
    }
}

impl Way {
    /// Runs one job, as its users write it.
    pub(super) async fn run<T, F>(&self, f: F) -> Result<T, String>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self {
            Self::Pool(pool) => pool.run(f).await.map_err(text),
            Self::Tokio => tokio::task::spawn_blocking(f).await.map_err(text),
            Self::Rayon(rayon) => {
                let (answer, result) = oneshot::channel();
                rayon.spawn(move || drop(answer.send(f())));
                result.await.map_err(text)
            }
            Self::TokioRayon(rayon) => Ok(rayon.spawn_async(f).await),
            Self::Blocking => Ok(blocking::unblock(f).await),
            Self::Idle => Err("nobody is there to run a job".to_owned()),
        }
    }

    /// Submits one job and returns before it is done; where the queue is bounded, when there is
    /// room in it.
    pub(super) async fn submit<T, F>(&self, f: F) -> Result<Answer<T>, String>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        Ok(match self {
            Self::Pool(pool) => {
                let job = pool.job("").enqueue(f).await.map_err(text)?;
                Box::pin(async move { job.await.map_err(text) })
            }
            Self::Tokio => {
                let job = tokio::task::spawn_blocking(f);
                Box::pin(async move { job.await.map_err(text) })
            }
            Self::Rayon(rayon) => {
                let (answer, result) = oneshot::channel();
                rayon.spawn(move || drop(answer.send(f())));
                Box::pin(async move { result.await.map_err(text) })
            }
            Self::TokioRayon(rayon) => {
                let job = rayon.spawn_async(f);
                Box::pin(async move { Ok(job.await) })
            }
            Self::Blocking => {
                let job = blocking::unblock(f);
                Box::pin(async move { Ok(job.await) })
            }
            Self::Idle => return Err("nobody is there to run a job".to_owned()),
        })
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
