//! The three pools, by what each of them is held to: a manager that keeps books, and what a pool says.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use pool_core::{
    Config, Error, Gauge, KeyedLease, KeyedManager, KeyedPool, Lease, Manager, Pool, Share,
    SharedConfig, SharedManager, SharedPool, Status, Usage,
    observe::{CloseReason, Observer, Phase, Timings},
};

use crate::common::{MS, Oops};

/// What happened, as those saw it who did it.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// By chance: how an open, a check or a reset goes.
    pub(crate) random: Mutex<Option<fastrand::Rng>>,
    /// How long an open takes.
    pub(crate) open_takes: Mutex<Duration>,
    pub(crate) attempts: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) checked: AtomicU64,
    pub(crate) cleaned: AtomicU64,
    pub(crate) closes: AtomicU64,
    pub(crate) detached: AtomicU64,
    /// What the observer was told.
    pub(crate) told: Mutex<Told>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Told {
    pub(crate) opened: u64,
    pub(crate) open_failed: u64,
    pub(crate) closed: BTreeMap<&'static str, u64>,
    pub(crate) waited: Vec<Duration>,
    pub(crate) timed_out: BTreeMap<&'static str, u64>,
    pub(crate) overloaded: u64,
}

impl Books {
    async fn open(self: &Arc<Self>, gauge: Option<Gauge>) -> Result<Thing, Oops> {
        self.attempts.fetch_add(1, SeqCst);
        let takes = *self.open_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        self.chance().await?;
        self.opened.fetch_add(1, SeqCst);
        Ok(Thing {
            broken: Arc::default(),
            dirty: AtomicBool::new(false),
            gauge,
        })
    }

