//! A get that outlives the runtime on which it began to wait.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use common::{Act, Backend, MS, SEC, Things};
use pool_core::Pool;
use tokio::{runtime::Runtime, task::yield_now, time::timeout};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_time()
        .build()
        .unwrap()
}

fn pool(backend: &Arc<Backend>) -> Pool<Things> {
    Pool::builder(Things(Arc::clone(backend)))
        .max_size(2)
        .acquire_timeout(2 * SEC)
        .build()
        .unwrap()
}

#[test]
fn a_get_goes_on_where_it_is_polled_next() {
    for given_back in [false, true] {
        let backend = Backend::new();
        let pool = pool(&backend);
        let first = runtime();
        let held = first.block_on(pool.get()).unwrap();
        backend.on_create(Act::Hang);
        let mut get = pin!(pool.get());
        // Long enough for it to have a timer of its own.
        let waits = first.block_on(async { timeout(700 * MS, &mut get).await });
        assert!(waits.is_err());
        drop(first);
        let held = (!given_back).then_some(held);
        let outcome = runtime().block_on(async { timeout(10 * SEC, get).await });
        let outcome = outcome.expect("it ends at its own deadline");
        assert_eq!(outcome.is_ok(), given_back);
        assert!(given_back || outcome.unwrap_err().is_timeout());
        drop(held);
    }
}

struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

#[test]
fn a_get_whose_runtime_is_gone_says_so_where_there_is_none() {
    let backend = Backend::new();
    let pool = pool(&backend);
    let first = runtime();
    let held = first.block_on(pool.get()).unwrap();
    backend.on_create(Act::Hang);
    let mut get = pin!(pool.get());
    assert!(
        first
            .block_on(async { timeout(MS, &mut get).await })
            .is_err()
    );
    drop(first);
    let woken = Arc::new(Count(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&woken));
    let polled = get.as_mut().poll(&mut Context::from_waker(&waker));
    let Poll::Ready(Err(error)) = polled else {
        panic!("it would wait for ever: {polled:?}")
    };
    assert!(error.is_no_runtime(), "{error}");
    drop(held);
    assert_eq!((pool.status().waiting, pool.status().idle), (0, 1));
    assert!(woken.0.load(SeqCst) <= 1, "and it wakes nobody in a circle");
}

#[test]
fn a_get_ends_in_time_though_the_keeper_took_the_first_in_line_with_it() {
    let backend = Backend::new();
    let pool = pool(&backend);
    let first = runtime();
    let held = first.block_on(async { (pool.get().await.unwrap(), pool.get().await.unwrap()) });
    let waits = |pool: Pool<Things>| async move { pool.get().await.map(drop) };
    let in_line = async |line: usize| {
        while pool.status().waiting < line {
            yield_now().await;
        }
    };
    let gone = first.spawn(waits(pool.clone()));
    first.block_on(in_line(1));
    let second = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let get = second.spawn(waits(pool.clone()));
    second.block_on(in_line(2));
    drop((first, gone));
    let outcome = second.block_on(async { timeout(60 * SEC, get).await });
    let outcome = outcome.expect("it ends at its own deadline").unwrap();
    assert!(outcome.unwrap_err().is_timeout());
    drop(held);
}

/// A runtime on which the keeper is, and that nobody drives any more.
fn left_alone(pool: &Pool<Things>, rests_first: bool) -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        pool.warm_up().await.unwrap();
        if rests_first {
            // The tick stops, and the keeper sleeps.
            tokio::time::sleep(50 * MS).await;
        }
    });
    runtime
}

/// A pool of one.
fn of_one(acquire_timeout: Duration) -> Pool<Things> {
    let builder = Pool::builder(Things(Backend::new())).max_size(1);
    builder.acquire_timeout(acquire_timeout).build().unwrap()
}

fn paused() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

#[test]
fn a_get_ends_in_time_though_nobody_drives_the_runtime_of_the_keeper() {
    for rests_first in [false, true] {
        let pool = of_one(2 * SEC);
        let alone = left_alone(&pool, rests_first);
        paused().block_on(async {
            let _held = pool.get().await.unwrap();
            for _ in 0..2 {
                let began = tokio::time::Instant::now();
                let outcome = timeout(60 * SEC, pool.get()).await;
                let error = outcome.expect("it ends at its own deadline").unwrap_err();
                assert!(error.is_timeout(), "{error}");
                let lasted = began.elapsed();
                assert!((2 * SEC..2 * SEC + 50 * MS).contains(&lasted), "{lasted:?}");
            }
        });
        drop(alone);
    }
}

