//! Wakers run and go with nothing locked.

use std::{
    mem::ManuallyDrop,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, RawWaker, RawWakerVTable, Waker},
};

use pool_core::{Get, Pool};
use tokio::time::sleep;

use crate::{
    common::{Backend, MS, SEC, Things},
    pool,
};

/// A task whose wakers look into the pool whenever they are cloned, woken and dropped: one that does so under a lock hangs.
struct Nosy {
    pool: Pool<Things>,
    clones: AtomicU32,
    wakes: AtomicU32,
    drops: AtomicU32,
}

impl Nosy {
    fn new(pool: &Pool<Things>) -> Arc<Self> {
        Arc::new(Self {
            pool: pool.clone(),
            clones: AtomicU32::new(0),
            wakes: AtomicU32::new(0),
            drops: AtomicU32::new(0),
        })
    }

    fn waker(self: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: the table is for what `Arc::into_raw` gives, and each of its functions keeps one count for one waker.
        unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
    }

    fn look(&self, event: &AtomicU32) {
        event.fetch_add(1, SeqCst);
        assert!(self.pool.status().open <= 1);
        drop(self.pool.leases());
        drop(self.pool.timings());
        drop(self.pool.try_get());
        assert_eq!(self.pool.retain(|_, _| true), 0);
    }

    /// How often one was cloned, woken and dropped.
    fn events(&self) -> [u32; 3] {
        [&self.clones, &self.wakes, &self.drops].map(|event| event.load(SeqCst))
    }
}

const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn clone(data: *const ()) -> RawWaker {
    // SAFETY: it is from `Arc::into_raw`, and the count that it stands for stays with the waker that is cloned.
    let nosy = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Nosy>())) };
    nosy.look(&nosy.clones);
    let copy = Arc::into_raw(Arc::clone(&nosy));
    RawWaker::new(copy.cast(), &TABLE)
}

fn wake(data: *const ()) {
    // SAFETY: as in `clone`, but that the waker ends here, and with it its count.
    let nosy = unsafe { Arc::from_raw(data.cast::<Nosy>()) };
    nosy.look(&nosy.wakes);
}

fn wake_by_ref(data: *const ()) {
    // SAFETY: as in `clone`.
    let nosy = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Nosy>())) };
    nosy.look(&nosy.wakes);
}

fn drop_waker(data: *const ()) {
    // SAFETY: as in `wake`.
    let nosy = unsafe { Arc::from_raw(data.cast::<Nosy>()) };
    nosy.look(&nosy.drops);
}

/// Polls with a waker of which only the pool has a clone afterwards.
fn poll(get: &mut Pin<Box<Get<'_, Things>>>, task: &Arc<Nosy>) -> bool {
    let waker = task.waker();
    let polled = get.as_mut().poll(&mut Context::from_waker(&waker));
    polled.is_ready()
}

#[test]
fn wakers_are_cloned_woken_and_dropped_with_nothing_locked() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let held = runtime.block_on(pool.get()).unwrap();
    let [first, second, leaves, armed, refused] = [(); 5].map(|()| Nosy::new(&pool));

    let mut get = Box::pin(pool.get());
    assert!(!poll(&mut get, &first));
    assert_eq!(first.events()[0], 1);
    assert!(!poll(&mut get, &second));
    assert_eq!(second.events()[0], 1);
    // Those that were made for the polls, and the clone whose place another's has taken.
    assert_eq!((first.events()[2], second.events()[2]), (2, 1));

    let mut gone = Box::pin(pool.get());
    assert!(!poll(&mut gone, &leaves));
    drop(gone);
    assert_eq!(leaves.events(), [1, 0, 2], "it left the line");

    drop(held);
    assert_eq!(second.events(), [1, 1, 1], "it was handed one, and woken");
    assert!(poll(&mut get, &second));

    let held = runtime.block_on(pool.get()).unwrap();
    let mut late = Box::pin(pool.get());
    assert!(!poll(&mut late, &armed));
    runtime.block_on(sleep(600 * MS));
    assert_eq!(armed.events(), [1, 1, 1], "it is to keep a timer now");

    let mut told_no = Box::pin(pool.get());
    assert!(!poll(&mut told_no, &refused));
    pool.close();
    assert_eq!(refused.events(), [1, 1, 1], "it was told no");
    assert!(poll(&mut told_no, &refused) && poll(&mut late, &armed));
    drop(held);
    drop((get, late, told_no));
    assert!(runtime.block_on(pool.drain(SEC)).is_complete());
    // They hold the pool.
    for task in [first, second, leaves, armed, refused] {
        assert_eq!(Arc::strong_count(&task), 1, "a waker is left");
    }
}

/// Who is polled by another task from some time on is woken there.
#[tokio::test(start_paused = true)]
async fn the_task_that_polled_last_is_woken() {
    let pool = pool(&Backend::new()).max_size(1).build().unwrap();
    let held = pool.get().await.unwrap();
    let mut get = Box::pin(pool.get());
    let polled = get.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
    let (lease, ()) = tokio::join!(get, async {
        sleep(30 * MS).await;
        drop(held);
    });
    drop(lease.unwrap());
    assert_eq!(pool.status().reclaimed, 0);
}
