//! Pools by key, from outside, on paused time.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    collections::HashMap,
    hash::{Hash, Hasher},
    ops::{Deref, DerefMut},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Act, Backend, MS, Oops, SEC, Thing, Things, hush, poll_once, settle};
use futures_util::future::join_all;
use pool_core::{
    Config, KeyLimits, KeyedBuilder, KeyedLease, KeyedManager, KeyedPool, Manager, OpenError,
    Usage,
    observe::{CloseReason, Observer, Phase},
};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// A backend for each key, and how many are open of all of them.
#[derive(Clone, Default)]
struct Shards {
    backends: Arc<Mutex<HashMap<String, Arc<Backend>>>>,
    all: Arc<All>,
}

#[derive(Default)]
struct All {
    alive: AtomicU32,
    most_alive: AtomicU32,
    /// In the order in which they were closed.
    closed: Mutex<Vec<String>>,
}

/// A thing of a shard.
struct Conn {
    thing: Thing,
    key: String,
    shard: Things,
    all: Arc<All>,
}

impl Deref for Conn {
    type Target = Thing;

    fn deref(&self) -> &Thing {
        &self.thing
    }
}

impl DerefMut for Conn {
    fn deref_mut(&mut self) -> &mut Thing {
        &mut self.thing
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.all.alive.fetch_sub(1, SeqCst);
    }
}

impl Shards {
    fn of(&self, key: &str) -> Arc<Backend> {
        let mut backends = self.backends.lock().unwrap();
        Arc::clone(backends.entry(key.to_owned()).or_default())
    }

    fn closed(&self) -> Vec<String> {
        self.all.closed.lock().unwrap().clone()
    }
}

impl KeyedManager<String> for Shards {
    type Resource = Conn;
    type Error = Oops;

    async fn create(&self, key: &String) -> Result<Conn, Oops> {
        let shard = Things(self.of(key));
        let thing = shard.create().await?;
        let all = Arc::clone(&self.all);
        let alive = all.alive.fetch_add(1, SeqCst) + 1;
        all.most_alive.fetch_max(alive, SeqCst);
        let key = key.clone();
        Ok(Conn {
            thing,
            key,
            shard,
            all,
        })
    }

    async fn check(&self, conn: &mut Conn, usage: &Usage) -> Result<(), Oops> {
        let shard = conn.shard.clone();
        shard.check(&mut conn.thing, usage).await
    }

    fn needs_reset(&self, conn: &mut Conn, usage: &Usage) -> bool {
        let shard = conn.shard.clone();
        shard.needs_reset(&mut conn.thing, usage)
    }

    async fn reset(&self, conn: &mut Conn, usage: &Usage) -> Result<(), Oops> {
        let shard = conn.shard.clone();
        shard.reset(&mut conn.thing, usage).await
    }

    fn is_broken(&self, conn: &mut Conn) -> bool {
        conn.broken
    }

    async fn close(&self, conn: Conn) {
        conn.shard.0.closes.fetch_add(1, SeqCst);
        let act = conn.shard.0.close.lock().unwrap().clone();
        let _ = act.run().await;
        self.all.closed.lock().unwrap().push(conn.key.clone());
        drop(conn);
    }
}

type ShardPool = KeyedPool<String, Shards>;

fn builder(shards: &Shards) -> KeyedBuilder<String, Shards> {
    KeyedPool::builder(shards.clone())
}

fn pool(shards: &Shards, max_size: u32, max_total: u32) -> ShardPool {
    let builder = builder(shards).max_size(max_size).max_total(max_total);
    builder.build().unwrap()
}

async fn get(pool: &ShardPool, key: &str) -> KeyedLease<String, Shards> {
    pool.get(key)
        .await
        .unwrap_or_else(|error| panic!("{key}: {error}"))
}

/// Gets one and gives it back.
async fn touch(pool: &ShardPool, key: &str) {
    drop(get(pool, key).await);
}

/// A task that gets one, does something with it, and says its key.
fn getting<T: Send + 'static>(
    pool: &ShardPool,
    key: &str,
    then: impl FnOnce(KeyedLease<String, Shards>) -> T + Send + 'static,
) -> JoinHandle<T> {
    let (pool, key) = (pool.clone(), key.to_owned());
    tokio::spawn(async move { then(get(&pool, &key).await) })
}

