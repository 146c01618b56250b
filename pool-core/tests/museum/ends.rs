//! The end of a pool, of a runtime, and of user code that panics or comes back.

use std::{
    convert::Infallible,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use pool_core::{
    Lease, Manager, Pool, Usage,
    observe::{CloseReason, LeaseInfo, Observer, Phase},
};
use tokio::time::sleep;

use crate::{
    common::{Act, Backend, MS, SEC, end, get_all, hush, settle},
    pool, two_threads,
};

// sqlx#1396: a guard that was dropped into a runtime that is ending lost its permit, or panicked.
#[test]
fn leases_held_by_tasks_of_a_runtime_that_ends_come_back() {
    let backend = Backend::new();
    backend.on_reset(Act::Succeed);
    let pool = pool(&backend).max_size(4).build().unwrap();
    let runtime = two_threads();
    runtime.block_on(async {
        for (n, mut lease) in get_all(&pool).await.into_iter().enumerate() {
            lease.dirty = n % 2 == 0;
            tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(lease);
            });
        }
        settle().await;
    });
    drop(runtime);
    let status = pool.status();
    assert_eq!((status.leased, status.resetting), (0, 0), "{status:?}");
    assert_eq!(status.open, backend.alive());
    two_threads().block_on(async { drop(get_all(&pool).await) });
}

// The same for leases that go to a thread of their own, where there never was a runtime.
#[test]
fn leases_dropped_on_threads_without_a_runtime_come_back() {
    let backend = Backend::new();
    backend.on_reset(Act::Succeed);
    let pool = pool(&backend).max_size(4).build().unwrap();
    two_threads().block_on(async {
        for round in 0..20 {
            let threads: Vec<_> = get_all(&pool)
                .await
                .into_iter()
                .map(|mut lease| {
                    std::thread::spawn(move || {
                        lease.dirty = round % 2 == 0;
                        lease.broken = round % 3 == 0;
                    })
                })
                .collect();
            for thread in threads {
                thread.join().unwrap();
            }
        }
        assert_eq!(pool.status().closed.by(CloseReason::NoRuntime), 0);
        end(pool).await;
    });
}

// sqlx#844, sqlx#2375: the reaper held the pool, so it outlived its last handle.
#[tokio::test(start_paused = true)]
async fn nothing_of_a_pool_with_upkeep_outlives_its_last_handle() {
    let backend = Backend::new();
    let pool = pool(&backend)
        .max_size(4)
        .min_idle(2)
        .keepalive(Some(SEC))
        .max_lifetime(Some(10 * SEC))
        .build()
        .unwrap();
    pool.warm_up().await.unwrap();
    drop(get_all(&pool).await);
    sleep(15 * SEC).await;
    let clone = pool.clone();
    drop(pool);
    assert!(clone.get().await.is_ok(), "there is one handle left");
    drop(clone);
    settle().await;
    assert_eq!((backend.alive(), Arc::strong_count(&backend)), (0, 1));
}

// cognee-rs#132: `close` came back with one left, which went idle in the closed pool later.
#[test]
fn what_comes_back_while_the_pool_is_closed_is_closed() {
    two_threads().block_on(async {
        for _ in 0..200 {
            let backend = Backend::new();
            let pool = pool(&backend).max_size(4).build().unwrap();
            let users: Vec<_> = get_all(&pool)
                .await
                .into_iter()
                .map(|lease| {
                    tokio::spawn(async move {
                        tokio::task::yield_now().await;
                        drop(lease);
                    })
                })
                .collect();
            let drained = pool.drain(10 * SEC).await;
            assert!(drained.is_complete(), "{drained:?}");
            let status = pool.status();
            assert_eq!((status.open, status.idle, backend.alive()), (0, 0, 0));
            for user in users {
                user.await.unwrap();
            }
        }
    });
}

// cognee-rs#132, one after the other.
#[tokio::test(start_paused = true)]
async fn what_comes_back_after_the_close_is_closed_and_drain_waits_for_it() {
    let backend = Backend::new();
    backend.on_close(Act::Take(30 * MS));
    let pool = pool(&backend).max_size(2).build().unwrap();
    let leases = get_all(&pool).await;
    pool.close();
    let drain = tokio::spawn({
        let pool = pool.clone();
        async move { pool.drain(SEC).await }
    });
    sleep(10 * MS).await;
    drop(leases);
    sleep(10 * MS).await;
    assert!(!drain.is_finished(), "its close takes 30 ms");
    assert!(drain.await.unwrap().is_complete());
    assert_eq!(pool.status().closed.by(CloseReason::PoolClosed), 2);
    end(pool).await;
}

