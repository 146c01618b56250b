//! Fan-outs that lease one of a pool for each item.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use pool_core::{Lease, Pool, fan_out::fan_out, observe::CloseReason};
use tokio::time::{Instant, sleep};

use super::{
    MS,
    common::{self, Act, Backend, Things},
    ok,
};

#[tokio::test(start_paused = true)]
async fn on_a_pool_each_item_has_a_lease_and_one_waits_in_line() {
    let backend = Backend::new();
    let pool = Pool::builder(Things(Arc::clone(&backend)))
        .max_size(3)
        .build()
        .unwrap();
    let most_waiting = AtomicUsize::new(0);
    let used = fan_out(0..30_u32)
        .on(&pool)
        .map(|item, mut thing| {
            most_waiting.fetch_max(pool.status().waiting, SeqCst);
            async move {
                thing.uses += 1;
                sleep(10 * MS).await;
                Ok::<_, Infallible>((item, thing.id))
            }
        })
        .await
        .unwrap();
    assert!(most_waiting.load(SeqCst) <= 1);
    assert_eq!(
        used.iter().map(|(item, _)| *item).collect::<Vec<_>>(),
        Vec::from_iter(0..30)
    );
    assert_eq!(
        used.iter()
            .map(|(_, id)| *id)
            .collect::<BTreeSet<_>>()
            .len(),
        3
    );
    assert_eq!((backend.created(), pool.status().idle), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn on_a_pool_others_are_served_beside_it() {
    let pool = Pool::builder(Things(Backend::new()))
        .max_size(2)
        .build()
        .unwrap();
    let importing = fan_out(0..1_000)
        .limit(100)
        .on(&pool)
        .map(|_, thing| async move {
            sleep(10 * MS).await;
            drop(thing);
            ok(()).await
        })
        .for_each(drop);
    let asking = async {
        sleep(25 * MS).await;
        let start = Instant::now();
        let lease = pool.get().await.unwrap();
        let waited = start.elapsed();
        drop(lease);
        waited
    };
    let (outcome, waited) = tokio::join!(importing, asking);
    outcome.unwrap();
    assert!(waited <= 20 * MS, "{waited:?} behind one request in line");
}

#[tokio::test(start_paused = true)]
async fn on_a_pool_that_gives_none_the_error_is_the_pool_s() {
    let backend = Backend::new();
    backend.on_create(Act::Fail("down"));
    let pool = Pool::builder(Things(Arc::clone(&backend)))
        .max_size(2)
        .build()
        .unwrap();
    let error = fan_out([1]).on(&pool).map(|_, _| ok(())).await.unwrap_err();
    assert!(error.is_lease() && !error.is_timeout());
    assert!(error.lease_error::<common::Oops>().unwrap().is_connect());
    assert!(error.lease_error::<std::io::Error>().is_none());
    assert!(error.to_string().ends_with("failed: down"), "{error}");

    let backend = Backend::new();
    backend.on_create(Act::Hang);
    let pool = Pool::builder(Things(backend)).build().unwrap();
    let start = Instant::now();
    let error = fan_out([1])
        .each_within(30 * MS)
        .on(&pool)
        .map(|_, _| ok(()))
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    assert!(start.elapsed() <= 31 * MS);
    assert_eq!(pool.status().waiting, 0);
}

#[tokio::test(start_paused = true)]
async fn on_a_pool_dropping_it_gives_every_lease_back() {
    let pool = Pool::builder(Things(Backend::new()))
        .max_size(2)
        .build()
        .unwrap();
    {
        let running = fan_out(0..10)
            .limit(5)
            .on(&pool)
            .map(|_, thing| async move {
                sleep(1000 * MS).await;
                drop(thing);
                ok(()).await
            });
        let mut running = pin!(running.into_future());
        let ended = tokio::time::timeout(50 * MS, running.as_mut()).await;
        assert!(ended.is_err());
        assert_eq!((pool.status().leased, pool.status().waiting), (2, 1));
    }
    assert_eq!((pool.status().idle, pool.status().waiting), (2, 0));
}

/// As everywhere: what is dropped in the middle of `Lease::run` is not handed on. What is in the middle of nothing is.
#[tokio::test(start_paused = true)]
async fn on_a_pool_a_lease_that_an_item_works_on_when_it_is_dropped_is_not_handed_on() {
    // By the time limit, and by the first error.
    for limit in [20 * MS, 2000 * MS] {
        let pool = Pool::builder(Things(Backend::new()))
            .max_size(3)
            .build()
            .unwrap();
        let failed = fan_out(["works", "waits", "fails"])
            .each_within(limit)
            .on(&pool)
            .map(|item, mut thing| async move {
                match item {
                    "works" => Lease::run(&mut thing, async |_| sleep(1000 * MS).await).await,
                    "waits" => sleep(1000 * MS).await,
                    _ => sleep(30 * MS).await,
                }
                drop(thing);
                Err::<(), _>(common::Oops("failed"))
            })
            .await;
        assert_eq!(failed.unwrap_err().is_timeout(), limit < 30 * MS);
        sleep(MS).await;
        let status = pool.status();
        assert_eq!(status.closed.by(CloseReason::Tainted), 1);
        assert_eq!((status.idle, status.leased), (2, 0));
    }
}
