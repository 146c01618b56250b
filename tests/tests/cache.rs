//! The cache with Redis as its second layer, against a real server that is down, frozen, full, or forgets.

#![allow(clippy::unwrap_used)]

use std::{
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::future::join_all;
use pool_db::{
    cache::{Cache, CacheBuilder, Loaded, Raw, Remote},
    redis::Shared,
};
use tests::redis::Server;
use tokio::{sync::Notify, time::sleep};

/// Nothing here takes that long, but for the start of a server.
const SOON: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

type Pages = Cache<u32, Bytes, String>;

/// A process of its own, but for the process.
fn builder(url: &str) -> CacheBuilder<u32, Bytes, String> {
    let redis = Shared::builder().url(url).max_size(1).build().unwrap();
    Cache::builder()
        .remote(Remote::new(redis, "shop:pages"), Raw)
        .ttl(60 * SOON)
        .remote_timeout(SOON)
        .lease_time(SOON)
        .lease_wait(SOON)
}

fn pages(server: &Server) -> Pages {
    builder(&server.url()).build().unwrap()
}

/// Waits for `what` to be true.
async fn comes(mut what: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !what().await {
        assert!(begin.elapsed() < SOON, "it never came");
        sleep(10 * MS).await;
    }
}

/// What is rendered, counted.
#[derive(Clone, Default)]
struct Source(Arc<AtomicUsize>);

impl Source {
    async fn page(&self, pages: &Pages, key: u32, text: &'static str) -> Bytes {
        let own = self.clone();
        let load = move || async move {
            own.0.fetch_add(1, SeqCst);
            sleep(50 * MS).await;
            Ok(Loaded::new(Bytes::from_static(text.as_bytes())).tag("pages"))
        };
        pages.get_loaded(&key, load).await.unwrap().unwrap()
    }

    fn loads(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// Until they hear of each other.
async fn listening(caches: &[&Pages]) {
    for cache in caches {
        cache
            .get(&u32::MAX, || async { Ok(Bytes::new()) })
            .await
            .unwrap();
        comes(async || cache.status().gaps > 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_loaded_once_for_all_processes_and_its_bytes_are_served_as_they_are() {
    let server = Server::start();
    let (one, two, source) = (pages(&server), pages(&server), Source::default());
    listening(&[&one, &two]).await;
    let text = "{\"id\": 7, \"raw\": \"\\u0000\"}";
    let of = |pages: &Pages| {
        let (pages, source) = (pages.clone(), source.clone());
        async move { join_all((0..100).map(|_| source.page(&pages, 7, text))).await }
    };
    let (first, second) = tokio::join!(of(&one), of(&two));
    assert!(first.iter().chain(&second).all(|page| page == text));
    assert_eq!(source.loads(), 1);
    let (first, second) = (one.status(), two.status());
    assert_eq!(
        first.remote_hits + second.remote_hits,
        2,
        "this one and MAX"
    );
    assert!(first.lease_waits + second.lease_waits >= 1);
    assert_eq!(first.lease_fallbacks + second.lease_fallbacks, 0);
    // A third process finds it there.
    assert_eq!(source.page(&pages(&server), 7, "never").await, text);
    assert_eq!(source.loads(), 1);
    assert_eq!(server.command("EXISTS {shop:pages}:l:7"), ":0", "released");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidation_reaches_all_processes_by_key_by_tag_and_as_a_whole() {
    let server = Server::start();
    let (one, two, source) = (pages(&server), pages(&server), Source::default());
    listening(&[&one, &two]).await;
    let texts = ["0", "1", "2", "3"];
    for round in 0..3 {
        assert_eq!(source.page(&one, 7, texts[round]).await, texts[round]);
        assert_eq!(source.page(&two, 7, "never").await, texts[round]);
        assert_eq!(source.page(&one, 8, "other").await, "other");
        match round {
            0 => one.invalidate(&7).await.unwrap(),
            1 => one.invalidate_tag("pages").await.unwrap(),
            _ => one.clear().await.unwrap(),
        }
        assert_eq!(one.peek(&7).await, None);
        assert_eq!(
            one.peek(&8).await.is_some(),
            round == 0,
            "only what was meant"
        );
        comes(async || two.peek(&7).await.is_none()).await;
        assert_eq!(
            source.page(&two, 7, texts[round + 1]).await,
            texts[round + 1]
        );
        two.invalidate(&7).await.unwrap();
        comes(async || one.peek(&7).await.is_none()).await;
    }
    one.invalidate_tag("of nothing").await.unwrap();
    assert_eq!(source.page(&two, 7, "9").await, "9");
    assert_eq!(source.page(&pages(&server), 7, "never").await, "9");
}

#[tokio::test]
async fn what_was_loaded_before_an_invalidation_elsewhere_or_a_loss_of_data_is_not_stored() {
    let server = Server::start();
    for how in 0..4 {
        let (one, two) = (pages(&server), pages(&server));
        let key = 100 + how;
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let late = {
            let (two, begun, go) = (two.clone(), Arc::clone(&begun), Arc::clone(&go));
            tokio::spawn(async move {
                let load = move || async move {
                    begun.notify_one();
                    go.notified().await;
                    Ok(Loaded::new(Bytes::from_static(b"old")).tag("late"))
                };
                two.get_loaded(&key, load).await.unwrap().unwrap()
            })
        };
        begun.notified().await;
        match how {
            0 => one.invalidate(&key).await.unwrap(),
            1 => one.invalidate_tag("late").await.unwrap(),
            2 => one.clear().await.unwrap(),
            _ => assert_eq!(server.command("FLUSHALL"), "+OK"),
        }
        go.notify_one();
        assert_eq!(late.await.unwrap(), "old", "its caller came before");
        let source = Source::default();
        assert_eq!(source.page(&pages(&server), key, "new").await, "new");
        // What the other one loaded is there.
        comes(async || server.command(&format!("EXISTS {{shop:pages}}:v:{key}")) == ":1").await;
        assert_eq!(source.page(&pages(&server), key, "never").await, "new");
        assert_eq!(source.loads(), 1);
    }
}

#[tokio::test]
async fn a_redis_that_is_down_costs_no_read_and_is_used_again_when_it_is_back() {
    let mut server = Server::start();
    let base = builder(&server.url()).remote_timeout(50 * MS);
    let cache = base.remote_retry(200 * MS).build().unwrap();
    let source = Source::default();
    source.page(&cache, 1, "a").await;
    server.kill();
    let begin = Instant::now();
    let reads = join_all((2..202).map(|key| source.page(&cache, key, "b"))).await;
    assert!(reads.iter().all(|page| page == "b"));
    for key in 202..232 {
        assert_eq!(source.page(&cache, key, "c").await, "c");
    }
    let took = begin.elapsed();
    let status = cache.status();
    assert!(
        status.remote_shut && status.remote_skipped > 20,
        "{status:?}"
    );
    assert_eq!((status.loads, status.load_failures), (231, 0));
    println!("down: 230 reads of 50 ms, 200 of them at once, took {took:?}: {status:?}");
    server.restart();
    let mut key = 1_000;
    comes(async || {
        key += 1;
        source.page(&cache, key, "d").await;
        server.command(&format!("EXISTS {{shop:pages}}:v:{key}")) == ":1"
    })
    .await;
    assert!(!cache.status().remote_shut);
}

#[tokio::test]
async fn a_redis_that_never_answers_costs_a_few_reads_their_bound_and_the_others_nothing() {
    let mut server = Server::start();
    let base = builder(&server.url()).remote_timeout(50 * MS);
    let cache = base.remote_retry(SOON).build().unwrap();
    let source = Source::default();
    source.page(&cache, 1, "a").await;
    sleep(100 * MS).await;
    let before = cache.status();
    server.freeze();
    for key in 2..52 {
        assert_eq!(source.page(&cache, key, "b").await, "b");
    }
    let status = cache.status();
    let failed = status.remote_timeouts + status.remote_errors;
    let failed = failed - before.remote_timeouts - before.remote_errors;
    // Three shut it; operations that were under way then may fail as well.
    assert!(
        (3..=6).contains(&failed) && status.remote_shut,
        "{status:?}"
    );
    println!("frozen: of 50 reads {failed} operations timed out: {status:?}");

    // Nothing is read there until it was told of this.
    assert!(cache.invalidate(&1).await.is_err());
    server.thaw();
    assert_eq!(source.page(&cache, 1, "new").await, "new");
}

#[tokio::test]
async fn an_invalidation_that_redis_did_not_take_is_sent_before_it_is_read_again() {
    let mut server = Server::start();
    let base = builder(&server.url()).remote_timeout(100 * MS);
    let cache = base.remote_retry(MS).build().unwrap();
    let (other, source) = (pages(&server), Source::default());
    listening(&[&cache, &other]).await;
    assert_eq!(source.page(&other, 1, "old").await, "old");
    assert_eq!(source.page(&cache, 1, "never").await, "old");
    server.freeze();
    assert!(cache.invalidate(&1).await.is_err());
    assert!(cache.invalidate_tag("pages").await.is_err());
    // A dropped call tells as well.
    drop(tokio::time::timeout(MS, cache.invalidate(&2)).await);
    assert_eq!(source.page(&cache, 1, "new").await, "new");
    server.thaw();
    // By the one that listens, also without a read.
    comes(async || other.peek(&1).await.is_none()).await;
    let found = source.page(&other, 1, "new").await;
    assert_eq!(found, "new");
    cache.invalidate(&1).await.unwrap();
}

#[tokio::test]
async fn a_redis_that_is_full_stores_nothing_and_takes_invalidations() {
    let server = Server::start();
    let (cache, source) = (pages(&server), Source::default());
    let other = pages(&server);
    source.page(&cache, 1, "a").await;
    comes(async || server.command("EXISTS {shop:pages}:v:1") == ":1").await;
    assert_eq!(server.command("CONFIG SET maxmemory 1"), "+OK");
    for key in 2..12 {
        assert_eq!(source.page(&cache, key, "b").await, "b");
    }
    comes(async || cache.status().remote_errors >= 10).await;
    let status = cache.status();
    assert!(!status.remote_shut, "it answers: {status:?}");
    cache.invalidate(&1).await.unwrap();
    assert_eq!(source.page(&other, 1, "new").await, "new");
    assert_eq!(server.command("CONFIG SET maxmemory 0"), "+OK");
    source.page(&cache, 20, "c").await;
    comes(async || server.command("EXISTS {shop:pages}:v:20") == ":1").await;
}

#[tokio::test]
async fn what_is_there_and_makes_no_sense_is_loaded() {
    let server = Server::start();
    let source = Source::default();
    for (key, command) in [
        (1, "SET {shop:pages}:v:1 x"),
        (2, "HSET {shop:pages}:v:2 b x"),
    ] {
        server.command(command);
        assert_eq!(source.page(&pages(&server), key, "a").await, "a");
    }
    server.command("DEL {shop:pages}:s");
    server.command("SET {shop:pages}:s x");
    let cache = pages(&server);
    assert_eq!(source.page(&cache, 3, "a").await, "a");
    assert!(cache.status().remote_errors > 0);
    let bad = Remote::new(Shared::builder().url(server.url()).build().unwrap(), "a{b");
    let error = Pages::builder().remote(bad, Raw).build().unwrap_err();
    assert!(
        error.to_string().starts_with("prefix is \"a{b\""),
        "{error}"
    );
}

#[tokio::test]
async fn a_failed_or_dropped_load_ends_its_lease_at_once() {
    let server = Server::start();
    let (one, two, source) = (pages(&server), pages(&server), Source::default());
    let failed = one.get(&1, || async { Err("no".to_owned()) }).await;
    assert_eq!(failed.unwrap_err().error().unwrap(), "no");
    let begin = Instant::now();
    assert_eq!(source.page(&two, 1, "a").await, "a");
    let hung = tokio::time::timeout(200 * MS, one.get(&2, std::future::pending)).await;
    assert!(hung.is_err());
    assert_eq!(source.page(&two, 2, "b").await, "b");
    assert!(begin.elapsed() < SOON / 2, "{:?}", begin.elapsed());
    assert_eq!(two.status().lease_fallbacks, 0);
}

#[tokio::test]
async fn a_lost_subscription_makes_everything_stale_and_is_had_again() {
    let server = Server::start();
    let (cache, other, source) = (pages(&server), pages(&server), Source::default());
    listening(&[&cache, &other]).await;
    source.page(&cache, 1, "a").await;
    comes(async || server.command("EXISTS {shop:pages}:v:1") == ":1").await;
    let gaps = cache.status().gaps;
    server.command("CLIENT KILL TYPE pubsub");
    comes(async || cache.status().gaps >= gaps + 2).await;
    assert_eq!(cache.peek(&1).await, None);
    assert_eq!(source.page(&cache, 1, "never").await, "a", "found in Redis");
    other.invalidate(&1).await.unwrap();
    comes(async || cache.peek(&1).await.is_none()).await;
}

/// Not a test by itself: a process of its own, which loads a key and never ends.
#[tokio::test]
async fn a_process_that_loads_and_hangs() {
    let Ok(url) = std::env::var("CACHE_TEST_URL") else {
        return;
    };
    let cache = builder(&url).lease_time(2 * SOON / 20).build().unwrap();
    let load = || async {
        eprintln!("it has the lease");
        std::future::pending().await
    };
    drop(cache.get(&7, load).await);
}

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test]
async fn a_process_that_is_killed_with_the_lease_stops_nobody_for_long() {
    let server = Server::start();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "a_process_that_loads_and_hangs", "--nocapture"]);
        command.env("CACHE_TEST_URL", server.url());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Process(command.spawn().unwrap())
    };
    let leased = async || server.command("EXISTS {shop:pages}:l:7") == ":1";
    let (cache, source) = (pages(&server), Source::default());
    // Killed: its lease ends after 2 s.
    let process = start();
    comes(leased).await;
    drop(process);
    assert_eq!(source.page(&cache, 7, "a").await, "a");
    let status = cache.status();
    assert_eq!(
        (status.lease_waits, status.lease_fallbacks),
        (1, 0),
        "{status:?}"
    );

    // It hangs, and others do not wait for longer than they want to.
    cache.invalidate(&7).await.unwrap();
    let _process = start();
    comes(leased).await;
    let hasty = builder(&server.url()).lease_wait(100 * MS).build().unwrap();
    assert_eq!(source.page(&hasty, 7, "b").await, "b");
    assert_eq!(hasty.status().lease_fallbacks, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_invalidate_and_load_at_once_agree_in_the_end() {
    let rounds = std::env::var("POOL_TEST_ROUNDS").map_or(60, |rounds| rounds.parse().unwrap());
    let server = Server::start();
    let (one, two) = (pages(&server), pages(&server));
    listening(&[&one, &two]).await;
    let truth = Arc::new(AtomicUsize::new(0));
    let look = async |cache: &Pages, truth: &Arc<AtomicUsize>| {
        let truth = Arc::clone(truth);
        let load = move || async move {
            let value = truth.load(SeqCst);
            tokio::task::yield_now().await;
            Ok(Loaded::new(Bytes::from(value.to_string())).tag("pages"))
        };
        let page = cache.get_loaded(&7, load).await.unwrap().unwrap();
        String::from_utf8(page.into())
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let reader = {
        let (two, truth) = (two.clone(), Arc::clone(&truth));
        tokio::spawn(async move {
            while truth.load(SeqCst) < rounds {
                look(&two, &truth).await;
                // A hit is ready at once, and what listens to the other process is a task of this thread too.
                tokio::task::yield_now().await;
            }
        })
    };
    for round in 1..=rounds {
        truth.store(round, SeqCst);
        match round % 3 {
            0 => one.invalidate(&7).await.unwrap(),
            1 => one.invalidate_tag("pages").await.unwrap(),
            _ => one.clear().await.unwrap(),
        }
        assert_eq!(
            look(&one, &truth).await,
            round,
            "what it invalidated is gone for it"
        );
    }
    reader.await.unwrap();
    comes(async || look(&two, &truth).await == rounds).await;
}

#[tokio::test]
async fn the_state_in_redis_is_bounded() {
    let server = Server::start();
    let (cache, source) = (pages(&server), Source::default());
    source.page(&cache, 7, "a").await;
    comes(async || server.command("EXISTS {shop:pages}:v:7") == ":1").await;
    // As if there had been many.
    let many = "EVAL \"for n = 1, 20000 do redis.call('ZADD', KEYS[1], n, 't:' .. n) end return redis.call('ZADD', KEYS[1], 20000, 'n')\" 1 {shop:pages}:s";
    assert_eq!(server.command(many), ":0");
    cache.invalidate_tag("one more").await.unwrap();
    let size = server.command("ZCARD {shop:pages}:s");
    let size: usize = size.trim_start_matches(':').parse().unwrap();
    assert!((5_000..=12_000).contains(&size), "{size}");
    // What was loaded before what was forgotten is loaded again, and what comes after is kept.
    assert_eq!(source.page(&pages(&server), 7, "b").await, "b");
    comes(async || server.command("EXISTS {shop:pages}:v:7") == ":1").await;
    assert_eq!(source.page(&pages(&server), 7, "never").await, "b");
}
