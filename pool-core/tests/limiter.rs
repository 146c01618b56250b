//! The limiter, from outside, on paused time.
#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use pool_core::{Acquire, LimitError, Limiter, Permit};
use tokio::time::{Instant, sleep, timeout};

const MS: Duration = Duration::from_millis(1);

fn poll(acquire: &mut Acquire) -> Poll<Result<Permit, LimitError>> {
    Pin::new(acquire).poll(&mut Context::from_waker(Waker::noop()))
}

/// Joins the line.
fn wait(mut acquire: Acquire) -> Acquire {
    assert!(poll(&mut acquire).is_pending());
    acquire
}

fn granted(acquire: &mut Acquire) -> Permit {
    match poll(acquire) {
        Poll::Ready(permit) => permit.unwrap(),
        Poll::Pending => panic!("nothing was granted"),
    }
}

fn refused(acquire: &mut Acquire) -> LimitError {
    match poll(acquire) {
        Poll::Ready(answer) => answer.unwrap_err(),
        Poll::Pending => panic!("no answer was given"),
    }
}

#[test]
fn it_needs_no_runtime() {
    let limiter = Limiter::new(1);
    let permit = limiter.acquire().now_or_never().unwrap().unwrap();
    let mut second = wait(limiter.acquire());
    assert!(limiter.try_acquire().is_none());
    drop(permit);
    assert_eq!(granted(&mut second).count(), 1);
    assert_eq!(limiter.status().available, 1);
}

#[test]
fn a_deadline_without_a_runtime_is_an_error_and_leaves_the_line() {
    let limiter = Limiter::new(1);
    let permit = limiter
        .acquire()
        .timeout(MS)
        .now_or_never()
        .unwrap()
        .unwrap();
    let error = limiter
        .acquire()
        .timeout(MS)
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert!(error.is_no_runtime(), "{error}");
    assert_eq!(limiter.status().waiting, 0);
    drop(permit);
    assert_eq!(limiter.status().available, 1);
}

#[test]
fn first_come_first_served_and_nobody_barges() {
    let limiter = Limiter::new(1);
    let permit = limiter.try_acquire().unwrap();
    let mut waiters: Vec<_> = (0..10).map(|_| wait(limiter.acquire())).collect();
    let mut held = permit;
    for next in 0..waiters.len() {
        drop(held);
        assert!(limiter.try_acquire().is_none(), "a newcomer overtook");
        for later in &mut waiters[next + 1..] {
            assert!(poll(later).is_pending());
        }
        held = granted(&mut waiters[next]);
    }
}

#[test]
fn a_large_request_at_the_head_is_not_overtaken_and_its_cancel_serves_those_behind() {
    let limiter = Limiter::new(4);
    let mut held = limiter.try_acquire_many(3).unwrap();
    let large = wait(limiter.acquire_many(3));
    let mut small = wait(limiter.acquire());
    assert_eq!(
        limiter.status().available,
        1,
        "one is free, and nobody may overtake"
    );
    drop(held.split(1).unwrap());
    assert!(poll(&mut small).is_pending());
    drop(large);
    drop(granted(&mut small));
    assert_eq!(limiter.status().available, 2);
}

