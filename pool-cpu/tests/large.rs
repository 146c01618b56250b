//! Jobs with large closures.

#![allow(clippy::unwrap_used, missing_docs)]

use std::{future::Future, hint::black_box, thread};

use pool_cpu::{BlockingPool, CpuPool, Workers};

/// Smaller in debug builds, because without optimisation each call that passes a closure on copies it.
const SIZE: usize = if cfg!(debug_assertions) { 128 } else { 512 } << 10;

/// A closure of that size.
fn large() -> impl FnOnce() -> usize + Send + 'static {
    let ballast = black_box([1_u8; SIZE]);
    move || {
        black_box(&ballast)
            .iter()
            .map(|byte| usize::from(*byte))
            .sum()
    }
}

/// Runs `f` on a stack with room for large values, because a future contains its closure and is moved.
fn on_a_large_stack<F: Future<Output = usize>>(f: impl FnOnce() -> F + Send) {
    let sum = thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(CALLERS_STACK);
        let block_on = || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap();
            // Boxed, because an executor does not keep futures on the stack either.
            runtime.block_on(Box::pin(f()))
        };
        thread
            .spawn_scoped(scope, block_on)
            .unwrap()
            .join()
            .unwrap()
    });
    assert_eq!(sum, SIZE);
}

/// The stack of a worker is 2 MiB.
const CALLERS_STACK: usize = 8 << 20;

fn each_way(pool: &Workers) {
    on_a_large_stack(|| async { pool.run(large()).await.unwrap() });
    on_a_large_stack(|| async { pool.try_run(large()).unwrap().await.unwrap() });
    on_a_large_stack(|| async { pool.job("").spawn(large()).await.unwrap() });
    on_a_large_stack(|| async { pool.job("").enqueue(large()).await.unwrap().await.unwrap() });
    on_a_large_stack(|| async { pool.run_sync(large()).unwrap() });
}

#[test]
fn a_large_closure_fits_on_the_stack_of_a_worker() {
    each_way(&CpuPool::builder().threads(1).build().unwrap());
    each_way(&BlockingPool::builder().build().unwrap());
}
