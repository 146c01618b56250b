//! How long loops on a task affect the other tasks of their runtime.
//!
//! `cargo test -p pool-cpu --release --test coop -- --nocapture` prints the lags in the documentation of `coop`.

#![cfg(feature = "lag")]
#![allow(missing_docs)]

use std::{
    hint::spin_loop,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use pool_cpu::{
    coop,
    lag::{Lag, LagMonitor},
};

/// A thousand items of a millisecond each.
const ITEMS: u32 = 1000;

fn work_on(_item: u32) {
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1) {
        spin_loop();
    }
}

/// Measures how late timers are while `work` runs.
fn lag_of(name: &str, work: impl AsyncFnOnce()) -> Lag {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let handle = tokio::runtime::Handle::current();
        let monitor =
            LagMonitor::start(&handle, Duration::from_millis(1)).expect("1 ms is allowed");
        tokio::time::sleep(Duration::from_millis(20)).await;
        monitor.reset();
        work().await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        let lag = monitor.reset();
        println!(
            "{name:32} p50 {:>9.1?}  p99 {:>9.1?}  max {:>9.1?}",
            lag.p50(),
            lag.p99(),
            lag.max()
        );
        lag
    })
}

/// Calls `work` with a counter of items, and returns the most items between two turns of another task.
fn items_without_a_turn(work: impl AsyncFnOnce(&AtomicU32)) -> u32 {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(async {
        let done = Arc::new(AtomicU32::new(0));
        let most = Arc::new(AtomicU32::new(0));
        let other = tokio::spawn({
            let (done, most) = (Arc::clone(&done), Arc::clone(&most));
            async move {
                let mut last = 0;
                loop {
                    let now = done.load(Relaxed);
                    most.fetch_max(now - last, Relaxed);
                    last = now;
                    tokio::task::yield_now().await;
                }
            }
        });
        tokio::task::yield_now().await;
        work(&done).await;
        tokio::task::yield_now().await;
        other.abort();
        most.load(Relaxed)
    })
}

async fn plain(each: impl Fn(u32)) {
    (0..ITEMS).for_each(each);
}

async fn budgeted(each: impl Fn(u32)) {
    for item in 0..ITEMS {
        each(item);
        tokio::task::consume_budget().await;
    }
}

async fn chunked(each: impl Fn(u32)) {
    let mut chunks = coop::chunks(0..ITEMS, 1).expect("one at a time");
    while let Some(chunk) = chunks.next().await {
        chunk.for_each(&each);
    }
}

#[test]
fn a_loop_by_time_gives_others_their_turn_where_tokios_own_budget_does_not() {
    let count = |done: &AtomicU32, item| {
        work_on(item);
        done.fetch_add(1, Relaxed);
    };
    let plain = items_without_a_turn(async |done| plain(|item| count(done, item)).await);
    let budgeted = items_without_a_turn(async |done| budgeted(|item| count(done, item)).await);
    let chunked = items_without_a_turn(async |done| chunked(|item| count(done, item)).await);
    assert_eq!(plain, ITEMS);
    // tokio's budget is 128 operations, however long they take. The item before the first operation counts too.
    assert!((64..=129).contains(&budgeted), "{budgeted}");
    // One item takes longer than the budget.
    assert_eq!(chunked, 1);
}

// For the documentation. The values depend on the machine.
#[test]
fn a_plain_loop_holds_timers_up_for_as_long_as_it_takes() {
    let plain = lag_of("plain loop", async || plain(work_on).await);
    lag_of("tokio::task::consume_budget", async || {
        budgeted(work_on).await;
    });
    let chunked = lag_of("coop::chunks", async || chunked(work_on).await);
    assert!(plain.max() >= Duration::from_millis(900), "{plain:?}");
    assert!(chunked.p50() < plain.p50(), "{chunked:?} against {plain:?}");
}
