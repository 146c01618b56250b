//! Fan-outs, from outside, on paused time.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod on_pool;

use std::{
    cell::Cell,
    convert::Infallible,
    pin::pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::poll_fn, stream};
use pool_core::fan_out::{ItemError, Progress, fan_out, fan_out_stream};
use proptest::prelude::*;
use tokio::time::{Instant, sleep};

const MS: Duration = Duration::from_millis(1);

/// Counts itself while it lives.
#[derive(Debug)]
struct Alive(Rc<Cell<(usize, usize)>>);

impl Alive {
    fn new(count: &Rc<Cell<(usize, usize)>>) -> Self {
        let (alive, most) = count.get();
        count.set((alive + 1, most.max(alive + 1)));
        Self(Rc::clone(count))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        let (alive, most) = self.0.get();
        self.0.set((alive - 1, most));
    }
}

async fn ok<T>(value: T) -> Result<T, Infallible> {
    Ok(value)
}

#[tokio::test(start_paused = true)]
async fn values_come_in_order_and_never_more_run_than_the_limit() {
    let count = Rc::new(Cell::new((0, 0)));
    let start = Instant::now();
    let values = fan_out(0..100_u32)
        .limit(10)
        .map(|item| {
            let alive = Alive::new(&count);
            async move {
                sleep((100 - item) * MS).await;
                drop(alive);
                ok(item).await
            }
        })
        .await
        .unwrap();
    assert_eq!(values, Vec::from_iter(0..100));
    assert_eq!(count.get(), (0, 10));
    assert!(start.elapsed() < 600 * MS, "{:?}", start.elapsed());
}