/// Closes the pool: everything that it ever opened must have been closed, once, and no key may be left.
async fn end(pool: ShardPool, shards: &Shards) {
    let drained = pool.drain(2 * SEC).await;
    assert!(drained.is_complete(), "{drained:?}");
    assert_eq!((pool.key_count(), shards.all.alive.load(SeqCst)), (0, 0));
    for (key, backend) in &*shards.backends.lock().unwrap() {
        let closed = backend.closes.load(SeqCst) + backend.detached.load(SeqCst);
        assert_eq!(closed, u64::from(backend.created()), "{key}");
        assert_eq!(backend.opening.load(SeqCst), 0, "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_and_no_more_than_its_bound() {
    let shards = Shards::default();
    let pool = pool(&shards, 2, 10);
    let held = [
        get(&pool, "a").await,
        get(&pool, "a").await,
        get(&pool, "b").await,
    ];
    assert_eq!(
        held.each_ref().map(|lease| (lease.key.as_str(), lease.id)),
        [("a", 0), ("a", 1), ("b", 0)]
    );
    assert_eq!(KeyedLease::key(&held[2]), "b");
    let error = pool.get("a").timeout(20 * MS).await.map(drop).unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Wait));
    assert_eq!((error.status().leased, error.status().max_size), (2, 2));
    let (all, a) = (pool.status(), pool.status_of("a").unwrap());
    assert_eq!(
        (all.open, all.max_size, a.open, a.timeouts()),
        (3, 10, 2, 1)
    );
    assert!(pool.status_of("c").is_none());
    drop(held);
    assert_eq!((pool.status().idle, pool.key_count()), (3, 2));
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_total_is_reached_the_one_that_was_unused_for_longest_goes_first() {
    let shards = Shards::default();
    let pool = pool(&shards, 4, 4);
    for key in ["a", "b", "c", "d"] {
        touch(&pool, key).await;
    }
    // Used again, so it is no longer the oldest.
    touch(&pool, "a").await;
    let held = [get(&pool, "e").await, get(&pool, "f").await];
    assert_eq!(shards.closed(), ["b", "c"]);
    assert_eq!(pool.status().closed.by(CloseReason::Evicted), 2);
    let more = get(&pool, "d").await;
    let last = get(&pool, "g").await;
    assert_eq!(
        shards.closed(),
        ["b", "c", "a"],
        "the idle one of d was used"
    );
    assert_eq!(shards.all.most_alive.load(SeqCst), 4);
    drop((held, more, last));
    assert_eq!(pool.key_count(), 4, "those that have nothing are gone");
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_place_is_free_only_when_its_close_has_ended() {
    let shards = Shards::default();
    shards.of("slow").on_close(Act::Take(300 * MS));
    shards.of("hung").on_close(Act::Hang);
    let pool = pool(&shards, 1, 1);
    touch(&pool, "slow").await;
    let start = Instant::now();
    touch(&pool, "hung").await;
    assert_eq!(start.elapsed(), 300 * MS);
    touch(&pool, "next").await;
    assert_eq!(start.elapsed(), 300 * MS + SEC, "its close_timeout");
    assert_eq!(shards.all.most_alive.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_take_turns_when_everything_is_busy() {
    let shards = Shards::default();
    let pool = pool(&shards, 1, 1);
    let held = get(&pool, "a").await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for key in ["a", "a", "a", "b", "b", "b", "c"] {
        let order = Arc::clone(&order);
        tasks.push(getting(&pool, key, move |lease| {
            order.lock().unwrap().push(KeyedLease::key(&lease).clone());
        }));
        settle().await;
    }
    drop(held);
    join_all(tasks).await;
    let order = order.lock().unwrap().join("");
    assert_eq!(order, "bcababa", "the first turn was that of a");
    assert_eq!(shards.all.most_alive.load(SeqCst), 1);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_never_stops_asking_starves_nobody() {
    let shards = Shards::default();
    let pool = pool(&shards, 8, 8);
    let stop = Arc::new(AtomicBool::new(false));
    let greedy: Vec<_> = (0..32)
        .map(|_| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    let _lease = get(&pool, "greedy").await;
                    sleep(10 * MS).await;
                }
            })
        })
        .collect();
    sleep(SEC).await;
    assert_eq!(pool.status_of("greedy").unwrap().leased, 8);
    // Those who have nothing wait for one return and one open.
    let start = Instant::now();
    let first = join_all(["b", "c", "d"].map(|key| getting(&pool, key, |_| ()))).await;
    assert_eq!(first.len(), 3);
    assert!(start.elapsed() <= 20 * MS, "{:?}", start.elapsed());
    // One that wants as much ends up with as much.
    let other: Vec<_> = (0..32)
        .map(|_| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(SeqCst) {
                    let _lease = get(&pool, "other").await;
                    sleep(10 * MS).await;
                }
            })
        })
        .collect();
    sleep(SEC).await;
    let shares = ["greedy", "other"].map(|key| pool.status_of(key).unwrap().open);
    assert_eq!(shares, [4, 4]);
    let evicted = pool.status().closed.by(CloseReason::Evicted);
    sleep(SEC).await;
    assert_eq!(
        pool.status().closed.by(CloseReason::Evicted),
        evicted,
        "nothing moves any more"
    );
    stop.store(true, SeqCst);
    join_all(greedy.into_iter().chain(other)).await;
    assert!(shards.all.most_alive.load(SeqCst) <= 8);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_may_have_limits_of_its_own_and_others_later() {
    let shards = Shards::default();
    let plan = Arc::new(AtomicU32::new(3));
    let asked = Arc::clone(&plan);
    let pool = builder(&shards)
        .max_size(1)
        .max_total(10)
        .limits_of(move |key: &String| match key.as_str() {
            "big" => KeyLimits::new().max_size(asked.load(SeqCst)),
            "hasty" => KeyLimits::new()
                .acquire_timeout(7 * MS)
                .create_timeout(5 * MS),
            "brief" => KeyLimits::new().idle_timeout(Some(SEC)),
            "blocked" => KeyLimits::new().max_size(0),
            "alone" => KeyLimits::new().max_waiters(0),
            _ => KeyLimits::new(),
        })
        .build()
        .unwrap();
    let mut big = join_all((0..3).map(|_| get(&pool, "big"))).await;
    assert!(pool.try_get("big").is_err_and(|error| error.is_busy()));
    let error = pool.get("blocked").await.map(drop).unwrap_err();
    assert!(error.is_overloaded() && pool.status_of("blocked").is_none());
    assert!(
        pool.get("alone")
            .await
            .is_err_and(|error| error.is_overloaded())
    );
    shards.of("hasty").on_create(Act::Hang);
    let start = Instant::now();
    let error = pool.get("hasty").await.map(drop).unwrap_err();
    assert_eq!(
        (start.elapsed(), error.phase()),
        (7 * MS, Some(Phase::Create))
    );
    assert!(shards.of("hasty").attempts.load(SeqCst) >= 1);
    touch(&pool, "brief").await;
    sleep(SEC + 20 * MS).await;
    assert_eq!(shards.closed(), ["brief"]);

    plan.store(2, SeqCst);
    pool.reload_limits().unwrap();
    big.pop();
    settle().await;
    assert_eq!(
        pool.status_of("big")
            .unwrap()
            .closed
            .by(CloseReason::Shrunk),
        1
    );
    big.clear();
    plan.store(5, SeqCst);
    pool.reload_limits().unwrap();
    assert_eq!(join_all((0..5).map(|_| get(&pool, "big"))).await.len(), 5);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn limits_of_a_key_that_cannot_be_used_are_an_error_that_says_so() {
    let shards = Shards::default();
    let wrong = Arc::new(AtomicBool::new(true));
    let is_wrong = Arc::clone(&wrong);
    let pool = builder(&shards)
        .max_size(2)
        .limits_of(move |key: &String| {
            let zero = Duration::ZERO;
            match key.as_str() {
                _ if !is_wrong.load(SeqCst) => KeyLimits::new().max_size(1),
                "a" => KeyLimits::new().create_timeout(zero),
                "b" => KeyLimits::new().idle_timeout(Some(zero)),
                "c" => KeyLimits::new().max_lifetime(Some(zero)),
                _ => KeyLimits::new().acquire_timeout(zero).idle_timeout(None),
            }
        })
        .build()
        .unwrap();
    for (key, setting) in [
        ("a", "create_timeout"),
        ("b", "idle_timeout"),
        ("c", "max_lifetime"),
    ] {
        let error = pool.get(key).await.map(drop).unwrap_err();
        let expected = format!("{setting} is 0s, but must be longer than zero");
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(matches!(error.open_error(), Some(OpenError::Limits(_))));
        assert_eq!(error.status().max_size, 0);
    }
    assert_eq!((pool.key_count(), pool.status().open_failures), (0, 0));
    assert!(pool.get("d").await.is_err_and(|error| error.is_timeout()));

    wrong.store(false, SeqCst);
    touch(&pool, "a").await;
    touch(&pool, "e").await;
    wrong.store(true, SeqCst);
    let error = pool.reload_limits().unwrap_err();
    assert_eq!(error.setting(), "create_timeout");
    let max_size = |key: &str| pool.status_of(key).unwrap().max_size;
    assert_eq!(
        (max_size("a"), max_size("e")),
        (1, 2),
        "all others have theirs"
    );
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_warmed_up_and_what_was_opened_is_there_for_whoever_comes() {
    let shards = Shards::default();
    shards.of("a").on_create(Act::Take(50 * MS));
    let pool = pool(&shards, 3, 8);
    let start = Instant::now();
    pool.warm_up("a", 3).await.unwrap();
    assert_eq!((start.elapsed(), pool.status().idle), (50 * MS, 3));
    pool.warm_up("a", 2).await.unwrap();
    pool.warm_up("a", 0).await.unwrap();
    let held = join_all((0..3).map(|_| get(&pool, "a"))).await;
    assert_eq!((start.elapsed(), held.len()), (50 * MS, 3));
    drop(held);
    let error = pool.warm_up("a", 4).await.unwrap_err();
    assert!(error.is_too_large(), "{error}");
    let says = format!(
        "pool `{}`: the call asks for more resources than the bound, which is 3",
        pool.name()
    );
    assert_eq!(error.to_string(), says);
    // At once, and without as many futures.
    assert!(
        pool.warm_up("a", u32::MAX)
            .await
            .unwrap_err()
            .is_too_large()
    );
    assert!(pool.warm_up("new", 4).await.unwrap_err().is_too_large());
    assert_eq!((shards.of("a").created(), pool.status().idle), (3, 3));
    shards.of("b").on_create(Act::Fail("refused"));
    let error = pool.warm_up("b", 2).await.unwrap_err();
    assert_eq!(error.connect_error(), Some(&Oops("refused")));
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn keys_go_away_and_come_back_and_nothing_is_left_of_them() {
    let shards = Shards::default();
    let pool = builder(&shards)
        .max_size(2)
        .max_total(100)
        .idle_timeout(Some(60 * SEC))
        .build()
        .unwrap();
    for round in 1..=3 {
        for key in 0..100 {
            touch(&pool, &key.to_string()).await;
        }
        assert_eq!((pool.key_count(), pool.status().idle), (100, 100));
        sleep(61 * SEC).await;
        assert_eq!((pool.key_count(), pool.status().open), (0, 0));
        assert_eq!(
            pool.status().closed.by(CloseReason::IdleTimeout),
            100 * round
        );
    }
    assert_eq!(pool.status().gets, 300, "what was counted for them stays");
    // One that nobody waits for any more goes with its open.
    shards.of("late").on_create(Act::Take(50 * MS));
    let error = pool
        .get("late")
        .timeout(10 * MS)
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.is_timeout());
    sleep(61 * SEC).await;
    assert_eq!(pool.key_count(), 0);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_fails_fast_for_its_key_alone_and_is_forgotten() {
    hush();
    let shards = Shards::default();
    let dead = shards.of("dead");
    dead.on_create(Act::Fail("refused"));
    let pool = pool(&shards, 4, 2);
    touch(&pool, "well").await;
    let error = pool.get("dead").await.map(drop).unwrap_err();
    assert!(
        error.is_connect() && error.connect_error() == Some(&Oops("refused")),
        "{error}"
    );
    assert_eq!(dead.attempts.load(SeqCst), 3);
    let start = Instant::now();
    for _ in 0..10 {
        assert!(
            pool.get("dead")
                .await
                .is_err_and(|error| error.is_connect())
        );
        touch(&pool, "well").await;
        touch(&pool, "other").await;
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(pool.status_of("dead").unwrap().failed_fast, 11);
    // It is tried on for as long as it is remembered, and comes back.
    sleep(10 * SEC).await;
    assert!(dead.attempts.load(SeqCst) > 4);
    dead.on_create(Act::Succeed);
    sleep(6 * SEC).await;
    touch(&pool, "dead").await;
    dead.on_create(Act::Fail("refused"));
    pool.retire("dead");
    settle().await;
    assert!(
        pool.get("dead")
            .await
            .is_err_and(|error| error.is_connect())
    );
    sleep(40 * SEC).await;
    let attempts = dead.attempts.load(SeqCst);
    assert!(pool.status_of("dead").is_none(), "nobody has asked for it");
    sleep(100 * SEC).await;
    assert_eq!(dead.attempts.load(SeqCst), attempts);
    dead.on_create(Act::Succeed);
    touch(&pool, "dead").await;
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_stops_neither_its_key_nor_others() {
    let shards = Shards::default();
    let sick = shards.of("sick");
    sick.on_create(Act::Hang);
    let pool = pool(&shards, 4, 6);
    let hung = getting(&pool, "sick", |_| ());
    settle().await;
    let start = Instant::now();
    join_all(["a", "b", "c"].map(|key| touch(&pool, key))).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sick.on_create(Act::Succeed);
    hung.await.unwrap();
    assert!(
        start.elapsed() <= SEC + 20 * MS,
        "another was begun: {:?}",
        start.elapsed()
    );
    assert_eq!(pool.status_of("sick").unwrap().opening, 1);
    sleep(10 * SEC).await;
    assert_eq!(pool.status_of("sick").unwrap().open_failures, 1);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_connects_hang_leaves_places_to_others_also_in_a_full_pool() {
    let shards = Shards::default();
    let sick = shards.of("sick");
    sick.on_create(Act::Hang);
    let pool = pool(&shards, 4, 4);
    let hung = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get("sick").timeout(60 * SEC).await.map(drop) })
    };
    sleep(3 * SEC + 20 * MS).await;
    assert_eq!(
        pool.status().opening,
        4,
        "one each second, into places that nobody wanted"
    );
    let start = Instant::now();
    join_all(["a", "b", "c"].map(|key| touch(&pool, key))).await;
    assert_eq!(start.elapsed(), Duration::ZERO);
    sleep(3 * SEC).await;
    let all = pool.status();
    assert_eq!(
        (all.opening, all.idle),
        (1, 3),
        "it takes none of them back"
    );
    assert_eq!(all.closed.by(CloseReason::Evicted), 0);
    sick.on_create(Act::Succeed);
    assert!(hung.await.unwrap().is_ok());
    assert!(start.elapsed() <= 8 * SEC, "{:?}", start.elapsed());
    assert!(shards.all.most_alive.load(SeqCst) <= 4);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn keys_whose_connects_hang_share_a_full_pool_with_others_however_many_wait_for_them() {
    let shards = Shards::default();
    let pool = pool(&shards, 4, 8);
    let hung: Vec<_> = (0..8_usize)
        .map(|n| {
            let (pool, key) = (pool.clone(), ["s", "t"][n % 2]);
            shards.of(key).on_create(Act::Hang);
            tokio::spawn(async move { pool.get(key).timeout(60 * SEC).await.map(drop) })
        })
        .collect();
    settle().await;
    assert_eq!(pool.status().opening, 8);
    let start = Instant::now();
    join_all(["a", "b", "c", "d"].map(|key| touch(&pool, key))).await;
    assert!(start.elapsed() <= SEC + 20 * MS, "{:?}", start.elapsed());
    sleep(8 * SEC).await;
    let all = pool.status();
    assert_eq!((all.opening, all.idle), (4, 4));
    assert_eq!(all.closed.by(CloseReason::Evicted), 0);
    for key in ["s", "t"] {
        shards.of(key).on_create(Act::Succeed);
    }
    for hung in hung {
        assert!(hung.await.unwrap().is_ok());
    }
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn an_open_that_is_only_slow_gets_there_although_others_want_its_place() {
    let shards = Shards::default();
    shards.of("slow").on_create(Act::Take(2500 * MS));
    let pool = pool(&shards, 4, 4);
    let held = get(&pool, "held").await;
    let slow = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get("slow").await.map(drop) })
    };
    let start = Instant::now();
    for key in 0.. {
        let lease = get(&pool, &key.to_string()).await;
        sleep(90 * MS).await;
        drop(lease);
        if slow.is_finished() {
            break;
        }
    }
    assert!(slow.await.unwrap().is_ok());
    assert!(start.elapsed() <= 2600 * MS, "{:?}", start.elapsed());
    drop(held);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn keys_that_fail_and_that_nobody_waits_for_take_next_to_nothing_from_the_others() {
    let shards = Shards::default();
    let pool = pool(&shards, 4, 16);
    let dead: Vec<_> = (0..12).map(|n| format!("dead {n}")).collect();
    for key in &dead {
        shards.of(key).on_create(Act::Fail("refused"));
        let error = pool.get(key.as_str()).await.map(drop).unwrap_err();
        assert!(error.is_connect(), "{error}");
        // From now on nobody can see how it ends.
        shards.of(key).on_create(Act::Hang);
    }
    let probing = || pool.status().opening;
    assert!(probing() <= 2, "an eighth of all places: {}", probing());
    // Everything is needed, and so has no room for probers.
    let held: Vec<_> = join_all((0..16_u32).map(|key| {
        let key = key.to_string();
        let pool = &pool;
        async move { get(pool, &key).await }
    }))
    .await;
    assert_eq!((held.len(), probing()), (16, 0), "they were called off");
    drop(held);
    for _ in 0..50 {
        sleep(100 * MS).await;
        assert!(probing() <= 2, "{}", probing());
    }
    let evicted = pool.status().closed.by(CloseReason::Evicted);
    assert!((1..=2).contains(&evicted), "{evicted} places for probes");
    // One that is well again is found out, in its turn, by whoever asks for it.
    for key in &dead {
        shards.of(key).on_create(Act::Succeed);
    }
    sleep(25 * SEC).await;
    touch(&pool, &dead[11]).await;
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn one_deadline_holds_over_everything_and_tells_what_was_waited_for() {
    let shards = Shards::default();
    let pool = builder(&shards)
        .config(Config::new().check_after(Duration::ZERO).max_size(1))
        .max_total(1)
        .build()
        .unwrap();
    let held = get(&pool, "a").await;
    for (key, phase) in [("a", Phase::Wait), ("b", Phase::Wait)] {
        let start = Instant::now();
        let error = pool.get(key).timeout(30 * MS).await.map(drop).unwrap_err();
        assert_eq!((error.phase(), start.elapsed()), (Some(phase), 30 * MS));
    }
    let at = Instant::now() + 2 * SEC;
    let error = pool.get("b").deadline(at).await.map(drop).unwrap_err();
    assert!(error.is_timeout() && Instant::now() == at);
    shards.of("a").on_check(Act::Hang);
    drop(held);
    sleep(20 * MS).await;
    let error = pool.get("a").timeout(30 * MS).await.map(drop).unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Check));
    sleep(6 * SEC).await;
    assert_eq!(pool.status().closed.by(CloseReason::CheckFailed), 1);
    shards.of("b").on_create(Act::Hang);
    let error = pool.get("b").timeout(30 * MS).await.map(drop).unwrap_err();
    assert_eq!(error.phase(), Some(Phase::Create));
    shards.of("b").on_create(Act::Succeed);
    touch(&pool, "a").await;
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn lines_are_bounded_by_key_and_in_all() {
    let shards = Shards::default();
    let pool = builder(&shards)
        .config(Config::new().max_size(1).max_waiters(Some(2)))
        .max_total(1)
        .max_total_waiters(3)
        .build()
        .unwrap();
    let held = get(&pool, "a").await;
    let waiting: Vec<_> = ["a", "a", "b"]
        .map(|key| getting(&pool, key, |_| ()))
        .into();
    settle().await;
    assert_eq!(
        (pool.status().waiting, pool.status_of("a").unwrap().waiting),
        (3, 2)
    );
    for key in ["a", "b"] {
        let error = pool.get(key).await.map(drop).unwrap_err();
        assert!(error.is_overloaded(), "{error}");
    }
    assert_eq!((pool.status().overloaded, pool.key_count()), (2, 2));
    drop(held);
    join_all(waiting).await;
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fills_all_lines_locks_nobody_out_but_itself() {
    let shards = Shards::default();
    let pool = builder(&shards)
        .max_size(1)
        .max_total(1)
        .max_total_waiters(6)
        .build()
        .unwrap();
    let held = get(&pool, "flood").await;
    let wait = |key: &'static str| {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get(key).await.map(drop) })
    };
    let flood: Vec<_> = (0..6).map(|_| wait("flood")).collect();
    settle().await;
    let mut others = Vec::new();
    for (key, left) in [("b", 5), ("c", 4), ("b", 3), ("c", 2)] {
        others.push(wait(key));
        settle().await;
        let (all, flood) = (pool.status(), pool.status_of("flood").unwrap());
        assert_eq!((all.waiting, flood.waiting), (6, left));
    }
    // All have as many as each other: now it is the newcomer who is too much, but for one of a key that has none.
    for key in ["flood", "b", "c"] {
        let error = pool.get(key).await.map(drop).unwrap_err();
        assert!(error.is_overloaded(), "{error}");
    }
    others.push(wait("d"));
    settle().await;
    assert_eq!(pool.status().waiting, 6);
    assert_eq!(
        (
            pool.status().overloaded,
            pool.status_of("flood").unwrap().waiting
        ),
        (8, 2)
    );
    drop(held);
    let served: Vec<_> = join_all(flood).await;
    let served: Vec<_> = served.into_iter().map(Result::unwrap).collect();
    assert!(served[..2].iter().all(Result::is_ok), "the first stay");
    assert!(
        served[2..]
            .iter()
            .all(|end| end.as_ref().is_err_and(|error| error.is_overloaded())),
        "the last have to go, and are told so"
    );
    let others = join_all(others).await;
    let told = others
        .into_iter()
        .filter(|end| end.as_ref().unwrap().is_err());
    assert_eq!(told.count(), 1, "the last of b or of c made room for d");
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn within_a_key_it_is_first_come_first_served_and_a_grant_nobody_fetches_goes_on() {
    let shards = Shards::default();
    let pool = pool(&shards, 1, 4);
    let held = get(&pool, "a").await;
    let mut unpolled = Box::pin(pool.get("a"));
    assert!(poll_once(unpolled.as_mut()).await.is_pending());
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for n in 0..5 {
        let order = Arc::clone(&order);
        tasks.push(getting(&pool, "a", move |_| order.lock().unwrap().push(n)));
        settle().await;
    }
    let start = Instant::now();
    drop(held);
    join_all(tasks).await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert!(
        (50 * MS..=80 * MS).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    drop(unpolled.await.unwrap());
    assert_eq!(pool.status().reclaimed, 1);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn the_taints_the_broken_and_the_dirty_are_closed_or_made_clean() {
    let shards = Shards::default();
    let pool = pool(&shards, 2, 4);
    let mut lease = get(&pool, "a").await;
    KeyedLease::taint(&mut lease);
    drop(lease);
    settle().await;
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    let mut lease = get(&pool, "a").await;
    lease.broken = true;
    drop(lease);
    settle().await;
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
    shards.of("a").on_reset(Act::Take(5 * MS));
    let mut lease = get(&pool, "a").await;
    lease.dirty = true;
    drop(lease);
    let clean = get(&pool, "a").await;
    assert!(!clean.dirty && KeyedLease::usage(&clean).leases >= 1);
    drop(clean);
    let mut lease = get(&pool, "b").await;
    let run = KeyedLease::run(&mut lease, async |_| sleep(SEC).await);
    assert!(timeout(MS, run).await.is_err());
    assert!(KeyedLease::is_tainted(&lease));
    drop(lease);
    let lease = get(&pool, "c").await;
    shards.of("c").detached.fetch_add(1, SeqCst);
    drop(KeyedLease::detach(lease));
    settle().await;
    assert_eq!(
        (pool.status().dropped, pool.status_of("c").is_none()),
        (1, true)
    );
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn a_waiter_does_not_wait_for_a_failed_one_to_say_goodbye_while_there_is_room() {
    let shards = Shards::default();
    let a = shards.of("a");
    a.on_close(Act::Hang);
    let pool = pool(&shards, 2, 2);
    // One that fails its check.
    a.on_check(Act::Fail("gone"));
    touch(&pool, "a").await;
    sleep(SEC).await;
    let began = Instant::now();
    let mut lease = get(&pool, "a").await;
    assert_eq!((lease.id, pool.status_of("a").unwrap().closing), (1, 1));
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    // One that cannot be reset.
    sleep(10 * SEC).await;
    let gate = Arc::new(Semaphore::new(0));
    a.on_reset(Act::Then(Arc::clone(&gate), Box::new(Act::Fail("cannot"))));
    lease.dirty = true;
    drop(lease);
    let waits = getting(&pool, "a", |lease| lease.id);
    settle().await;
    assert_eq!(pool.status_of("a").unwrap().resetting, 1);
    let began = Instant::now();
    gate.add_permits(1);
    assert_eq!(waits.await.unwrap(), 2);
    assert_eq!(began.elapsed(), Duration::ZERO, "at once");
    assert_eq!(pool.status().closed.by(CloseReason::ResetFailed), 1);
    sleep(10 * SEC).await;
    a.on_close(Act::Succeed);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn lifetimes_and_keepalives_are_kept_for_every_key() {
    let shards = Shards::default();
    let config = Config::new()
        .max_lifetime(Some(100 * SEC))
        .lifetime_jitter(0.0)
        .idle_timeout(None)
        .keepalive(Some(30 * SEC));
    let pool = builder(&shards)
        .config(config)
        .max_total(50)
        .build()
        .unwrap();
    for key in 0..50 {
        touch(&pool, &key.to_string()).await;
    }
    sleep(31 * SEC).await;
    let checks = |n: u32| shards.of(&n.to_string()).checks.load(SeqCst);
    assert!((0..50).all(|n| checks(n) == 1));
    // A check is no use: 7 is used, so 0 is the oldest, although it was checked last.
    touch(&pool, "7").await;
    sleep(30 * SEC).await;
    touch(&pool, "new").await;
    assert_eq!(shards.closed(), ["0"]);
    sleep(41 * SEC).await;
    assert_eq!(pool.status().closed.by(CloseReason::Lifetime), 49);
    assert_eq!(pool.key_count(), 1, "but the new one");
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn it_can_be_resized_reset_and_sifted_while_it_is_in_use() {
    let shards = Shards::default();
    let pool = pool(&shards, 4, 8);
    let held = [get(&pool, "a").await, get(&pool, "b").await];
    for key in ["c", "d", "e"] {
        touch(&pool, key).await;
    }
    pool.resize(3).unwrap();
    settle().await;
    assert_eq!(shards.closed(), ["c", "d"]);
    assert!(pool.resize(0).is_err());
    pool.resize(8).unwrap();
    pool.retire("b");
    pool.retire("e");
    drop(held);
    settle().await;
    assert_eq!(pool.status().closed.by(CloseReason::Retired), 2);
    assert_eq!((pool.status().idle, pool.key_count()), (1, 1));
    touch(&pool, "b").await;
    let kept = pool.retain(|key, _, usage| key == "b" && usage.leases == 1);
    settle().await;
    assert_eq!((kept, pool.status().idle), (1, 1));
    let held = get(&pool, "b").await;
    pool.retire_all();
    drop(held);
    settle().await;
    assert_eq!((pool.status().open, pool.key_count()), (0, 0));
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_being_opened_at_a_reset_is_not_handed_out() {
    let shards = Shards::default();
    let pool = pool(&shards, 1, 4);
    for (round, key) in [("of all", "a"), ("of one", "b")] {
        shards.of(key).on_create(Act::Take(100 * MS));
        let task = getting(&pool, key, |lease| lease.id);
        sleep(50 * MS).await;
        let start = Instant::now();
        if round == "of all" {
            pool.retire_all();
        } else {
            pool.retire(key);
        }
        assert_eq!(
            task.await.unwrap(),
            1,
            "{round}: the first had old credentials"
        );
        assert_eq!(start.elapsed(), 150 * MS);
    }
    assert_eq!(pool.status().closed.by(CloseReason::Retired), 2);
    end(pool, &shards).await;
}

#[tokio::test(start_paused = true)]
async fn draining_tells_those_in_line_and_says_who_holds_what() {
    let shards = Shards::default();
    let pool = pool(&shards, 1, 2);
    let held = pool.get("a").label("report").await.unwrap();
    touch(&pool, "b").await;
    let waiting = {
        let pool = pool.clone();
        tokio::spawn(async move { pool.get("a").await.map(drop).unwrap_err().is_closed() })
    };
    settle().await;
    assert_eq!(
        (pool.leases_of("a").len(), pool.leases_of("b").len()),
        (1, 0)
    );
    let leases = pool.leases();
    assert_eq!(
        (leases.len(), leases[0].0.as_str(), leases[0].1.label),
        (1, "a", "report")
    );
    let drained = pool.drain(50 * MS).await;
    assert_eq!((drained.left, drained.leased[0].label), (1, "report"));
    assert!(waiting.await.unwrap());
    assert!(pool.get("b").await.is_err_and(|error| error.is_closed()));
    assert!(pool.try_get("b").is_err_and(|error| error.is_closed()));
    drop(held);
    end(pool, &shards).await;
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Observer for Log {
    fn opened(&self, pool: &str, _: Duration) {
        self.0.lock().unwrap().push(format!("opened {pool}"));
    }

    fn closed(&self, pool: &str, reason: CloseReason) {
        self.0
            .lock()
            .unwrap()
            .push(format!("closed {pool}: {reason}"));
    }

    fn leaked(&self, pool: &str, lease: &pool_core::observe::LeaseInfo) {
        self.0
            .lock()
            .unwrap()
            .push(format!("leaked {pool}: {}", lease.label));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_keys_only_by_the_names_that_it_may_know() {
    for named in [false, true] {
        let (shards, log) = (Shards::default(), Log::default());
        let config = Config::new().max_size(1).leak_after(Some(SEC));
        let mut builder = builder(&shards).name("db").config(config).max_total(1);
        if named {
            builder = builder.key_name(|key: &String| key.to_uppercase());
        }
        let pool = builder.observer(log.clone()).build().unwrap();
        touch(&pool, "a").await;
        let held = pool.get("b").label("slow").await.unwrap();
        sleep(3 * SEC).await;
        let error = pool.get("a").timeout(MS).await.map(drop).unwrap_err();
        let (a, b) = if named {
            ("db/A", "db/B")
        } else {
            ("db", "db")
        };
        assert!(
            error.to_string().contains(&format!("pool `{a}`")),
            "{error}"
        );
        let expected = [
            format!("opened {a}"),
            format!("closed {a}: evicted"),
            format!("opened {b}"),
            format!("leaked {b}: slow"),
        ];
        assert_eq!(*log.0.lock().unwrap(), expected);
        drop(held);
        end(pool, &shards).await;
    }
}

/// A key whose hash is no help, and whose comparison can be told to panic or to use the pool.
#[derive(Clone)]
struct Odd {
    name: u32,
    act: Arc<Mutex<Option<OddAct>>>,
}

#[derive(Clone)]
enum OddAct {
    Panic,
    Use(KeyedPool<Odd, Odds>),
}

struct Odds;

impl Odd {
    fn new(name: u32) -> Self {
        Self {
            name,
            act: Arc::default(),
        }
    }
}

impl Hash for Odd {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(0);
    }
}

impl PartialEq for Odd {
    fn eq(&self, other: &Self) -> bool {
        let act = other.act.lock().unwrap().take();
        match act {
            Some(OddAct::Panic) => panic!("told to panic"),
            Some(OddAct::Use(pool)) => assert!(!pool.is_closed()),
            None => {}
        }
        self.name == other.name
    }
}

impl Eq for Odd {}

impl KeyedManager<Odd> for Odds {
    type Resource = u32;
    type Error = Oops;

    async fn create(&self, key: &Odd) -> Result<u32, Oops> {
        Ok(key.name)
    }

    async fn check(&self, _: &mut u32, _: &Usage) -> Result<(), Oops> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn keys_that_hash_alike_panic_or_use_the_pool_lose_nothing() {
    hush();
    let pool = KeyedPool::builder(Odds)
        .max_size(2)
        .max_total(20)
        .build()
        .unwrap();
    let keys: Vec<_> = (0..10).map(Odd::new).collect();
    for round in 0..3 {
        for key in &keys {
            assert_eq!(*pool.get(key).await.unwrap(), key.name);
            let again = pool.try_get(key).unwrap();
            assert_eq!(
                (*again, pool.key_count()),
                (
                    key.name,
                    if round == 0 {
                        key.name as usize + 1
                    } else {
                        10
                    }
                )
            );
        }
    }
    assert_eq!(pool.status().open, 10);
    *keys[3].act.lock().unwrap() = Some(OddAct::Use(pool.clone()));
    drop(pool.get(&keys[3]).await.unwrap());
    // One key alone, so that it is found by its hash first.
    let alone = KeyedPool::builder(Odds)
        .max_size(2)
        .max_total(20)
        .build()
        .unwrap();
    drop(alone.get(&keys[5]).await.unwrap());
    for act in [OddAct::Panic, OddAct::Use(alone.clone())] {
        for key in [&keys[5], &keys[6]] {
            *key.act.lock().unwrap() = Some(act.clone());
            let (pool, key) = (alone.clone(), key.clone());
            let panics = matches!(act, OddAct::Panic);
            let outcome = tokio::spawn(async move { drop(pool.get(&key).await.unwrap()) }).await;
            assert_eq!(outcome.is_err(), panics);
        }
    }
    assert_eq!((alone.status().leased, alone.status().idle), (0, 2));
    assert!(alone.drain(SEC).await.is_complete() && pool.drain(SEC).await.is_complete());
    for key in &keys {
        *key.act.lock().unwrap() = None;
    }
}

/// Says of each resource what it was told to, once.
#[derive(Clone, Default)]
struct Moods {
    next: Arc<Mutex<Option<Mood>>>,
    opened: Arc<AtomicU32>,
    closed: Arc<Mutex<Vec<u32>>>,
}

#[derive(Clone, Copy, Debug)]
enum Mood {
    Broken,
    Panics,
}

impl KeyedManager<u32> for Moods {
    type Resource = u32;
    type Error = Oops;

    async fn create(&self, _: &u32) -> Result<u32, Oops> {
        Ok(self.opened.fetch_add(1, SeqCst))
    }

    async fn check(&self, _: &mut u32, _: &Usage) -> Result<(), Oops> {
        Ok(())
    }

    fn is_broken(&self, _: &mut u32) -> bool {
        let next = self.next.lock().unwrap().take();
        match next {
            Some(Mood::Broken) => true,
            Some(Mood::Panics) => panic!("told to panic"),
            None => false,
        }
    }

    async fn close(&self, of: u32) {
        self.closed.lock().unwrap().push(of);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_one_that_is_called_broken_once_is_never_lent_again() {
    hush();
    for mood in [Mood::Broken, Mood::Panics] {
        let moods = Moods::default();
        let pool = KeyedPool::builder(moods.clone())
            .max_size(1)
            .max_total(2)
            .build()
            .unwrap();
        assert_eq!(*pool.get(&7).await.unwrap(), 0);
        *moods.next.lock().unwrap() = Some(mood);
        // A panic of the manager is not the caller's.
        assert_eq!(*pool.get(&7).await.unwrap(), 1, "{mood:?}");
        *moods.next.lock().unwrap() = Some(mood);
        assert!(pool.try_get(&7).is_err(), "{mood:?}");
        settle().await;
        assert_eq!(*moods.closed.lock().unwrap(), [0, 1]);
        let status = pool.status();
        assert_eq!((status.open, status.closing, status.gets), (0, 0, 2));
    }
}

/// How one call of the manager goes.
const ENDS: [fn() -> Act; 5] = [
    || Act::Succeed,
    || Act::Fail("told to fail"),
    || Act::Take(2 * MS),
    || Act::Hang,
    || Act::Panic,
];

#[tokio::test(start_paused = true)]
async fn gets_that_come_and_go_cost_no_capacity_whatever_the_manager_does() {
    hush();
    let (mut cancelled, mut evicted) = (0, 0);
    for combination in 0..ENDS.len().pow(4) {
        let act = |place: u32| ENDS[combination / ENDS.len().pow(place) % ENDS.len()]();
        let case = format!(
            "create {:?}, check {:?}, reset {:?}, close {:?}",
            act(0),
            act(1),
            act(2),
            act(3)
        );
        let shards = Shards::default();
        let limit = 20 * MS;
        let config = Config::new()
            .max_size(2)
            .create_timeout(limit)
            .check_timeout(limit)
            .reset_timeout(limit)
            .close_timeout(limit)
            .check_after(Duration::ZERO);
        let pool = builder(&shards)
            .config(config)
            .max_total(3)
            .build()
            .unwrap();
        let keys = ["a", "b", "c"];
        touch(&pool, "a").await;
        for key in keys {
            let backend = shards.of(key);
            backend.on_create(act(0));
            backend.on_check(act(1));
            backend.on_reset(act(2));
            backend.on_close(act(3));
        }
        let getters: Vec<_> = (0..9_u32)
            .map(|n| {
                let (pool, key) = (pool.clone(), keys[n as usize % 3]);
                tokio::spawn(async move {
                    loop {
                        let patience = Duration::from_micros(u64::from(n) * 700);
                        if let Ok(Ok(mut lease)) = timeout(patience, pool.get(key)).await {
                            lease.dirty = n % 2 == 0;
                            lease.broken = n == 7;
                        }
                        sleep((9 * patience).max(MS)).await;
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            sleep(3 * MS).await;
            let all = pool.status();
            assert!(all.open + all.opening + all.closing <= 3, "{case}: {all:?}");
            for (key, of) in pool.statuses() {
                assert!(
                    of.open + of.opening + of.closing <= 2,
                    "{case}: {key}: {of:?}"
                );
            }
        }
        for getter in getters {
            getter.abort();
            assert!(getter.await.unwrap_err().is_cancelled());
        }
        cancelled += pool.status().cancelled;
        evicted += pool.status().closed.by(CloseReason::Evicted);
        for key in keys {
            let backend = shards.of(key);
            for gate in [
                &backend.create,
                &backend.check,
                &backend.reset,
                &backend.close,
            ] {
                *gate.lock().unwrap() = Act::Succeed;
            }
        }
        // All capacity must be there, of each key and in all.
        for key in keys {
            let leases = async {
                let give_up = Instant::now() + 20 * SEC;
                let mut leases = Vec::new();
                while leases.len() < 2 {
                    match pool.get(key).await {
                        Ok(lease) => leases.push(lease),
                        Err(error) => {
                            assert!(
                                error.is_connect() && Instant::now() < give_up,
                                "{case}: {error}"
                            );
                            sleep(100 * MS).await;
                        }
                    }
                }
                leases
            };
            assert_eq!(leases.await.len(), 2, "{case}: {key}");
        }
        let three = join_all([("a"), ("b"), ("c")].map(|key| get(&pool, key))).await;
        assert_eq!((three.len(), pool.status().leased), (3, 3));
        drop(three);
        settle().await;
        assert!(
            shards.all.most_alive.load(SeqCst) <= 3,
            "{case}: the bound was exceeded"
        );
        end(pool, &shards).await;
    }
    println!("{cancelled} gets were dropped, {evicted} evicted");
    assert!(cancelled > 5_000 && evicted > 300, "{cancelled} {evicted}");
}

#[tokio::test(start_paused = true)]
async fn a_get_dropped_before_during_or_after_any_await_loses_nothing() {
    hush();
    for what in ["create", "check", "reset", "close", "evict"] {
        for dropped in ["before", "during", "after"] {
            for end_by in ENDS {
                for behind in [None, Some("a"), Some("b")] {
                    drop_one(what, dropped, end_by(), behind).await;
                }
            }
        }
    }
}

async fn drop_one(what: &str, dropped: &str, act: Act, behind: Option<&'static str>) {
    let case = format!("{what} ends by {act:?}, dropped {dropped}, behind it: {behind:?}");
    let shards = Shards::default();
    let limit = 20 * MS;
    let config = Config::new()
        .max_size(1)
        .create_timeout(limit)
        .check_timeout(limit)
        .reset_timeout(limit)
        .close_timeout(limit)
        .check_after(Duration::ZERO);
    let pool = builder(&shards)
        .config(config)
        .max_total(1)
        .build()
        .unwrap();
    let first = match what {
        "create" => None,
        "evict" => Some(get(&pool, "other").await),
        _ => Some(get(&pool, "a").await),
    };
    let gate = Arc::new(Semaphore::new(0));
    let held = Act::Then(Arc::clone(&gate), Box::new(act));
    let a = shards.of("a");
    match what {
        "create" => a.on_create(held),
        "check" => a.on_check(held),
        "reset" => a.on_reset(held),
        "close" => a.on_close(held),
        _ => shards.of("other").on_close(held),
    }
    if let Some(mut first) = first {
        first.dirty = what == "reset";
        first.broken = what == "close";
        drop(first);
        sleep(15 * MS).await;
    }
    let mut doomed = Box::pin(pool.get("a"));
    if dropped != "before" {
        assert!(poll_once(doomed.as_mut()).await.is_pending(), "{case}");
    }
    let behind = behind.map(|key| {
        let pool = pool.clone();
        tokio::spawn(async move {
            while let Err(error) = pool.get(key).await {
                assert!(error.is_connect(), "{error}");
                sleep(100 * MS).await;
            }
        })
    });
    settle().await;
    if dropped == "after" {
        gate.add_permits(1000);
        // Past the end of a slow one, but not of a hung one.
        sleep(4 * MS).await;
    }
    drop(doomed);
    gate.add_permits(1000);
    for key in ["a", "b", "other"] {
        let backend = shards.of(key);
        for gate in [
            &backend.create,
            &backend.check,
            &backend.reset,
            &backend.close,
        ] {
            *gate.lock().unwrap() = Act::Succeed;
        }
    }
    if let Some(behind) = behind {
        let served = timeout(20 * SEC, behind).await;
        assert!(
            served.is_ok_and(|end| end.is_ok()),
            "{case}: whoever is behind it is served"
        );
    }
    for key in ["a", "b"] {
        let mut tries = 0;
        while let Err(error) = pool.get(key).await.map(drop) {
            tries += 1;
            assert!(error.is_connect() && tries < 100, "{case}: {error}");
            sleep(100 * MS).await;
        }
    }
    assert!(
        shards.all.most_alive.load(SeqCst) <= 1,
        "{case}: the bound was exceeded"
    );
    end(pool, &shards).await;
}

#[test]
fn a_lease_outlives_its_runtime_and_its_pool_and_without_a_runtime_a_wait_says_so() {
    let shards = Shards::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let keyed = pool(&shards, 1, 1);
    let lease = runtime.block_on(get(&keyed, "a"));
    drop(runtime);
    let get = futures_util::FutureExt::now_or_never(keyed.get("b"));
    assert!(get.unwrap().map(drop).unwrap_err().is_no_runtime());
    drop(keyed);
    drop(lease);
    assert_eq!(shards.all.alive.load(SeqCst), 0);

    // What was opened on one runtime is used on the next, and evicted there.
    let keyed = pool(&shards, 1, 1);
    for key in ["a", "b", "a"] {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(touch(&keyed, key));
    }
    assert_eq!(keyed.status().idle, 1);
    let found = futures_util::FutureExt::now_or_never(keyed.get("a"));
    drop(found.unwrap().unwrap());
}

#[test]
fn settings_that_do_not_go_with_keys_are_errors() {
    let says =
        |builder: KeyedBuilder<String, Shards>| builder.build().map(drop).unwrap_err().to_string();
    let shards = Shards::default();
    assert_eq!(
        says(builder(&shards).max_size(2).min_idle(3)),
        "min_idle is 3, but must be at most max_size, which is 2"
    );
    assert_eq!(
        says(builder(&shards).max_total(0)),
        "max_total is 0, but must be at least 1"
    );
    assert_eq!(
        says(builder(&shards).max_size(0)),
        "max_size is 0, but must be at least 1"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_of_many_keys_on_few_places() {
    let shards = Shards::default();
    let pool = pool(&shards, 3, 6);
    let tasks = (0..24_u32).map(|n| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for round in 0..60 {
                let key = ((n * 7 + round * round) % 11).to_string();
                let get = pool.get(key.as_str());
                if (n + round) % 9 == 0 {
                    drop(timeout(Duration::from_micros(50), get).await);
                    continue;
                }
                let mut lease = get.await.unwrap();
                tokio::task::yield_now().await;
                lease.broken = (n + round) % 13 == 0;
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let status = pool.status();
    assert_eq!((status.leased, status.waiting), (0, 0), "{status:?}");
    assert!(shards.all.most_alive.load(SeqCst) <= 6);
    end(pool, &shards).await;
}

/// The keeper of a pool is on a runtime that nobody drives any more, and that has not ended either.
#[test]
fn a_get_ends_at_its_deadline_though_the_keeper_stands_still() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap()
    };
    let pool = pool(&Shards::default(), 1, 1);
    let (still, driven) = (runtime(), runtime());
    let held = still.block_on(get(&pool, "a"));
    driven.block_on(async {
        let get = pool.get("a").timeout(Duration::from_millis(700));
        let outcome = timeout(Duration::from_secs(10), get).await;
        let error = outcome.expect("it ends by itself").map(drop).unwrap_err();
        assert!(error.is_timeout(), "{error}");
    });
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_fetches_does_not_hold_up_the_end_of_a_pool() {
    let pool = pool(&Shards::default(), 1, 1);
    let held = get(&pool, "a").await;
    let mut waits = std::pin::pin!(pool.get("a"));
    std::future::poll_fn(|context| {
        assert!(waits.as_mut().poll(context).is_pending());
        std::task::Poll::Ready(())
    })
    .await;
    drop(held);
    assert!(pool.drain(Duration::from_secs(5)).await.is_complete());
    assert!(waits.await.map(drop).unwrap_err().is_closed());
}

/// Counts only who holds it.
struct Held;

impl std::task::Wake for Held {
    fn wake(self: Arc<Self>) {}
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_for_the_end_of_a_pool_leaves_nothing_behind() {
    let pool = pool(&Shards::default(), 1, 1);
    let _lease = get(&pool, "a").await;
    let held = Arc::new(Held);
    let waker = std::task::Waker::from(Arc::clone(&held));
    for _ in 0..3 {
        let mut drain = std::pin::pin!(pool.drain(Duration::from_millis(1)));
        let mut context = std::task::Context::from_waker(&waker);
        assert!(drain.as_mut().poll(&mut context).is_pending());
    }
    drop(waker);
    assert_eq!(Arc::strong_count(&held), 1);
}
