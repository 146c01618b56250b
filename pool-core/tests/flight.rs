//! Flights, from outside, on paused time.
#![allow(clippy::unwrap_used)]

use std::{
    convert::Infallible,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use pool_core::{Flight, FlightError};
use tokio::{
    runtime::Runtime,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// One of a single thread, on paused time.
fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().start_paused(true).build().unwrap()
}

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// Counts computations: how many began, and how many are there now.
#[derive(Clone, Debug, Default)]
struct Count {
    began: Arc<AtomicUsize>,
    alive: Arc<AtomicUsize>,
}

struct Alive(Arc<AtomicUsize>);

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Count {
    fn begin(&self) -> Alive {
        self.began.fetch_add(1, SeqCst);
        self.alive.fetch_add(1, SeqCst);
        Alive(Arc::clone(&self.alive))
    }

    fn counts(&self) -> (usize, usize) {
        (self.began.load(SeqCst), self.alive.load(SeqCst))
    }
}

/// A computation that takes so long, and then gives `value`.
fn slow<V: Send + 'static, E: Send + 'static>(
    count: &Count,
    ms: u32,
    value: Result<V, E>,
) -> impl FnOnce() -> futures_util::future::BoxFuture<'static, Result<V, E>> + use<V, E> {
    let count = count.clone();
    move || {
        let alive = count.begin();
        async move {
            sleep(ms * MS).await;
            drop(alive);
            value
        }
        .boxed()
    }
}

