//! The cache in the process, from outside, on paused time.
#![cfg(feature = "cache")]
#![allow(clippy::unwrap_used)]

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use futures_util::future::join_all;
use pool_db::cache::{Cache, CacheBuilder, Loaded};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// What is cached: it counts how often it was read, and fails as long as it shall.
#[derive(Clone, Debug, Default)]
struct Source {
    reads: Arc<AtomicUsize>,
    running: Arc<AtomicUsize>,
    broken: Arc<AtomicUsize>,
}

impl Source {
    /// A read of `value` that takes so long.
    fn read<V: Send + 'static>(
        &self,
        value: V,
        takes: Duration,
    ) -> impl Future<Output = Result<V, String>> + Send + use<V> {
        struct Running(Arc<AtomicUsize>);
        impl Drop for Running {
            fn drop(&mut self) {
                self.0.fetch_sub(1, SeqCst);
            }
        }
        self.reads.fetch_add(1, SeqCst);
        let source = self.clone();
        async move {
            assert_eq!(source.running.fetch_add(1, SeqCst), 0, "one at a time");
            let _running = Running(Arc::clone(&source.running));
            sleep(takes).await;
            match source.broken.load(SeqCst) {
                0 => Ok(value),
                1 => Err("it is broken".to_owned()),
                2 => panic!("it is on fire"),
                _ => std::future::pending().await,
            }
        }
    }

    fn reads(&self) -> usize {
        self.reads.load(SeqCst)
    }

    fn breaks(&self, how: usize) {
        self.broken.store(how, SeqCst);
    }
}

fn builder() -> CacheBuilder<u32, u32, String> {
    Cache::builder().ttl(10 * SEC).ttl_jitter(0.0)
}