/// A manager and resources that look into their own pool whenever they are called.
#[derive(Clone, Debug)]
struct Nosy {
    pool: Arc<OnceLock<Weak<Pool<Self>>>>,
    calls: Arc<AtomicU32>,
}

#[derive(Debug)]
struct NosyThing(Nosy);

impl Nosy {
    fn look(&self) {
        let Some(pool) = self.pool.get().and_then(Weak::upgrade) else {
            return;
        };
        self.calls.fetch_add(1, SeqCst);
        assert!(pool.status().open <= 2);
        drop(pool.leases());
        drop(pool.timings());
        pool.retain(|_, _| true);
        pool.resize(2).unwrap();
        drop(pool.try_get());
    }
}

impl Drop for NosyThing {
    fn drop(&mut self) {
        self.0.look();
    }
}

impl Manager for Nosy {
    type Resource = NosyThing;
    type Error = Infallible;

    async fn create(&self) -> Result<NosyThing, Infallible> {
        self.look();
        Ok(NosyThing(self.clone()))
    }

    async fn check(&self, _: &mut NosyThing, _: &Usage) -> Result<(), Infallible> {
        self.look();
        Ok(())
    }

    fn needs_reset(&self, _: &mut NosyThing, usage: &Usage) -> bool {
        if usage.tainted {
            self.look();
        }
        usage.tainted
    }

    async fn reset(&self, _: &mut NosyThing, _: &Usage) -> Result<(), Infallible> {
        self.look();
        Ok(())
    }

    async fn close(&self, thing: NosyThing) {
        self.look();
        drop(thing);
    }
}

impl Observer for Nosy {
    fn opened(&self, _: &str, _: Duration) {
        self.look();
    }
    fn closed(&self, _: &str, _: CloseReason) {
        self.look();
    }
    fn waited(&self, _: &str, _: Duration) {
        self.look();
    }
    fn timed_out(&self, _: &str, _: Phase, _: Duration) {
        self.look();
    }
    fn leaked(&self, _: &str, _: &LeaseInfo) {
        self.look();
    }
}

// bb8#154 (and its pull requests 186 and 189): the drop of a connection called back into the pool, which held its lock.
#[tokio::test(start_paused = true)]
async fn managers_resources_and_observers_may_call_the_pool_from_anywhere() {
    let nosy = Nosy {
        pool: Arc::default(),
        calls: Arc::default(),
    };
    let pool = Pool::builder(nosy.clone())
        .max_size(2)
        .leak_after(Some(SEC))
        .idle_timeout(Some(20 * SEC))
        .observer(nosy.clone())
        .build()
        .unwrap();
    let shared = Arc::new(pool.clone());
    assert!(nosy.pool.set(Arc::downgrade(&shared)).is_ok());
    for round in 0..10 {
        let (mut a, b) = (pool.get().await.unwrap(), pool.get().await.unwrap());
        assert!(pool.get().timeout(20 * MS).await.unwrap_err().is_timeout());
        Lease::taint(&mut a);
        sleep(2 * SEC).await;
        if round % 2 == 0 {
            drop(Lease::detach(b));
        }
        drop(a);
        pool.retire_all();
        sleep(30 * SEC).await;
    }
    assert!(nosy.calls.load(SeqCst) > 50, "{:?}", nosy.calls);
    assert!(pool.drain(SEC).await.is_complete());
}

// deadpool: the predicate of `retain`, `detach` and drops of objects run under its mutex: one panic, and every get panics.
#[tokio::test(start_paused = true)]
async fn a_panic_in_code_that_is_not_the_pools_poisons_nothing() {
    hush();
    let backend = Backend::new();
    let pool = pool(&backend).max_size(3).build().unwrap();
    drop(get_all(&pool).await);
    let panics = std::panic::AssertUnwindSafe(|| pool.retain(|_, _| panic!("told to panic")));
    assert!(std::panic::catch_unwind(panics).is_err());
    drop(get_all(&pool).await);

    let user = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _lease = pool.get().await.unwrap();
            panic!("told to panic");
        }
    });
    assert!(user.await.unwrap_err().is_panic());
    drop(get_all(&pool).await);
    assert_eq!(
        pool.status().closed.by(CloseReason::Tainted),
        1,
        "whoever had it may have stopped anywhere"
    );
}
