//! What is counted of a grant that comes to nothing, comes late, or comes to one who is gone.

use std::{
    sync::{Arc, atomic::Ordering::SeqCst},
    task::{Context, Poll, Waker},
};

use pool_core::{Config, Pool, fan_out, observe::CloseReason};
use tokio::time::{Instant, advance, sleep};

use crate::{
    common::{MS, SEC, settle},
    face::{Books, Face, Got, Keeper},
};

fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

fn of_one<F: Face>() -> (F, Arc<Books>) {
    let books = Arc::new(Books::default());
    (
        F::new(&books, Config::new().max_size(1).check_after(SEC)),
        books,
    )
}

fn poll<L>(get: &mut Got<L>) -> Poll<Result<L, pool_core::Error<crate::common::Oops>>> {
    get.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// What was counted since, of gets, waits, and what the observer heard of waits.
fn since<F: Face>(pool: &F, books: &Books, before: (u64, u64, usize)) -> (u64, u64, usize) {
    let (of, told) = (pool.status(), books.told.lock().unwrap().waited.len());
    (of.gets - before.0, of.waited - before.1, told - before.2)
}

/// It is handed over at 100 ms, and breaks before it is fetched; the next is open at 300 ms.
async fn broken_on_its_way<F: Face>(pool: &F, books: &Books) -> Got<F::Lease> {
    let held = pool.get(None).await.unwrap();
    let broken = Arc::clone(&F::thing(&held).broken);
    // Of those that begin in one tick one is timed.
    sleep(20 * MS).await;
    let mut get = pool.get(Some(400 * MS));
    assert!(poll(&mut get).is_pending());
    sleep(100 * MS).await;
    *books.open_takes.lock().unwrap() = 200 * MS;
    drop(held);
    broken.store(true, SeqCst);
    get
}

pub(crate) fn a_grant_that_breaks_before_it_is_fetched_is_one_wait<F: Face>() {
    paused(async {
        let (pool, books) = of_one::<F>();
        let get = broken_on_its_way(&pool, &books).await;
        let before = since(&pool, &books, (0, 0, 0));
        let began = Instant::now() - 100 * MS;
        let lease = get.await.unwrap();
        let lasted = began.elapsed();
        assert!(lasted >= 300 * MS, "{lasted:?}");
        assert_eq!(since(&pool, &books, before), (1, 1, 1));
        let told = *books.told.lock().unwrap().waited.last().unwrap();
        assert!(told.abs_diff(lasted) <= MS, "{told:?} of {lasted:?}");
        let (waits, longest) = (pool.timings().wait.count(), pool.timings().wait.max());
        assert_eq!(waits, pool.status().waited);
        assert!(longest.abs_diff(lasted) <= MS, "{longest:?} of {lasted:?}");
        drop(lease);
        assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
    });
}

pub(crate) fn a_wait_that_a_broken_grant_ends_in_nothing_is_all_of_its_time<F: Face>() {
    paused(async {
        let (pool, books) = of_one::<F>();
        let get = broken_on_its_way(&pool, &books).await;
        *books.open_takes.lock().unwrap() = 5 * SEC;
        let before = since(&pool, &books, (0, 0, 0));
        let error = get.await.err().unwrap();
        assert!(error.is_timeout(), "{error}");
        let waited = error.waited();
        assert!((400 * MS..435 * MS).contains(&waited), "{waited:?}");
        assert_eq!(since(&pool, &books, before), (0, 0, 0));
        assert_eq!(pool.status().timeouts(), 1);
    });
}

pub(crate) fn an_idle_one_that_is_broken_is_no_get<F: Face>() {
    paused(async {
        let (pool, books) = of_one::<F>();
        let lease = pool.get(None).await.unwrap();
        let broken = Arc::clone(&F::thing(&lease).broken);
        drop(lease);
        broken.store(true, SeqCst);
        let before = since(&pool, &books, (0, 0, 0));
        drop(pool.get(None).await.unwrap());
        assert_eq!(since(&pool, &books, before), (1, 1, 1));
        // And for one that looks only.
        let lease = pool.get(None).await.unwrap();
        F::thing(&lease).broken.store(false, SeqCst);
        let broken = Arc::clone(&F::thing(&lease).broken);
        drop(lease);
        broken.store(true, SeqCst);
        let before = since(&pool, &books, (0, 0, 0));
        assert!(pool.try_get().is_none());
        assert_eq!(since(&pool, &books, before), (0, 0, 0));
        assert_eq!(pool.status().closed.by(CloseReason::Broken), 2);
    });
}

pub(crate) fn a_try_get_that_finds_none_is_no_get<F: Face>() {
    paused(async {
        let (pool, books) = of_one::<F>();
        assert!(pool.try_get().is_none());
        let held = pool.get(None).await.unwrap();
        let before = since(&pool, &books, (0, 0, 0));
        for _ in 0..10 {
            assert!(pool.try_get().is_none());
        }
        drop(held);
        assert_eq!(since(&pool, &books, before), (0, 0, 0));
        drop(pool.try_get().unwrap());
        assert_eq!(since(&pool, &books, before), (1, 0, 0));
    });
}

pub(crate) fn a_grant_that_meets_the_deadline_is_told<F: Face>() {
    paused(async {
        let (pool, books) = of_one::<F>();
        let held = pool.get(None).await.unwrap();
        let before = since(&pool, &books, (0, 0, 0));
        let mut get = pool.get(Some(20 * MS));
        assert!(poll(&mut get).is_pending());
        advance(20 * MS).await;
        drop(held);
        advance(60 * MS).await;
        // Both are there when it is polled.
        let Poll::Ready(Ok(lease)) = poll(&mut get) else {
            panic!("it was granted in time")
        };
        assert_eq!(since(&pool, &books, before), (1, 1, 1));
        drop(lease);
    });
}

pub(crate) fn who_was_refused_did_not_cancel<F: Face>() {
    paused(async {
        let (pool, _) = of_one::<F>();
        let held = pool.get(None).await.unwrap();
        let mut gets: Vec<_> = (0..3).map(|_| pool.get(None)).collect();
        for get in &mut gets {
            assert!(poll(get).is_pending());
        }
        drop(gets.pop());
        assert_eq!(pool.status().cancelled, 1);
        pool.close();
        // They were told, and go before they hear of it.
        drop(gets);
        settle().await;
        assert_eq!((pool.status().cancelled, pool.status().waiting), (1, 0));
        drop(held);
    });
}

pub(crate) fn a_death_is_a_close_of_what_was_broken<F: Face>() {
    paused(async {
        let (pool, books) = of_one::<F>();
        let held = pool.get(None).await.unwrap();
        F::thing(&held).breaks();
        settle().await;
        drop(held);
        let of = pool.status();
        assert_eq!((of.closed.by(CloseReason::Broken), pool.died()), (1, 1));
        assert_eq!(books.told.lock().unwrap().closed["broken"], 1);
        assert_eq!(of.closed.total(), 1, "{of:?}");
    });
}

#[tokio::test(start_paused = true)]
async fn leases_of_a_fan_out_name_the_line_of_its_user() {
    let pool = Pool::<Keeper>::new(&Arc::default(), Config::new().max_size(2));
    let pool = &pool;
    let line = line!() + 1;
    let looked = fan_out(0..4).limit(2).on(pool).map(|_, lease| async move {
        let leases = pool.leases();
        drop(lease);
        Ok::<_, std::convert::Infallible>(leases)
    });
    let looked = looked.await.unwrap();
    for lease in looked.into_iter().flatten() {
        assert_eq!((lease.place.file(), lease.place.line()), (file!(), line));
    }
}