    async fn check(&self) -> Result<(), Oops> {
        self.chance().await?;
        self.checked.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn reset(&self, thing: &Thing) -> Result<(), Oops> {
        self.chance().await?;
        thing.dirty.store(false, SeqCst);
        self.cleaned.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn chance(&self) -> Result<(), Oops> {
        let Some((choice, ms)) = self.random.lock().unwrap().as_mut().map(|random| {
            let choice = random.u32(..40);
            (choice, random.u32(..8))
        }) else {
            return Ok(());
        };
        match choice {
            0..3 => Err(Oops("told to fail")),
            3 => panic!("told to panic"),
            4 => std::future::pending().await,
            5..15 => {
                tokio::time::sleep(ms * MS).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Watcher(pub(crate) Arc<Books>);

impl Watcher {
    fn note(&self, note: impl FnOnce(&mut Told)) {
        note(&mut self.0.told.lock().unwrap());
    }
}

impl Observer for Watcher {
    fn opened(&self, _: &str, _: Duration) {
        self.note(|told| told.opened += 1);
    }

    fn open_failed(&self, _: &str, _: &pool_core::observe::Cause<'_>) {
        self.note(|told| told.open_failed += 1);
    }

    fn closed(&self, _: &str, reason: CloseReason) {
        self.note(|told| *told.closed.entry(reason.as_str()).or_default() += 1);
    }

    fn waited(&self, _: &str, waited: Duration) {
        self.note(|told| told.waited.push(waited));
    }

    fn timed_out(&self, _: &str, phase: Phase, _: Duration) {
        self.note(|told| *told.timed_out.entry(phase.as_str()).or_default() += 1);
    }

    fn overloaded(&self, _: &str) {
        self.note(|told| told.overloaded += 1);
    }
}

#[derive(Debug)]
pub(crate) struct Thing {
    pub(crate) broken: Arc<AtomicBool>,
    pub(crate) dirty: AtomicBool,
    pub(crate) gauge: Option<Gauge>,
}

impl Thing {
    pub(crate) fn breaks(&self) {
        match &self.gauge {
            Some(gauge) => gauge.dead(),
            None => self.broken.store(true, SeqCst),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Keeper(pub(crate) Arc<Books>);

macro_rules! manages {
    ($trait:path $(, $key:ty)?) => {
        impl $trait for Keeper {
            type Resource = Thing;
            type Error = Oops;

            async fn create(&self $(, _: &$key)?) -> Result<Thing, Oops> {
                self.0.open(None).await
            }

            async fn check(&self, _: &mut Thing, _: &Usage) -> Result<(), Oops> {
                self.0.check().await
            }

            fn needs_reset(&self, thing: &mut Thing, _: &Usage) -> bool {
                *thing.dirty.get_mut()
            }

            async fn reset(&self, thing: &mut Thing, _: &Usage) -> Result<(), Oops> {
                self.0.reset(thing).await
            }

            fn is_broken(&self, thing: &mut Thing) -> bool {
                thing.broken.load(SeqCst)
            }

            async fn close(&self, thing: Thing) {
                self.0.closes.fetch_add(1, SeqCst);
                drop(thing);
            }
        }
    };
}

manages!(Manager);
manages!(KeyedManager<u32>, u32);

impl SharedManager for Keeper {
    type Resource = Thing;
    type Error = Oops;

    async fn create(&self, gauge: Gauge) -> Result<Thing, Oops> {
        gauge.set_capacity(1);
        self.0.open(Some(gauge)).await
    }

    async fn close(&self, thing: Thing) {
        self.0.closes.fetch_add(1, SeqCst);
        drop(thing);
    }
}

pub(crate) type Got<L> = Pin<Box<dyn Future<Output = Result<L, Error<Oops>>> + Send>>;

/// A pool, as far as it is held to books.
pub(crate) trait Face: Clone + Send + Sync + 'static {
    /// It has checks, resets and leases that are timed.
    const TENDS: bool;
    type Lease: Send + 'static;

    fn new(books: &Arc<Books>, config: Config) -> Self;
    fn get(&self, limit: Option<Duration>) -> Got<Self::Lease>;
    fn try_get(&self) -> Option<Self::Lease>;
    fn thing(lease: &Self::Lease) -> &Thing;
    fn taint(lease: &mut Self::Lease);
    /// Takes it out of the pool, where that can be done.
    fn detach(lease: Self::Lease, books: &Books);
    fn status(&self) -> Status;
    fn died(&self) -> u64;
    fn timings(&self) -> Timings;
    /// Closes those idle ones for which this says no.
    fn retain(&self, keep: impl FnMut() -> bool) -> usize;
    fn resize(&self, size: u32);
    fn retire_all(&self);
    fn close(&self);
}

impl Face for Pool<Keeper> {
    const TENDS: bool = true;
    type Lease = Lease<Keeper>;

    fn new(books: &Arc<Books>, config: Config) -> Self {
        let builder = Self::builder(Keeper(Arc::clone(books))).config(config);
        builder
            .observer(Watcher(Arc::clone(books)))
            .build()
            .unwrap()
    }

    fn get(&self, limit: Option<Duration>) -> Got<Lease<Keeper>> {
        let pool = self.clone();
        Box::pin(async move {
            match limit {
                Some(limit) => Self::get(&pool).timeout(limit).await,
                None => Self::get(&pool).await,
            }
        })
    }

    fn try_get(&self) -> Option<Lease<Keeper>> {
        Self::try_get(self).ok()
    }

    fn thing(lease: &Lease<Keeper>) -> &Thing {
        lease
    }

    fn taint(lease: &mut Lease<Keeper>) {
        Lease::taint(lease);
    }

    fn detach(lease: Lease<Keeper>, books: &Books) {
        books.detached.fetch_add(1, SeqCst);
        drop(Lease::detach(lease));
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn died(&self) -> u64 {
        0
    }

    fn timings(&self) -> Timings {
        Self::timings(self)
    }

    fn retain(&self, mut keep: impl FnMut() -> bool) -> usize {
        Self::retain(self, |_, _| keep())
    }

    fn resize(&self, size: u32) {
        Self::resize(self, size).unwrap();
    }

    fn retire_all(&self) {
        Self::retire_all(self);
    }

    fn close(&self) {
        Self::close(self);
    }
}

impl Face for KeyedPool<u32, Keeper> {
    const TENDS: bool = true;
    type Lease = KeyedLease<u32, Keeper>;

    fn new(books: &Arc<Books>, config: Config) -> Self {
        let total = config.get_max_size();
        let builder = Self::builder(Keeper(Arc::clone(books))).config(config);
        let builder = builder.max_total(total).max_total_waiters(usize::MAX);
        builder
            .observer(Watcher(Arc::clone(books)))
            .build()
            .unwrap()
    }

    fn get(&self, limit: Option<Duration>) -> Got<Self::Lease> {
        let pool = self.clone();
        Box::pin(async move {
            match limit {
                Some(limit) => Self::get(&pool, &7).timeout(limit).await,
                None => Self::get(&pool, &7).await,
            }
        })
    }

    fn try_get(&self) -> Option<Self::Lease> {
        Self::try_get(self, &7).ok()
    }

    fn thing(lease: &Self::Lease) -> &Thing {
        lease
    }

    fn taint(lease: &mut Self::Lease) {
        KeyedLease::taint(lease);
    }

    fn detach(lease: Self::Lease, books: &Books) {
        books.detached.fetch_add(1, SeqCst);
        drop(KeyedLease::detach(lease));
    }

    fn status(&self) -> Status {
        Self::status(self)
    }

    fn died(&self) -> u64 {
        0
    }

    fn timings(&self) -> Timings {
        Self::timings(self)
    }

    fn retain(&self, mut keep: impl FnMut() -> bool) -> usize {
        Self::retain(self, |_, _, _| keep())
    }

    fn resize(&self, size: u32) {
        Self::resize(self, size).unwrap();
    }

    fn retire_all(&self) {
        Self::retire_all(self);
    }

    fn close(&self) {
        Self::close(self);
    }
}

impl Face for SharedPool<Keeper> {
    const TENDS: bool = false;
    type Lease = Share<Keeper>;

    fn new(books: &Arc<Books>, config: Config) -> Self {
        let config = SharedConfig::new()
            .max_size(config.get_max_size())
            .max_opening(config.get_max_opening())
            .max_waiters(config.get_max_waiters())
            .acquire_timeout(config.get_acquire_timeout())
            .create_timeout(config.get_create_timeout());
        let builder = Self::builder(Keeper(Arc::clone(books))).config(config);
        builder
            .observer(Watcher(Arc::clone(books)))
            .build()
            .unwrap()
    }

    fn get(&self, limit: Option<Duration>) -> Got<Share<Keeper>> {
        let pool = self.clone();
        Box::pin(async move {
            match limit {
                Some(limit) => Self::get(&pool).timeout(limit).await,
                None => Self::get(&pool).await,
            }
        })
    }

    fn try_get(&self) -> Option<Share<Keeper>> {
        Self::try_get(self).ok()
    }

    fn thing(lease: &Share<Keeper>) -> &Thing {
        lease
    }

    fn taint(lease: &mut Share<Keeper>) {
        Share::taint(lease);
    }

    fn detach(lease: Share<Keeper>, _: &Books) {
        drop(lease);
    }

    fn status(&self) -> Status {
        let of = Self::status(self);
        let mut status = Status::default();
        (status.open, status.leased) = (of.open, of.shares);
        (status.opening, status.closing) = (of.opening, of.closing);
        (status.waiting, status.gets, status.waited) = (of.waiting, of.gets, of.waited);
        (status.opened, status.open_failures) = (of.opened, of.open_failures);
        status.closed = of.closed;
        (status.timeouts_wait, status.timeouts_create) = (of.timeouts_wait, of.timeouts_create);
        (status.overloaded, status.failed_fast) = (of.overloaded, of.failed_fast);
        (status.cancelled, status.reclaimed) = (of.cancelled, of.reclaimed);
        status
    }

    fn died(&self) -> u64 {
        Self::status(self).died
    }

    fn timings(&self) -> Timings {
        Self::timings(self)
    }

    fn retain(&self, _: impl FnMut() -> bool) -> usize {
        0
    }

    fn resize(&self, size: u32) {
        Self::resize(self, size).unwrap();
    }

    fn retire_all(&self) {
        Self::retire_all(self);
    }

    fn close(&self) {
        Self::close(self);
    }
}
