//! The work itself, ours and the measure's side by side.

use std::convert::Infallible;
use std::hint::black_box;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use futures_util::StreamExt;
use pool_core::{Flight, Gauge, Limiter, Manager, Pool, SharedManager, SharedPool, Usage, fan_out};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, yield_now};

/// Why a measurement could not be made.
pub(super) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A counter as a pooled thing.
#[derive(Debug)]
pub(super) struct Counters;

impl Manager for Counters {
    type Resource = u64;
    type Error = io::Error;

    async fn create(&self) -> Result<u64, io::Error> {
        Ok(0)
    }

    async fn check(&self, _: &mut u64, _: &Usage) -> Result<(), io::Error> {
        Ok(())
    }
}

/// A number that 32 may look at together.
#[derive(Debug)]
pub(super) struct Numbers;

impl SharedManager for Numbers {
    type Resource = u64;
    type Error = io::Error;

    async fn create(&self, gauge: Gauge) -> Result<u64, io::Error> {
        gauge.set_capacity(SHARES);
        Ok(0)
    }
}

pub(super) const TASKS: usize = 64;
const PERMITS: u32 = 8;
const SHARES: u32 = 32;
pub(super) const CONNECTIONS: u32 = 2;

/// Nanoseconds for each of `count` since `start`.
pub(super) fn each(start: Instant, count: usize) -> f64 {
    start.elapsed().as_nanos() as f64 / count as f64
}

/// Waits for all of them.
pub(super) async fn joined(mut tasks: JoinSet<Result<(), Failure>>) -> Result<(), Failure> {
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

pub(super) async fn permits_alone(ours: bool, times: usize) -> Result<f64, Failure> {
    let limiter = Limiter::new(PERMITS);
    let semaphore = Semaphore::new(PERMITS as usize);
    let start = Instant::now();
    for _ in 0..times {
        if ours {
            black_box(&limiter.acquire().await?);
        } else {
            black_box(&semaphore.acquire().await?);
        }
    }
    Ok(each(start, times))
}

pub(super) async fn permits_crowd(ours: bool, times: usize) -> Result<f64, Failure> {
    let limiter = Limiter::new(PERMITS);
    let semaphore = Arc::new(Semaphore::new(PERMITS as usize));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..TASKS {
        let (limiter, semaphore) = (limiter.clone(), Arc::clone(&semaphore));
        tasks.spawn(async move {
            for _ in 0..times {
                if ours {
                    let permit = limiter.acquire().await?;
                    yield_now().await;
                    drop(permit);
                } else {
                    let permit = semaphore.acquire().await?;
                    yield_now().await;
                    drop(permit);
                }
            }
            Ok(())
        });
    }
    joined(tasks).await?;
    Ok(each(start, TASKS * times))
}

pub(super) async fn items(ours: bool, items: usize) -> Result<f64, Failure> {
    let start = Instant::now();
    let values: Vec<usize> = if ours {
        let work = |item| async move { Ok::<_, Infallible>(item) };
        fan_out(0..items).limit(16).map(work).await?
    } else {
        let work = futures_util::stream::iter(0..items).map(|item| async move { item });
        work.buffer_unordered(16).collect().await
    };
    let took = each(start, items);
    match values.len() == items {
        true => Ok(took),
        false => Err(format!("{} values of {items} items", values.len()).into()),
    }
}

pub(super) async fn gets_alone(ours: bool, times: usize) -> Result<f64, Failure> {
    let pool = Pool::builder(Counters).max_size(CONNECTIONS).build()?;
    let shared = SharedPool::builder(Numbers).max_size(CONNECTIONS).build()?;
    drop((pool.get().await?, shared.get().await?));
    let start = Instant::now();
    for _ in 0..times {
        if ours {
            black_box(&*shared.get().await?);
        } else {
            black_box(&*pool.get().await?);
        }
    }
    Ok(each(start, times))
}

pub(super) async fn gets_crowd(ours: bool, times: usize) -> Result<f64, Failure> {
    let pool = Pool::builder(Counters).max_size(CONNECTIONS).build()?;
    let shared = SharedPool::builder(Numbers).max_size(CONNECTIONS).build()?;
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..TASKS {
        let (pool, shared) = (pool.clone(), shared.clone());
        tasks.spawn(async move {
            for _ in 0..times {
                if ours {
                    let share = shared.get().await?;
                    yield_now().await;
                    drop(share);
                } else {
                    let lease = pool.get().await?;
                    yield_now().await;
                    drop(lease);
                }
            }
            Ok(())
        });
    }
    joined(tasks).await?;
    Ok(each(start, TASKS * times))
}

/// The computation. It is not over before everybody has come.
async fn computed(asked: Arc<AtomicUsize>, callers: usize) -> u64 {
    while asked.load(Relaxed) < callers {
        yield_now().await;
    }
    tokio::time::sleep(COMPUTES).await;
    7
}

pub(super) async fn callers(ours: bool, callers: usize) -> Result<f64, Failure> {
    let flight: Flight<u32, u64> = Flight::new();
    let cache: moka::future::Cache<u32, u64> = moka::future::Cache::new(16);
    let asked = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..callers {
        let (flight, cache) = (flight.clone(), cache.clone());
        let asked = Arc::clone(&asked);
        tasks.spawn(async move {
            asked.fetch_add(1, Relaxed);
            let compute = move || computed(Arc::clone(&asked), callers);
            if ours {
                flight
                    .run(1, move || async move { Ok(compute().await) })
                    .await?;
            } else {
                cache.get_with(1, compute()).await;
            }
            Ok(())
        });
    }
    joined(tasks).await?;
    let took = each(start, callers);
    let started = flight.status().started;
    match !ours || started == 1 {
        true => Ok(took),
        false => Err(format!("{started} computations for one key").into()),
    }
}

/// Long enough that everybody has come before it ends.
const COMPUTES: std::time::Duration = std::time::Duration::from_millis(5);
