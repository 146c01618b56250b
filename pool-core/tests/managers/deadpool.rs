//! Managers of deadpool.

use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt, future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use deadpool::managed::{self, Hook, HookError, Metrics, RecycleError, RecycleResult};
use pool_core::{Builder, Lease, Pool, adapt::Deadpool, observe::CloseReason};
use tokio::time::sleep;

use crate::{
    Spoken,
    common::{MS, SEC, settle},
};

/// An error that can do nothing: no text, no `Debug`, not to be shared.
struct Mute(Cell<u32>);

#[derive(Clone, Copy)]
enum Next {
    Succeed,
    Message,
    Backend,
    Panic,
    Hang,
}

/// What a manager of deadpool's was asked, and with what metrics.
#[derive(Default)]
struct Log {
    created: AtomicU32,
    detached: Mutex<Vec<u32>>,
    recycled: Mutex<Vec<(u32, Metrics)>>,
}

struct Objects {
    log: Arc<Log>,
    recycle: Mutex<Next>,
}

impl managed::Manager for Objects {
    type Type = u32;
    type Error = Spoken;

    async fn create(&self) -> Result<u32, Spoken> {
        Ok(self.log.created.fetch_add(1, SeqCst))
    }

    async fn recycle(&self, object: &mut u32, metrics: &Metrics) -> RecycleResult<Spoken> {
        self.log.recycled.lock().unwrap().push((*object, *metrics));
        let next = *self.recycle.lock().unwrap();
        match next {
            Next::Succeed => Ok(()),
            Next::Message => Err(RecycleError::message("stale")),
            Next::Backend => Err(RecycleError::Backend(Spoken("gone"))),
            Next::Panic => panic!("on purpose"),
            Next::Hang => future::pending().await,
        }
    }

    fn detach(&self, object: &mut u32) {
        self.log.detached.lock().unwrap().push(*object);
    }
}

fn manager() -> (Objects, Arc<Log>) {
    let log = Arc::new(Log::default());
    let manager = Objects {
        log: Arc::clone(&log),
        recycle: Mutex::new(Next::Succeed),
    };
    (manager, log)
}

fn builder() -> (Builder<Deadpool<Objects>>, Arc<Log>) {
    let (manager, log) = manager();
    (Pool::builder(Deadpool::new(manager)).max_size(1), log)
}

fn objects() -> (Pool<Deadpool<Objects>>, Arc<Log>) {
    let (builder, log) = builder();
    (builder.build().unwrap(), log)
}

#[tokio::test(start_paused = true)]
async fn recycle_runs_between_any_two_leases() {
    let (pool, log) = objects();
    for lease in 0..20_usize {
        assert_eq!(*pool.get().await.unwrap(), 0);
        settle().await;
        assert_eq!(log.recycled.lock().unwrap().len(), lease + 1);
    }
    sleep(SEC).await;
    drop(pool.get().await.unwrap());
    settle().await;
    assert_eq!(
        log.recycled.lock().unwrap().len(),
        22,
        "and before a lease of what was idle for long"
    );
}

/// What `recycle` was told, but for the times.
fn counted(log: &Log) -> Vec<(u32, usize, bool)> {
    let recycled = log.recycled.lock().unwrap();
    let counted = recycled
        .iter()
        .map(|(id, metrics)| (*id, metrics.recycle_count, metrics.recycled.is_some()));
    counted.collect()
}

#[tokio::test(start_paused = true)]
async fn the_counts_are_those_that_deadpool_itself_gives() {
    let (their_manager, their_log) = manager();
    let theirs = managed::Pool::<Objects>::builder(their_manager)
        .max_size(1)
        .build()
        .unwrap();
    let (ours, our_log) = objects();
    for _ in 0..10 {
        drop(theirs.get().await.unwrap());
        drop(ours.get().await.unwrap());
        settle().await;
    }
    // They recycle before the next lease, so the last one is still to come.
    drop(theirs.get().await.unwrap());
    assert_eq!(counted(&our_log), counted(&their_log));
    assert_eq!(counted(&our_log).last(), Some(&(0, 9, true)));
}

