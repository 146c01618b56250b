//! What the pools open from: it does what a test tells it, and counts.

use std::{
    fmt,
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use pool_core::Gauge;
use tokio::sync::Semaphore;

/// What a pool has done with what it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Open,
    Check,
    Reset,
    Close,
}

impl Stage {
    pub(crate) const ALL: [Self; 4] = [Self::Open, Self::Check, Self::Reset, Self::Close];
}

/// What one call does.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Succeed,
    Fail,
    Panic,
    Hang,
    /// Waits until the test lets it through.
    Gate(Arc<Semaphore>),
    /// Any of the others, by chance.
    Any(Arc<Mutex<fastrand::Rng>>),
}

impl Act {
    async fn run(self) -> Result<(), Oops> {
        match self {
            Self::Succeed => Ok(()),
            Self::Fail => Err(Oops),
            Self::Panic => panic!("{TOLD}"),
            Self::Hang => std::future::pending().await,
            Self::Gate(gate) => {
                gate.acquire().await.unwrap().forget();
                Ok(())
            }
            Self::Any(random) => {
                let (choice, ms) = {
                    let mut random = random.lock().unwrap();
                    (random.u32(..20), random.u64(..15))
                };
                match choice {
                    0..10 => Ok(()),
                    10..15 => {
                        tokio::time::sleep(Duration::from_millis(ms)).await;
                        Ok(())
                    }
                    15..17 => Err(Oops),
                    17..19 => panic!("{TOLD}"),
                    _ => std::future::pending().await,
                }
            }
        }
    }
}

/// How one is when it was just opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Born {
    Well,
    /// Broken, and known to be.
    Broken,
    /// It breaks before anybody could use it.
    Dying,
    /// Its backend lets it go before anybody could use it. If it is shared, it takes nobody before.
    Leaving,
    /// It dies in the same way.
    Lost,
}

/// Code of a user's that panics when it is called.
#[derive(Debug, Default)]
pub(crate) struct Rude {
    pub(crate) is_broken: AtomicBool,
    pub(crate) needs_reset: AtomicBool,
    pub(crate) drop: AtomicBool,
    pub(crate) observer: AtomicBool,
}

impl Rude {
    pub(crate) fn about(flag: &AtomicBool) {
        if flag.load(SeqCst) && !std::thread::panicking() {
            panic!("{TOLD}");
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Oops;

impl fmt::Display for Oops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to fail")
    }
}

impl std::error::Error for Oops {}

const TOLD: &str = "told to panic";

/// What all things of one test come from.
#[derive(Debug)]
pub(crate) struct Backend {
    acts: Mutex<[Act; 4]>,
    calls: [AtomicU64; 4],
    born: Mutex<Born>,
    pub(crate) rude: Rude,
    opened: AtomicU64,
    died: AtomicU64,
    opening: AtomicU32,
    alive: AtomicU32,
    /// How many there were at once at most: open, being opened, or being closed.
    held: AtomicU32,
    most_held: AtomicU32,
}

impl Backend {
    pub(crate) fn new() -> Arc<Self> {
        hush();
        Arc::new(Self {
            acts: Mutex::new([const { Act::Succeed }; 4]),
            calls: Default::default(),
            born: Mutex::new(Born::Well),
            rude: Rude::default(),
            opened: AtomicU64::new(0),
            died: AtomicU64::new(0),
            opening: AtomicU32::new(0),
            alive: AtomicU32::new(0),
            held: AtomicU32::new(0),
            most_held: AtomicU32::new(0),
        })
    }

    pub(crate) fn on(&self, stage: Stage, act: Act) {
        self.acts.lock().unwrap()[stage as usize] = act;
    }

    pub(crate) fn are_born(&self, born: Born) {
        *self.born.lock().unwrap() = born;
    }

    /// How often that was begun.
    pub(crate) fn calls(&self, stage: Stage) -> u64 {
        self.calls[stage as usize].load(SeqCst)
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(SeqCst)
    }

    /// How many went without a close after their gauge had said that they are dead.
    pub(crate) fn died(&self) -> u64 {
        self.died.load(SeqCst)
    }

    pub(crate) fn opening(&self) -> u32 {
        self.opening.load(SeqCst)
    }

    pub(crate) fn alive(&self) -> u32 {
        self.alive.load(SeqCst)
    }

    pub(crate) fn most_held(&self) -> u32 {
        self.most_held.load(SeqCst)
    }

    pub(crate) async fn run(&self, stage: Stage) -> Result<(), Oops> {
        self.calls[stage as usize].fetch_add(1, SeqCst);
        let act = self.acts.lock().unwrap()[stage as usize].clone();
        act.run().await
    }

    /// Opens one. With a gauge it is shared, and its gauge says how it is.
    pub(crate) async fn open(self: &Arc<Self>, gauge: Option<Gauge>) -> Result<Thing, Oops> {
        self.open_with(gauge.clone(), gauge).await
    }

    /// Opens one that is lent to one at a time, and whose backend can say that it goes.
    pub(crate) async fn open_lent(self: &Arc<Self>, voice: Gauge) -> Result<Thing, Oops> {
        self.open_with(None, Some(voice)).await
    }

