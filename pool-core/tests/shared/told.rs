//! What an observer is told of a shared pool.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use pool_core::{
    Share, SharedConfig, SharedPool,
    observe::{CloseReason, Observer, Phase},
};
use tokio::time::sleep;

use super::{Backend, Http2, MS};

/// What an observer was told, in words.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Diary {
    fn opened(&self, pool: &str, took: Duration) {
        self.write(format!("{pool}: opened in {took:?}"));
    }

    fn open_failed(&self, _: &str, error: &pool_core::observe::Cause<'_>) {
        self.write(format!("failed: {error}"));
    }

    fn closed(&self, _: &str, reason: CloseReason) {
        self.write(format!("closed: {reason}"));
    }

    fn waited(&self, _: &str, waited: Duration) {
        self.write(format!("waited {waited:?}"));
    }

    fn timed_out(&self, _: &str, phase: Phase, waited: Duration) {
        self.write(format!("{phase:?} timed out after {waited:?}"));
    }

    fn overloaded(&self, _: &str) {
        self.write("overloaded");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_what_happens() {
    let (backend, diary) = (Backend::new(1), Diary::default());
    backend.connect_ms.store(5, SeqCst);
    let pool = SharedPool::builder(Http2(Arc::clone(&backend)))
        .name("h2")
        .config(SharedConfig::new().max_size(1).max_waiters(Some(1)))
        .observer(diary.clone())
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    assert_eq!(diary.read(), ["h2: opened in 5ms", "waited 5ms"]);
    let waiting = pool.get().timeout(20 * MS);
    let (late, full) = tokio::join!(waiting, pool.get());
    assert!(late.map(drop).unwrap_err().is_timeout());
    assert!(full.map(drop).unwrap_err().is_overloaded());
    assert_eq!(diary.read(), ["overloaded", "Wait timed out after 20ms"]);
    backend.fails.store(1, SeqCst);
    backend.gauge(0).dead();
    drop(held);
    let share = pool.get().await.unwrap();
    let told = diary.read();
    assert_eq!(
        told[..2],
        ["closed: broken", "failed: connection refused"],
        "{told:?}"
    );
    Share::taint(&share);
    drop(share);
    assert_eq!(diary.read(), ["closed: tainted"]);
    sleep(MS).await;
    assert_eq!(pool.drain(Duration::from_secs(1)).await.left, 0);
}
