//! Pools by key of which a connection serves one caller or many, from outside.
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod counts;
mod demand;
mod lies;
mod told;
mod turns;
mod upkeep;

use std::{
    fmt,
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Oops, settle};
use pool_core::{Gauge, Held, MixedBuilder, MixedManager, MixedPool, Opened, Usage};
use tokio::time::sleep;

/// What the next connection of a key will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    One,
    /// It may have so many shares.
    Many(u32),
}

/// Opens what `plan` says.
struct Origins {
    plan: Box<dyn Fn(u32) -> Plan + Send + Sync>,
    /// Is told of each gauge before `create` returns.
    early: Box<dyn Fn(&Gauge) + Send + Sync>,
    expects: Option<u32>,
    takes: Duration,
    count: Arc<Count>,
}

impl fmt::Debug for Origins {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origins").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Count {
    begun: AtomicU32,
    alive: AtomicU32,
    checks: AtomicU32,
    closes: AtomicU32,
    /// A close panics.
    rude: AtomicBool,
    gauges: Mutex<Vec<Gauge>>,
}

/// A connection.
struct Wire {
    /// In the order of the dials, from 1.
    id: u32,
    gauge: Gauge,
    count: Arc<Count>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.count.alive.fetch_sub(1, SeqCst);
    }
}

impl MixedManager<u32> for Origins {
    type One = Wire;
    type Many = Wire;
    type Error = Oops;

    async fn create(&self, key: &u32, gauge: Gauge) -> Result<Opened<Wire, Wire>, Oops> {
        let id = self.count.begun.fetch_add(1, SeqCst) + 1;
        if self.takes > Duration::ZERO {
            sleep(self.takes).await;
        }
        self.count.alive.fetch_add(1, SeqCst);
        self.count.gauges.lock().unwrap().push(gauge.clone());
        let wire = Wire {
            id,
            gauge,
            count: Arc::clone(&self.count),
        };
        let plan = (self.plan)(*key);
        if let Plan::Many(capacity) = plan {
            wire.gauge.set_capacity(capacity);
        }
        (self.early)(&wire.gauge);
        Ok(match plan {
            Plan::One => Opened::One(wire),
            Plan::Many(_) => Opened::Many(wire),
        })
    }

    fn expects(&self, _: &u32) -> Option<u32> {
        self.expects
    }

    async fn check(&self, _: &mut Wire, _: &Usage) -> Result<(), Oops> {
        self.count.checks.fetch_add(1, SeqCst);
        Ok(())
    }

    async fn close(&self, wire: Opened<Wire, Wire>) {
        self.count.closes.fetch_add(1, SeqCst);
        assert!(!self.count.rude.load(SeqCst), "told to panic");
        drop(wire);
    }
}

type Pool = MixedPool<u32, Origins>;
type Builder = MixedBuilder<u32, Origins>;

/// A pool of such connections, with four for each key and eight in all.
fn origins(plan: impl Fn(u32) -> Plan + Send + Sync + 'static) -> Builder {
    built(Origins {
        plan: Box::new(plan),
        early: Box::new(|_| ()),
        expects: None,
        takes: Duration::ZERO,
        count: Arc::default(),
    })
}

/// As [`origins`], with a dial that takes this long.
fn slow(takes: Duration, plan: impl Fn(u32) -> Plan + Send + Sync + 'static) -> Builder {
    built(Origins {
        plan: Box::new(plan),
        early: Box::new(|_| ()),
        expects: None,
        takes,
        count: Arc::default(),
    })
}

fn built(origins: Origins) -> Builder {
    let builder = MixedPool::builder(origins).max_size(4).max_total(8);
    builder.max_opening(16).max_lifetime(None)
}

/// A key of connections that are lent to one at a time.
const OLD: u32 = 1;
/// A key of connections that may have four shares.
const NEW: u32 = 4;

/// By the key: how many may share it.
fn by_key(key: u32) -> Plan {
    if key == OLD {
        Plan::One
    } else {
        Plan::Many(key)
    }
}

/// What is had, of either kind.
struct Had(Held<u32, Origins>);

impl Deref for Had {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        match &self.0 {
            Held::One(wire) => wire,
            Held::Many(wire) => wire,
        }
    }
}

async fn get(pool: &Pool, key: u32) -> Had {
    Had(pool.get(&key).await.unwrap())
}

async fn get_some(pool: &Pool, key: u32, count: u32) -> Vec<Had> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(get(pool, key).await);
    }
    all
}

/// How many dials were begun.
fn dials(pool: &Pool) -> u32 {
    pool.manager().count.begun.load(SeqCst)
}

/// Everything comes to an end, and every connection was closed once, but for these, which died while somebody had them.
async fn ends(pool: Pool, died: u32) {
    let count = Arc::clone(&pool.manager().count);
    let drained = pool.drain(Duration::from_secs(20)).await;
    assert!(drained.is_complete(), "{drained:?} {:?}", pool.status());
    settle().await;
    let status = pool.status();
    assert_eq!((status.shares, status.connections.leased), (0, 0));
    assert_eq!(count.alive.load(SeqCst), 0, "leaked");
    let opened = u32::try_from(count.gauges.lock().unwrap().len()).unwrap();
    assert_eq!(count.closes.load(SeqCst) + died, opened, "closed once each");
}
