//! A caller that renews a broken connection in place, on paused time.
#![allow(clippy::unwrap_used)]

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use pool_core::{
    Gauge, Held, KeyedLease, KeyedManager, KeyedPool, MixedLease, MixedManager, MixedPool, Opened,
    Usage,
    observe::{CloseReason, Phase},
};
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// A server that counts its connections, and can be down.
#[derive(Clone, Default)]
struct Server(Arc<State>);

#[derive(Default)]
struct State {
    alive: AtomicU32,
    most: AtomicU32,
    next: AtomicU32,
    down: AtomicBool,
    shares: AtomicBool,
    slow: AtomicBool,
}

struct Conn {
    number: u32,
    server: Server,
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.server.0.alive.fetch_sub(1, SeqCst);
    }
}

#[derive(Debug)]
struct Down;

impl fmt::Display for Down {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl Server {
    async fn open(&self) -> Result<Conn, Down> {
        sleep(if self.0.slow.load(SeqCst) {
            5 * SEC
        } else {
            10 * MS
        })
        .await;
        if self.0.down.load(SeqCst) {
            return Err(Down);
        }
        let alive = self.0.alive.fetch_add(1, SeqCst) + 1;
        self.0.most.fetch_max(alive, SeqCst);
        Ok(Conn {
            number: self.0.next.fetch_add(1, SeqCst),
            server: self.clone(),
        })
    }
}

impl KeyedManager<u8> for Server {
    type Resource = Conn;
    type Error = Down;

    async fn create(&self, _: &u8) -> Result<Conn, Down> {
        self.open().await
    }

    async fn check(&self, _: &mut Conn, _: &Usage) -> Result<(), Down> {
        Ok(())
    }

    async fn close(&self, conn: Conn) {
        sleep(20 * MS).await;
        drop(conn);
    }
}

impl MixedManager<u8> for Server {
    type One = Conn;
    type Many = Conn;
    type Error = Down;

    async fn create(&self, _: &u8, gauge: Gauge) -> Result<Opened<Conn, Conn>, Down> {
        gauge.set_capacity(2);
        let conn = self.open().await?;
        Ok(match self.0.shares.load(SeqCst) {
            true => Opened::Many(conn),
            false => Opened::One(conn),
        })
    }

