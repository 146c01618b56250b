//! Managers of other pools, run by this one.
#![cfg(all(feature = "deadpool", feature = "bb8"))]
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    cell::Cell,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
};

use bb8::ManageConnection;
use common::{MS, SEC, settle};
use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use pool_core::{
    Lease, Pool,
    adapt::{Bb8, Deadpool},
    observe::CloseReason,
};
use tokio::time::sleep;

/// An error that can do nothing: no text, no `Debug`, not to be shared.
struct Mute(Cell<u32>);

#[derive(Debug)]
struct Spoken(&'static str);

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Spoken {}

#[derive(Clone, Copy)]
enum Next {
    Succeed,
    Message,
    Backend,
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
        match *self.recycle.lock().unwrap() {
            Next::Succeed => Ok(()),
            Next::Message => Err(RecycleError::message("stale")),
            Next::Backend => Err(RecycleError::Backend(Spoken("gone"))),
        }
    }

    fn detach(&self, object: &mut u32) {
        self.log.detached.lock().unwrap().push(*object);
    }
}

fn objects() -> (Pool<Deadpool<Objects>>, Arc<Log>) {
    let log = Arc::new(Log::default());
    let manager = Objects {
        log: Arc::clone(&log),
        recycle: Mutex::new(Next::Succeed),
    };
    let pool = Pool::builder(Deadpool::new(manager)).max_size(1).build();
    (pool.unwrap(), log)
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

#[tokio::test(start_paused = true)]
async fn the_metrics_are_those_of_deadpool() {
    let (pool, log) = objects();
    for _ in 0..3 {
        let lease = pool.get().await.unwrap();
        sleep(100 * MS).await;
        drop(lease);
        sleep(200 * MS).await;
    }
    let seen = log.recycled.lock().unwrap().clone();
    let counts: Vec<_> = seen.iter().map(|(_, m)| m.recycle_count).collect();
    assert_eq!(counts, [0, 1, 2]);
    assert!(seen[0].1.recycled.is_none());
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

#[tokio::test(start_paused = true)]
async fn a_typed_error_is_reachable_as_it_was() {
    struct Down;
    impl ManageConnection for Down {
        type Connection = ();
        type Error = Spoken;
        async fn connect(&self) -> Result<(), Spoken> {
            Err(Spoken("no route to host"))
        }
        async fn is_valid(&self, (): &mut ()) -> Result<(), Spoken> {
            Ok(())
        }
        fn has_broken(&self, (): &mut ()) -> bool {
            false
        }
    }
    let pool = Pool::builder(Bb8::new(Down)).build().unwrap();
    let error = pool.get().await.unwrap_err();
    let said: &Spoken = error.connect_error().unwrap().downcast_ref().unwrap();
    assert_eq!(said.0, "no route to host");
    assert!(error.to_string().ends_with("no route to host"), "{error}");
}

#[derive(Default)]
struct Connections {
    opened: AtomicU32,
    validated: AtomicU32,
    invalid: Mutex<Option<u32>>,
}

struct Connection {
    id: u32,
    broken: bool,
}

impl ManageConnection for Connections {
    type Connection = Connection;
    // Boxed, as some do.
    type Error = Box<dyn std::error::Error + Send + Sync>;

    async fn connect(&self) -> Result<Connection, Self::Error> {
        let id = self.opened.fetch_add(1, SeqCst);
        Ok(Connection { id, broken: false })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Self::Error> {
        self.validated.fetch_add(1, SeqCst);
        if *self.invalid.lock().unwrap() == Some(connection.id) {
            return Err("the server hung up".into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.broken
    }
}

#[tokio::test(start_paused = true)]
async fn has_broken_is_asked_on_return_and_is_valid_after_idleness() {
    let pool = Pool::builder(Bb8::new(Connections::default()))
        .max_size(1)
        .build()
        .unwrap();
    let manager = pool.manager().inner();
    pool.get().await.unwrap().broken = true;
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
    assert_eq!(manager.validated.load(SeqCst), 0);

    sleep(SEC).await;
    assert_eq!(pool.get().await.unwrap().id, 1);
    assert_eq!(manager.validated.load(SeqCst), 1);

    *manager.invalid.lock().unwrap() = Some(1);
    sleep(SEC).await;
    assert_eq!(pool.get().await.unwrap().id, 2);
    assert_eq!(pool.status().closed.by(CloseReason::CheckFailed), 1);

    Lease::taint(&mut pool.get().await.unwrap());
    assert_eq!(pool.get().await.unwrap().id, 3);
}
