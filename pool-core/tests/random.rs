//! Whole pools, with managers and users that do anything at any moment, from many seeds.
//!
//! The models explore the kernel; this is the pool around it: its tasks, its timeouts, its keeper. A seed that
//! fails is printed.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use common::{Act, Backend, MS, SEC, Things, adds_up, end, get_all, hush, settle};
use fastrand::Rng;
use pool_core::{IdleOrder, Lease, Pool};
use tokio::time::{sleep, timeout};

const SEEDS: u64 = 300;
/// No pool is ever larger.
const SIZE: u32 = 4;

fn some_pool(backend: &Arc<Backend>, random: &mut Rng) -> Pool<Things> {
    let sometimes = |on: bool, after: Duration| on.then_some(after);
    Pool::builder(Things(Arc::clone(backend)))
        .max_size(SIZE)
        .min_idle(random.u32(..2))
        .max_opening(random.u32(1..4))
        .acquire_timeout(20 * SEC)
        .create_timeout(50 * MS)
        .check_timeout(40 * MS)
        .reset_timeout(30 * MS)
        .close_timeout(20 * MS)
        .check_after(random.u32(..40) * MS)
        .reclaim_after(random.u32(1..60) * MS)
        .idle_timeout(sometimes(random.bool(), random.u32(1..200) * MS))
        .max_lifetime(sometimes(random.bool(), random.u32(1..200) * MS))
        .keepalive(sometimes(random.bool(), random.u32(1..100) * MS))
        .shed_target(sometimes(random.bool(), random.u32(1..20) * MS))
        .idle_order(if random.bool() {
            IdleOrder::Lifo
        } else {
            IdleOrder::Fifo
        })
        .build()
        .unwrap()
}

/// What somebody holds, for as long as it does.
struct Holding(Arc<AtomicU32>);

impl Holding {
    fn begin(held: &Arc<AtomicU32>) -> Self {
        held.fetch_add(1, SeqCst);
        Self(Arc::clone(held))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

/// One user: gets, holds, gives back, gives up, taints, breaks, takes out.
async fn use_some(pool: Pool<Things>, held: Arc<AtomicU32>, mut random: Rng) {
    loop {
        let patience = random.u32(..60) * MS;
        // Dropped by somebody else's timer, or ended by its own deadline.
        let got = if random.bool() {
            timeout(patience, pool.get())
                .await
                .ok()
                .and_then(Result::ok)
        } else {
            pool.get().timeout(patience).await.ok()
        };
        let Some(mut lease) = got else {
            sleep(random.u32(..5) * MS).await;
            continue;
        };
        let _holding = Holding::begin(&held);
        lease.dirty = random.bool();
        lease.broken = random.u32(..8) == 0;
        match random.u32(..8) {
            0 => Lease::taint(&mut lease),
            1 => {
                let work = Lease::run(&mut lease, async |_| sleep(5 * MS).await);
                drop(timeout(random.u32(..10) * MS, work).await);
            }
            2 => {
                pool.manager().0.detached.fetch_add(1, SeqCst);
                drop(Lease::detach(lease));
                continue;
            }
            _ => sleep(random.u32(..20) * MS).await,
        }
    }
}

/// Whatever may be done to a pool as a whole, at any moment.
async fn operate(pool: Pool<Things>, mut random: Rng) {
    loop {
        sleep(random.u32(..40) * MS).await;
        match random.u32(..4) {
            0 => pool.resize(random.u32(1..=SIZE)).unwrap_or_default(),
            1 => pool.retire_all(),
            2 => drop(pool.retain(|thing, _| !thing.id.is_multiple_of(3))),
            _ => drop(pool.try_get()),
        }
    }
}

async fn run(seed: u64) {
    let mut random = Rng::with_seed(seed);
    let backend = Backend::new();
    let pool = some_pool(&backend, &mut random);
    let any = || Act::Any(Arc::new(Mutex::new(Rng::with_seed(seed))));
    backend.on_create(any());
    backend.on_check(any());
    backend.on_reset(any());
    backend.on_close(any());
    let held = Arc::new(AtomicU32::new(0));
    let user = |random: &mut Rng| {
        let user = use_some(pool.clone(), Arc::clone(&held), random.fork());
        tokio::spawn(user)
    };
    let mut tasks: Vec<_> = (0..10).map(|_| user(&mut random)).collect();
    tasks.push(tokio::spawn(operate(pool.clone(), random.fork())));
    for _ in 0..100 {
        sleep(random.u32(1..8) * MS).await;
        let status = pool.status();
        let taken = status.open + status.opening + status.closing;
        assert!(taken <= SIZE, "{status:?}");
        settle().await;
        let status = pool.status();
        adds_up(&status, &backend, held.load(SeqCst));
        // A client goes away, and another comes.
        let gone = random.usize(..10);
        tasks[gone].abort();
        tasks[gone] = user(&mut random);
    }
    for task in tasks {
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }
    for gate in [
        &backend.create,
        &backend.check,
        &backend.reset,
        &backend.close,
    ] {
        *gate.lock().unwrap() = Act::Succeed;
    }
    pool.resize(SIZE).unwrap();
    drop(get_all(&pool).await);
    settle().await;
    assert!(backend.most_alive.load(SeqCst) <= SIZE);
    end(pool).await;
}

#[test]
fn whatever_managers_and_users_do_the_bound_holds_and_all_capacity_is_there_afterwards() {
    hush();
    for seed in 0..SEEDS {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(run(seed))));
        assert!(outcome.is_ok(), "seed {seed}");
    }
}