    async fn check(&self, _: &mut Conn, _: &Usage) -> Result<(), Down> {
        Ok(())
    }
}

fn pool(server: &Server, max_size: u32) -> KeyedPool<u8, Server> {
    let pool = KeyedPool::builder(server.clone()).max_size(max_size);
    pool.max_lifetime(60 * SEC).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_next_connection_is_for_the_same_caller_and_has_an_age_of_its_own() {
    let server = Server::default();
    let pool = pool(&server, 1);
    let lease = pool.get(&1).await.unwrap();
    let waiter = tokio::spawn({
        let pool = pool.clone();
        async move { pool.get(&1).await.unwrap().number }
    });
    sleep(SEC).await;
    let began = Instant::now();
    let lease = KeyedLease::reopen(lease).await.unwrap();
    assert_eq!(lease.number, 1);
    assert_eq!(
        began.elapsed(),
        30 * MS,
        "the close of the old one, and an open"
    );
    assert!(KeyedLease::usage(&lease).age() < 30 * MS);
    let of = pool.status_of(&1).unwrap();
    assert_eq!((of.leased, of.waiting, of.opened), (1, 1, 2));
    assert_eq!(of.closed.by(CloseReason::Broken), 1);
    assert_eq!((of.gets, pool.leases().len()), (2, 1));
    drop(lease);
    assert_eq!(waiter.await.unwrap(), 1, "it is given back like any other");
    assert_eq!(server.0.most.load(SeqCst), 1, "the bound holds in between");
}

#[tokio::test(start_paused = true)]
async fn who_waits_is_not_told_to_wait_for_an_open_that_is_anothers() {
    let server = Server::default();
    let pool = pool(&server, 2);
    let lease = pool.get(&1).await.unwrap();
    server.0.slow.store(true, SeqCst);
    let reopens = tokio::spawn(KeyedLease::reopen(lease));
    sleep(100 * MS).await;
    server.0.slow.store(false, SeqCst);
    let other = timeout(50 * MS, pool.get(&1)).await.unwrap().unwrap();
    assert_eq!(other.number, 1, "one was opened for it");
    assert!(reopens.await.unwrap().unwrap().number > 1);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_fails_is_an_error_and_frees_the_place() {
    let server = Server::default();
    let pool = pool(&server, 1);
    let lease = pool.get(&1).await.unwrap();
    server.0.down.store(true, SeqCst);
    let error = KeyedLease::reopen(lease).await.err().unwrap();
    assert!(error.is_connect(), "{error}");
    assert!(error.to_string().contains("down"), "{error}");
    assert_eq!(pool.status().open_failures, 1);
    server.0.down.store(false, SeqCst);
    assert_eq!(pool.get(&1).await.unwrap().number, 1);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_wastes_no_open() {
    let server = Server::default();
    let pool = pool(&server, 1);
    let lease = pool.get(&1).await.unwrap();
    assert!(timeout(25 * MS, KeyedLease::reopen(lease)).await.is_err());
    let next = timeout(10 * MS, pool.get(&1)).await.unwrap().unwrap();
    assert_eq!((next.number, pool.status().opened), (1, 2));
    drop(next);
    assert_eq!(pool.status().idle, 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_has_ended_opens_nothing_more() {
    let server = Server::default();
    let pool = pool(&server, 1);
    let lease = pool.get(&1).await.unwrap();
    pool.close();
    assert!(KeyedLease::reopen(lease).await.err().unwrap().is_closed());
    assert!(pool.drain(SEC).await.is_complete());
    // And one that ends while it opens.
    let pool = self::pool(&server, 1);
    let reopens = tokio::spawn(KeyedLease::reopen(pool.get(&1).await.unwrap()));
    sleep(25 * MS).await;
    pool.close();
    assert!(reopens.await.unwrap().err().unwrap().is_closed());
    assert!(pool.drain(SEC).await.is_complete());
    assert_eq!(server.0.alive.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_open_that_hangs_ends_at_the_deadline() {
    let server = Server::default();
    let pool = KeyedPool::builder(server.clone()).max_size(1);
    let pool = pool.acquire_timeout(SEC).build().unwrap();
    let lease = pool.get(&1).await.unwrap();
    server.0.slow.store(true, SeqCst);
    let error = KeyedLease::reopen(lease).await.err().unwrap();
    assert_eq!(error.phase(), Some(Phase::Create));
    assert_eq!(pool.status().timeouts_create, 1);
    sleep(10 * SEC).await;
    assert_eq!(pool.status().idle, 1, "what it opened serves others");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_has_nothing_goes_first() {
    let server = Server::default();
    let pool = KeyedPool::builder(server.clone()).max_size(1).max_total(1);
    let pool = pool.build().unwrap();
    let lease = pool.get(&1).await.unwrap();
    let other = tokio::spawn({
        let pool = pool.clone();
        async move {
            let lease = pool.get(&2).await.unwrap();
            sleep(100 * MS).await;
            lease.number
        }
    });
    sleep(10 * MS).await;
    let lease = KeyedLease::reopen(lease).await.unwrap();
    assert_eq!((other.await.unwrap(), lease.number), (1, 2));
    assert_eq!(server.0.most.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn the_next_may_be_a_shared_one() {
    let server = Server::default();
    let pool = MixedPool::builder(server.clone())
        .max_size(1)
        .build()
        .unwrap();
    let Held::One(lease) = pool.get(&1).await.unwrap() else {
        panic!("it is for one")
    };
    server.0.shares.store(true, SeqCst);
    let Held::Many(share) = MixedLease::reopen(lease).await.unwrap() else {
        panic!("it is shared now")
    };
    let of = pool.status();
    assert_eq!((of.shared, of.shares, of.available), (1, 1, 1));
    let second = pool.try_get(&1).unwrap();
    assert!(matches!(second, Held::Many(_)));
    drop((share, second));
    assert_eq!(pool.status().connections.idle, 1);
}

#[test]
fn without_a_runtime_it_is_a_return_and_a_get() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let server = Server::default();
    let pool = pool(&server, 1);
    let lease = runtime.block_on(async { pool.get(&1).await.unwrap() });
    let error = futures_util::FutureExt::now_or_never(KeyedLease::reopen(lease));
    assert!(error.unwrap().err().unwrap().is_no_runtime());
    runtime.block_on(async { assert_eq!(pool.get(&1).await.unwrap().number, 1) });
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_renewals_loses_nothing_whoever_gives_up() {
    let server = Server::default();
    let pool = KeyedPool::builder(server.clone()).max_size(8).max_total(12);
    let pool = pool.max_opening(2).build().unwrap();
    let users = (0..60_u32).map(|user| {
        let pool = pool.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let key = u8::try_from((user + round) % 3).unwrap();
                let lease = pool.get(&key).await.unwrap();
                // Some give up while the old one is closed, some while the next is opened, and most stay.
                let patience = MS * [5, 25, 60_000, 60_000][((user * 7 + round) % 4) as usize];
                if let Ok(lease) = timeout(patience, KeyedLease::reopen(lease)).await {
                    sleep(MS).await;
                    drop(lease.unwrap());
                }
            }
        })
    });
    for user in users.collect::<Vec<_>>() {
        user.await.unwrap();
    }
    sleep(SEC).await;
    let of = pool.status();
    assert_eq!(
        (of.leased, of.opening, of.closing, of.waiting),
        (0, 0, 0, 0)
    );
    assert_eq!((of.idle, of.open), (server.0.alive.load(SeqCst), of.idle));
    assert!(server.0.most.load(SeqCst) <= 12, "the bound holds");
    assert_eq!(
        of.opened,
        of.closed.total() + u64::from(of.open),
        "each is closed once: {of:?}"
    );
    assert!(pool.drain(SEC).await.is_complete());
    assert_eq!(server.0.alive.load(SeqCst), 0);
}
