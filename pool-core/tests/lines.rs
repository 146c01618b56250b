//! How long a line may be: the same default everywhere, and it follows the size.
#![allow(clippy::unwrap_used)]

use std::{
    future::{pending, poll_fn},
    io,
    pin::Pin,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
    task::Poll,
};

use pool_core::{
    Gauge, KeyedPool, Limiter, MixedManager, MixedPool, Opened, Pool, SharedManager, SharedPool,
    Usage, keyed_manager_fn, manager_fn,
};

/// Opens one, and then no more.
async fn open_one(opened: &'static AtomicBool) -> io::Result<()> {
    if opened.swap(true, SeqCst) {
        pending::<()>().await;
    }
    Ok(())
}

struct Unit;

impl SharedManager for Unit {
    type Resource = ();
    type Error = io::Error;

    async fn create(&self, gauge: Gauge) -> io::Result<()> {
        static OPENED: AtomicBool = AtomicBool::new(false);
        gauge.set_capacity(1);
        open_one(&OPENED).await
    }
}

/// Opens connections for one at a time, or connections of which each may have one share.
struct Mixed {
    shared: bool,
    opened: &'static AtomicBool,
}

impl MixedManager<u32> for Mixed {
    type One = ();
    type Many = ();
    type Error = io::Error;

    async fn create(&self, _: &u32, _: Gauge) -> io::Result<Opened<(), ()>> {
        open_one(self.opened).await?;
        Ok(if self.shared {
            Opened::Many(())
        } else {
            Opened::One(())
        })
    }

    async fn check(&self, (): &mut (), _: &Usage) -> io::Result<()> {
        Ok(())
    }
}

/// A get: whether it was told that the line is full.
type Get<'a> = Pin<Box<dyn Future<Output = bool> + 'a>>;

/// All is in use. 1024 can wait of a size of 1, 1600 of a size of 100, and so on.
async fn line_follows<'a>(get: impl Fn() -> Get<'a>, resize: impl Fn(u32)) {
    // A get gives its thread back now and then; here each is to join the line when it is polled.
    tokio::task::unconstrained(async {
        let mut line = Vec::new();
        for (size, most) in [(1, 1024), (100, 1600), (1, 1024)] {
            resize(size);
            while line.len() < most {
                let mut next = get();
                let polled = poll_fn(|context| Poll::Ready(next.as_mut().poll(context))).await;
                assert!(polled.is_pending(), "{} wait, of {most}", line.len());
                line.push(next);
            }
            line.truncate(most);
            assert!(get().await, "{most} wait, and there is room");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn that_of_a_pool_follows_its_size() {
    static OPENED: AtomicBool = AtomicBool::new(false);
    let manager = manager_fn(|| open_one(&OPENED));
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    let get = || -> Get<'_> {
        Box::pin(async { pool.get().await.is_err_and(|error| error.is_overloaded()) })
    };
    line_follows(get, |size| pool.resize(size).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn that_of_a_shared_pool_follows_its_size() {
    let pool = SharedPool::builder(Unit).max_size(1).build().unwrap();
    let _held = pool.get().await.unwrap();
    let get = || -> Get<'_> {
        Box::pin(async { pool.get().await.is_err_and(|error| error.is_overloaded()) })
    };
    line_follows(get, |size| pool.resize(size).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn that_of_all_keys_follows_the_size_in_total() {
    static OPENED: AtomicBool = AtomicBool::new(false);
    let manager = keyed_manager_fn(|_: &u32| open_one(&OPENED));
    let pool = KeyedPool::builder(manager)
        .max_size(1)
        .max_total(1)
        .max_waiters(usize::MAX);
    let pool = pool.build().unwrap();
    let _held = pool.get(&0).await.unwrap();
    let get = || -> Get<'_> {
        Box::pin(async { pool.get(&0).await.is_err_and(|error| error.is_overloaded()) })
    };
    line_follows(get, |size| pool.resize(size).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn that_of_all_keys_follows_the_size_in_total_whatever_is_shared() {
    static OPENED: [AtomicBool; 2] = [const { AtomicBool::new(false) }; 2];
    for (shared, opened) in [false, true].into_iter().zip(&OPENED) {
        let builder = MixedPool::builder(Mixed { shared, opened });
        let builder = builder.max_size(1).max_total(1).max_waiters(usize::MAX);
        let pool = builder.build().unwrap();
        let _held = pool.get(&0).await.unwrap();
        let get = || -> Get<'_> {
            Box::pin(async { pool.get(&0).await.is_err_and(|error| error.is_overloaded()) })
        };
        line_follows(get, |size| pool.resize(size).unwrap()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn that_of_a_limiter_follows_its_limit() {
    let limiter = Limiter::new(100);
    let _held = limiter.acquire_many(100).await.unwrap();
    let get = || -> Get<'_> {
        Box::pin(async {
            limiter
                .acquire()
                .await
                .is_err_and(|error| error.is_overloaded())
        })
    };
    line_follows(get, |size| limiter.resize(size).unwrap()).await;
}
