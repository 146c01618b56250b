//! What a key keeps idle, and whom its queue sheds, on paused time.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, time::Duration};

use futures_util::FutureExt;
use pool_core::{
    Error, Gauge, Held, KeyedPool, MixedManager, MixedPool, Opened, Usage, keyed_manager_fn,
    observe::CloseReason,
};
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

async fn open() -> Result<u8, Infallible> {
    sleep(MS).await;
    Ok(0)
}

/// Opens what one has, or what two share.
struct Mixed {
    shared: bool,
}

impl MixedManager<u8> for Mixed {
    type One = u8;
    type Many = u8;
    type Error = Infallible;

    async fn create(&self, _: &u8, gauge: Gauge) -> Result<Opened<u8, u8>, Infallible> {
        gauge.set_capacity(2);
        open().await.map(|it| match self.shared {
            true => Opened::Many(it),
            false => Opened::One(it),
        })
    }

    async fn check(&self, _: &mut u8, _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_so_many_idle_beside_what_is_leased() {
    let pool = KeyedPool::builder(keyed_manager_fn(|_: &u8| open()));
    let pool = pool.max_size(6).min_idle(2).build().unwrap();
    let first = pool.get(&1).await.unwrap();
    sleep(10 * MS).await;
    let of = pool.status_of(&1).unwrap();
    assert_eq!((of.leased, of.idle), (1, 2), "two are ready for a spike");
    // A get that does not wait has the next one opened, too.
    let second = pool.get(&1).now_or_never().unwrap().unwrap();
    sleep(10 * MS).await;
    let of = pool.status_of(&1).unwrap();
    assert_eq!((of.leased, of.idle), (2, 2));
    let third = pool.try_get(&1).unwrap();
    sleep(10 * MS).await;
    assert_eq!(pool.status_of(&1).unwrap().idle, 2);
    // No key has more than its bound.
    let rest = [pool.get(&1).await.unwrap(), pool.get(&1).await.unwrap()];
    sleep(10 * MS).await;
    let of = pool.status_of(&1).unwrap();
    assert_eq!((of.open, of.idle), (6, 1));
    assert!(
        pool.status_of(&2).is_none(),
        "nothing for a key that nobody asked for"
    );
    drop((first, second, third, rest));
}

#[tokio::test(start_paused = true)]
async fn a_key_keeps_them_while_it_is_in_use_and_goes_when_it_is_not() {
    let pool = KeyedPool::builder(keyed_manager_fn(|_: &u8| open()));
    let pool = pool.max_size(4).min_idle(2).idle_timeout(10 * SEC);
    let pool = pool.build().unwrap();
    // One is used now and then, beside which two are kept. What is one too many afterwards goes after its timeout.
    for _ in 0..12 {
        drop(pool.get(&1).await.unwrap());
        sleep(3 * SEC).await;
    }
    let of = pool.status_of(&1).unwrap();
    assert!(of.idle >= 2, "{of:?}");
    // Each get that has one leased wants two beside it, and one in each idle timeout was closed before.
    assert!(of.opened <= 3 + 36 / 10 + 2, "{of:?}");
    sleep(60 * SEC).await;
    assert_eq!((pool.key_count(), pool.status().open), (0, 0));
    assert_eq!(
        pool.status().closed.by(CloseReason::IdleTimeout),
        pool.status().opened
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_key_keeps_idle_goes_to_a_key_that_has_a_waiter() {
    let pool = KeyedPool::builder(keyed_manager_fn(|_: &u8| open()));
    let pool = pool.max_size(4).max_total(4).min_idle(3).build().unwrap();
    let held = pool.get(&1).await.unwrap();
    sleep(10 * MS).await;
    assert_eq!(pool.status_of(&1).unwrap().idle, 3);
    let other = [pool.get(&2).await.unwrap(), pool.get(&2).await.unwrap()];
    sleep(SEC).await;
    let (one, two) = (pool.status_of(&1).unwrap(), pool.status_of(&2).unwrap());
    assert_eq!((one.leased, two.leased), (1, 2));
    assert_eq!(
        pool.status().open,
        4,
        "the last place is somebody's idle one"
    );
    drop((held, other));
}

#[tokio::test(start_paused = true)]
async fn a_connection_with_a_free_share_is_one_that_a_key_keeps() {
    let pool = MixedPool::builder(Mixed { shared: true });
    let pool = pool.max_size(4).min_idle(1).build().unwrap();
    let first = pool.get(&1).await.unwrap();
    sleep(10 * MS).await;
    assert_eq!(pool.status().shared, 1, "it has a free share");
    let second = pool.get(&1).await.unwrap();
    sleep(10 * MS).await;
    let of = pool.status();
    assert_eq!((of.shared, of.shares, of.available), (2, 2, 2));
    assert!(matches!((first, second), (Held::Many(_), Held::Many(_))));
}

/// Asks 400 times a second for what each holds for `hold`, where 100 a second are served. Returns how many were shed, and how long
/// those that were served took at most.
async fn overload<F, L>(hold: Duration, get: impl Fn() -> F) -> (u32, Duration)
where
    F: Future<Output = Result<L, Error<Infallible>>> + Send + 'static,
    L: Send + 'static,
{
    let (mut shed, mut slowest) = (0, Duration::ZERO);
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let get = get();
        running.spawn(async move {
            let began = Instant::now();
            let got = get.await;
            if got.is_ok() {
                sleep(hold).await;
            }
            (got.map(drop), began.elapsed())
        });
        sleep(Duration::from_micros(2_500)).await;
    }
    while let Some(done) = running.join_next().await {
        match done.unwrap() {
            (Ok(()), lasted) => slowest = slowest.max(lasted),
            (Err(error), _) => {
                assert!(error.is_overloaded(), "{error}");
                shed += 1;
            }
        }
    }
    (shed, slowest)
}

#[tokio::test(start_paused = true)]
async fn the_queue_of_a_key_that_never_gets_short_is_shed() {
    let pool = KeyedPool::builder(keyed_manager_fn(|_: &u8| open()));
    let pool = pool.max_size(1).max_waiters(2_000).shed_target(20 * MS);
    let pool = pool.build().unwrap();
    let (shed, slowest) = overload(10 * MS, || {
        let pool = pool.clone();
        async move { pool.get(&1).await }
    })
    .await;
    assert!(shed > 500, "{shed} of 1,000");
    assert!(slowest < SEC, "{slowest:?}");
    assert_eq!(pool.status().shed, u64::from(shed));
    // A key without load is not shed.
    assert!(pool.get(&2).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_queue_for_shares_is_shed_like_any_other() {
    let pool = MixedPool::builder(Mixed { shared: true });
    let pool = pool.max_size(1).max_waiters(2_000).shed_target(20 * MS);
    let pool = pool.build().unwrap();
    let (shed, slowest) = overload(20 * MS, || {
        let pool = pool.clone();
        async move { pool.get(&1).await }
    })
    .await;
    assert!(shed > 500, "{shed} of 1,000");
    assert!(slowest < SEC, "{slowest:?}");
    assert_eq!(pool.status().connections.shed, u64::from(shed));
}