#[test]
fn tenants_take_turns() {
    let limiter = Limiter::new(1);
    let mut held = limiter.try_acquire().unwrap();
    let names = ["a", "a", "a", "a", "b", "b", "c"];
    let mut line: Vec<_> = names
        .iter()
        .map(|name| (*name, wait(limiter.acquire().key(name))))
        .collect();
    let mut served = String::new();
    while !line.is_empty() {
        drop(held);
        let (place, permit) = line
            .iter_mut()
            .enumerate()
            .find_map(|(place, (_, acquire))| match poll(acquire) {
                Poll::Ready(permit) => Some((place, permit.unwrap())),
                Poll::Pending => None,
            })
            .unwrap();
        served += line.remove(place).0;
        held = permit;
    }
    assert_eq!(served, "abcabaa");
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_tenant_delays_another_by_one_request() {
    let limiter = Limiter::builder(1).max_waiters(2000).build().unwrap();
    let order = Arc::new(std::sync::Mutex::new(Vec::new()));
    let request = |tenant: &'static str| {
        let (limiter, order) = (limiter.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let _permit = limiter.acquire().key(tenant).await.unwrap();
            order.lock().unwrap().push(tenant);
            sleep(MS).await;
        })
    };
    let flood: Vec<_> = (0..1000).map(|_| request("loud")).collect();
    sleep(10 * MS).await;
    let start = Instant::now();
    request("quiet").await.unwrap();
    assert!(start.elapsed() <= 3 * MS, "{:?}", start.elapsed());
    join_all(flood).await;
    assert_eq!(order.lock().unwrap().len(), 1001);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait_and_says_what_was_the_matter() {
    let limiter = Limiter::builder(2).name("render").build().unwrap();
    let held = limiter.acquire_many(2).await.unwrap();
    let start = Instant::now();
    let error = limiter.acquire().timeout(20 * MS).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(start.elapsed(), 20 * MS);
    assert_eq!(
        error.to_string(),
        "limiter `render`: no 1 permit within 20ms (2 of 2 in use, 0 waiting)"
    );
    let error = limiter
        .acquire()
        .deadline(Instant::now() + MS)
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    let error = limiter.acquire().timeout(Duration::ZERO).await.unwrap_err();
    assert!(error.is_timeout());
    drop(held);
    let status = limiter.status();
    assert_eq!(
        (status.timeouts, status.waiting, status.available),
        (3, 0, 2)
    );
    drop(limiter.acquire().timeout(Duration::ZERO).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn the_limiter_s_own_timeout_holds_where_an_acquire_has_none() {
    let limiter = Limiter::builder(1)
        .acquire_timeout(Some(5 * MS))
        .build()
        .unwrap();
    let _held = limiter.acquire().await.unwrap();
    let start = Instant::now();
    assert!(limiter.acquire().await.unwrap_err().is_timeout());
    assert_eq!(start.elapsed(), 5 * MS);
    assert!(
        limiter
            .acquire()
            .timeout(9 * MS)
            .await
            .unwrap_err()
            .is_timeout()
    );
    assert_eq!(start.elapsed(), 14 * MS);
    let never = limiter.acquire().timeout(Duration::MAX);
    assert!(timeout(Duration::from_secs(3600), never).await.is_err());
}

#[test]
fn a_full_line_fails_at_once() {
    let limiter = Limiter::builder(1).max_waiters(2).build().unwrap();
    let _held = limiter.try_acquire().unwrap();
    let line = [wait(limiter.acquire()), wait(limiter.acquire())];
    let error = refused(&mut limiter.acquire());
    assert!(error.is_overloaded());
    assert_eq!(
        error.to_string(),
        "limiter `limiter`: the queue is full (1 of 1 in use, 2 waiting)"
    );
    drop(line);
    drop(wait(limiter.acquire()));
    assert_eq!(limiter.status().overloaded, 1);
}

#[test]
fn more_than_the_limit_is_told_at_once_and_when_the_limit_falls() {
    let limiter = Limiter::new(3);
    assert!(refused(&mut limiter.acquire_many(4)).is_too_large());
    let held = limiter.try_acquire_many(2).unwrap();
    let mut large = wait(limiter.acquire_many(3));
    let mut small = wait(limiter.acquire());
    limiter.resize(2).unwrap();
    assert_eq!(
        refused(&mut large).to_string(),
        "limiter `limiter`: 3 permits asked for, of a limit of 2"
    );
    assert!(poll(&mut small).is_pending());
    drop(held);
    drop(granted(&mut small));
    let error = limiter.resize(0).unwrap_err().to_string();
    assert_eq!(error, "limit is 0, but must be at least 1");
    let nobody = Limiter::new(0);
    assert!(refused(&mut nobody.acquire()).is_too_large());
}

#[test]
fn shrinking_keeps_a_debt_that_returns_repay() {
    let limiter = Limiter::new(4);
    let mut held = limiter.try_acquire_many(4).unwrap();
    limiter.resize(2).unwrap();
    let mut next = wait(limiter.acquire());
    drop(held.split(1).unwrap());
    drop(held.split(1).unwrap());
    assert!(poll(&mut next).is_pending(), "two are still out, of two");
    assert_eq!(limiter.status().in_use, 2);
    drop(held.split(1).unwrap());
    let next = granted(&mut next);
    drop((held, next));
    assert_eq!(limiter.status().available, 2);
    limiter.resize(u32::MAX).unwrap();
    assert_eq!(
        limiter.try_acquire_many(u32::MAX).unwrap().count(),
        u32::MAX
    );
}

#[test]
fn growing_serves_the_line() {
    let limiter = Limiter::new(1);
    let _held = limiter.try_acquire().unwrap();
    let mut line: Vec<_> = (0..3).map(|_| wait(limiter.acquire())).collect();
    limiter.resize(3).unwrap();
    let _granted = (granted(&mut line[0]), granted(&mut line[1]));
    assert!(poll(&mut line[2]).is_pending());
}

#[test]
fn closing_tells_everybody_and_permits_stay_good() {
    let limiter = Limiter::new(1);
    let held = limiter.try_acquire().unwrap();
    let mut line = [wait(limiter.acquire()), wait(limiter.acquire().key("a"))];
    limiter.close();
    for waiter in &mut line {
        assert!(refused(waiter).is_closed());
    }
    assert!(refused(&mut limiter.acquire()).is_closed());
    drop(held);
    assert!(limiter.try_acquire().is_none());
    assert_eq!(limiter.status().in_use, 0);
    assert!(limiter.is_closed());
}

#[tokio::test(start_paused = true)]
async fn a_grant_that_nobody_fetches_goes_to_the_next_and_the_unpolled_one_keeps_its_place() {
    let limiter = Limiter::new(1);
    let held = limiter.acquire().await.unwrap();
    let mut unpolled = limiter.acquire();
    assert!(poll(&mut unpolled).is_pending());
    let next = tokio::spawn({
        let limiter = limiter.clone();
        async move { limiter.acquire().await.unwrap() }
    });
    tokio::task::yield_now().await;
    let start = Instant::now();
    drop(held);
    let next = next.await.unwrap();
    assert!(
        (50 * MS..=80 * MS).contains(&start.elapsed()),
        "{:?}",
        start.elapsed()
    );
    let mut third = limiter.acquire();
    assert!(poll(&mut third).is_pending());
    assert!(poll(&mut unpolled).is_pending());
    drop(next);
    assert!(poll(&mut third).is_pending());
    let permit = unpolled.await.unwrap();
    assert_eq!(limiter.status().reclaimed, 1);
    drop(permit);
    drop(third.await.unwrap());
    assert_eq!(limiter.status().available, 1);
}

#[tokio::test(start_paused = true)]
async fn a_grant_is_not_taken_back_early_after_a_quiet_time() {
    let limiter = Limiter::new(1);
    for _ in 0..3 {
        let held = limiter.acquire().await.unwrap();
        let mut unpolled = limiter.acquire();
        assert!(poll(&mut unpolled).is_pending());
        sleep(Duration::from_secs(60)).await;
        drop(held);
        sleep(49 * MS).await;
        assert_eq!(limiter.status().in_use, 1, "taken back early");
        sleep(31 * MS).await;
        assert_eq!(limiter.status().in_use, 0, "not taken back");
    }
}

#[tokio::test(start_paused = true)]
async fn its_keeper_ends_with_it() {
    let limiter = Limiter::new(1);
    let held = limiter.acquire().await.unwrap();
    let waiter = tokio::spawn(limiter.acquire());
    tokio::task::yield_now().await;
    drop(held);
    drop(waiter.await.unwrap());
    sleep(Duration::from_secs(1)).await;
    let tasks = || {
        tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
    };
    assert_eq!(tasks(), 1);
    drop(limiter);
    sleep(MS).await;
    assert_eq!(tasks(), 0);
}

#[test]
fn it_outlives_its_runtime_and_serves_the_next() {
    let limiter = Limiter::new(1);
    for _ in 0..2 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let held = limiter.acquire().await.unwrap();
            let mut unpolled = limiter.acquire();
            assert!(poll(&mut unpolled).is_pending());
            drop(held);
            let second = tokio::spawn(limiter.acquire());
            drop(second.await.unwrap().unwrap());
        });
    }
    assert_eq!(limiter.status().reclaimed, 2);
    assert_eq!(limiter.status().available, 1);
}

