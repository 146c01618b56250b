//! What a long loop on a task does to the others of its runtime.
//!
//! `cargo test -p pool-cpu --release --test coop -- --nocapture` prints the lags that the docs of
//! `coop` quote.

#![cfg(feature = "lag")]
#![allow(missing_docs)]

use std::{
    hint::spin_loop,
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

/// How late timers were while `work` ran.
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

#[test]
fn a_loop_by_time_keeps_timers_going_where_tokios_own_budget_does_not() {
    let plain = lag_of("plain loop", async || (0..ITEMS).for_each(work_on));
    let budgeted = lag_of("tokio::task::consume_budget", async || {
        for item in 0..ITEMS {
            work_on(item);
            tokio::task::consume_budget().await;
        }
    });
    let chunked = lag_of("coop::chunks", async || {
        let mut chunks = coop::chunks(0..ITEMS, 1).expect("one at a time");
        while let Some(chunk) = chunks.next().await {
            chunk.for_each(work_on);
        }
    });
    // A task yields every 128 operations at the latest under tokio's budget, whatever they take.
    assert!(plain.max() >= Duration::from_millis(900), "{plain:?}");
    assert!(budgeted.max() >= Duration::from_millis(100), "{budgeted:?}");
    assert!(
        chunked.p99() <= budgeted.p99() / 4,
        "{chunked:?} against {budgeted:?}"
    );
}