#[tokio::test(start_paused = true)]
async fn the_metrics_tell_when_it_was_created_and_last_given_back() {
    let (pool, log) = objects();
    for _ in 0..3 {
        let lease = pool.get().await.unwrap();
        sleep(100 * MS).await;
        drop(lease);
        sleep(200 * MS).await;
    }
    let seen = log.recycled.lock().unwrap().clone();
    for (n, (_, metrics)) in seen.iter().enumerate().skip(1) {
        // The tests' clock stands still, the one of the metrics goes on: what is compared are differences.
        let recycled = metrics.recycled.unwrap() - metrics.created;
        let expected = (300 * n as u32 - 200) * MS;
        let off = recycled.abs_diff(expected);
        assert!(off < 30 * MS, "{n}: {recycled:?}, not {expected:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_pool_closes_is_detached_and_what_cannot_be_recycled_is_closed() {
    let (pool, log) = objects();
    for (next, id) in [(Next::Message, 0), (Next::Backend, 1)] {
        let lease = pool.get().await.unwrap();
        assert_eq!(*lease, id);
        *pool.manager().inner().recycle.lock().unwrap() = next;
        drop(lease);
        settle().await;
        *pool.manager().inner().recycle.lock().unwrap() = Next::Succeed;
    }
    assert_eq!(pool.status().closed.by(CloseReason::ResetFailed), 2);
    // Recycling cannot be told that it is tainted.
    Lease::taint(&mut pool.get().await.unwrap());
    settle().await;
    assert_eq!(pool.status().closed.by(CloseReason::Tainted), 1);
    assert!(log.recycled.lock().unwrap().iter().all(|(id, _)| *id != 2));
    drop(pool.get().await.unwrap());
    pool.close();
    settle().await;
    assert_eq!(*log.detached.lock().unwrap(), [0, 1, 2, 3]);
}

impl Log {
    /// How many were created and not detached since.
    fn left(&self) -> u32 {
        self.created.load(SeqCst) - self.detached.lock().unwrap().len() as u32
    }
}

fn next(pool: &Pool<Deadpool<Objects>>, next: Next) {
    *pool.manager().inner().recycle.lock().unwrap() = next;
}

/// Gives one back for which recycling ends so.
async fn ends_in(pool: &Pool<Deadpool<Objects>>, outcome: Next) {
    let lease = pool.get().await.unwrap();
    next(pool, outcome);
    drop(lease);
    sleep(10 * SEC).await;
    next(pool, Next::Succeed);
}

#[tokio::test(start_paused = true)]
async fn whatever_leaves_the_pool_is_detached_once() {
    use CloseReason::{
        CheckFailed, IdleTimeout, Lifetime, NotRetained, PoolClosed, ResetFailed, Retired, Shrunk,
        Tainted,
    };
    for reason in CloseReason::ALL {
        let (builder, log) = builder();
        let pool = builder
            .max_size(2)
            .max_lifetime(Some(3600 * SEC))
            .lifetime_jitter(0.0)
            .idle_timeout(Some(600 * SEC))
            .build()
            .unwrap();
        // The one that stays, or goes with the other.
        let other = pool.get().await.unwrap();
        let lease = pool.get().await.unwrap();
        match reason {
            ResetFailed => {
                drop(lease);
                settle().await;
                for outcome in [Next::Message, Next::Panic, Next::Hang] {
                    ends_in(&pool, outcome).await;
                }
                assert_eq!(log.detached.lock().unwrap().len(), 3);
            }
            CheckFailed => {
                drop(lease);
                sleep(SEC).await;
                next(&pool, Next::Backend);
                let get = tokio::spawn({
                    let pool = pool.clone();
                    async move { drop(pool.get().await.unwrap()) }
                });
                settle().await;
                next(&pool, Next::Succeed);
                get.await.unwrap();
            }
            Tainted => {
                let mut lease = lease;
                Lease::taint(&mut lease);
                drop(lease);
            }
            IdleTimeout => {
                drop(lease);
                sleep(700 * SEC).await;
            }
            Lifetime => {
                sleep(3700 * SEC).await;
                drop(lease);
            }
            Retired => {
                pool.retire_all();
                drop(lease);
            }
            Shrunk => {
                pool.resize(1).unwrap();
                drop(lease);
            }
            NotRetained => {
                drop(lease);
                settle().await;
                assert_eq!(pool.retain(|_, _| false), 1);
            }
            PoolClosed => {
                drop(lease);
                pool.close();
            }
            // A deadpool manager cannot tell that one is broken, and here is a runtime.
            _ => continue,
        }
        settle().await;
        assert!(pool.status().closed.by(reason) > 0, "{reason}");
        drop(other);
        pool.close();
        settle().await;
        let detached = log.detached.lock().unwrap().clone();
        let each: BTreeSet<u32> = detached.iter().copied().collect();
        assert_eq!(each.len(), detached.len(), "{reason}: {detached:?}");
        assert_eq!(log.left(), 0, "{reason}: {detached:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_idle_ones_of_a_pool_that_nobody_has_any_more_are_detached() {
    let (pool, log) = objects();
    drop(pool.get().await.unwrap());
    settle().await;
    drop(pool);
    settle().await;
    assert_eq!(log.left(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_taken_is_detached_and_makes_room() {
    let (pool, log) = objects();
    let taken = Deadpool::take(pool.get().await.unwrap());
    assert_eq!(*log.detached.lock().unwrap(), [taken]);
    assert_eq!(*pool.get().await.unwrap(), taken + 1);
    assert_eq!(pool.status().closed.total(), 0);

    // A detached one is its owner's, also for the manager.
    let own = Lease::detach(pool.get().await.unwrap());
    settle().await;
    assert!(!log.detached.lock().unwrap().contains(&own));
}

#[tokio::test(start_paused = true)]
async fn hooks_run_as_in_deadpool() {
    type Events = Arc<Mutex<Vec<(&'static str, u32, usize)>>>;
    fn hook(events: &Events, name: &'static str) -> Hook<Objects> {
        let events = Arc::clone(events);
        Hook::sync_fn(move |id, metrics| {
            events
                .lock()
                .unwrap()
                .push((name, *id, metrics.recycle_count));
            Ok(())
        })
    }
    fn slow(events: &Events, name: &'static str) -> Hook<Objects> {
        let events = Arc::clone(events);
        Hook::async_fn(move |id, metrics| {
            let events = Arc::clone(&events);
            Box::pin(async move {
                sleep(MS).await;
                events
                    .lock()
                    .unwrap()
                    .push((name, *id, metrics.recycle_count));
                Ok(())
            })
        })
    }
    let [theirs, ours] = [Events::default(), Events::default()];
    let their_pool = managed::Pool::<Objects>::builder(manager().0)
        .max_size(1)
        .post_create(slow(&theirs, "create 1"))
        .post_create(hook(&theirs, "create 2"))
        .pre_recycle(hook(&theirs, "before"))
        .post_recycle(slow(&theirs, "after"))
        .build()
        .unwrap();
    let adapter = Deadpool::new(manager().0)
        .post_create(slow(&ours, "create 1"))
        .post_create(hook(&ours, "create 2"))
        .pre_recycle(hook(&ours, "before"))
        .post_recycle(slow(&ours, "after"));
    let our_pool = Pool::builder(adapter).max_size(1).build().unwrap();
    for _ in 0..5 {
        drop(their_pool.get().await.unwrap());
        drop(our_pool.get().await.unwrap());
        sleep(10 * MS).await;
    }
    drop(their_pool.get().await.unwrap());
    let ours = ours.lock().unwrap();
    assert_eq!(*ours, *theirs.lock().unwrap());
    assert_eq!(ours.len(), 12);
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_refuses_after_create_is_detached_and_its_error_is_told() {
    let panics = || -> managed::HookResult<Spoken> { panic!("on purpose") };
    let hooks: [(Hook<Objects>, &str); 4] = [
        (
            Hook::sync_fn(|_, _| Err(HookError::message("not you"))),
            "not you",
        ),
        (
            Hook::sync_fn(|_, _| Err(HookError::Backend(Spoken("refused")))),
            "refused",
        ),
        (
            Hook::async_fn(|_, _| Box::pin(future::pending())),
            "took longer than 1s",
        ),
        (Hook::sync_fn(move |_, _| panics()), "on purpose"),
    ];
    for (hook, said) in hooks {
        let (manager, log) = manager();
        let pool = Pool::builder(Deadpool::new(manager).post_create(hook))
            .create_timeout(SEC)
            .build()
            .unwrap();
        let error = pool.get().timeout(60 * SEC).await.unwrap_err();
        assert!(error.is_connect(), "{error}");
        assert!(error.to_string().ends_with(said), "{error}");
        if said == "refused" {
            let error = error.connect_error().unwrap();
            assert_eq!(error.downcast_ref::<Spoken>().unwrap().0, "refused");
        }
        assert_eq!(pool.status().opened, 0);
        assert!(log.created.load(SeqCst) >= 3);
        pool.close();
        settle().await;
        assert_eq!(log.left(), 0, "{said}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_hook_refuses_around_recycle_is_closed() {
    let refuse = || Hook::<Objects>::sync_fn(|_, _| Err(HookError::message("enough")));
    for before in [true, false] {
        let (manager, log) = manager();
        let adapter = Deadpool::new(manager);
        let adapter = if before {
            adapter.pre_recycle(refuse())
        } else {
            adapter.post_recycle(refuse())
        };
        let pool = Pool::builder(adapter).max_size(1).build().unwrap();
        for id in 0..3 {
            assert_eq!(*pool.get().await.unwrap(), id);
            settle().await;
        }
        assert_eq!(pool.status().closed.by(CloseReason::ResetFailed), 3);
        assert_eq!(*log.detached.lock().unwrap(), [0, 1, 2]);
        let recycled = log.recycled.lock().unwrap().len();
        assert_eq!(recycled, if before { 0 } else { 3 });
    }
}

/// Neither its manager nor its error implements anything.
struct Silent;

impl managed::Manager for Silent {
    type Type = Cell<u32>;
    type Error = Mute;

    async fn create(&self) -> Result<Cell<u32>, Mute> {
        Err(Mute(Cell::new(7)))
    }

    async fn recycle(&self, _: &mut Cell<u32>, _: &Metrics) -> RecycleResult<Mute> {
        Ok(())
    }
}

#[derive(Debug)]
struct Given(Mutex<u32>);

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "code {}", self.0.lock().unwrap())
    }
}

impl std::error::Error for Given {}

#[tokio::test(start_paused = true)]
async fn an_error_that_can_do_nothing_is_given_words_and_stays_reachable() {
    let manager = Deadpool::with_errors(Silent, |error: Mute| {
        Box::new(Given(Mutex::new(error.0.get())))
    });
    let pool = Pool::builder(manager).build().unwrap();
    let error = pool.get().await.err().unwrap();
    assert!(error.to_string().ends_with("code 7"), "{error}");
    let given: &Given = error.connect_error().unwrap().downcast_ref().unwrap();
    assert_eq!(*given.0.lock().unwrap(), 7);
}
