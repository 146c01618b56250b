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
};

use common::{Act, Backend, MS, SEC, Things};
use pool_core::Pool;
use tokio::{runtime::Runtime, time::timeout};

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