#[test]
fn what_nobody_fetches_goes_to_the_next_though_nobody_drives_the_runtime_of_the_keeper() {
    for rests_first in [false, true] {
        let pool = of_one(10 * SEC);
        let alone = left_alone(&pool, rests_first);
        paused().block_on(async {
            let held = pool.get().await.unwrap();
            let mut unpolled = pin!(pool.get());
            assert!(common::poll_once(unpolled.as_mut()).await.is_pending());
            let next = tokio::spawn({
                let pool = pool.clone();
                async move { pool.get().await.map(drop) }
            });
            yield_now().await;
            drop(held);
            timeout(2 * SEC, next).await.unwrap().unwrap().unwrap();
            assert_eq!(pool.status().reclaimed, 1);
            drop(unpolled.await.unwrap());
        });
        // When it is driven again its keeper finds that it was replaced, and ends.
        alone.block_on(async {
            while alone.metrics().num_alive_tasks() > 0 {
                yield_now().await;
            }
        });
    }
}

#[test]
fn a_drain_ends_though_nobody_drives_the_runtime_of_the_keeper() {
    for rests_first in [false, true] {
        let pool = Pool::builder(Things(Backend::new()))
            .max_size(1)
            .build()
            .unwrap();
        let alone = left_alone(&pool, rests_first);
        paused().block_on(async {
            let held = pool.get().await.unwrap();
            let mut unpolled = pin!(pool.get());
            assert!(common::poll_once(unpolled.as_mut()).await.is_pending());
            drop(held);
            let began = tokio::time::Instant::now();
            let drained = pool.drain(60 * SEC).await;
            assert!(drained.is_complete(), "{drained:?}");
            assert!(began.elapsed() < 2 * SEC, "{:?}", began.elapsed());
        });
        drop(alone);
    }
}

#[test]
fn upkeep_goes_on_though_nobody_drives_the_runtime_of_the_keeper() {
    let backend = Backend::new();
    let pool = Pool::builder(Things(Arc::clone(&backend)))
        .max_size(1)
        .idle_timeout(Some(30 * SEC))
        .build()
        .unwrap();
    let alone = left_alone(&pool, false);
    paused().block_on(async {
        tokio::time::sleep(SEC).await;
        let held = pool.get().await.unwrap();
        assert!(pool.get().timeout(20 * MS).await.is_err());
        drop(held);
        tokio::time::sleep(60 * SEC).await;
        assert_eq!(backend.alive(), 0, "it was idle for long");
    });
    drop(alone);
}

#[test]
fn a_drain_without_a_runtime_reports_at_once() {
    let backend = Backend::new();
    let pool = pool(&backend);
    assert!(block_on(pool.clone().drain(SEC)).is_complete());
    let pool = self::pool(&backend);
    let first = runtime();
    let held = first.block_on(pool.get()).unwrap();
    drop(first);
    let drained = block_on(pool.drain(60 * SEC));
    assert_eq!((drained.left, drained.leased.len()), (1, 1));
    drop(held);
    assert_eq!(backend.alive(), 0);
}

#[test]
fn a_drain_on_a_thread_without_a_runtime_ends_at_its_deadline_or_when_all_is_closed() {
    for given_back in [false, true] {
        let pool = pool(&Backend::new());
        let first = runtime();
        let held = first.block_on(pool.get()).unwrap();
        let user = first.spawn(async move {
            tokio::time::sleep(if given_back { 20 * MS } else { 60 * SEC }).await;
            drop(held);
        });
        let limit = if given_back { 60 * SEC } else { 40 * MS };
        let drained = block_on(pool.drain(limit));
        assert_eq!(drained.is_complete(), given_back, "{drained:?}");
        drop((user, first));
    }
}

/// Its deadline is watched by a task of the pool's runtime: a timer of that must not be polled from here.
#[test]
fn a_get_on_a_thread_without_a_runtime_ends_at_its_deadline() {
    let backend = Backend::new();
    let pool = pool(&backend);
    let first = runtime();
    let held = first.block_on(async { (pool.get().await.unwrap(), pool.get().await.unwrap()) });
    let outcome = futures_util::future::FutureExt::now_or_never(pool.get().timeout(20 * MS));
    assert!(outcome.is_none());
    let error = block_on(pool.get().timeout(20 * MS)).unwrap_err();
    assert!(error.is_timeout() && error.waited() >= 20 * MS, "{error}");
    drop(held);
}

/// Waits on this thread, which has no runtime.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        std::thread::park();
    }
}