fn is_clean<K, V, E>(flight: &Flight<K, V, E>) -> bool {
    let status = flight.status();
    (status.keys, status.waiting) == (0, 0)
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_share_one_computation() {
    let flight: Flight<&str, Arc<String>> = Flight::new();
    let count = Count::default();
    let value = Arc::new("value".to_owned());
    let calls = (0..1_000).map(|_| flight.run("key", slow(&count, 10, Ok(Arc::clone(&value)))));
    let start = Instant::now();
    for answer in join_all(calls).await {
        assert!(Arc::ptr_eq(&answer.unwrap(), &value));
    }
    assert_eq!((count.counts(), start.elapsed()), ((1, 0), 10 * MS));
    let status = flight.status();
    assert_eq!(
        (status.started, status.joined, status.succeeded),
        (1, 999, 1)
    );
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn keys_do_not_wait_for_each_other_and_nothing_is_kept() {
    let flight: Flight<u32, u32> = Flight::new();
    let count = Count::default();
    let calls = (0..50).map(|key| flight.run(key, slow(&count, key, Ok(key))));
    let start = Instant::now();
    for (key, answer) in join_all(calls).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap() as usize, key);
    }
    assert_eq!(start.elapsed(), 49 * MS);
    assert_eq!(
        flight.run(7, slow(&count, 1, Ok(70))).await.unwrap(),
        70,
        "computed anew"
    );
    assert_eq!(count.counts(), (51, 0));
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_may_go_and_the_computation_goes_on() {
    let flight: Flight<u32, u32> = Flight::new();
    let count = Count::default();
    let first = timeout(5 * MS, flight.run(1, slow(&count, 20, Ok(1))));
    let second = flight.run(1, slow(&count, 20, Ok(2)));
    let (first, second) = tokio::join!(first, second);
    assert!(first.is_err());
    assert_eq!(second.unwrap(), 1, "the first one's value");
    assert_eq!(count.counts(), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn when_the_last_caller_goes_the_computation_stops() {
    let flight: Flight<u32, u32> = Flight::new();
    let count = Count::default();
    let calls = (0..3).map(|n| timeout((5 + n) * MS, flight.run(1, slow(&count, 1000, Ok(1)))));
    assert!(join_all(calls).await.iter().all(Result::is_err));
    sleep(MS).await;
    assert_eq!(count.counts(), (1, 0), "it runs for nobody");
    assert_eq!(flight.status().stopped, 1);
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn who_comes_while_it_is_being_stopped_starts_anew() {
    let flight: Flight<u32, u32> = Flight::new();
    let count = Count::default();
    {
        let mut given_up = pin!(flight.run(1, slow(&count, 1000, Ok(1))));
        assert!(given_up.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
    }
    assert_eq!(
        flight.status().keys,
        1,
        "the task was told, and has not been dropped yet"
    );
    assert_eq!(flight.run(1, slow(&count, 1, Ok(2))).await.unwrap(), 2);
    assert_eq!(count.counts(), (2, 0));
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_shared_by_all_who_waited_and_by_nobody_after() {
    let flight: Flight<u32, u32, String> = Flight::new();
    let count = Count::default();
    let calls = (0..10).map(|_| flight.run(1, slow(&count, 5, Err("no route".to_owned()))));
    let errors: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap_err)
        .collect();
    assert!(
        errors
            .iter()
            .all(|error| error.error().is_some_and(|error| error == "no route"))
    );
    let (one, other) = (
        errors[0].shared_error().unwrap(),
        errors[9].shared_error().unwrap(),
    );
    assert!(Arc::ptr_eq(&one, &other));
    assert_eq!(errors[0].to_string(), "no route");
    assert_eq!(flight.run(1, slow(&count, 1, Ok(3))).await.unwrap(), 3);
    assert_eq!(count.counts(), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn with_retries_each_error_goes_to_the_one_whose_computation_it_was() {
    let flight: Flight<u32, u32, u32> = Flight::builder().retry_errors(true).build().unwrap();
    let count = Count::default();
    let calls = (0..5).map(|n| {
        let outcome = if n < 3 { Err(n) } else { Ok(n) };
        flight.run(1, slow(&count, 10, outcome))
    });
    let start = Instant::now();
    let answers = join_all(calls).await;
    for (n, answer) in answers.iter().enumerate() {
        match answer {
            Ok(value) => assert_eq!((*value, n >= 3), (3, true)),
            Err(error) => assert_eq!(error.error().copied(), Some(n as u32)),
        }
    }
    assert_eq!((count.counts(), start.elapsed()), ((4, 0), 40 * MS));
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_is_told_to_try_and_is_not_polled_does_not_hold_up_the_next() {
    let flight: Flight<u32, u32, &str> = Flight::builder().retry_errors(true).build().unwrap();
    let count = Count::default();
    let first = tokio::spawn(flight.run(1, slow(&count, 10, Err("no"))));
    tokio::task::yield_now().await;
    let mut unpolled = pin!(flight.run(1, slow(&count, 10, Ok(2))));
    assert!(unpolled.as_mut().now_or_never().is_none());
    let start = Instant::now();
    assert_eq!(flight.run(1, slow(&count, 10, Ok(3))).await.unwrap(), 3);
    assert!(start.elapsed() <= 80 * MS, "{:?}", start.elapsed());
    assert!(first.await.unwrap().is_err());
    assert_eq!(unpolled.await.unwrap(), 3);
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_an_error_and_poisons_nothing() {
    let flight: Flight<u32, u32> = Flight::new();
    let in_closure = || -> futures_util::future::BoxFuture<'static, Result<u32, Infallible>> {
        panic!("in the closure")
    };
    let error = flight.run(1, in_closure).await.unwrap_err();
    assert!(error.is_panic() && error.to_string().contains("in the closure"));
    let later = || async {
        sleep(MS).await;
        panic!("later")
    };
    let answers = join_all((0..3).map(|_| flight.run(1, later))).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().is_err_and(FlightError::is_panic))
    );
    assert_eq!(flight.run(1, || async { Ok(5) }).await.unwrap(), 5);
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn a_call_for_its_own_key_is_an_error_and_not_a_deadlock() {
    let flight: Flight<u32, u32> = Flight::new();
    let again = flight.clone();
    let value = flight.run(1, move || async move {
        let error = again.run(1, || async { Ok(2) }).await.unwrap_err();
        assert!(error.is_reentrant(), "{error}");
        Ok(1)
    });
    assert_eq!(value.await.unwrap(), 1);
    assert_eq!(flight.status().reentrant, 1);
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn a_circle_through_other_keys_is_an_error_for_the_call_that_closes_it() {
    let flight: Flight<u32, u32> = Flight::new();
    fn ask(flight: Flight<u32, u32>, key: u32) -> futures_util::future::BoxFuture<'static, u32> {
        async move {
            let next = flight.clone();
            let compute = move || async move {
                sleep(MS).await;
                Ok(key + ask(next, (key + 1) % 3).await)
            };
            match flight.run(key, compute).await {
                Ok(sum) => sum,
                Err(error) if error.is_reentrant() => 100,
                Err(error) => panic!("{error}"),
            }
        }
        .boxed()
    }
    let sums = join_all((0..3).map(|key| ask(flight.clone(), key))).await;
    assert_eq!(sums.iter().filter(|sum| **sum > 100).count(), 3, "{sums:?}");
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn a_computation_may_ask_for_another_key_and_many_may_ask_for_the_same() {
    let flight: Flight<u32, u32> = Flight::new();
    let count = Count::default();
    let calls = (1..=5).map(|key| {
        let (inner, base) = (flight.clone(), slow(&count, 5, Ok(100)));
        flight.run(key, move || async move {
            Ok(key + inner.run(0, base).await.unwrap())
        })
    });
    let values: Vec<_> = join_all(calls)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(values, [101, 102, 103, 104, 105]);
    assert_eq!(count.counts().0, 1);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_wait() {
    let flight: Flight<u32, u32> = Flight::builder().timeout(20 * MS).build().unwrap();
    let count = Count::default();
    let start = Instant::now();
    let error = flight.run(1, slow(&count, 1000, Ok(1))).await.unwrap_err();
    assert!(error.is_timeout());
    assert_eq!(
        error.to_string(),
        "flight `flight`: the computation did not end within 20ms"
    );
    let call = flight.run(1, slow(&count, 1000, Ok(1))).timeout(5 * MS);
    assert!(call.await.unwrap_err().is_timeout());
    assert_eq!(start.elapsed(), 25 * MS);
    sleep(MS).await;
    assert_eq!(count.counts().1, 0);
    assert!(is_clean(&flight));
}

#[tokio::test(start_paused = true)]
async fn too_many_who_wait_are_told_at_once() {
    let flight: Flight<u32, u32> = Flight::builder().max_waiters(2).build().unwrap();
    let count = Count::default();
    let calls = (0..3).map(|_| flight.run(1, slow(&count, 5, Ok(1))));
    let answers = join_all(calls).await;
    assert!(answers[0].is_ok() && answers[1].is_ok());
    assert!(answers[2].as_ref().unwrap_err().is_overloaded());
    assert_eq!(flight.status().overloaded, 1);
}

#[test]
fn without_a_runtime_it_says_so() {
    let flight: Flight<u32, u32> = Flight::new();
    let error = flight
        .run(1, || async { Ok(1) })
        .now_or_never()
        .unwrap()
        .unwrap_err();
    assert!(error.is_no_runtime());
    assert!(is_clean(&flight));
}

#[test]
fn when_the_runtime_that_computes_ends_the_next_in_line_computes() {
    let new = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    let flight: Flight<u32, u32> = Flight::new();
    let count = Count::default();
    let (one, other) = (new(), new());
    let first = one.spawn(flight.run(1, slow(&count, 100_000, Ok(1))));
    one.block_on(tokio::task::yield_now());
    let second = other.spawn(flight.run(1, slow(&count, 1, Ok(2))));
    other.block_on(tokio::task::yield_now());
    assert_eq!(flight.status().waiting, 2);
    drop(one);
    assert_eq!(other.block_on(second).unwrap().unwrap(), 2);
    assert!(other.block_on(first).is_err());
    assert_eq!(count.counts(), (2, 0));
    assert!(is_clean(&flight));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_two_computations_of_one_key_whoever_comes_and_goes() {
    let flight: Flight<u32, u32> = Flight::new();
    let counts: Vec<Count> = (0..3).map(|_| Count::default()).collect();
    let tasks = (0..32_u32).map(|n| {
        let (flight, counts) = (flight.clone(), counts.clone());
        tokio::spawn(async move {
            for round in 0..50 {
                let key = (n + round) % 3;
                let count = counts[key as usize].clone();
                let compute = move || async move {
                    let alive = count.begin();
                    assert_eq!(count.counts().1, 1, "two at once");
                    tokio::task::yield_now().await;
                    drop(alive);
                    Ok(key)
                };
                let call = flight.run(key, compute);
                if (n + round).is_multiple_of(4) {
                    // Polled a few times at most, and dropped.
                    drop(timeout(Duration::from_micros(1), call).await);
                } else {
                    assert_eq!(call.await.unwrap(), key);
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    for _ in 0..1_000 {
        if is_clean(&flight) {
            return;
        }
        sleep(MS).await;
    }
    panic!("left behind: {:?}", flight.status());
}

/// Nobody is polled who is told to compute, and then somebody comes: the first of all who is polled does.
#[tokio::test(start_paused = true)]
async fn leads_that_nobody_takes_go_to_whoever_is_polled_however_late() {
    let flight: Flight<u32, u32, &str> = Flight::builder()
        .retry_errors(true)
        .timeout(SEC)
        .build()
        .unwrap();
    let value = |value| move || async move { Ok(value) };
    let failing = flight.run(1, || async {
        sleep(10 * MS).await;
        Err("down")
    });
    let far = 3600 * SEC;
    let mut unpolled: Vec<_> = (0..3)
        .map(|n| Box::pin(flight.run(1, value(n)).timeout(far)))
        .collect();
    let first = tokio::spawn(failing);
    sleep(MS).await;
    for run in &mut unpolled {
        assert!(run.as_mut().now_or_never().is_none());
    }
    assert!(first.await.unwrap().is_err());
    // Each of the three had its chance, and nobody looks any more.
    sleep(100 * SEC).await;
    let start = Instant::now();
    assert_eq!(flight.run(1, value(7)).await.unwrap(), 7);
    assert_eq!(start.elapsed(), Duration::ZERO);
    for run in unpolled {
        assert_eq!(run.await.unwrap(), 7);
    }
    assert!(is_clean(&flight));
}

#[test]
fn a_call_that_outlives_its_runtime_waits_on_on_the_next() {
    let flight: Flight<u32, u32> = Flight::new();
    let (first, second) = (runtime(), runtime());
    let mut late = Box::pin(flight.run(1, || async { Ok(2) }).timeout(20 * MS));
    let mut waiting = Box::pin(flight.run(1, || async { Ok(3) }));
    let forever = || async {
        std::future::pending::<()>().await;
        Ok(1)
    };
    let computing = second.spawn(flight.run(1, forever));
    second.block_on(async { sleep(MS).await });
    first.block_on(async {
        assert!(late.as_mut().now_or_never().is_none());
        assert!(waiting.as_mut().now_or_never().is_none());
    });
    drop(first);
    second.block_on(async {
        assert!(late.await.unwrap_err().is_timeout());
    });
    computing.abort();
    drop(second);
    assert_eq!(runtime().block_on(waiting).unwrap(), 3);
    assert!(is_clean(&flight));
}

/// It has led, its runtime ended, and it is told to lead again on another. It cannot: what it would compute is spent.
#[test]
fn a_call_that_has_led_and_outlives_its_runtime_leaves_the_lead_to_the_next() {
    for others in 0..3 {
        let flight: Flight<u32, u32> = Flight::new();
        let count = Count::default();
        let (first, second) = (runtime(), runtime());
        let mut led = Box::pin(flight.run(1, slow(&count, 100_000, Ok(1))));
        first.block_on(async {
            assert!(led.as_mut().now_or_never().is_none());
            tokio::task::yield_now().await;
        });
        let waiting: Vec<_> = (0..others)
            .map(|_| second.spawn(flight.run(1, slow(&count, 1, Ok(2)))))
            .collect();
        second.block_on(tokio::task::yield_now());
        drop(first);
        second.block_on(async {
            let start = Instant::now();
            assert!(led.await.unwrap_err().is_no_runtime());
            for answer in join_all(waiting).await {
                assert_eq!(answer.unwrap().unwrap(), 2);
            }
            assert_eq!(start.elapsed(), others.min(1) * MS);
            assert!(is_clean(&flight));
            let again = flight.run(1, || async { Ok(3) });
            assert_eq!(again.await.unwrap(), 3, "the key is free");
        });
        let computed = 1 + others.min(1) as usize;
        assert_eq!(count.counts(), (computed, 0));
        assert_eq!(flight.status().started, computed as u64 + 1);
    }
}

/// A computation on that runtime that does not end.
fn computing_for_ever(
    flight: &Flight<u32, u32>,
    runtime: &Runtime,
) -> JoinHandle<Result<u32, FlightError<Infallible>>> {
    let forever = || async {
        std::future::pending::<()>().await;
        Ok(1)
    };
    let computing = runtime.spawn(flight.run(1, forever));
    runtime.block_on(tokio::task::yield_now());
    computing
}

#[test]
fn a_call_that_is_to_lead_where_there_is_no_runtime_leaves_it_to_the_next() {
    let flight: Flight<u32, u32> = Flight::new();
    let (first, second) = (runtime(), runtime());
    let computing = computing_for_ever(&flight, &first);
    let mut away = Box::pin(flight.run(1, || async { Ok(2) }));
    second.block_on(async { assert!(away.as_mut().now_or_never().is_none()) });
    let waiting = second.spawn(flight.run(1, || async { Ok(3) }));
    second.block_on(tokio::task::yield_now());
    drop(first);
    let error = away.now_or_never().unwrap().unwrap_err();
    assert!(error.is_no_runtime());
    assert_eq!(second.block_on(waiting).unwrap().unwrap(), 3);
    assert!(second.block_on(computing).is_err());
    assert!(is_clean(&flight));
}

/// The lead goes to one that is not polled, and whoever would see that goes with the runtime that ends.
#[test]
fn when_the_runtime_that_computes_ends_a_caller_that_is_not_polled_does_not_hold_up_the_next() {
    let flight: Flight<u32, u32> = Flight::new();
    let (first, second) = (runtime(), runtime());
    let computing = computing_for_ever(&flight, &first);
    let mut unpolled = Box::pin(flight.run(1, || async { Ok(2) }));
    second.block_on(async { assert!(unpolled.as_mut().now_or_never().is_none()) });
    let waiting = second.spawn(flight.run(1, || async { Ok(3) }));
    second.block_on(tokio::task::yield_now());
    drop(first);
    second.block_on(async {
        let start = Instant::now();
        assert_eq!(waiting.await.unwrap().unwrap(), 3);
        assert!(start.elapsed() <= 150 * MS, "{:?}", start.elapsed());
        assert_eq!(unpolled.await.unwrap(), 3);
        assert!(computing.await.is_err());
    });
    assert!(is_clean(&flight));
}

/// Looks at the flight whenever it is woken or dropped: it would hang if that happened under the lock.
struct Nosy(Flight<u32, Arc<Curious>>, Arc<AtomicU32>);

impl std::task::Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.1
            .fetch_add(1 + self.0.status().overloaded as u32, SeqCst);
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.1
            .fetch_add(1 + self.0.status().overloaded as u32, SeqCst);
    }
}

/// A value that looks at the flight when it goes.
struct Curious(Option<Flight<u32, Arc<Self>>>, Arc<AtomicU32>);

impl Drop for Curious {
    fn drop(&mut self) {
        let waiting = self.0.as_ref().map_or(0, |flight| flight.status().waiting);
        assert!(waiting <= 1);
        self.1.fetch_add(1000, SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn wakers_and_values_go_with_nothing_locked() {
    let flight: Flight<u32, Arc<Curious>> = Flight::new();
    let seen = Arc::new(AtomicU32::new(0));
    let run = || {
        let value = Arc::new(Curious(Some(flight.clone()), Arc::clone(&seen)));
        let compute = || async move {
            sleep(10 * MS).await;
            Ok(value)
        };
        Box::pin(flight.run(1, compute))
    };
    let mut runs = [run(), run(), run()];
    let mut poll = |which: usize| {
        let waker = std::task::Waker::from(Arc::new(Nosy(flight.clone(), Arc::clone(&seen))));
        let mut context = std::task::Context::from_waker(&waker);
        runs[which].as_mut().poll(&mut context).is_ready()
    };
    assert!(!poll(0) && !poll(1) && !poll(2));
    assert!(!poll(1), "another waker takes the place of the first");
    assert_eq!(seen.load(SeqCst), 1);
    sleep(20 * MS).await;
    assert_eq!(seen.load(SeqCst), 4, "all were woken");
    assert!(poll(0));
    let [_done, fetched, left] = runs;
    drop((fetched, left));
    // The value of each that did not compute, and the one that was computed.
    assert_eq!((seen.load(SeqCst) / 1000, seen.load(SeqCst) % 1000), (3, 8));
    assert!(is_clean(&flight));
}