#[test]
fn it_needs_no_runtime() {
    let values = fan_out([1, 2, 3]).map(|item| ok(item * 2)).into_future();
    assert_eq!(values.now_or_never().unwrap().unwrap(), [2, 4, 6]);
    let nothing = fan_out(Vec::<u32>::new()).map(ok).into_future();
    assert_eq!(nothing.now_or_never().unwrap().unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn the_first_error_cancels_the_rest_at_once() {
    let count = Rc::new(Cell::new((0, 0)));
    let started = Cell::new(0);
    let mut running = pin!(
        fan_out(0..1_000)
            .limit(5)
            .map(|item| {
                started.set(started.get() + 1);
                let alive = Alive::new(&count);
                async move {
                    sleep(if item == 7 { MS } else { 10 * MS }).await;
                    drop(alive);
                    if item == 7 { Err("seven") } else { Ok(item) }
                }
            })
            .into_future()
    );
    let error = running.as_mut().await.unwrap_err();
    assert_eq!((error.index(), error.error()), (7, Some(&"seven")));
    assert_eq!(error.to_string(), "item 7: seven");
    assert_eq!(count.get().0, 0, "the others still run");
    assert_eq!(started.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn settle_gives_every_outcome_in_order() {
    let outcomes = fan_out(0..20_u64)
        .limit(4)
        .map(|item| async move {
            sleep((item % 3) as u32 * MS).await;
            if item % 5 == 0 { Err(item) } else { Ok(item) }
        })
        .settle()
        .await;
    assert_eq!(outcomes.len(), 20);
    for (item, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(value) => assert_eq!(value, item as u64),
            Err(error) => {
                assert_eq!(error.index(), item);
                assert_eq!(error.into_error(), Some(item as u64));
                assert_eq!(item % 5, 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_takes_too_long_is_dropped_and_says_so() {
    let count = Rc::new(Cell::new((0, 0)));
    let outcomes = fan_out([5, 50, 500_u32])
        .each_within(20 * MS)
        .map(|ms| {
            let alive = Alive::new(&count);
            async move {
                sleep(ms * MS).await;
                drop(alive);
                ok(ms).await
            }
        })
        .settle()
        .await;
    assert_eq!(outcomes[0].as_ref().unwrap(), &5);
    for outcome in &outcomes[1..] {
        let error = outcome.as_ref().unwrap_err();
        assert!(error.is_timeout());
        assert!(
            error.to_string().ends_with(": not done within 20ms"),
            "{error}"
        );
    }
    assert_eq!(count.get().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_place_that_timed_one_item_does_not_time_out_the_next() {
    let start = Instant::now();
    let outcomes = fan_out([9, 9, 9, 9_u32])
        .limit(1)
        .each_within(10 * MS)
        .map(|ms| async move {
            sleep(ms * MS).await;
            ok(ms).await
        })
        .await;
    assert_eq!(outcomes.unwrap(), [9, 9, 9, 9]);
    assert_eq!(start.elapsed(), 36 * MS);
}

#[test]
fn a_deadline_without_a_runtime_is_an_error() {
    let running = fan_out([1]).each_within(MS).map(ok).into_future();
    let error = running.now_or_never().unwrap().unwrap_err();
    assert!(error.is_no_runtime());
}

#[tokio::test(start_paused = true)]
async fn panics_come_back_as_errors_and_spoil_nothing() {
    let panics = |outcome: &Result<u32, ItemError<Infallible>>| {
        outcome.as_ref().is_err_and(ItemError::is_panic)
    };
    let outcomes = fan_out(0..6_u32)
        .limit(2)
        .map(|item| {
            assert_ne!(item, 1, "in the closure");
            async move {
                assert_ne!(item, 2, "at once");
                sleep(MS).await;
                assert_ne!(item, 3, "later");
                ok(item).await
            }
        })
        .settle()
        .await;
    let which: Vec<_> = outcomes.iter().map(panics).collect();
    assert_eq!(which, [false, true, true, true, false, false]);
    assert!(
        outcomes[1]
            .as_ref()
            .unwrap_err()
            .to_string()
            .contains("in the closure")
    );

    let items = (0..9_u32).inspect(|item| assert_ne!(*item, 4, "in the iterator"));
    let outcomes = fan_out(items).limit(2).map(ok).settle().await;
    let which: Vec<_> = outcomes.iter().map(panics).collect();
    assert_eq!(
        which,
        [false, false, false, false, true],
        "and it is not asked again"
    );
}

/// A future whose drop panics.
struct Sore;

impl Future for Sore {
    type Output = Result<u32, Infallible>;

    fn poll(self: std::pin::Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(1))
    }
}

impl Drop for Sore {
    fn drop(&mut self) {
        panic!("it hurts");
    }
}

#[test]
fn a_panic_of_a_drop_is_the_error_of_its_item() {
    let settle = fan_out([1, 2]).limit(1).map(|_| Sore).settle();
    let outcomes = settle.now_or_never().unwrap();
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.as_ref().is_err_and(ItemError::is_panic))
    );
}

#[tokio::test(start_paused = true)]
async fn dropping_it_cancels_everything() {
    let count = Rc::new(Cell::new((0, 0)));
    {
        let mut running = pin!(
            fan_out(0..100)
                .limit(8)
                .map(|item| {
                    let alive = Alive::new(&count);
                    async move {
                        sleep(1000 * MS).await;
                        drop(alive);
                        ok(item).await
                    }
                })
                .into_future()
        );
        assert!(running.as_mut().now_or_never().is_none());
        assert_eq!(count.get(), (8, 8));
    }
    assert_eq!(count.get().0, 0);
}

#[tokio::test(start_paused = true)]
async fn an_ordered_stream_holds_no_more_than_the_limit() {
    let taken = Rc::new(Cell::new(0));
    let items = (0..20_u32).inspect(|_| taken.set(taken.get() + 1));
    let mut values = pin!(
        fan_out(items)
            .limit(4)
            .map(|item| async move {
                sleep(if item == 0 { 100 * MS } else { MS }).await;
                ok(item).await
            })
            .ordered()
    );
    assert!(values.next().now_or_never().is_none());
    sleep(50 * MS).await;
    assert!(values.next().now_or_never().is_none());
    assert_eq!(taken.get(), 4, "three are done and wait for the first");
    let mut seen = 0;
    while let Some(value) = values.next().await {
        assert_eq!(value.unwrap(), seen);
        seen += 1;
        assert!(taken.get() <= seen + 4);
    }
    assert_eq!(seen, 20);
}

#[tokio::test(start_paused = true)]
async fn an_unordered_stream_gives_outcomes_as_they_come() {
    let stream = fan_out([30, 10, 20_u32])
        .map(|ms| async move {
            sleep(ms * MS).await;
            ok(ms).await
        })
        .unordered();
    let outcomes: Vec<_> = stream
        .map(|(index, value)| (index, value.unwrap()))
        .collect()
        .await;
    assert_eq!(outcomes, [(1, 10), (2, 20), (0, 30)]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_items_is_taken_as_it_yields() {
    let ticks = stream::unfold(0, |n| async move {
        sleep(10 * MS).await;
        (n < 10).then_some((n, n + 1))
    });
    let start = Instant::now();
    let values = fan_out_stream(ticks)
        .limit(3)
        .map(|n: u32| async move {
            sleep(25 * MS).await;
            ok(n).await
        })
        .await
        .unwrap();
    assert_eq!(values, Vec::from_iter(0..10));
    assert_eq!(start.elapsed(), 140 * MS, "the work overlaps the waiting");
}

#[tokio::test]
async fn what_runs_is_not_starved_by_items_that_are_ready_at_once() {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let mut sender = Some(sender);
    let mut receiver = Some(receiver);
    let mut outcomes = pin!(
        fan_out(0_u64..)
            .limit(2)
            .map(|item| {
                let receiver = receiver.take();
                async move {
                    match receiver {
                        Some(receiver) => Ok::<_, Infallible>(receiver.await.unwrap()),
                        None => Ok(item),
                    }
                }
            })
            .unordered()
    );
    for turn in 0..10 {
        let (index, _) = outcomes.next().await.unwrap();
        if turn == 3 {
            sender.take().unwrap().send(7).unwrap();
        }
        if index == 0 {
            assert_eq!(turn, 4);
            return;
        }
    }
    panic!("the first item was never polled again");
}

#[tokio::test]
async fn others_of_the_thread_get_their_turn() {
    let others = tokio::spawn(async {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        Instant::now()
    });
    fan_out(0..1_000_000).map(ok).for_each(drop).await.unwrap();
    assert!(others.await.unwrap() < Instant::now());
}

#[tokio::test(start_paused = true)]
async fn progress_is_told_at_every_end() {
    let mut seen = Vec::new();
    let outcomes = fan_out([1, 2, 3_u32])
        .limit(1)
        .progress(|progress| seen.push(progress))
        .map(|item| async move { if item == 2 { Err("two") } else { Ok(item) } })
        .settle()
        .await;
    assert_eq!(outcomes.len(), 3);
    let of = |progress: &Progress| {
        (
            progress.started,
            progress.done,
            progress.failed,
            progress.total,
        )
    };
    let seen: Vec<_> = seen.iter().map(of).collect();
    assert_eq!(
        seen,
        [(1, 1, 0, Some(3)), (2, 2, 1, Some(3)), (3, 3, 1, Some(3))]
    );
    let told = fan_out([1]).progress(|_| panic!("no")).map(ok).await;
    assert_eq!(told.unwrap(), [1]);
}

#[tokio::test]
async fn a_limit_of_zero_lets_nothing_run_and_says_so() {
    let error = fan_out([1]).limit(0).map(ok).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "item 0: limit is 0, but must be at least 1"
    );
    let outcomes = fan_out([1, 2]).limit(0).map(ok).settle().await;
    assert!(outcomes.iter().all(Result::is_err) && outcomes.len() == 2);
    assert_eq!(
        fan_out([1, 2]).limit(usize::MAX).map(ok).await.unwrap(),
        [1, 2]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_that_wake_from_other_threads_all_end() {
    for limit in [1, 3, 64, 200] {
        let values = fan_out(0..2_000_u32)
            .limit(limit)
            .map(|item| async move { tokio::spawn(async move { item * 2 }).await })
            .await
            .unwrap();
        assert!(
            values
                .iter()
                .enumerate()
                .all(|(item, value)| *value == item as u32 * 2)
        );
    }
}

// Whatever has used up tokio's budget for its task wakes itself at once, and is no further until the task has yielded.
#[tokio::test]
async fn items_that_use_up_the_budget_of_the_task_all_end() {
    for limit in [1, 4] {
        let items = fan_out(0..4_u32).limit(limit).map(|item| async move {
            for _ in 0..1_000 {
                tokio::task::coop::consume_budget().await;
            }
            Ok::<_, Infallible>(item)
        });
        assert_eq!(items.await.unwrap(), [0, 1, 2, 3]);
    }
}

#[test]
fn a_late_wake_of_an_item_that_ended_disturbs_nobody() {
    let mut wakers: Vec<Waker> = Vec::new();
    let mut polls = 0;
    {
        let wakers = std::cell::RefCell::new(&mut wakers);
        let polls = Cell::new(0);
        let mut running = pin!(
            fan_out(0..3)
                .limit(1)
                .map(|item| {
                    let (wakers, polls) = (&wakers, &polls);
                    let mut first = true;
                    poll_fn(move |context| {
                        polls.set(polls.get() + 1);
                        wakers.borrow_mut().push(context.waker().clone());
                        for waker in wakers.borrow().iter() {
                            waker.wake_by_ref();
                        }
                        if std::mem::take(&mut first) {
                            Poll::Pending
                        } else {
                            Poll::Ready(Ok::<_, Infallible>(item))
                        }
                    })
                })
                .into_future()
        );
        let values = running.as_mut().now_or_never().unwrap().unwrap();
        assert_eq!(values, [0, 1, 2]);
        assert!(polls.get() >= 6);
    }
    for waker in &wakers {
        waker.wake_by_ref();
        polls += 1;
    }
    assert!(polls >= 6);
}

#[derive(Clone, Debug)]
struct Job {
    ms: u32,
    end: End,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Value,
    Error,
    Panic,
}

fn job() -> impl Strategy<Value = Job> {
    let end = prop_oneof![8 => Just(End::Value), 1 => Just(End::Error), 1 => Just(End::Panic)];
    (0..50_u32, end).prop_map(|(ms, end)| Job { ms, end })
}

/// When each of `jobs` would end with so many workers, each of which takes the next one when it is free.
fn schedule(jobs: &[Job], limit: usize, each: u32) -> Vec<u32> {
    let mut free_at = vec![0; limit];
    let mut ends = Vec::new();
    for job in jobs {
        free_at.sort_unstable();
        free_at[0] += job.ms.min(each);
        ends.push(free_at[0]);
    }
    ends
}

proptest! {
    #[test]
    fn any_jobs_end_as_a_bench_of_workers_would_end_them(
        jobs in prop::collection::vec(job(), 0..40),
        limit in 1..8_usize,
        each in 10..60_u32,
        drop_after in prop::option::of(0..100_u32),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let ends = schedule(&jobs, limit, each);
            let total = ends.iter().copied().max().unwrap_or(0);
            let count = Rc::new(Cell::new((0, 0)));
            let start = Instant::now();
            let settle = fan_out(jobs.clone())
                .limit(limit)
                .each_within(each * MS)
                .map(|job| {
                    let alive = Alive::new(&count);
                    async move {
                        // One that takes no time is done when it is first polled.
                        if job.ms > 0 {
                            sleep(job.ms * MS).await;
                        }
                        drop(alive);
                        match job.end {
                            End::Value => Ok(start.elapsed()),
                            End::Error => Err("error"),
                            End::Panic => panic!("panic"),
                        }
                    }
                })
                .settle();
            if let Some(after) = drop_after.filter(|after| *after < total) {
                assert!(tokio::time::timeout(after * MS, settle).await.is_err());
                assert_eq!(count.get().0, 0);
                return;
            }
            let outcomes = settle.await;
            assert_eq!(start.elapsed(), total * MS);
            assert_eq!(outcomes.len(), jobs.len());
            assert!(count.get().1 <= limit);
            for (index, (job, outcome)) in jobs.iter().zip(&outcomes).enumerate() {
                match outcome {
                    Ok(ended) => {
                        assert_eq!(job.end, End::Value);
                        assert_eq!(*ended, ends[index] * MS);
                    }
                    Err(error) => {
                        assert_eq!(error.index(), index);
                        if job.ms > each {
                            assert!(error.is_timeout());
                        } else if job.ms < each {
                            assert_eq!(error.is_panic(), job.end == End::Panic);
                            assert_eq!(error.error().is_some(), job.end == End::Error);
                        }
                    }
                }
            }
        });
    }
}
