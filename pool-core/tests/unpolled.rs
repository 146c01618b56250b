//! Many futures in line that nobody polls, in everything that hands grants to futures: together they cost the others one grace.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, future::Future, pin::Pin, time::Duration};

use futures_util::FutureExt;
use pool_core::{
    Config, Gauge, KeyedManager, KeyedPool, Limiter, SharedConfig, SharedManager, SharedPool, Usage,
};
use tokio::time::{Instant, timeout};

struct Unit;

impl KeyedManager<u32> for Unit {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self, _: &u32) -> Result<(), Infallible> {
        Ok(())
    }

    async fn check(&self, (): &mut (), _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }
}

impl SharedManager for Unit {
    type Resource = Gauge;
    type Error = Infallible;

    async fn create(&self, gauge: Gauge) -> Result<Gauge, Infallible> {
        Ok(gauge)
    }
}

const MS: Duration = Duration::from_millis(1);
const MANY: u32 = 100;

type Wait<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// `MANY` wait and are not polled any more, and then one that is; `held` goes.
async fn assert_one_grace<'a>(what: &str, held: impl Sized, wait: impl Fn(u32) -> Wait<'a>) {
    let mut unpolled: Vec<_> = (0..MANY).map(&wait).collect();
    for get in &mut unpolled {
        assert!(get.now_or_never().is_none());
    }
    let mut polled = wait(MANY);
    assert!((&mut polled).now_or_never().is_none());
    // The keeper has begun.
    tokio::time::sleep(20 * MS).await;
    let begin = Instant::now();
    drop(held);
    let served = timeout(2_000 * MS, polled).await;
    let took = begin.elapsed();
    assert!(served.is_ok() && took <= 90 * MS, "{what}: {took:?}");
    // They keep their places, and are served when they are polled.
    for get in unpolled {
        assert!(timeout(2_000 * MS, get).await.is_ok(), "{what}");
    }
}

fn config() -> Config {
    Config::new().max_waiters(Some(1_000))
}

fn shared_config() -> SharedConfig {
    SharedConfig::new().max_waiters(Some(1_000))
}

#[tokio::test(start_paused = true)]
async fn many_unpolled_gets_by_key_hold_up_the_others_for_one_grace_only() {
    // One key, and a key for each.
    for keys in [1, MANY] {
        let pool = KeyedPool::builder(Unit)
            .config(config())
            .max_size(1)
            .max_total(1);
        let pool = pool.max_total_waiters(1_000).build().unwrap();
        let held = pool.get(&0).await.unwrap();
        let pool = &pool;
        let wait = move |n: u32| -> Wait<'_> {
            Box::pin(async move { drop(pool.get(&(n % keys)).await.unwrap()) })
        };
        assert_one_grace("by key", held, wait).await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_unpolled_gets_of_shares_hold_up_the_others_for_one_grace_only() {
    let pool = SharedPool::builder(Unit)
        .config(shared_config())
        .max_size(1)
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    assert_one_grace("shares", held, |_| {
        Box::pin(async { drop(pool.get().await.unwrap()) })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_unpolled_acquires_hold_up_the_others_for_one_grace_only() {
    for keys in [None, Some(1), Some(MANY)] {
        let limiter = Limiter::builder(1).max_waiters(1_000).build().unwrap();
        let held = limiter.acquire().await.unwrap();
        let limiter = &limiter;
        let wait = move |n: u32| -> Wait<'_> {
            Box::pin(async move {
                let acquire = limiter.acquire();
                let acquire = match keys {
                    None => acquire,
                    Some(keys) => acquire.key(n % keys),
                };
                drop(acquire.await.unwrap());
            })
        };
        assert_one_grace("permits", held, wait).await;
    }
}
