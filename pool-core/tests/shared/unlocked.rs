//! Wakers and errors of users run and go with nothing locked.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    time::Duration,
};

use pool_core::{Gauge, GetShare, Share, SharedManager, SharedPool};
use tokio::time::sleep;

use super::{Backend, Http2, MS, poll_once, pool, runtime};

/// Looks at the pool whenever it is cloned, woken or dropped: it would hang if that happened under the lock.
struct Nosy(SharedPool<Http2>, Arc<AtomicU32>);

impl Nosy {
    fn look(&self) {
        self.1.fetch_add(1 + self.0.status().closing, SeqCst);
    }
}

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {
        self.look();
    }
}

impl Drop for Nosy {
    fn drop(&mut self) {
        self.look();
    }
}

#[test]
fn wakers_run_and_go_with_nothing_locked() {
    let backend = Backend::new(1);
    let pool = pool(&backend, 1);
    let looks = Arc::new(AtomicU32::new(0));
    let runtime = runtime();
    let _entered = runtime.enter();
    let held = runtime.block_on(pool.get()).unwrap();
    let poll = |get: &mut Pin<Box<GetShare<Http2>>>| {
        let waker = Waker::from(Arc::new(Nosy(pool.clone(), Arc::clone(&looks))));
        get.as_mut().poll(&mut Context::from_waker(&waker))
    };
    let mut gets: Vec<_> = (0..4).map(|_| Box::pin(pool.get())).collect();
    for get in &mut gets {
        assert!(poll(get).is_pending());
    }
    // Another waker takes the place of the first.
    assert!(poll(&mut gets[0]).is_pending());
    assert_eq!(looks.load(SeqCst), 1);
    drop(gets.pop());
    assert_eq!(looks.load(SeqCst), 2, "it left");
    // Those that are left are told to keep a timer, then one is served.
    runtime.block_on(sleep(600 * MS));
    assert_eq!(
        looks.load(SeqCst),
        8,
        "three were woken, and gone with that"
    );
    drop(held);
    assert!(poll(&mut gets[0]).is_ready());
    pool.close();
    assert!(poll(&mut gets[1]).is_ready());
}

/// An error that looks at the pool when it is dropped.
#[derive(Debug)]
struct NosyError(Arc<Mutex<Option<SharedPool<Down>>>>);

impl fmt::Display for NosyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("down")
    }
}

impl std::error::Error for NosyError {}

impl Drop for NosyError {
    fn drop(&mut self) {
        let pool = self.0.lock().unwrap().clone();
        if let Some(pool) = pool {
            assert!(pool.status().open <= 1);
        }
    }
}

#[derive(Debug)]
struct Down(Arc<Mutex<Option<SharedPool<Self>>>>, AtomicU32);

impl SharedManager for Down {
    type Resource = ();
    type Error = NosyError;

    async fn create(&self, _: Gauge) -> Result<(), NosyError> {
        match self.1.fetch_add(1, SeqCst) % 5 {
            4 => Ok(()),
            _ => Err(NosyError(Arc::clone(&self.0))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn errors_go_with_nothing_locked() {
    let own = Arc::new(Mutex::new(None));
    let down = Down(Arc::clone(&own), AtomicU32::new(0));
    let pool = SharedPool::builder(down).max_size(1).build().unwrap();
    *own.lock().unwrap() = Some(pool.clone());
    for _ in 0..3 {
        // Refused, and gone before it knows.
        let mut refused = Box::pin(pool.get());
        assert!(poll_once(refused.as_mut()).await.is_pending());
        assert!(pool.get().await.map(drop).unwrap_err().is_connect());
        sleep(Duration::from_secs(20)).await;
        let share = pool.get().await.unwrap();
        drop(refused);
        Share::taint(&share);
    }
    let status = pool.status();
    assert_eq!((status.open_failures, status.opened), (12, 3));
    // It does not keep itself alive.
    let itself = own.lock().unwrap().take();
    drop(itself);
}
