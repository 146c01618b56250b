//! A manager that does what a test tells it, and counts; and what else several tests need.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test uses a part"
)]

use std::{
    fmt,
    future::poll_fn,
    panic,
    pin::Pin,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use pool_core::{Lease, Manager, Pool, Status, Usage};
use tokio::{
    sync::Semaphore,
    task::yield_now,
    time::{Instant, sleep},
};

pub const MS: Duration = Duration::from_millis(1);
pub const SEC: Duration = Duration::from_secs(1);

/// Lets every task that can run, run.
pub async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// Polls a future once.
pub async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// Panics that a manager was told to make are not printed.
pub fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if info.payload().downcast_ref::<&str>() != Some(&"told to panic") {
                default(info);
            }
        }));
    });
}

/// Gets one, however long the pool needs to notice that all is well again.
pub async fn get<M: Manager>(pool: &Pool<M>) -> Lease<M> {
    let give_up = Instant::now() + 20 * SEC;
    loop {
        match pool.get().await {
            Ok(lease) => return lease,
            Err(error) if Instant::now() < give_up => {
                // The prober has not been there yet, or the shedder thinks of what was before.
                assert!(error.is_connect() || error.is_overloaded(), "{error}");
                sleep(100 * MS).await;
            }
            Err(error) => panic!("no capacity: {error}"),
        }
    }
}

/// As many leases as there may be, at once, and not one more.
pub async fn get_all<M: Manager>(pool: &Pool<M>) -> Vec<Lease<M>> {
    let size = pool.status().max_size;
    let leases = futures_util::future::join_all((0..size).map(|_| get(pool))).await;
    let status = pool.status();
    assert_eq!((status.leased, status.waiting), (size, 0), "{status:?}");
    assert!(pool.try_get().is_err_and(|error| error.is_busy()));
    leases
}

/// Nobody moves, and the test holds so many: what the pool counts is what there is.
pub fn adds_up(status: &Status, backend: &Backend, held: u32) {
    assert_eq!(status.leased, held, "{status:?}");
    assert_eq!(status.open + status.closing, backend.alive(), "{status:?}");
    assert_eq!(status.opening, backend.opening.load(SeqCst), "{status:?}");
}

/// Closes the pool; everything that it ever opened must have been closed, once.
pub async fn end(pool: Pool<Things>) {
    let backend = Arc::clone(&pool.manager().0);
    let drained = pool.drain(2 * SEC).await;
    assert!(drained.is_complete(), "{drained:?}");
    assert_eq!(
        (backend.alive(), backend.opening.load(SeqCst)),
        (0, 0),
        "leaked"
    );
    let detached = backend.detached.load(SeqCst);
    assert_eq!(
        backend.closes.load(SeqCst) + detached,
        u64::from(backend.created())
    );
}