/// Reads what number the source has read last, so that each value is another.
async fn read(cache: &Cache<u32, u32, String>, source: &Source) -> Result<u32, String> {
    let own = source.clone();
    let load = move || {
        let next = u32::try_from(own.reads()).unwrap() + 1;
        own.read(next, 100 * MS)
    };
    let got = cache.get(&7, load).await;
    got.map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_value_is_loaded_once_and_again_after_its_ttl() {
    let (cache, source) = (builder().build().unwrap(), Source::default());
    let all = join_all((0..500).map(|_| read(&cache, &source))).await;
    assert!(all.iter().all(|got| *got == Ok(1)));
    let status = cache.status();
    assert_eq!(
        (status.loads, status.misses, status.coalesced),
        (1, 500, 499)
    );
    sleep(10 * SEC - MS).await;
    assert_eq!((read(&cache, &source).await, source.reads()), (Ok(1), 1));
    sleep(MS).await;
    assert_eq!(cache.peek(&7).await, None);
    let again = join_all((0..500).map(|_| read(&cache, &source))).await;
    assert!(again.iter().all(|got| *got == Ok(2)));
    let status = cache.status();
    assert_eq!((status.loads, status.hits, status.waiting), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn callers_that_go_away_do_not_stop_the_load_of_others_and_the_last_one_does() {
    let (cache, source) = (builder().build().unwrap(), Source::default());
    {
        let (mut one, mut two) = (pin!(read(&cache, &source)), pin!(read(&cache, &source)));
        assert!(futures_util::poll!(&mut one).is_pending());
        assert!(futures_util::poll!(&mut two).is_pending());
        sleep(50 * MS).await;
        assert_eq!(source.running.load(SeqCst), 1);
    }
    sleep(MS).await;
    assert_eq!(source.running.load(SeqCst), 0, "nobody waits");
    let left = Box::pin(read(&cache, &source));
    let mut first = left;
    assert!(futures_util::poll!(&mut first).is_pending());
    let second = read(&cache, &source);
    let mut second = pin!(second);
    assert!(futures_util::poll!(&mut second).is_pending());
    sleep(50 * MS).await;
    drop(first);
    assert_eq!(second.await, Ok(2));
    assert_eq!(source.reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_dropped_at_any_of_its_polls_leaves_nothing_behind() {
    for polls in 0..12 {
        let (cache, source) = (builder().build().unwrap(), Source::default());
        let mut call = Box::pin(read(&cache, &source));
        for _ in 0..polls {
            if futures_util::poll!(&mut call).is_ready() {
                break;
            }
            sleep(10 * MS).await;
        }
        drop(call);
        sleep(MS).await;
        assert_eq!(source.running.load(SeqCst), 0);
        let before = source.reads();
        let got = read(&cache, &source).await.unwrap();
        assert!(got == 1 || got as usize == before + 1);
        assert_eq!(cache.status().waiting, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_load_that_fails_panics_or_hangs_is_told_to_all_and_not_stored() {
    let cache = builder().load_timeout(2 * SEC).build().unwrap();
    let source = Source::default();
    for (how, says) in [
        (1, "it is broken"),
        (2, "cache `cache`: the load panicked: it is on fire"),
        (3, "cache `cache`: the load did not end within 2s"),
    ] {
        source.breaks(how);
        let before = source.reads();
        let begin = Instant::now();
        let all = join_all((0..50).map(|_| read(&cache, &source))).await;
        for got in all {
            let said = got.unwrap_err();
            // Other tests of this process may have a cache as well.
            assert!(
                said.starts_with(&says[..12]) && said.ends_with(&says[says.len() - 12..]),
                "{said}"
            );
        }
        assert_eq!(source.reads(), before + 1);
        assert!(begin.elapsed() <= 2 * SEC + 100 * MS);
    }
    assert_eq!(cache.status().load_failures, 3);
    source.breaks(0);
    assert_eq!(read(&cache, &source).await, Ok(4));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_at_once_while_one_load_refreshes_it() {
    let cache = builder().stale_while_revalidate(5 * SEC).build().unwrap();
    let source = Source::default();
    assert_eq!(read(&cache, &source).await, Ok(1));
    sleep(10 * SEC).await;
    let begin = Instant::now();
    let all = join_all((0..500).map(|_| read(&cache, &source))).await;
    assert!(all.iter().all(|got| *got == Ok(1)));
    assert_eq!(begin.elapsed(), Duration::ZERO);
    sleep(200 * MS).await;
    assert_eq!((read(&cache, &source).await, source.reads()), (Ok(2), 2));
    let status = cache.status();
    assert_eq!((status.stale, status.refreshes, status.misses), (500, 1, 1));

    // A refresh that fails changes nothing, and is tried again by the next call.
    sleep(10 * SEC).await;
    source.breaks(1);
    for _ in 0..3 {
        assert_eq!(read(&cache, &source).await, Ok(2));
        sleep(SEC).await;
    }
    assert_eq!(source.reads(), 5);
    // Not even one that hangs costs a reader anything, until the window is over.
    source.breaks(3);
    assert_eq!(read(&cache, &source).await, Ok(2));
    sleep(SEC).await;
    assert_eq!(read(&cache, &source).await, Ok(2));
    assert_eq!(source.reads(), 6, "the refresh still runs");
    sleep(SEC).await;
    assert!(read(&cache, &source).await.unwrap_err().contains("30s"));
}

#[tokio::test(start_paused = true)]
async fn a_stale_value_is_served_if_the_load_fails_and_a_backoff_spares_the_source() {
    let base = builder().stale_if_error(60 * SEC);
    let cache = base.error_backoff(5 * SEC).build().unwrap();
    let source = Source::default();
    assert_eq!(read(&cache, &source).await, Ok(1));
    sleep(10 * SEC).await;
    source.breaks(1);
    for _ in 0..10 {
        assert_eq!(read(&cache, &source).await, Ok(1));
    }
    assert_eq!(source.reads(), 2, "the failure is remembered");
    assert_eq!(cache.status().stale_on_error, 10);
    sleep(5 * SEC).await;
    assert_eq!((read(&cache, &source).await, source.reads()), (Ok(1), 3));
    source.breaks(0);
    sleep(5 * SEC).await;
    assert_eq!(read(&cache, &source).await, Ok(4));
    source.breaks(2);
    sleep(70 * SEC).await;
    assert!(read(&cache, &source).await.is_err(), "it is too old");
    // The error of a key without a value is remembered as well.
    let reads = source.reads();
    assert!(read(&cache, &source).await.is_err());
    assert_eq!((source.reads(), cache.status().error_hits), (reads, 1));
    sleep(5 * SEC).await;
    source.breaks(0);
    assert!(read(&cache, &source).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn that_there_is_none_is_remembered_for_its_own_time() {
    let cache = builder().negative_ttl(2 * SEC).build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let look = async |value: Option<u32>| {
        let loads = Arc::clone(&loads);
        let load = move || async move {
            loads.fetch_add(1, SeqCst);
            Ok(value)
        };
        cache.get_opt(&7, load).await.unwrap()
    };
    assert_eq!((look(None).await, look(Some(1)).await), (None, None));
    assert_eq!(cache.status().negative_hits, 1);
    // Who must have a value loads it.
    assert_eq!(cache.get(&7, || async { Ok(5) }).await.unwrap(), 5);
    assert_eq!(look(None).await, Some(5));
    cache.clear().await.unwrap();
    assert_eq!(look(None).await, None);
    sleep(2 * SEC).await;
    assert_eq!((look(Some(3)).await, loads.load(SeqCst)), (Some(3), 3));

    // Not even if it joined a load that may find none.
    cache.clear().await.unwrap();
    let (none, some) = tokio::join!(
        cache.get_opt(&7, || async {
            sleep(SEC).await;
            Ok(None)
        }),
        cache.get(&7, || async { Ok(8) })
    );
    assert_eq!((none.unwrap(), some.unwrap()), (None, 8));

    let never = builder().negative_ttl(None).build().unwrap();
    for _ in 0..2 {
        assert_eq!(
            never.get_opt(&7, || async { Ok(None) }).await.unwrap(),
            None
        );
    }
    assert_eq!((never.status().loads, never.status().negative_hits), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn entries_of_one_moment_expire_at_different_times_within_the_jitter() {
    let cache = builder().ttl(100 * SEC).ttl_jitter(0.1).build().unwrap();
    for key in 0..1_000 {
        cache.get(&key, || async { Ok(1) }).await.unwrap();
    }
    let alive = async || {
        let mut alive = 0;
        for key in 0..1_000 {
            alive += usize::from(cache.peek(&key).await.is_some());
        }
        alive
    };
    sleep(90 * SEC - MS).await;
    assert_eq!(alive().await, 1_000);
    sleep(10 * SEC).await;
    let half = alive().await;
    assert!((400..=600).contains(&half), "{half}");
    sleep(10 * SEC + 2 * MS).await;
    assert_eq!(alive().await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_load_may_shorten_the_ttl_of_its_entry_and_not_lengthen_it() {
    let cache = builder().build().unwrap();
    let store = async |key: u32, ttl: Duration| {
        let load = move || async move { Ok(Loaded::new(1).ttl(ttl)) };
        cache.get_loaded(&key, load).await.unwrap();
    };
    store(1, 3 * SEC).await;
    store(2, Duration::MAX).await;
    store(3, Duration::ZERO).await;
    assert_eq!(cache.peek(&3).await, None);
    sleep(3 * SEC).await;
    assert_eq!(
        (cache.peek(&1).await, cache.peek(&2).await),
        (None, Some(1))
    );
    sleep(7 * SEC).await;
    assert_eq!(cache.peek(&2).await, None);
}

#[tokio::test(start_paused = true)]
async fn what_a_load_finds_that_began_before_an_invalidation_is_not_served_to_later_calls() {
    for how in 0..3 {
        let cache = builder().build().unwrap();
        let load = |value: u32| {
            move || async move {
                sleep(SEC).await;
                Ok(Loaded::new(value).tag("tag"))
            }
        };
        let early = tokio::spawn({
            let cache = cache.clone();
            async move { cache.get_loaded(&7, load(1)).await.unwrap() }
        });
        sleep(500 * MS).await;
        match how {
            0 => cache.invalidate(&7).await.unwrap(),
            1 => cache.invalidate_tag("tag").await.unwrap(),
            _ => cache.clear().await.unwrap(),
        }
        // It waits for the load that runs, and then has its own: a key has one load at a time.
        assert_eq!(cache.get_loaded(&7, load(2)).await.unwrap(), Some(2));
        assert_eq!(early.await.unwrap(), Some(1), "it had begun before");
        assert_eq!((cache.peek(&7).await, cache.status().loads), (Some(2), 2));
        // Nor while it is refreshed.
        cache.invalidate_tag("tag").await.unwrap();
        assert_eq!(cache.peek(&7).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn neither_a_stale_value_nor_that_of_a_failed_load_outlives_an_invalidation() {
    let base = builder().stale_while_revalidate(60 * SEC);
    let cache = base.stale_if_error(60 * SEC).build().unwrap();
    let source = Source::default();
    assert_eq!(read(&cache, &source).await, Ok(1));
    sleep(11 * SEC).await;
    // A refresh is under way when it is invalidated.
    assert_eq!(read(&cache, &source).await, Ok(1));
    tokio::task::yield_now().await;
    cache.invalidate(&7).await.unwrap();
    assert_eq!(read(&cache, &source).await, Ok(3));
    sleep(11 * SEC).await;
    source.breaks(1);
    cache.invalidate(&7).await.unwrap();
    assert_eq!(read(&cache, &source).await, Err("it is broken".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_load_that_asks_for_its_own_key_is_told_so() {
    let cache = builder().build().unwrap();
    let inner = cache.clone();
    let load = move || async move {
        let own = inner.get(&7, || async { Ok(1) }).await;
        Ok(u32::from(own.unwrap_err().is_reentrant()))
    };
    assert_eq!(cache.get(&7, load).await.unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_bound_are_refused_at_once() {
    let cache = builder().max_waiters(3).build().unwrap();
    let source = Source::default();
    let all = join_all((0..10).map(|_| read(&cache, &source))).await;
    assert_eq!(all.iter().filter(|got| got.is_ok()).count(), 3);
    let refused = all.iter().find_map(|got| got.as_ref().err()).unwrap();
    assert!(
        refused.ends_with("too many callers wait for loads"),
        "{refused}"
    );
    assert!(read(&cache, &source).await.is_ok());
}

#[test]
fn a_hit_needs_no_runtime_and_a_miss_says_that_it_has_none() {
    let cache = builder().stale_while_revalidate(SEC).build().unwrap();
    let now = |call: &mut dyn FnMut() -> Result<u32, bool>| call();
    let miss = futures_util::future::FutureExt::now_or_never(cache.get(&7, || async { Ok(1) }));
    assert!(miss.unwrap().unwrap_err().is_no_runtime());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let got = runtime.block_on(cache.get(&7, || async { Ok(1) }));
    assert_eq!(got.unwrap(), 1);
    drop(runtime);
    let mut hit = || {
        let hit = futures_util::future::FutureExt::now_or_never(cache.get(&7, || async { Ok(2) }));
        hit.unwrap().map_err(|error| error.is_no_runtime())
    };
    assert_eq!(now(&mut hit), Ok(1));
}

#[test]
fn a_load_whose_runtime_ended_is_begun_again_on_another() {
    let cache = builder().build().unwrap();
    let build = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let first = build();
    let own = cache.clone();
    first.spawn(async move { own.get(&7, std::future::pending).await });
    first.block_on(async { tokio::task::yield_now().await });
    drop(first);
    let got = build().block_on(cache.get(&7, || async { Ok(2) }));
    assert_eq!(got.unwrap(), 2);
}

#[tokio::test]
async fn a_hundred_thousand_keys_have_the_room_that_they_are_given() {
    let cache = builder().max_size(1_000).build().unwrap();
    for key in 0..100_000 {
        let got = cache.get(&key, move || async move { Ok(key + 1) }).await;
        assert_eq!(got.unwrap(), key + 1);
    }
    for key in 0..1_000 {
        let got = cache.get(&key, move || async move { Ok(key + 1) }).await;
        assert_eq!(got.unwrap(), key + 1, "never that of another");
    }
    let status = cache.status();
    assert!(status.entries <= 1_500, "{status:?}");
    assert!(status.evicted >= 90_000, "{status:?}");
    assert_eq!((status.waiting, status.load_failures), (0, 0));
}

#[tokio::test]
async fn a_weight_bounds_the_memory_and_a_cache_without_room_only_coalesces() {
    let heavy = builder()
        .weigher(|_, _| 100)
        .max_size(1_000)
        .build()
        .unwrap();
    for key in 0..1_000 {
        heavy.get(&key, || async { Ok(1) }).await.unwrap();
    }
    let status = heavy.status();
    assert!(
        status.weight <= 20_000 && status.evicted > 800,
        "{status:?}"
    );

    let none = builder().max_size(0).build().unwrap();
    let source = Source::default();
    let all = join_all((0..50).map(|_| read(&none, &source))).await;
    assert!(all.iter().all(|got| *got == Ok(1)));
    assert_eq!(read(&none, &source).await, Ok(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_value_of_before_an_invalidation_is_never_served_after_it_returned() {
    let rounds = std::env::var("POOL_TEST_ROUNDS").map_or(300, |rounds| rounds.parse().unwrap());
    let builder = Cache::<u32, u64, String>::builder().stale_while_revalidate(SEC);
    // Short, so that entries are stale as well.
    let cache = builder.ttl(MS).stale_if_error(SEC).build().unwrap();
    let truth = Arc::new(AtomicU64::new(0));
    let look = async |cache: &Cache<u32, u64, String>, truth: &Arc<AtomicU64>| {
        let truth = Arc::clone(truth);
        let load = move || async move {
            let value = truth.load(SeqCst);
            tokio::task::yield_now().await;
            if value % 7 == 3 {
                return Err("it happens".to_owned());
            }
            Ok(Loaded::new(value)
                .tag("all")
                .tag(format!("of {}", value % 3)))
        };
        cache.get_loaded(&7, load).await.ok().flatten()
    };
    let readers = (0..8).map(|_| {
        let (cache, truth) = (cache.clone(), Arc::clone(&truth));
        tokio::spawn(async move {
            while truth.load(SeqCst) < rounds {
                // The invalidation of the one before has ended.
                let known = truth.load(SeqCst);
                if let Some(value) = look(&cache, &truth).await {
                    assert!(value + 1 >= known, "{value} after {known}");
                }
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    for round in 1..=rounds {
        truth.store(round, SeqCst);
        match round % 3 {
            0 => cache.invalidate(&7).await.unwrap(),
            1 => cache.invalidate_tag("all").await.unwrap(),
            _ => cache.clear().await.unwrap(),
        }
        // The only writer: what it reads now is what it wrote.
        if let Some(value) = look(&cache, &truth).await {
            assert_eq!(value, round);
        }
    }
    for reader in readers {
        reader.await.unwrap();
    }
    assert_eq!(cache.status().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn a_handle_that_is_forgotten_in_a_call_stops_nobody() {
    let (cache, source) = (builder().build().unwrap(), Source::default());
    let mut call = Box::pin(read(&cache, &source));
    poll_fn(|context| {
        assert!(call.as_mut().poll(context).is_pending());
        Poll::Ready(())
    })
    .await;
    std::mem::forget(call);
    assert_eq!(read(&cache, &source).await, Ok(1));
    assert_eq!(source.reads(), 1);
}

#[test]
fn settings_come_from_the_environment_and_name_the_variable_that_is_wrong() {
    let cache = builder().env("CACHE_OF_NOBODY").unwrap().build().unwrap();
    assert_eq!(cache.name(), "cache_of_nobody");
    let error = builder().ttl(Duration::ZERO).build().unwrap_err();
    assert_eq!(error.to_string(), "ttl is 0s, but must be longer than zero");
    let largest = builder()
        .ttl(Duration::MAX)
        .ttl_jitter(1.0)
        .stale_while_revalidate(Duration::MAX)
        .stale_if_error(Duration::MAX)
        .negative_ttl(Duration::MAX)
        .error_backoff(Duration::MAX)
        .load_timeout(Duration::MAX)
        .max_size(u64::MAX)
        .lease_wait(Duration::MAX)
        .remote_timeout(Duration::MAX / 2)
        .build()
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        assert_eq!(largest.get(&1, || async { Ok(1) }).await.unwrap(), 1);
        sleep(1_000 * SEC).await;
        assert_eq!(largest.peek(&1).await, Some(1));
    });
    assert!(format!("{largest:?}").contains("max_size"));
}
