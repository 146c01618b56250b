//! A hot key of a cache: what a hit costs, and what its readers notice when it expires.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::rounds::percentile;
use futures_util::future::try_join_all;
use pool_db::cache::Cache;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::failure::Failure;
use super::figures::Figures;

/// Readers of a key that expires.
pub(super) const READERS: usize = 500;
/// Reads of each of them.
const READS: usize = 20;
/// Other keys that are cached.
const KEYS: u32 = 1_000;
/// How long the value is fresh that expires.
const TTL: Duration = Duration::from_millis(300);
/// How long its load takes.
const LOAD: Duration = Duration::from_millis(20);
const HOT: u32 = 7;

/// Ours: a hit, and the readers of a stale value while one load refreshes it.
pub(super) async fn ours(hits: u32) -> Result<Figures, Failure> {
    let cache = Cache::<u32, Arc<str>, Infallible>::builder().build()?;
    for key in 0..KEYS {
        cache.get(&key, render).await?;
    }
    let ns = hammer(hits, async || Ok(cache.get(&HOT, render).await?)).await?;

    let builder = Cache::<u32, Arc<str>, Infallible>::builder().ttl(TTL);
    let builder = builder.stale_while_revalidate(Duration::from_secs(60));
    let cache = builder.ttl_jitter(0.0).build()?;
    let slow = || async {
        sleep(LOAD).await;
        render().await
    };
    cache.get(&HOT, slow).await?;
    let begin = Instant::now();
    let fresh = crowd(async || Ok(cache.get(&HOT, slow).await?)).await?;
    sleep(TTL.saturating_sub(begin.elapsed()) + LOAD).await;
    // Refreshes of the crowd before, if the machine was so slow, have ended.
    sleep(2 * LOAD).await;
    let (before, begin) = (cache.status(), Instant::now());
    let expiring = crowd(async || Ok(cache.get(&HOT, slow).await?)).await?;
    // The crowd may take so long that what was loaded expires again.
    let lives = 1 + (begin.elapsed().as_nanos() / TTL.as_nanos()) as u64;
    sleep(2 * LOAD).await;
    let after = cache.status();
    match (after.loads - before.loads, after.misses - before.misses) {
        (loads, 0) if (1..=lives).contains(&loads) => Ok(Figures::new(ns, expiring).hit_p99(fresh)),
        (loads, misses) => Err(Failure::new(format!(
            "{loads} loads as it expired, and {misses} readers waited"
        ))),
    }
}

/// moka's own cache: a hit, and the same readers of a value that does not expire.
pub(super) async fn moka(hits: u32) -> Result<Figures, Failure> {
    let cache = moka::future::Cache::<u32, Arc<str>>::new(10_000);
    for key in 0..KEYS {
        cache.insert(key, "a page".into()).await;
    }
    let gone = || Failure::new("moka has lost it");
    let ns = hammer(hits, async || cache.get(&HOT).await.ok_or_else(gone)).await?;
    let p99 = crowd(async || cache.get(&HOT).await.ok_or_else(gone)).await?;
    Ok(Figures::new(ns, p99).hit_p99(p99))
}

async fn render() -> Result<Arc<str>, Infallible> {
    Ok("a page".into())
}

/// Nanoseconds a read, of a task that does nothing else.
async fn hammer(
    times: u32,
    read: impl AsyncFn() -> Result<Arc<str>, Failure>,
) -> Result<f64, Failure> {
    let begin = Instant::now();
    for _ in 0..times {
        std::hint::black_box(read().await?);
    }
    Ok(begin.elapsed().as_nanos() as f64 / f64::from(times))
}

/// The time that one read in a hundred exceeds, of many readers in turn.
async fn crowd(read: impl AsyncFn() -> Result<Arc<str>, Failure>) -> Result<u64, Failure> {
    let reader = async || {
        let mut took = Vec::with_capacity(READS);
        for _ in 0..READS {
            let begin = Instant::now();
            std::hint::black_box(read().await?);
            took.push(u64::try_from(begin.elapsed().as_nanos()).unwrap_or(u64::MAX));
            yield_now().await;
        }
        Ok::<_, Failure>(took)
    };
    let all = try_join_all((0..READERS).map(|_| reader())).await?;
    let mut all = all.concat();
    all.sort_unstable();
    Ok(percentile(&all, 0.99))
}
