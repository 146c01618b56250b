//! A manager that does anything: succeeds, fails, panics, hangs, takes its time. Its resources check what is done to them.

use std::{
    fmt,
    future::{pending, poll_fn},
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use shuttle::rand::{Rng, thread_rng};

use crate::{
    Gauge, KeyedManager, Manager, MixedManager, Opened, SharedManager, Usage,
    rt::{self, simulated::fail},
};

/// True once in this many times.
pub(super) fn one_in(n: u32) -> bool {
    thread_rng().gen_range(0..n) == 0
}

/// A duration of at most this many milliseconds.
pub(super) fn up_to_ms(most: u64) -> Duration {
    Duration::from_micros(thread_rng().gen_range(0..most * 1000))
}

/// Lets other tasks run.
pub(super) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Polls a future once, and drops it.
pub(super) fn poll_once(future: impl Future) {
    drop(pin!(future).poll(&mut Context::from_waker(Waker::noop())));
}

/// The state that all resources of one model share. Plain atomics, because the bookkeeping is no step of a schedule.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Resources from the beginning of an open to the end of a close.
    pub(super) alive: AtomicU32,
    /// The largest number of resources that the pool was allowed to have so far.
    pub(super) bound: AtomicU32,
    /// The resources of each key, from the beginning of an open to the end of a close.
    of_key: [AtomicU32; KEYS.len()],
    pub(super) opened: AtomicU32,
    pub(super) gone: AtomicU32,
    /// Nothing fails any more.
    pub(super) well: AtomicBool,
}

/// The keys of a keyed pool.
pub(super) const KEYS: [u8; 2] = [0, 1];
/// How many resources a key may have.
pub(super) const OF_KEY: u32 = 2;
/// How many shares a connection may have.
pub(super) const CAPACITY: u32 = 2;

/// The manager.
#[derive(Debug)]
pub(super) struct Backend(pub(super) Arc<Ledger>);

/// One unit of the bound.
#[derive(Debug)]
struct Place {
    ledger: Arc<Ledger>,
    key: Option<u8>,
}

impl Place {
    fn take(ledger: &Arc<Ledger>, key: Option<u8>) -> Self {
        let alive = ledger.alive.fetch_add(1, SeqCst) + 1;
        let bound = ledger.bound.load(SeqCst);
        if alive > bound {
            fail(format!("the bound was exceeded: {alive} of {bound}"));
        }
        if let Some(key) = key {
            let alive = ledger.of_key[usize::from(key)].fetch_add(1, SeqCst) + 1;
            if alive > OF_KEY {
                fail(format!("the bound of {key} was exceeded: {alive}"));
            }
        }
        let ledger = Arc::clone(ledger);
        Self { ledger, key }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.ledger.alive.fetch_sub(1, SeqCst);
        if let Some(key) = self.key {
            self.ledger.of_key[usize::from(key)].fetch_sub(1, SeqCst);
        }
    }
}

/// A resource.
#[derive(Debug)]
pub(super) struct Item {
    ledger: Arc<Ledger>,
    /// `None` when the resource takes no place of the pool any more.
    place: Mutex<Option<Place>>,
    key: Option<u8>,
    /// Where the connection says how it is, if its kind of pool listens.
    pub(super) gauge: Option<Gauge>,
    /// How many users may have it at once.
    most: u32,
    /// How many users, or calls of the manager, use the resource.
    held: AtomicU32,
    /// The last user left it in the middle of a call.
    pub(super) dirty: AtomicBool,
    /// The resource must be closed, and not used in any other way.
    unfit: AtomicBool,
    /// The backend closed the connection.
    pub(super) broken: AtomicBool,
}

impl Item {
    /// The resource is in use from now on, by one user or call only.
    pub(super) fn hold(&self) {
        if self.held.fetch_add(1, SeqCst) > 0 {
            fail("a resource is in two hands".to_owned());
        }
    }

    pub(super) fn let_go(&self) {
        self.held.fetch_sub(1, SeqCst);
    }

    /// A user got the resource, or a share of it.
    pub(super) fn handed_out(&self) {
        if self.held.fetch_add(1, SeqCst) >= self.most {
            fail("a resource is in too many hands".to_owned());
        }
        if self.dirty.load(SeqCst) {
            fail("a tainted resource was handed out".to_owned());
        }
        if self.unfit.load(SeqCst) {
            fail("a resource was handed out that had to be closed".to_owned());
        }
    }

    /// Whether the resource belongs to this key.
    pub(super) fn is_of(&self, key: u8) {
        if self.key != Some(key) {
            fail(format!("one of {:?} is taken for one of {key}", self.key));
        }
    }

    /// The resource is about to be taken out of the pool, or to be given up by it.
    pub(super) fn leave(&self) {
        drop(self.place.lock().unwrap().take());
    }

    fn condemn(&self) {
        self.unfit.store(true, SeqCst);
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.ledger.gone.fetch_add(1, SeqCst);
    }
}

/// One call of the manager uses the resource.
struct InHand<'a>(&'a Item);

impl<'a> InHand<'a> {
    fn of(item: &'a Item) -> Self {
        item.hold();
        Self(item)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.let_go();
    }
}