/// A waker that looks at the limiter when it is woken and when it is dropped: it would hang if that happened under the lock.
struct Nosy(Limiter, Arc<AtomicUsize>);

impl Nosy {
    fn waker(limiter: &Limiter) -> (Waker, Arc<AtomicUsize>) {
        let events = Arc::new(AtomicUsize::new(0));
        let nosy = Self(limiter.clone(), Arc::clone(&events));
        (Waker::from(Arc::new(nosy)), events)
    }
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.1.fetch_add(self.0.status().limit as usize, SeqCst);
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.1
            .fetch_add(10 * self.0.status().limit as usize, SeqCst);
    }
}

/// Polls with a waker that only the limiter holds afterwards; what happened to it so far.
fn poll_nosily(limiter: &Limiter, acquire: &mut Acquire) -> Arc<AtomicUsize> {
    let (waker, events) = Nosy::waker(limiter);
    let pending = Pin::new(acquire).poll(&mut Context::from_waker(&waker));
    assert!(pending.is_pending());
    events
}

#[test]
fn wakers_run_and_go_with_nothing_locked() {
    let limiter = Limiter::new(1);
    let held = limiter.try_acquire().unwrap();
    let mut first = limiter.acquire();
    let replaced = poll_nosily(&limiter, &mut first);
    let granted_to = poll_nosily(&limiter, &mut first);
    assert_eq!(
        replaced.load(SeqCst),
        10,
        "dropped when another took its place"
    );
    let mut cancelled = limiter.acquire();
    let forgotten = poll_nosily(&limiter, &mut cancelled);
    drop(cancelled);
    assert_eq!(forgotten.load(SeqCst), 10);
    drop(held);
    assert_eq!(granted_to.load(SeqCst), 11, "woken, and gone with that");
    let _permit = granted(&mut first);
    let mut refused = limiter.acquire();
    let closed = poll_nosily(&limiter, &mut refused);
    limiter.close();
    assert_eq!(closed.load(SeqCst), 11);
}

