//! Managers that other people wrote and published, unchanged on this engine, against real servers that are killed.

#![allow(clippy::unwrap_used)]

mod diesel;
mod pages;
mod postgres;
mod rabbitmq;
mod redis;

use std::error::Error as StdError;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pool_core::adapt::ForeignError;
use pool_core::observe::CloseReason;
use pool_core::{Builder, Manager, Pool};
use tokio::task::spawn_blocking;
use tokio::time::sleep;

/// Nothing here takes that long, but for the start of a server.
const SOON: Duration = Duration::from_secs(20);
const SIZE: u32 = 3;

/// A server that can go and come back.
trait Server: Send + 'static {
    fn kill(&mut self);
    fn restart(&mut self);
}

/// One that can fall silent.
trait Freeze {
    fn freeze(&mut self);
    fn thaw(&mut self);
}

macro_rules! server {
    ($server:ty: $trait:ty, $($does:ident)*) => {
        impl $trait for $server {
            $(fn $does(&mut self) {
                self.$does();
            })*
        }
    };
}

server!(tests::postgres::Server: Server, kill restart);
server!(tests::rabbitmq::Server: Server, kill restart);
server!(tests::redis::Server: Server, kill restart);
server!(tests::postgres::Server: Freeze, freeze thaw);
server!(tests::redis::Server: Freeze, freeze thaw);

fn pool<M: Manager>(manager: M) -> Pool<M> {
    Pool::builder(manager)
        .max_size(SIZE)
        .acquire_timeout(SOON)
        .build()
        .unwrap()
}

/// Thirty callers, ten leases each, of a few connections.
async fn share<M: Manager>(
    pool: &Pool<M>,
    operation: impl AsyncFn(&mut M::Resource, usize) -> usize,
) {
    let callers = (0..30).map(async |n| {
        for round in 0..10 {
            let mut lease = pool.get().await.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(operation(&mut lease, n * 10 + round).await, n * 10 + round);
        }
    });
    join_all(callers).await;
    let status = pool.status();
    assert!(status.opened <= SIZE.into(), "{status:?}");
    assert_eq!((status.gets, status.leased, status.waiting), (300, 0, 0));
    all_capacity(pool).await;
}

/// As many at once as there may be.
async fn all_capacity<M: Manager>(pool: &Pool<M>) {
    let leases = join_all((0..SIZE).map(|_| pool.get())).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(pool.status().leased, SIZE);
}

/// As many at once as there may be, and each of them works: at once, or after a few that were cut off.
async fn recovers<M: Manager>(pool: &Pool<M>, works: impl AsyncFn(&mut M::Resource) -> bool) {
    let begin = Instant::now();
    loop {
        let gets = join_all((0..SIZE).map(|_| pool.get())).await;
        let all = join_all(gets.into_iter().map(async |get| match get {
            Ok(mut lease) => works(&mut lease).await,
            Err(_) => false,
        }));
        if all.await.into_iter().all(|works| works) {
            break;
        }
        assert!(begin.elapsed() < SOON, "{:?}", pool.status());
        // So short that none is ever idle for long: what is broken must be found out all the same.
        sleep(Duration::from_millis(20)).await;
    }
    all_capacity(pool).await;
}

/// More callers than connections, none of whom pauses while the server is killed and comes back. In the end each works again.
async fn outlasts<M: Manager, S: Server>(
    pool: &Pool<M>,
    mut server: S,
    works: impl AsyncFn(&mut M::Resource) -> bool,
) -> S {
    let is_back = AtomicBool::new(false);
    let failed = AtomicBool::new(false);
    let call = async || loop {
        let success = match pool.get().await {
            Ok(mut lease) => works(&mut lease).await,
            Err(_) => {
                // Told at once, while there is nothing to connect to.
                sleep(Duration::from_millis(5)).await;
                false
            }
        };
        if !success {
            failed.store(true, SeqCst);
        } else if is_back.load(SeqCst) {
            return;
        }
        tokio::task::yield_now().await;
    };
    let restart = async || {
        sleep(Duration::from_millis(100)).await;
        let restarted = spawn_blocking(move || {
            server.kill();
            thread::sleep(Duration::from_millis(200));
            server.restart();
            server
        });
        let server = restarted.await.unwrap();
        is_back.store(true, SeqCst);
        server
    };
    let callers = tokio::time::timeout(10 * SOON, join_all((0..12).map(|_| call())));
    let (server, called) = tokio::join!(restart(), callers);
    assert!(called.is_ok(), "{:?}", pool.status());
    assert!(failed.load(SeqCst), "nobody noticed");
    recovers(pool, works).await;
    server
}

/// With the server gone callers are told at once, by the driver's own error.
async fn says_why<M, E>(manager: M)
where
    M: Manager<Error = ForeignError>,
    E: StdError + 'static,
{
    let Err(error) = pool(manager).get().await else {
        panic!("there is no server")
    };
    assert!(error.is_connect(), "{error}");
    let said = error.connect_error().and_then(|it| it.downcast_ref::<E>());
    assert!(said.is_some(), "{error}");
}

/// A pool of one for a server that falls silent: bounds that a test can wait for.
fn wary<M: Manager>(manager: M) -> Builder<M> {
    let short = Duration::from_millis(800);
    Pool::builder(manager)
        .max_size(1)
        .check_after(Duration::ZERO)
        .check_timeout(short)
        .create_timeout(short)
        .reset_timeout(short)
        .close_timeout(short)
}

/// A frozen server answers nothing: what was idle is not handed out on trust, and nobody waits longer than the deadline.
async fn finds_out_that_it_is_silent<M: Manager>(pool: &Pool<M>, server: &mut impl Freeze) {
    let idles = async || {
        let idle = pool.status().idle == 1;
        if !idle {
            drop(pool.get().await);
        }
        idle
    };
    comes(idles).await;
    let checked = pool.status().closed.by(CloseReason::CheckFailed);
    server.freeze();
    let begin = Instant::now();
    let get = pool.get().timeout(Duration::from_secs(2)).await;
    let Err(error) = get else {
        panic!("handed out on trust");
    };
    assert!(begin.elapsed() < Duration::from_secs(4), "{error}");
    let failed = pool.status().closed.by(CloseReason::CheckFailed) - checked;
    assert_eq!(failed, 1);
    server.thaw();
    comes(async || pool.get().await.is_ok()).await;
}

/// Waits for `what` to be true.
async fn comes(mut what: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !what().await {
        assert!(begin.elapsed() < SOON, "it never came");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ends<M: Manager>(pool: Pool<M>) {
    let drained = pool.drain(SOON).await;
    assert!(drained.is_complete(), "{drained:?}");
}
