//! What many who gave up leave behind: what a few do.
#![allow(clippy::unwrap_used)]
#![allow(unsafe_code, reason = "an allocator that counts")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicIsize, Ordering::Relaxed},
    task::{Context, Waker},
};

use pool_core::{
    Config, Flight, Gauge, KeyedManager, KeyedPool, Limiter, Manager, Pool, SharedConfig,
    SharedManager, SharedPool, Usage,
};

struct Counting;

static BYTES: AtomicIsize = AtomicIsize::new(0);

// SAFETY: it does what the system's does, and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size() as isize, Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Unit;

impl Manager for Unit {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self) -> Result<(), Infallible> {
        Ok(())
    }

    async fn check(&self, (): &mut (), _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }
}

impl KeyedManager<u32> for Unit {
    type Resource = ();
    type Error = Infallible;

    async fn create(&self, _: &u32) -> Result<(), Infallible> {
        Ok(())
    }

    async fn check(&self, (): &mut (), _: &Usage) -> Result<(), Infallible> {
        Ok(())
    }
}

impl SharedManager for Unit {
    type Resource = Gauge;
    type Error = Infallible;

    async fn create(&self, gauge: Gauge) -> Result<Gauge, Infallible> {
        Ok(gauge)
    }
}

type Wait<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Begins to wait.
fn begin<'a>(wait: impl Future<Output = ()> + 'a) -> Wait<'a> {
    // Without tokio's budget, which this one turn of the executor would soon have spent: then it would not be in line.
    let mut wait: Wait<'a> = Box::pin(tokio::task::unconstrained(wait));
    let mut context = Context::from_waker(Waker::noop());
    assert!(wait.as_mut().poll(&mut context).is_pending());
    wait
}

/// Bytes that so many leave behind who wait at once and give up, from the front on, while one stays who came before them, and, if
/// they are all in one line, one in their middle.
fn left_behind<'a>(many: u32, in_one: bool, wait: &impl Fn(u32) -> Wait<'a>) -> isize {
    let first = wait(0);
    let before = BYTES.load(Relaxed);
    let mut all: Vec<_> = (1..many).map(wait).collect();
    let middle = in_one.then(|| all.swap_remove(all.len() / 2));
    all.into_iter().for_each(drop);
    let after = BYTES.load(Relaxed);
    drop((middle, first));
    after - before
}

/// Many leave behind what a few do.
fn assert_bounded<'a>(what: &str, in_one: bool, wait: impl Fn(u32) -> Wait<'a>) {
    let all = if in_one { MANY } else { MANY_KEYS };
    let few = left_behind(1_000, in_one, &wait);
    let many = left_behind(all, in_one, &wait);
    // What a thousand take while they wait, which is kept for the next thousand.
    let most = few.max(1_000 * 300);
    assert!(many <= most, "{what}: {many} bytes, and {few} of a few");
    // And for each that waits alone.
    let first = wait(0);
    let before = BYTES.load(Relaxed);
    (1..all / 4).map(&wait).for_each(drop);
    let alone = BYTES.load(Relaxed) - before;
    assert!(alone <= most, "{what}, one by one: {alone} bytes");
    drop(first);
}

const MANY: u32 = 400_000;
/// Without a keeper each that goes tells another, which looks at the lines of all keys.
const MANY_KEYS: u32 = 20_000;

fn config() -> Config {
    Config::new().max_waiters(Some(MANY as usize + 10))
}

fn shared_config() -> SharedConfig {
    SharedConfig::new().max_waiters(Some(MANY as usize + 10))
}

// One test, since all of the process is counted.
#[tokio::test]
async fn waits_that_were_given_up_leave_behind_what_a_few_do() {
    let pool = Pool::builder(Unit)
        .max_size(1)
        .max_waiters(Some(MANY as usize + 10));
    let pool = pool.build().unwrap();
    let held = pool.get().await.unwrap();
    assert_bounded("Pool", true, |_| begin(async { drop(pool.get().await) }));
    drop((held, pool));

    let limiter = Limiter::builder(1)
        .max_waiters(MANY as usize + 10)
        .build()
        .unwrap();
    let held = limiter.acquire().await.unwrap();
    assert_bounded("Limiter", true, |_| {
        begin(async { drop(limiter.acquire().await) })
    });
    assert_bounded("Limiter by key", false, |key| {
        let limiter = &limiter;
        begin(async move { drop(limiter.acquire().key(key).await) })
    });
    drop((held, limiter));

    let keyed = KeyedPool::builder(Unit)
        .config(config())
        .max_size(1)
        .max_total(1);
    let keyed = keyed.max_total_waiters(MANY as usize + 10).build().unwrap();
    let held = keyed.get(&0).await.unwrap();
    assert_bounded("KeyedPool", true, |_| {
        begin(async { drop(keyed.get(&0).await) })
    });
    drop((held, keyed));

    let shared = SharedPool::builder(Unit)
        .config(shared_config())
        .max_size(1)
        .build()
        .unwrap();
    let held = shared.get().await.unwrap();
    assert_bounded("SharedPool", true, |_| {
        begin(async { drop(shared.get().await) })
    });
    drop((held, shared));

    let flight: Flight<u32, (), ()> = Flight::builder()
        .max_waiters(MANY as usize + 10)
        .build()
        .unwrap();
    assert_bounded("Flight", true, |_| {
        begin(async { drop(flight.run(7, std::future::pending).await) })
    });
}
