//! What an observer is told.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use pool_core::{
    Lease,
    observe::{CloseReason, LeaseInfo, Observer, Phase},
};
use tokio::time::sleep;

use crate::{
    common::{Act, Backend, MS, Oops, SEC, end, hush, settle},
    pool,
};

/// What an observer was told, in words.
#[derive(Clone, Default)]
pub(crate) struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn write(&self, pool: &str, line: &str) {
        self.0.lock().unwrap().push(format!("{pool}: {line}"));
    }

    pub(crate) fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Diary {
    fn opened(&self, pool: &str, took: Duration) {
        self.write(pool, &format!("opened in {took:?}"));
    }

    fn open_failed(&self, pool: &str, error: &pool_core::observe::Cause<'_>) {
        self.write(pool, &format!("open failed: {error}"));
    }

    fn closed(&self, pool: &str, reason: CloseReason) {
        self.write(pool, &format!("closed: {reason}"));
    }

    fn waited(&self, pool: &str, waited: Duration) {
        self.write(pool, &format!("waited {waited:?}"));
    }

    fn timed_out(&self, pool: &str, phase: Phase, waited: Duration) {
        self.write(pool, &format!("{phase} timed out after {waited:?}"));
    }

    fn overloaded(&self, pool: &str) {
        self.write(pool, "overloaded");
    }

    fn leaked(&self, pool: &str, lease: &LeaseInfo) {
        let LeaseInfo { label, place, .. } = lease;
        let seconds = lease.held_for.as_secs();
        self.write(
            pool,
            &format!("{label} of line {} has it for {seconds} s", place.line()),
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_opens_and_waits() {
    let (backend, diary) = (Backend::new(), Diary::default());
    backend.on_create(Act::Take(5 * MS));
    let pool = pool(&backend)
        .max_size(1)
        .observer(diary.clone())
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    assert_eq!(
        diary.read(),
        ["things: opened in 5ms", "things: waited 5ms"]
    );
    let (second, ()) = tokio::join!(pool.get(), async {
        sleep(40 * MS).await;
        drop(held);
    });
    assert_eq!(diary.read(), ["things: waited 40ms"]);
    drop(second.unwrap());
    drop(pool.get().await.unwrap());
    assert!(diary.read().is_empty(), "one was idle: nobody waited");
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_gets_that_end_without_one() {
    let (backend, diary) = (Backend::new(), Diary::default());
    let pool = pool(&backend)
        .max_size(1)
        .max_waiters(Some(1))
        .observer(diary.clone())
        .build()
        .unwrap();
    let held = pool.get().await.unwrap();
    drop(diary.read());
    let (late, full) = tokio::join!(pool.get().timeout(20 * MS), pool.get());
    assert!(late.unwrap_err().is_timeout());
    assert!(full.unwrap_err().is_overloaded());
    assert_eq!(
        diary.read(),
        ["things: overloaded", "things: wait timed out after 20ms"]
    );
    drop(held);
    // The phase is what was waited for.
    backend.on_check(Act::Hang);
    sleep(SEC).await;
    assert!(pool.get().timeout(30 * MS).await.unwrap_err().is_timeout());
    assert_eq!(diary.read(), ["things: check timed out after 30ms"]);
    // Neither of these is anything that an operator can do something about.
    assert!(pool.try_get().unwrap_err().is_busy());
    pool.close();
    assert!(pool.get().await.unwrap_err().is_closed());
    assert!(diary.read().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_each_open_that_failed_and_why() {
    hush();
    for (act, why) in [
        (Act::Fail("no route"), "no route"),
        (Act::Hang, "the open took longer than 2s"),
        (
            Act::Panic,
            "the manager panicked while it opened a resource: told to panic",
        ),
    ] {
        let (backend, diary) = (Backend::new(), Diary::default());
        backend.on_create(act);
        let pool = pool(&backend)
            .max_size(1)
            .create_timeout(2 * SEC)
            .observer(diary.clone())
            .build()
            .unwrap();
        assert!(pool.get().await.unwrap_err().is_connect());
        let failed = format!("things: open failed: {why}");
        assert_eq!(diary.read(), [failed.as_str(); 3]);
        assert_eq!(pool.status().open_failures, 3);
        pool.close();
    }
}

/// The error that an observer sees is the manager's own, below what the pool says of it.
#[tokio::test(start_paused = true)]
async fn an_observer_can_tell_errors_of_the_manager_apart() {
    struct Sources(Arc<Mutex<Vec<String>>>);
    impl Observer for Sources {
        fn open_failed(&self, _: &str, error: &pool_core::observe::Cause<'_>) {
            let opening = error.downcast_ref::<pool_core::OpenError<Oops>>();
            if let Some(pool_core::OpenError::Manager(Oops(why))) = opening {
                self.0.lock().unwrap().push((*why).to_owned());
            }
        }
    }
    let (backend, seen) = (Backend::new(), Arc::default());
    backend.on_create(Act::Fail("too many clients"));
    let pool = pool(&backend)
        .observer(Sources(Arc::clone(&seen)))
        .build()
        .unwrap();
    assert!(pool.get().await.unwrap_err().is_connect());
    assert_eq!(*seen.lock().unwrap(), ["too many clients"; 3]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_once_of_each_lease_that_lasts_too_long() {
    let (backend, diary) = (Backend::new(), Diary::default());
    let pool = pool(&backend)
        .max_size(2)
        .leak_after(Some(4 * SEC))
        .observer(diary.clone())
        .build()
        .unwrap();
    let line = line!() + 1;
    let held = pool.get().label("report").await.unwrap();
    drop(pool.get().await.unwrap());
    drop(diary.read());
    sleep(60 * SEC).await;
    assert_eq!(
        diary.read(),
        [format!("things: report of line {line} has it for 4 s")]
    );
    drop(held);
    end(pool).await;
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_each_close_with_its_reason() {
    let (backend, diary) = (Backend::new(), Diary::default());
    let pool = pool(&backend)
        .max_size(2)
        .idle_timeout(Some(60 * SEC))
        .max_lifetime(Some(100 * SEC))
        .lifetime_jitter(0.0)
        .observer(diary.clone())
        .build()
        .unwrap();
    let closes = async |reason: CloseReason| {
        settle().await;
        let mut told = diary.read();
        told.retain(|line| line.contains("closed"));
        assert_eq!(told, [format!("things: closed: {reason}")]);
        assert_eq!(pool.status().closed.by(reason), 1, "{reason}");
    };

    pool.get().await.unwrap().broken = true;
    closes(CloseReason::Broken).await;

    Lease::taint(&mut pool.get().await.unwrap());
    closes(CloseReason::Tainted).await;

    backend.on_reset(Act::Fail("cannot"));
    pool.get().await.unwrap().dirty = true;
    closes(CloseReason::ResetFailed).await;

    drop(pool.get().await.unwrap());
    backend.on_check(Act::Fail("gone"));
    sleep(SEC).await;
    drop(pool.get().await.unwrap());
    closes(CloseReason::CheckFailed).await;
    backend.on_check(Act::Succeed);

    pool.retire_all();
    closes(CloseReason::Retired).await;

    drop((pool.get().await.unwrap(), pool.get().await.unwrap()));
    pool.resize(1).unwrap();
    closes(CloseReason::Shrunk).await;

    assert_eq!(pool.retain(|_, _| false), 1);
    closes(CloseReason::NotRetained).await;

    drop(pool.get().await.unwrap());
    sleep(80 * SEC).await;
    closes(CloseReason::IdleTimeout).await;

    let held = pool.get().await.unwrap();
    sleep(101 * SEC).await;
    drop(held);
    closes(CloseReason::Lifetime).await;

    drop(pool.get().await.unwrap());
    pool.close();
    closes(CloseReason::PoolClosed).await;
    assert_eq!(pool.status().closed.total(), 10);
    end(pool).await;
}
