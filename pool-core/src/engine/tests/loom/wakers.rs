//! Models of wakers: the last waker of a waiter is woken, and all code of wakers runs with nothing locked.

use std::{
    future::poll_fn,
    mem::ManuallyDrop,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, RawWaker, RawWakerVTable, Waker},
};

use loom::thread;

use super::{EXHAUSTIVE, block_on, limits, model, poll_once};
use crate::engine::{
    mutation::{self, Mutation},
    tests::bed::{Bed, Wait},
};

/// A task whose wakers check whether the kernel is locked when they are cloned, woken and dropped.
struct Nosy {
    bed: Bed,
    clones: AtomicU32,
    wakes: AtomicU32,
    drops: AtomicU32,
    /// Set if the kernel was locked at any of these.
    locked: AtomicBool,
}

impl Nosy {
    fn new(bed: &Bed) -> Arc<Self> {
        Arc::new(Self {
            bed: bed.clone(),
            clones: AtomicU32::new(0),
            wakes: AtomicU32::new(0),
            drops: AtomicU32::new(0),
            locked: AtomicBool::new(false),
        })
    }

    fn waker(self: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: the table is for pointers from `Arc::into_raw`, and each of its functions keeps one count for one waker.
        unsafe { Waker::from_raw(RawWaker::new(data, &TABLE)) }
    }

    fn look(&self, event: &AtomicU32) {
        // A model that failed is being torn down: its mutexes are gone.
        if !std::thread::panicking() {
            event.fetch_add(1, SeqCst);
            let kernel = &self.bed.kernel;
            let locked = kernel.state.0.is_locked() || kernel.inbox.0.is_locked();
            self.locked.fetch_or(locked, SeqCst);
        }
    }

    /// How often a waker was cloned, woken and dropped.
    fn events(&self) -> [u32; 3] {
        assert!(!self.locked.load(SeqCst), "it ran under the lock");
        [&self.clones, &self.wakes, &self.drops].map(|event| event.load(SeqCst))
    }
}

const TABLE: RawWakerVTable = RawWakerVTable::new(clone, wake, wake_by_ref, drop_waker);

fn clone(data: *const ()) -> RawWaker {
    // SAFETY: `data` is from `Arc::into_raw`, and its count stays with the waker that is cloned.
    let nosy = unsafe { ManuallyDrop::new(Arc::from_raw(data.cast::<Nosy>())) };
    nosy.look(&nosy.clones);
    let copy = Arc::into_raw(Arc::clone(&nosy));
    RawWaker::new(copy.cast(), &TABLE)
}

fn wake(data: *const ()) {
    // SAFETY: as in `clone`, except that the waker ends here, and its count with it.
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

/// Polls with a waker that only the kernel holds afterwards.
fn poll_with(wait: &mut Wait, task: &Arc<Nosy>) -> bool {
    let waker = task.waker();
    wait.poll(&mut Context::from_waker(&waker)).is_ready()
}

models! {
    /// A waiter that moves to another task is woken there.
    the_task_that_polled_last_is_woken(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut wait = bed.wait();
        // Polled once, by a task that is never polled again.
        assert!(poll_once(&mut wait).is_pending());
        let moved = thread::spawn(move || {
            let slot = block_on(poll_fn(|context| wait.poll(context))).expect("it is returned");
            wait.bed().put(slot);
        });
        bed.put(held);
        moved.join().unwrap();
        bed.finish();
    }, caught by mutant_the_first_waker_is_kept = WakerIsKept;

    /// Wakers are cloned, woken and dropped with nothing locked.
    wakers_run_and_go_with_nothing_locked(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let [first, second, leaves, refused] = [(); 4].map(|()| Nosy::new(&bed));
        let mut wait = bed.wait();
        assert!(!poll_with(&mut wait, &first));
        // The waker that was made for the poll is dropped, its clone stays.
        assert_eq!(first.events(), [1, 0, 1]);
        assert!(!poll_with(&mut wait, &second));
        assert_eq!((first.events(), second.events()), ([1, 0, 2], [1, 0, 1]), "another took its place");
        let mut gone = bed.wait();
        assert!(!poll_with(&mut gone, &leaves));
        drop(gone);
        assert_eq!(leaves.events(), [1, 0, 2], "it left");
        bed.put(held);
        assert_eq!(second.events(), [1, 1, 1], "it was handed one");
        let Poll::Ready(Ok(slot)) = poll_once(&mut wait) else { panic!("it was handed over") };
        let mut wait = bed.wait();
        assert!(!poll_with(&mut wait, &refused));
        bed.close();
        assert_eq!(refused.events(), [1, 1, 1], "it was told no");
        drop((slot, wait));
        bed.finish();
    }, caught by
        mutant_a_waker_is_cloned_locked = WakerIsClonedLocked,
        mutant_a_waker_goes_locked = WakerGoesLocked,
        mutant_a_waker_runs_locked = WakesLocked;
}
