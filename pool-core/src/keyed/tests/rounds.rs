//! When the keeper runs its rounds, and why.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::bed::{Bed, Later, TestSeat, TestSlot};
use crate::{
    keyed::{kernel::Kernel, limits::Terms},
    moment::Moment,
};

/// The task of a keeper, which counts how often it was woken.
#[derive(Default)]
struct Woken(AtomicU32);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// Returns the seat of the open that is under way.
fn open(bed: &Bed) -> TestSeat {
    let mut later = bed.later.as_ref().unwrap().lock().unwrap();
    later.opens.pop().unwrap()
}

fn fail(bed: &Bed) {
    let work = Kernel::open_failed(&bed.kernel, open(bed), "down", bed.now(), 0.0);
    bed.perform(work);
}

/// Gets a resource of `key`, in the place of the probe that is under way.
fn get(bed: &Bed, key: char) -> TestSlot {
    let mut context = Context::from_waker(Waker::noop());
    let mut wait = bed.wait(key);
    assert!(wait.poll(&mut context).is_pending());
    // The probe was called off.
    drop(open(bed));
    assert!(wait.poll(&mut context).is_pending());
    bed.open_on(open(bed));
    let Poll::Ready(Ok(slot)) = wait.poll(&mut context) else {
        panic!("one was opened for it");
    };
    slot
}

#[test]
fn a_keeper_is_not_called_in_its_own_round_for_what_falls_due_before_the_next() {
    let mut bed = Bed::new(1, 1);
    bed.later = Some(Arc::new(Mutex::new(Later::default())));
    let mut wait = bed.wait('b');
    assert!(
        wait.poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(wait);
    fail(&bed);
    let slot = get(&bed, 'a');
    bed.put(slot);
    // In the full pool, the probe of `b` is favoured, and then not again for a second.
    bed.perform(Kernel::tick(&bed.kernel, bed.now(), Waker::noop().clone()).work);
    let next_turn = bed.now() + Duration::from_secs(1);
    let close = bed.later.as_ref().unwrap().lock().unwrap().closes.pop();
    bed.close_slot(*close.unwrap().0);
    fail(&bed);
    let held = get(&bed, 'a');
    let keeper = Arc::new(Woken::default());
    let just_before = Moment::from_nanos(next_turn.as_nanos() - 500_000);
    for _ in 0..3 {
        let waker = Waker::from(Arc::clone(&keeper));
        let tick = Kernel::tick(&bed.kernel, just_before, waker);
        assert!(tick.next >= next_turn && tick.next <= next_turn + Duration::from_millis(1));
        bed.perform(tick.work);
    }
    assert_eq!(keeper.0.load(Relaxed), 0);
    bed.later = None;
    bed.put(held);
    bed.finish();
}

/// Whoever waits counts on an open that is dropped, and what is idle is to be checked before it is handed out.
fn an_open_that_is_dropped(keeper: Option<&Arc<Woken>>) {
    let mut bed = Bed::new(2, 2);
    bed.later = Some(Arc::new(Mutex::new(Later::default())));
    bed.terms = Arc::new(Terms {
        check_after_nanos: 1_000_000,
        ..(*bed.terms).clone()
    });
    let mut wait = bed.wait('a');
    let noop = || Context::from_waker(Waker::noop());
    assert!(wait.poll(&mut noop()).is_pending());
    bed.open_on(open(&bed));
    let Poll::Ready(Ok(held)) = wait.poll(&mut noop()) else {
        panic!("one was opened for it");
    };
    // It goes away, and what is opened for it is on its way.
    let mut gone = bed.wait('a');
    assert!(gone.poll(&mut noop()).is_pending());
    drop(gone);
    bed.put(held);
    bed.ledger.lock().unwrap().now_ms += 10;
    let waiter = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&waiter));
    let mut wait = bed.wait('a');
    assert!(wait.poll(&mut Context::from_waker(&waker)).is_pending());
    let round = |keeper: &Arc<Woken>| {
        let keeper = Waker::from(Arc::clone(keeper));
        bed.perform(Kernel::tick(&bed.kernel, bed.now(), keeper).work);
    };
    if let Some(keeper) = keeper {
        round(keeper);
    }
    assert_eq!(waiter.0.load(Relaxed), 0, "nothing has happened yet");
    drop(open(&bed));
    match keeper {
        Some(keeper) => {
            assert_eq!(keeper.0.load(Relaxed), 1, "it is called");
            round(keeper);
        }
        None => {
            assert_eq!(waiter.0.load(Relaxed), 1, "it is polled");
            drop(wait.poll(&mut Context::from_waker(&waker)));
        }
    }
    let Poll::Ready(Ok(slot)) = wait.poll(&mut noop()) else {
        panic!("it waits for what is idle");
    };
    bed.later = None;
    bed.put(slot);
    bed.finish();
}

#[test]
fn who_counts_on_an_open_that_is_dropped_gets_what_is_idle_and_unchecked() {
    an_open_that_is_dropped(None);
    an_open_that_is_dropped(Some(&Arc::default()));
}