#[test]
fn permits_split_and_merge() {
    let limiter = Limiter::new(5);
    let mut permit = limiter.try_acquire_many(5).unwrap();
    let part = permit.split(2).unwrap();
    assert!(permit.split(4).is_none());
    assert_eq!((permit.count(), part.count()), (3, 2));
    permit.merge(part).unwrap();
    assert_eq!((permit.count(), limiter.status().in_use), (5, 5));
    let stranger = Limiter::new(1).try_acquire().unwrap();
    assert_eq!(permit.merge(stranger).unwrap_err().count(), 1);
    drop(permit);
    assert_eq!(limiter.status().available, 5);
}

#[test]
fn settings_out_of_range_are_named() {
    let says = |builder: pool_core::LimiterBuilder| builder.build().unwrap_err().to_string();
    assert_eq!(
        says(Limiter::builder(0)),
        "limit is 0, but must be at least 1"
    );
    let zero = Some(Duration::ZERO);
    assert_eq!(
        says(Limiter::builder(1).acquire_timeout(zero)),
        "acquire_timeout is 0s, but must be longer than zero, or off"
    );
    assert_eq!(
        says(Limiter::builder(1).reclaim_after(zero)),
        "reclaim_after is 0s, but must be longer than zero, or off"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tasks_on_few_permits_lose_none_and_never_exceed_the_limit() {
    let limiter = Limiter::builder(8).max_waiters(100).build().unwrap();
    let inside = Arc::new(AtomicUsize::new(0));
    let tasks = (0..64).map(|n: u32| {
        let (limiter, inside) = (limiter.clone(), Arc::clone(&inside));
        tokio::spawn(async move {
            for round in 0..200 {
                let count = 1 + (n + round) % 3;
                let acquire = limiter.acquire_many(count).key(n % 5);
                let permit = if (n + round).is_multiple_of(7) {
                    match timeout(MS, acquire).await {
                        Ok(permit) => permit,
                        Err(_) => continue,
                    }
                } else {
                    acquire.await
                };
                let permit = permit.unwrap();
                let count = permit.count() as usize;
                assert!(inside.fetch_add(count, SeqCst) + count <= 8);
                tokio::task::yield_now().await;
                inside.fetch_sub(count, SeqCst);
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let status = limiter.status();
    assert_eq!((status.available, status.in_use, status.waiting), (8, 0, 0));
}

#[test]
fn a_full_line_makes_room_for_a_key_that_has_less_in_it() {
    let limiter = Limiter::builder(1).max_waiters(4).build().unwrap();
    let held = limiter.try_acquire().unwrap();
    let mut flood: Vec<_> = (0..4)
        .map(|_| wait(limiter.acquire().key("flood")))
        .collect();
    assert!(refused(&mut limiter.acquire().key("flood")).is_overloaded());
    let mut quiet = wait(limiter.acquire().key("quiet"));
    assert!(refused(&mut flood[3]).is_overloaded(), "the last to come");
    let keyless = wait(limiter.acquire());
    assert!(refused(&mut flood[2]).is_overloaded());
    let third = wait(limiter.acquire().key("third"));
    assert!(refused(&mut flood[1]).is_overloaded());
    let fourth = refused(&mut limiter.acquire().key("fourth"));
    assert!(
        fourth.is_overloaded(),
        "nobody has more in line than it would have"
    );
    let status = limiter.status();
    assert_eq!((status.waiting, status.overloaded), (4, 5));
    drop(held);
    drop(granted(&mut flood[0]));
    drop(granted(&mut quiet));
    drop((keyless, third));
    assert_eq!(
        (limiter.status().waiting, limiter.status().available),
        (0, 1)
    );
}

#[test]
fn a_wait_that_outlives_its_runtime_goes_on_on_the_next() {
    let runtime = || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().unwrap()
    };
    let limiter = Limiter::new(1);
    let held = limiter.try_acquire().unwrap();
    let waits = [20, 20, 60_000].map(|ms| limiter.acquire().timeout(ms * MS));
    let first = runtime();
    let [late, nowhere, mut served] = first.block_on(async { waits.map(wait) });
    drop(first);
    let mut nowhere = nowhere;
    assert!(
        refused(&mut nowhere).is_no_runtime(),
        "nobody keeps the time"
    );
    runtime().block_on(async {
        assert!(late.await.unwrap_err().is_timeout());
        assert!(poll(&mut served).is_pending());
        drop(held);
        drop(served.await.unwrap());
    });
    assert_eq!(
        (limiter.status().waiting, limiter.status().available),
        (0, 1)
    );
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

/// The keeper is on the first runtime alone: whoever waits on the second was polled on the first so far.
#[test]
fn when_its_keeper_s_runtime_ends_who_waits_elsewhere_is_told_and_has_another() {
    let limiter = Limiter::new(1);
    let held = limiter.try_acquire().unwrap();
    let (first, second) = (runtime(), runtime());
    let handle = first.handle().clone();
    let [unpolled] = first.block_on(async { [wait(limiter.acquire())] });
    let mut acquire = limiter.acquire();
    let mut joins = true;
    let next = second.spawn(std::future::poll_fn(move |context| {
        let _entered = std::mem::take(&mut joins).then(|| handle.enter());
        Pin::new(&mut acquire).poll(context)
    }));
    second.block_on(tokio::task::yield_now());
    assert_eq!(limiter.status().waiting, 2);
    drop(first);
    second.block_on(async {
        // It is polled if it was woken, and not else.
        tokio::task::yield_now().await;
        let start = Instant::now();
        drop(held);
        let served = timeout(Duration::from_secs(1), next);
        drop(served.await.expect("taken back").unwrap().unwrap());
        assert!(start.elapsed() <= 80 * MS, "{:?}", start.elapsed());
    });
    drop(unpolled);
    assert_eq!(limiter.status().available, 1);
}

/// A runtime that is there, and that nobody drives any more: its tasks are not polled, and its timers do not fire.
#[test]
fn a_runtime_that_is_not_driven_holds_up_neither_grants_nor_deadlines_on_another() {
    for ticks in [false, true] {
        let limiter = Limiter::new(1);
        let held = limiter.try_acquire().unwrap();
        let (idle, driven) = (runtime(), runtime());
        let [unpolled] = idle.block_on(async { [wait(limiter.acquire())] });
        let next = driven.spawn(limiter.acquire());
        let late = driven.spawn(limiter.acquire().timeout(30 * MS));
        driven.block_on(tokio::task::yield_now());
        if ticks {
            // Its keeper sleeps between two ticks when it is left.
            idle.block_on(async {
                drop(held);
                sleep(15 * MS).await;
            });
        } else {
            drop(held);
        }
        driven.block_on(async {
            let start = Instant::now();
            assert!(late.await.unwrap().unwrap_err().is_timeout());
            assert_eq!(start.elapsed(), 30 * MS);
            let served = timeout(Duration::from_secs(1), next);
            drop(served.await.expect("taken back").unwrap().unwrap());
            assert!(start.elapsed() <= 80 * MS, "{:?}", start.elapsed());
        });
        assert_eq!(limiter.status().reclaimed, 1);
        drop(unpolled);
        assert_eq!(limiter.status().available, 1);
    }
}
