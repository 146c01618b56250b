//! Managers of bb8.

use std::{
    fmt, future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use bb8::{CustomizeConnection, ManageConnection};
use pool_core::{Builder, Lease, Pool, adapt::Bb8, observe::CloseReason};
use tokio::time::{Instant, sleep};

use crate::{
    Spoken,
    common::{MS, SEC, settle},
};

#[derive(Default)]
struct Connections {
    opened: AtomicU32,
    closed: Arc<AtomicU32>,
    validated: AtomicU32,
    /// All up to this one are dead.
    dead: AtomicU32,
    /// Whether `is_valid` ends.
    hangs: AtomicBool,
}

struct Connection {
    id: u32,
    /// `has_broken` sees that; it never sees that one is dead.
    broken: bool,
    closed: Arc<AtomicU32>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closed.fetch_add(1, SeqCst);
    }
}

impl ManageConnection for Connections {
    type Connection = Connection;
    // Boxed, as some do.
    type Error = Box<dyn std::error::Error + Send + Sync>;

    async fn connect(&self) -> Result<Connection, Self::Error> {
        Ok(Connection {
            id: self.opened.fetch_add(1, SeqCst) + 1,
            broken: false,
            closed: Arc::clone(&self.closed),
        })
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Self::Error> {
        self.validated.fetch_add(1, SeqCst);
        if self.hangs.load(SeqCst) {
            future::pending::<()>().await;
        }
        if connection.id <= self.dead.load(SeqCst) {
            return Err("the server hung up".into());
        }
        Ok(())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.broken
    }
}

fn connections() -> Builder<Bb8<Connections>> {
    Pool::builder(Bb8::new(Connections::default())).max_size(1)
}

#[tokio::test(start_paused = true)]
async fn has_broken_is_asked_on_return_and_is_valid_after_idleness() {
    let pool = connections().build().unwrap();
    let manager = pool.manager().inner();
    pool.get().await.unwrap().broken = true;
    assert_eq!(pool.get().await.unwrap().id, 2);
    assert_eq!(pool.status().closed.by(CloseReason::Broken), 1);
    assert_eq!(manager.validated.load(SeqCst), 0);

    sleep(SEC).await;
    let lease = pool.get().await.unwrap();
    assert_eq!(manager.validated.load(SeqCst), 1);
    assert_eq!(lease.id, 2);
    drop(lease);
    settle().await;
    assert_eq!(
        manager.validated.load(SeqCst),
        1,
        "what was validated before a lease is not after a short one"
    );

    manager.dead.store(2, SeqCst);
    sleep(SEC).await;
    assert_eq!(pool.get().await.unwrap().id, 3);
    assert_eq!(pool.status().closed.by(CloseReason::CheckFailed), 1);

    Lease::taint(&mut pool.get().await.unwrap());
    assert_eq!(pool.get().await.unwrap().id, 4);
    assert_eq!(manager.closed.load(SeqCst), 3);
}

/// A dead connection fails at once, so it comes back at once and is the next to go out. bb8 does not hand it out, since it
/// validates each time.
#[tokio::test(start_paused = true)]
async fn a_dead_connection_that_is_never_idle_is_found_out() {
    let pool = connections().build().unwrap();
    let manager = pool.manager().inner();
    drop(pool.get().await.unwrap());
    manager.dead.store(1, SeqCst);
    let begin = Instant::now();
    while pool.get().await.unwrap().id == 1 {
        sleep(10 * MS).await;
        assert!(begin.elapsed() < SEC, "it is still handed out");
    }
    assert_eq!(pool.status().opened, 2);
    assert_eq!(pool.status().closed.by(CloseReason::ResetFailed), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_connection_that_goes_from_one_in_line_to_the_next_is_found_out() {
    for check_after in [Duration::ZERO, 500 * MS] {
        let pool = connections().check_after(check_after).build().unwrap();
        drop(pool.get().await.unwrap());
        pool.manager().inner().dead.store(1, SeqCst);
        let begin = Instant::now();
        let callers = (0..4).map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                loop {
                    let lease = pool.get().await.unwrap();
                    // Held for a moment, so that there is somebody in line when it comes back.
                    sleep(MS).await;
                    if lease.id > 1 {
                        return;
                    }
                    assert!(begin.elapsed() < SEC, "it is still handed out");
                }
            })
        });
        for caller in callers.collect::<Vec<_>>() {
            caller.await.unwrap();
        }
        assert_eq!(pool.status().opened, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_connection_is_validated_as_often_as_check_after_says() {
    let often = |check_after| async move {
        let pool = connections().check_after(check_after).build().unwrap();
        for _ in 0..1000 {
            let lease = pool.get().await.unwrap();
            sleep(10 * MS).await;
            drop(lease);
        }
        settle().await;
        assert_eq!(pool.status().opened, 1);
        pool.manager().inner().validated.load(SeqCst)
    };
    // Ten seconds of use.
    let half_a_second = often(500 * MS).await;
    assert!((18..=20).contains(&half_a_second), "{half_a_second}");
    assert_eq!(often(Duration::MAX).await, 0);
    // After each lease, and before each but the first.
    let always = often(Duration::ZERO).await;
    assert!((1000..=2000).contains(&always), "{always}");
}

#[tokio::test(start_paused = true)]
async fn a_validation_that_hangs_costs_one_connection_and_no_place() {
    let pool = connections().build().unwrap();
    let manager = pool.manager().inner();
    let lease = pool.get().await.unwrap();
    sleep(SEC).await;
    manager.hangs.store(true, SeqCst);
    drop(lease);
    settle().await;
    assert_eq!(pool.status().resetting, 1);
    assert_eq!(pool.get().await.unwrap().id, 2);
    assert_eq!(manager.closed.load(SeqCst), 1);
}

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

#[tokio::test(start_paused = true)]
async fn a_typed_error_is_reachable_as_it_was() {
    let pool = Pool::builder(Bb8::new(Down)).build().unwrap();
    let error = pool.get().await.unwrap_err();
    let said: &Spoken = error.connect_error().unwrap().downcast_ref().unwrap();
    assert_eq!(said.0, "no route to host");
    assert!(error.to_string().ends_with("no route to host"), "{error}");
}

/// An error that is none in the sense of `std`, and not to be shared.
#[derive(Debug)]
struct Code(#[expect(dead_code, reason = "shown by Debug")] std::cell::Cell<i32>);

struct Coded;

impl ManageConnection for Coded {
    type Connection = std::cell::Cell<i32>;
    type Error = Code;

    async fn connect(&self) -> Result<Self::Connection, Code> {
        Err(Code(7.into()))
    }

    async fn is_valid(&self, _: &mut Self::Connection) -> Result<(), Code> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Self::Connection) -> bool {
        false
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_none_is_given_words() {
    let manager = Bb8::with_errors(Coded, |error| format!("{error:?}").into());
    let error = Pool::builder(manager).build().unwrap().get().await;
    let error = error.err().unwrap();
    assert!(
        error.to_string().ends_with("Code(Cell { value: 7 })"),
        "{error}"
    );
}

/// Writes the first words, or fails, or never ends.
#[derive(Default)]
struct Greeter {
    fails: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    greeted: Arc<Mutex<Vec<u32>>>,
}

impl fmt::Debug for Greeter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Greeter")
    }
}

impl<E: From<&'static str> + Send + 'static> CustomizeConnection<Connection, E> for Greeter {
    fn on_acquire<'a>(
        &'a self,
        connection: &'a mut Connection,
    ) -> Pin<Box<dyn Future<Output = Result<(), E>> + Send + 'a>> {
        Box::pin(async {
            if self.hangs.load(SeqCst) {
                future::pending::<()>().await;
            }
            if self.fails.load(SeqCst) {
                return Err("not welcome".into());
            }
            self.greeted.lock().unwrap().push(connection.id);
            Ok(())
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_customizer_sees_each_connection_once_before_anybody_has_it() {
    let greeter = Greeter::default();
    let greeted = Arc::clone(&greeter.greeted);
    let manager = Bb8::new(Connections::default()).connection_customizer(Box::new(greeter));
    let pool = Pool::builder(manager).max_size(2).build().unwrap();
    let (first, second) = (pool.get().await.unwrap(), pool.get().await.unwrap());
    assert_eq!(*greeted.lock().unwrap(), [1, 2]);
    drop((first, second));
    sleep(SEC).await;
    drop(pool.get().await.unwrap());
    assert_eq!(*greeted.lock().unwrap(), [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn what_a_customizer_refuses_or_keeps_waiting_was_not_opened() {
    let greeter = Greeter::default();
    let (fails, hangs) = (Arc::clone(&greeter.fails), Arc::clone(&greeter.hangs));
    fails.store(true, SeqCst);
    let manager = Bb8::new(Connections::default()).connection_customizer(Box::new(greeter));
    let pool = Pool::builder(manager)
        .max_size(1)
        .create_timeout(SEC)
        .build()
        .unwrap();
    let error = pool.get().await.err().unwrap();
    assert!(error.to_string().ends_with("not welcome"), "{error}");

    hangs.store(true, SeqCst);
    let error = pool.get().timeout(20 * SEC).await.err().unwrap();
    assert!(error.is_connect() || error.is_timeout(), "{error}");

    fails.store(false, SeqCst);
    hangs.store(false, SeqCst);
    sleep(10 * SEC).await;
    let lease = pool.get().await.unwrap();
    let manager = pool.manager().inner();
    assert_eq!(lease.id, manager.opened.load(SeqCst));
    assert_eq!(manager.closed.load(SeqCst), lease.id - 1);
}