impl Backend {
    /// What happens in one call.
    async fn act(&self) -> Result<(), Trouble> {
        if self.0.well.load(SeqCst) {
            return Ok(());
        }
        match thread_rng().gen_range(0..16) {
            0 | 1 => Err(Trouble),
            2 => go_to_pieces(),
            3 => pending().await,
            4 | 5 => {
                rt::sleep_until(rt::now() + up_to_ms(60)).await;
                if one_in(4) { Err(Trouble) } else { Ok(()) }
            }
            6..=9 => {
                yield_now().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Says something of a connection before the pool has it.
    fn speaks_early(&self, gauge: &Gauge) {
        if self.is_troubled(20) {
            gauge.dead();
        } else if self.is_troubled(20) {
            gauge.drain();
        }
    }

    fn is_troubled(&self, one: u32) -> bool {
        !self.0.well.load(SeqCst) && one_in(one)
    }
}

impl Backend {
    async fn open(&self, key: Option<u8>, gauge: Option<Gauge>) -> Result<Item, Trouble> {
        let place = Place::take(&self.0, key);
        self.act().await?;
        self.0.opened.fetch_add(1, SeqCst);
        Ok(Item {
            ledger: Arc::clone(&self.0),
            place: Mutex::new(Some(place)),
            key,
            gauge,
            most: 1,
            held: AtomicU32::new(0),
            dirty: AtomicBool::new(false),
            unfit: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        })
    }

    async fn look_at(&self, item: &Item) -> Result<(), Trouble> {
        let hand = InHand::of(item);
        // Set until the check has passed: a check that fails, panics or takes too long leaves it set.
        hand.0.condemn();
        self.act().await?;
        hand.0.unfit.store(false, SeqCst);
        Ok(())
    }

    fn wants_reset(&self, item: &Item, usage: &Usage) -> bool {
        let hand = InHand::of(item);
        if self.is_troubled(24) {
            hand.0.condemn();
            go_to_pieces();
        }
        if usage.tainted {
            let can_be_reset = !self.is_troubled(3);
            if !can_be_reset {
                hand.0.condemn();
            }
            return can_be_reset;
        }
        let needs = self.is_troubled(5);
        hand.0.dirty.store(needs, SeqCst);
        needs
    }

    async fn clean(&self, item: &Item) -> Result<(), Trouble> {
        let hand = InHand::of(item);
        hand.0.condemn();
        self.act().await?;
        hand.0.dirty.store(false, SeqCst);
        hand.0.unfit.store(false, SeqCst);
        Ok(())
    }

    fn hung_up(&self, item: &Item) -> bool {
        let hand = InHand::of(item);
        if hand.0.unfit.load(SeqCst) {
            fail("one that had to be closed was asked whether it is broken".to_owned());
        }
        if self.is_troubled(30) {
            hand.0.condemn();
            go_to_pieces();
        }
        let broken = hand.0.broken.load(SeqCst) || self.is_troubled(20);
        if broken {
            hand.0.condemn();
        }
        broken
    }

    async fn part_with(&self, item: Item) {
        item.hold();
        // The resource is dropped in any case.
        let _ = self.act().await;
        drop(item);
    }
}

/// What managers do with a resource that one user has at a time, except for opening and closing it.
macro_rules! tends {
    () => {
        async fn check(&self, item: &mut Item, _: &Usage) -> Result<(), Trouble> {
            self.look_at(item).await
        }

        fn needs_reset(&self, item: &mut Item, usage: &Usage) -> bool {
            self.wants_reset(item, usage)
        }

        async fn reset(&self, item: &mut Item, _: &Usage) -> Result<(), Trouble> {
            self.clean(item).await
        }

        fn is_broken(&self, item: &mut Item) -> bool {
            self.hung_up(item)
        }
    };
}

impl Manager for Backend {
    type Resource = Item;
    type Error = Trouble;

    async fn create(&self) -> Result<Item, Trouble> {
        self.open(None, None).await
    }

    tends!();

    async fn close(&self, item: Item) {
        self.part_with(item).await;
    }
}

impl KeyedManager<u8> for Backend {
    type Resource = Item;
    type Error = Trouble;

    async fn create(&self, key: &u8) -> Result<Item, Trouble> {
        self.open(Some(*key), None).await
    }

    tends!();

    async fn close(&self, item: Item) {
        self.part_with(item).await;
    }
}

impl MixedManager<u8> for Backend {
    type One = Item;
    type Many = Item;
    type Error = Trouble;

    /// A key may have connections of both kinds.
    async fn create(&self, key: &u8, gauge: Gauge) -> Result<Opened<Item, Item>, Trouble> {
        let mut item = self.open(Some(*key), Some(gauge.clone())).await?;
        self.speaks_early(&gauge);
        if one_in(3) {
            return Ok(Opened::One(item));
        }
        gauge.set_capacity(CAPACITY);
        item.most = CAPACITY;
        Ok(Opened::Many(item))
    }

    fn expects(&self, key: &u8) -> Option<u32> {
        (*key == KEYS[0]).then_some(CAPACITY)
    }

    tends!();

    async fn close(&self, connection: Opened<Item, Item>) {
        let (Opened::One(item) | Opened::Many(item)) = connection;
        self.part_with(item).await;
    }
}

impl SharedManager for Backend {
    type Resource = Item;
    type Error = Trouble;

    async fn create(&self, gauge: Gauge) -> Result<Item, Trouble> {
        let mut item = self.open(None, Some(gauge.clone())).await?;
        gauge.set_capacity(CAPACITY);
        item.most = CAPACITY;
        self.speaks_early(&gauge);
        Ok(item)
    }

    async fn close(&self, item: Item) {
        self.part_with(item).await;
    }
}

/// Panics without a message: the panic is a part of the model, and not its failure.
fn go_to_pieces() -> ! {
    resume_unwind(Box::new("told to panic"))
}

/// The error of the manager.
#[derive(Debug)]
pub(super) struct Trouble;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("told to fail")
    }
}

impl std::error::Error for Trouble {}
