//! The cost of many failing keys.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::sleep;

use crate::{Config, KeyedManager, KeyedPool, Usage, keyed::keep::steps};

#[derive(Clone, Default)]
struct Outage {
    attempts: Arc<AtomicU64>,
}

impl KeyedManager<u32> for Outage {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, _: &u32) -> io::Result<()> {
        self.attempts.fetch_add(1, Relaxed);
        Err(io::ErrorKind::ConnectionRefused.into())
    }

    async fn check(&self, (): &mut (), _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

/// Lets `keys` keys fail for a while, with a get of each now and then. Returns the number of attempts, and how often the keeper
/// looked at a key.
async fn outage_of(keys: u32) -> (u64, u64) {
    let manager = Outage::default();
    let attempts = Arc::clone(&manager.attempts);
    let config = Config::new().max_waiters(Some(20_000));
    let pool = KeyedPool::builder(manager).config(config).max_total(1_000);
    let pool = pool.max_total_waiters(20_000).build().unwrap();
    let before = steps::taken();
    let all = join_all((0..keys).map(|key| {
        let pool = &pool;
        async move { pool.get(&key).await.unwrap_err() }
    }));
    let all = tokio::time::timeout(Duration::from_secs(10), all).await;
    assert!(all.unwrap().iter().all(crate::Error::is_connect));
    for round in 0..200 {
        assert!(pool.get(&(round % keys)).await.is_err());
        sleep(Duration::from_millis(10)).await;
    }
    (attempts.load(Relaxed), steps::taken() - before)
}

#[tokio::test(start_paused = true)]
async fn the_keeper_looks_at_a_key_that_fails_when_it_is_due_and_at_no_other() {
    for keys in [100, 10_000] {
        let (attempts, looks) = outage_of(keys).await;
        assert!(attempts >= u64::from(keys) * 3, "{attempts} attempts");
        // One look when the key is to be tried, and one when it may be forgotten.
        let most = 2 * attempts + u64::from(keys);
        assert!(
            looks <= most,
            "{looks} looks at {keys} keys, {attempts} attempts"
        );
    }
}