/// What one call does.
#[derive(Clone, Debug)]
pub enum Act {
    Succeed,
    Fail(&'static str),
    Panic,
    Hang,
    Take(Duration),
    /// Waits until the test lets it through.
    Gate(Arc<Semaphore>),
    /// Any of these, by this random source.
    Any(Arc<Mutex<fastrand::Rng>>),
    /// Waits until the test lets it through, and does that then.
    Then(Arc<Semaphore>, Box<Self>),
}

impl Act {
    pub async fn run(self) -> Result<(), Oops> {
        match self {
            Self::Succeed => Ok(()),
            Self::Fail(why) => Err(Oops(why)),
            Self::Panic => panic!("told to panic"),
            Self::Hang => std::future::pending().await,
            Self::Take(long) => {
                tokio::time::sleep(long).await;
                Ok(())
            }
            Self::Gate(gate) => {
                gate.acquire().await.unwrap().forget();
                Ok(())
            }
            Self::Any(random) => {
                let (choice, ms) = {
                    let mut random = random.lock().unwrap();
                    (random.u32(..20), random.u32(..30))
                };
                let act = match choice {
                    0..10 => Self::Succeed,
                    10..15 => Self::Take(ms * MS),
                    15..17 => Self::Fail("told to fail"),
                    17..19 => Self::Panic,
                    _ => Self::Hang,
                };
                Box::pin(act.run()).await
            }
            Self::Then(gate, act) => {
                gate.acquire().await.unwrap().forget();
                Box::pin(act.run()).await
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oops(pub &'static str);

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Oops {}

/// One resource. It says when it is dropped.
#[derive(Debug)]
pub struct Thing {
    pub id: u32,
    pub broken: bool,
    pub dirty: bool,
    pub uses: u32,
    backend: Arc<Backend>,
}

impl Drop for Thing {
    fn drop(&mut self) {
        self.backend.alive.fetch_sub(1, SeqCst);
    }
}

/// What all things of one test come from.
#[derive(Debug)]
pub struct Backend {
    pub create: Mutex<Act>,
    pub check: Mutex<Act>,
    pub reset: Mutex<Act>,
    pub close: Mutex<Act>,
    pub needs_reset: AtomicBool,
    pub created: AtomicU32,
    pub attempts: AtomicU32,
    pub alive: AtomicU32,
    pub most_alive: AtomicU32,
    pub opening: AtomicU32,
    pub most_opening: AtomicU32,
    pub checks: AtomicU64,
    pub resets: AtomicU64,
    pub closes: AtomicU64,
    /// How many a test took out of its pool.
    pub detached: AtomicU64,
}

impl Default for Backend {
    fn default() -> Self {
        Self {
            create: Mutex::new(Act::Succeed),
            check: Mutex::new(Act::Succeed),
            reset: Mutex::new(Act::Succeed),
            close: Mutex::new(Act::Succeed),
            needs_reset: AtomicBool::new(false),
            created: AtomicU32::new(0),
            attempts: AtomicU32::new(0),
            alive: AtomicU32::new(0),
            most_alive: AtomicU32::new(0),
            opening: AtomicU32::new(0),
            most_opening: AtomicU32::new(0),
            checks: AtomicU64::new(0),
            resets: AtomicU64::new(0),
            closes: AtomicU64::new(0),
            detached: AtomicU64::new(0),
        }
    }
}

impl Backend {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn on_create(&self, act: Act) {
        *self.create.lock().unwrap() = act;
    }

    pub fn on_check(&self, act: Act) {
        *self.check.lock().unwrap() = act;
    }

    pub fn on_reset(&self, act: Act) {
        self.needs_reset.store(true, SeqCst);
        *self.reset.lock().unwrap() = act;
    }

    pub fn on_close(&self, act: Act) {
        *self.close.lock().unwrap() = act;
    }

    pub fn alive(&self) -> u32 {
        self.alive.load(SeqCst)
    }

    pub fn created(&self) -> u32 {
        self.created.load(SeqCst)
    }
}

#[derive(Clone, Debug)]
pub struct Things(pub Arc<Backend>);

struct OneOf<'a>(&'a AtomicU32);

impl<'a> OneOf<'a> {
    fn new(count: &'a AtomicU32, most: &AtomicU32) -> Self {
        most.fetch_max(count.fetch_add(1, SeqCst) + 1, SeqCst);
        Self(count)
    }
}

impl Drop for OneOf<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Manager for Things {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self) -> Result<Thing, Oops> {
        let backend = &self.0;
        backend.attempts.fetch_add(1, SeqCst);
        let _opening = OneOf::new(&backend.opening, &backend.most_opening);
        let act = backend.create.lock().unwrap().clone();
        act.run().await?;
        let id = backend.created.fetch_add(1, SeqCst);
        backend
            .most_alive
            .fetch_max(backend.alive.fetch_add(1, SeqCst) + 1, SeqCst);
        Ok(Thing {
            id,
            broken: false,
            dirty: false,
            uses: 0,
            backend: Arc::clone(backend),
        })
    }

    async fn check(&self, _: &mut Thing, _: &Usage) -> Result<(), Oops> {
        self.0.checks.fetch_add(1, SeqCst);
        let act = self.0.check.lock().unwrap().clone();
        act.run().await
    }

    fn needs_reset(&self, thing: &mut Thing, usage: &Usage) -> bool {
        self.0.needs_reset.load(SeqCst) && (thing.dirty || usage.tainted)
    }

    async fn reset(&self, thing: &mut Thing, _: &Usage) -> Result<(), Oops> {
        self.0.resets.fetch_add(1, SeqCst);
        let act = self.0.reset.lock().unwrap().clone();
        act.run().await?;
        thing.dirty = false;
        Ok(())
    }

    fn is_broken(&self, thing: &mut Thing) -> bool {
        thing.broken
    }

    async fn close(&self, thing: Thing) {
        self.0.closes.fetch_add(1, SeqCst);
        let act = self.0.close.lock().unwrap().clone();
        let _ = act.run().await;
        drop(thing);
    }
}