    async fn open_with(
        self: &Arc<Self>,
        gauge: Option<Gauge>,
        voice: Option<Gauge>,
    ) -> Result<Thing, Oops> {
        let opening = Opening::new(self);
        self.run(Stage::Open).await?;
        let thing = opening.ends(gauge);
        let born = *self.born.lock().unwrap();
        match (born, &thing.gauge) {
            (Born::Well, _) => {}
            (Born::Broken, None) => thing.broken.store(true, SeqCst),
            (Born::Broken, Some(_)) => thing.breaks(),
            (Born::Leaving | Born::Lost, shared) => match voice {
                Some(voice) => thing.ends_soon(born, voice, shared.is_some()),
                // Nobody says so: the pool sees it when it looks.
                None => thing.dies.store(true, SeqCst),
            },
            (Born::Dying, None) => thing.dies.store(true, SeqCst),
            (Born::Dying, Some(gauge)) => {
                let (gauge, dead) = (gauge.clone(), Arc::clone(&thing.dead));
                drop(tokio::spawn(async move {
                    tokio::task::yield_now().await;
                    dead.store(true, SeqCst);
                    gauge.dead();
                }));
            }
        }
        Ok(thing)
    }
}

/// One on its way. It counts as there from the beginning.
struct Opening<'a>(&'a Arc<Backend>, bool);

impl<'a> Opening<'a> {
    fn new(backend: &'a Arc<Backend>) -> Self {
        backend.opening.fetch_add(1, SeqCst);
        let held = backend.held.fetch_add(1, SeqCst) + 1;
        backend.most_held.fetch_max(held, SeqCst);
        Self(backend, false)
    }

    fn ends(mut self, gauge: Option<Gauge>) -> Thing {
        self.1 = true;
        self.0.alive.fetch_add(1, SeqCst);
        self.0.opened.fetch_add(1, SeqCst);
        Thing {
            broken: AtomicBool::new(false),
            dies: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            dead: Arc::default(),
            parted: AtomicBool::new(false),
            gauge,
            backend: Arc::clone(self.0),
        }
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.0.opening.fetch_sub(1, SeqCst);
        if !self.1 {
            self.0.held.fetch_sub(1, SeqCst);
        }
    }
}

/// One resource, or one connection that others share. It says when it is dropped.
#[derive(Debug)]
pub(crate) struct Thing {
    broken: AtomicBool,
    /// It is broken the next time that anybody asks.
    dies: AtomicBool,
    /// There is something for a reset to do.
    pub(crate) dirty: AtomicBool,
    /// Its gauge was told that it is dead.
    dead: Arc<AtomicBool>,
    /// It was given to a close.
    parted: AtomicBool,
    gauge: Option<Gauge>,
    backend: Arc<Backend>,
}

impl Thing {
    pub(crate) fn breaks(&self) {
        match &self.gauge {
            Some(gauge) => {
                self.dead.store(true, SeqCst);
                gauge.dead();
            }
            None => self.broken.store(true, SeqCst),
        }
    }

    /// Its backend ends it before anybody has it.
    fn ends_soon(&self, born: Born, voice: Gauge, shared: bool) {
        if shared {
            voice.set_capacity(0);
        }
        let dead = Arc::clone(&self.dead);
        drop(tokio::spawn(async move {
            if shared {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // Where a get waited for it, one that is lent was granted by now, and the get was not polled since.
            if born == Born::Leaving {
                voice.drain();
            } else {
                dead.store(true, SeqCst);
                voice.dead();
            }
        }));
    }

    /// Is it broken?
    pub(crate) fn is_broken(&self) -> bool {
        Rude::about(&self.backend.rude.is_broken);
        let broken = self.broken.load(SeqCst);
        if self.dies.load(SeqCst) {
            self.broken.store(true, SeqCst);
        }
        broken
    }

    /// A close has it.
    pub(crate) fn parts(&self) {
        self.parted.store(true, SeqCst);
    }

    pub(crate) fn needs_reset(&self) -> bool {
        Rude::about(&self.backend.rude.needs_reset);
        self.dirty.load(SeqCst)
    }
}

impl Drop for Thing {
    fn drop(&mut self) {
        if self.dead.load(SeqCst) && !self.parted.load(SeqCst) {
            self.backend.died.fetch_add(1, SeqCst);
        }
        self.backend.alive.fetch_sub(1, SeqCst);
        self.backend.held.fetch_sub(1, SeqCst);
        Rude::about(&self.backend.rude.drop);
    }
}

/// Is told of everything, and panics if it is to.
#[derive(Debug)]
pub(crate) struct Observer(pub(crate) Arc<Backend>);

impl pool_core::observe::Observer for Observer {
    fn opened(&self, _: &str, _: Duration) {
        Rude::about(&self.0.rude.observer);
    }

    fn open_failed(&self, _: &str, _: &pool_core::observe::Cause<'_>) {
        Rude::about(&self.0.rude.observer);
    }

    fn closed(&self, _: &str, _: pool_core::observe::CloseReason) {
        Rude::about(&self.0.rude.observer);
    }

    fn waited(&self, _: &str, _: Duration) {
        Rude::about(&self.0.rude.observer);
    }

    fn timed_out(&self, _: &str, _: pool_core::observe::Phase, _: Duration) {
        Rude::about(&self.0.rude.observer);
    }

    fn overloaded(&self, _: &str) {
        Rude::about(&self.0.rude.observer);
    }
}

/// Panics that were told are not printed.
pub(crate) fn hush() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let default = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>().copied();
            let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
            if text != Some(TOLD) {
                default(info);
            }
        }));
    });
}

/// Panics, as it was told.
pub(crate) fn panics() {
    hush();
    panic!("{TOLD}");
}
