//! Pools by key beside a bare map: the time of a get and return, and what an idle key takes from the heap.

use std::collections::HashMap;
use std::hint::black_box;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use pool_core::{Config, KeyedManager, KeyedPool, Pool, Usage};
use tokio::runtime::Builder;

use super::work::{Counters, Failure};
use crate::alloc::counts;

impl KeyedManager<u64> for Counters {
    type Resource = u64;
    type Error = io::Error;

    async fn create(&self, _: &u64) -> Result<u64, io::Error> {
        Ok(0)
    }

    async fn check(&self, _: &mut u64, _: &Usage) -> Result<(), io::Error> {
        Ok(())
    }
}

const KEYS: u32 = 10_000;

/// The most bytes that an idle key may take.
pub(super) const BYTES: f64 = 2048.0;

/// Nothing falls due while it is measured.
fn config() -> Config {
    Config::new().check_after(Duration::from_secs(600))
}

/// One of each key, all idle.
async fn all_keys(keys: u32) -> Result<KeyedPool<u64, Counters>, Failure> {
    let builder = KeyedPool::builder(Counters).config(config());
    let pool = builder.max_total(keys).build()?;
    for key in 0..u64::from(keys) {
        drop(pool.get(&key).await?);
    }
    let idle = pool.status().idle;
    match idle == keys && pool.key_count() == keys as usize {
        true => Ok(pool),
        false => Err(format!("{idle} of {keys} keys are idle").into()),
    }
}

/// How many keys there are.
pub(super) fn keys(quick: bool) -> u32 {
    if quick { KEYS / 100 } else { KEYS }
}

/// Nanoseconds for a get and return of a random one of so many keys.
pub(super) async fn random_key(keys: u32, times: usize) -> Result<f64, Failure> {
    let mut random = fastrand::Rng::with_seed(7);
    let pool = all_keys(keys).await?;
    let start = Instant::now();
    for _ in 0..times {
        let key = black_box(u64::from(random.u32(0..keys)));
        black_box(&*pool.get(&key).await?);
    }
    Ok(start.elapsed().as_nanos() as f64 / times as f64)
}

/// Opens one key of many.
struct Outage;

impl KeyedManager<u32> for Outage {
    type Resource = u32;
    type Error = io::Error;

    async fn create(&self, key: &u32) -> Result<u32, io::Error> {
        match key {
            0 => Ok(0),
            _ => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    async fn check(&self, _: &mut u32, _: &Usage) -> Result<(), io::Error> {
        Ok(())
    }
}

/// Nanoseconds for a get while so many keys cannot be opened: every other one of such a key, which fails fast, and of the one that
/// works. Between them the pool's tasks have their turns: what those take counts.
pub(super) async fn failing(keys: u32, times: usize) -> Result<f64, Failure> {
    let waiters = keys as usize + 1;
    let builder = KeyedPool::builder(Outage).config(config().max_waiters(Some(waiters)));
    let pool = builder
        .max_total(1_000)
        .max_total_waiters(waiters)
        .build()?;
    let fails = |key: u32| {
        let pool = &pool;
        async move { pool.get(&key).await.is_err() }
    };
    let all = futures_util::future::join_all((1..=keys).map(fails)).await;
    if !all.into_iter().all(|failed| failed) {
        return Err("a get of a key that cannot be opened succeeded".into());
    }
    let mut random = fastrand::Rng::with_seed(7);
    let start = Instant::now();
    for _ in 0..times / 2 {
        black_box(fails(black_box(random.u32(1..=keys))).await);
        black_box(&*pool.get(&0).await?);
        tokio::task::yield_now().await;
    }
    Ok(start.elapsed().as_nanos() as f64 / times as f64)
}

/// The same as people write it without us: a map of pools, one a key, which have no bound in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct MapOfPools {
    /// Nanoseconds for a get and return of a random one.
    pub(super) ns: f64,
    /// Heap bytes for each of them, with one idle.
    pub(super) bytes: f64,
}

/// Measures the map of pools.
pub(super) fn map_of_pools(quick: bool) -> Result<MapOfPools, Failure> {
    let keys = keys(quick);
    let times = if quick { 1_000 } else { 500_000 };
    let runtime = Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let before = counts();
        let mut pools = HashMap::new();
        for key in 0..u64::from(keys) {
            let pool = Pool::builder(Counters).config(config()).max_size(1);
            let pool = pool.build()?;
            drop(pool.get().await?);
            pools.insert(key, pool);
        }
        let bytes = counts().since(before).bytes as f64 / f64::from(keys);
        let mut random = fastrand::Rng::with_seed(7);
        let start = Instant::now();
        for _ in 0..times {
            let key = black_box(u64::from(random.u32(0..keys)));
            let pool = pools.get(&key).ok_or("there is one for each key")?;
            black_box(&*pool.get().await?);
        }
        let ns = start.elapsed().as_nanos() as f64 / f64::from(times);
        Ok(MapOfPools { ns, bytes })
    })
}

/// Nanoseconds for the least that does it, of a random one of so many keys: a map of stacks under one lock, which neither opens nor
/// bounds nor counts anything. It hashes as the pool does.
pub(super) fn bare_map(keys: u32, times: usize) -> Result<f64, Failure> {
    let stacks = (0..u64::from(keys)).map(|key| (key, vec![0_u64]));
    let map = Mutex::new(HashMap::<_, _>::from_iter(stacks));
    let mut random = fastrand::Rng::with_seed(7);
    let start = Instant::now();
    for _ in 0..times {
        let key = black_box(u64::from(random.u32(0..keys)));
        let missing = "there is one for each key";
        let lock = || map.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = lock().get_mut(&key).and_then(Vec::pop);
        let item = black_box(taken.ok_or(missing)?);
        lock().get_mut(&key).ok_or(missing)?.push(item);
    }
    Ok(start.elapsed().as_nanos() as f64 / times as f64)
}

/// Heap bytes for each key that has one idle; 0 where nothing counts them.
pub(super) fn bytes(quick: bool) -> Result<f64, Failure> {
    let keys = keys(quick);
    let runtime = Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(async {
        let before = counts();
        let pool = all_keys(keys).await?;
        // What the pool's tasks still hold is not the keys': let them end.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let bytes = counts().since(before).bytes as f64 / f64::from(keys);
        drop(pool);
        Ok(bytes)
    })
}
