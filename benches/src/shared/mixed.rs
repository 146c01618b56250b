//! Shares of a pool by key, beside those of a pool without keys and the leases of a pool by key.

use std::hint::black_box;
use std::io;
use std::time::Instant;

use pool_core::{
    Config, Gauge, KeyedPool, MixedManager, MixedPool, Opened, SharedManager, SharedPool, Usage,
};
use tokio::task::{JoinSet, yield_now};

use super::work::{CONNECTIONS, Counters, Failure, Numbers, TASKS, each, joined};

impl MixedManager<u64> for Numbers {
    type One = u64;
    type Many = u64;
    type Error = io::Error;

    async fn create(&self, _: &u64, gauge: Gauge) -> Result<Opened<u64, u64>, io::Error> {
        SharedManager::create(self, gauge).await.map(Opened::Many)
    }

    async fn check(&self, _: &mut u64, _: &Usage) -> Result<(), io::Error> {
        Ok(())
    }
}

/// So many keys are there where there are several.
const KEYS: u64 = 16;

/// A pool of `connections` shared connections of each of `keys`.
fn mixed_pool(keys: u64, connections: u32) -> Result<MixedPool<u64, Numbers>, Failure> {
    let builder = MixedPool::builder(Numbers).config(Config::new().max_size(connections));
    Ok(builder.max_total(keys as u32 * connections).build()?)
}

/// Nanoseconds for a get and return of a share by one task, of one connection.
pub(super) async fn share_alone(ours: bool, times: usize) -> Result<f64, Failure> {
    let (mixed, key) = (mixed_pool(1, 1)?, black_box(0));
    let shared = SharedPool::builder(Numbers).max_size(1).build()?;
    drop((mixed.get(&key).await?, shared.get().await?));
    let start = Instant::now();
    for _ in 0..times {
        if ours {
            black_box(&mixed.get(&key).await?);
        } else {
            black_box(&*shared.get().await?);
        }
    }
    Ok(each(start, times))
}

/// Nanoseconds for a get and return of a share by one of many tasks, of two connections of one key.
pub(super) async fn shares_crowd(ours: bool, times: usize) -> Result<f64, Failure> {
    let mixed = mixed_pool(1, CONNECTIONS)?;
    let shared = SharedPool::builder(Numbers).max_size(CONNECTIONS).build()?;
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for _ in 0..TASKS {
        let (mixed, shared) = (mixed.clone(), shared.clone());
        tasks.spawn(async move {
            for _ in 0..times {
                if ours {
                    let share = mixed.get(&0).await?;
                    yield_now().await;
                    drop(share);
                } else {
                    let share = shared.get().await?;
                    yield_now().await;
                    drop(share);
                }
            }
            Ok(())
        });
    }
    joined(tasks).await?;
    Ok(each(start, TASKS * times))
}

/// Nanoseconds for a get and return by one of many tasks, each of which goes over all keys: of a share of two connections a key, or
/// of a connection of which there is one for each task.
pub(super) async fn keys_crowd(ours: bool, times: usize) -> Result<f64, Failure> {
    let mixed = mixed_pool(KEYS, CONNECTIONS)?;
    let config = Config::new().max_size(TASKS as u32);
    let keyed = KeyedPool::builder(Counters).config(config);
    let keyed = keyed.max_total(KEYS as u32 * TASKS as u32).build()?;
    let mut tasks = JoinSet::new();
    let start = Instant::now();
    for task in 0..TASKS {
        let (mixed, keyed) = (mixed.clone(), keyed.clone());
        tasks.spawn(async move {
            for turn in task..task + times {
                let key = turn as u64 % KEYS;
                if ours {
                    let share = mixed.get(&key).await?;
                    yield_now().await;
                    drop(share);
                } else {
                    let lease = keyed.get(&key).await?;
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
