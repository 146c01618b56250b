//! Managers of bb8.

use std::{
    fmt, future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
};

use bb8::{CustomizeConnection, ManageConnection};
use pool_core::{Builder, Lease, Pool, adapt::Bb8, observe::CloseReason};
use tokio::time::sleep;

use crate::{
    Spoken,
    common::{SEC, settle},
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
