//! Every interleaving of the hazards of keys. Each hazard has one model, and at least one seeded bug that the model must catch.

use std::{
    future::poll_fn,
    sync::Arc as StdArc,
    task::{Context, Poll, Waker},
};

use loom::thread;

use super::bed::{Answer, Bed, TestSeat, TestSlot, Wait};
use crate::{
    engine::{
        mutation::{self, Mutation},
        tests::{block_on, model, models},
    },
    keyed::kernel::Kernel,
};

mod shares;

/// Gets a resource of `key`, and waits as long as it takes.
fn get(bed: &Bed, key: char) -> TestSlot {
    let mut wait = bed.wait(key);
    block_on(poll_fn(|context| wait.poll(context))).expect("nothing is refused")
}

fn spawn(bed: &Bed, run: impl FnOnce(&Bed) + 'static) -> thread::JoinHandle<()> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

/// Gets a resource of `key` and returns it.
fn touch(bed: &Bed, key: char) {
    bed.put(get(bed, key));
}

fn poll(wait: &mut Wait) -> Poll<Answer> {
    wait.poll(&mut Context::from_waker(Waker::noop()))
}

/// Lets `ms` milliseconds pass, and runs a round of the keeper.
fn pass(bed: &Bed, ms: u32) {
    bed.ledger.lock().expect("not poisoned").now_ms += ms;
    let tick = Kernel::tick(&bed.kernel, bed.now(), Waker::noop().clone());
    bed.perform(tick.work);
}

/// Fetches the grant of this waiter, and returns it.
fn put(bed: &Bed, wait: &mut Wait) {
    let Poll::Ready(Ok(slot)) = poll(wait) else {
        panic!("{} was not served", wait.key)
    };
    bed.put(slot);
}

/// Lets the only open fail.
fn fail(bed: &Bed) {
    let [seat] = opens(bed).try_into().expect("one is being opened");
    let now = bed.now();
    bed.perform(Kernel::open_failed(&bed.kernel, seat, "down", now, 0.0));
}

/// Lets the only open succeed.
fn open(bed: &Bed) {
    let [seat] = opens(bed).try_into().expect("one is being opened");
    bed.open_on(seat);
}

/// Completes all closes that are left to do.
fn close(bed: &Bed) {
    let later = bed.later.as_ref().expect("it closes later");
    let closes = std::mem::take(&mut later.lock().expect("not poisoned").closes);
    for (slot, _) in closes {
        bed.close_slot(*slot);
    }
}

/// Takes the opens that are left to do.
fn opens(bed: &Bed) -> Vec<TestSeat> {
    let later = bed.later.as_ref().expect("it opens later");
    std::mem::take(&mut later.lock().expect("not poisoned").opens)
}

const BOUND: Option<usize> = Some(3);
const EXHAUSTIVE: Option<usize> = None;

models! {
    /// While keys come and go, no more resources are open than the bound in total allows, and every get is served.
    the_bound_in_total_holds(BOUND) {
        let bed = Bed::new(1, 1);
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_an_opening_one_is_not_counted = KeyOpeningIsNotCounted,
        mutant_a_closing_one_is_not_counted = KeyEvictedFreesTooEarly;

    /// A key that has no place gets the place of a returned slot, before the waiters of the key that held it.
    a_return_is_the_turn_of_a_key_that_has_nothing(BOUND) {
        let bed = Bed::new(1, 1);
        let held = get(&bed, 'a');
        let mut starved = bed.wait('b');
        assert!(starved.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        let next = spawn(&bed, |bed| {
            let slot = get(bed, 'a');
            assert_eq!(bed.opened('b'), 1, "a had two turns");
            bed.put(slot);
        });
        bed.put(held);
        let slot = block_on(poll_fn(|context| starved.poll(context))).expect("it is its turn");
        bed.put(slot);
        next.join().unwrap();
        drop(starved);
        bed.finish();
    }, caught by mutant_a_key_never_yields = KeyNeverYields;

    /// A get that joins the queue of one key sees a return of another key.
    a_return_against_an_eviction(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        touch(&bed, 'a');
        let held = get(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        bed.put(held);
        other.join().unwrap();
        assert_eq!((bed.alive('a'), bed.alive('b')), (0, 1));
        bed.finish();
    }, caught by mutant_a_return_evicts_nothing = KeyReturnEvictsNothing;

    /// An idle slot is either leased or evicted, never both, and both gets are served.
    an_eviction_against_a_get(BOUND) {
        let bed = Bed::new(1, 1);
        touch(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_free_place_serves_nobody = KeyFreePlaceServesNobody;

    /// If a key is removed with its last resource during a get of the key, the get finds the key again or adds it anew.
    a_key_that_goes_against_a_get(BOUND) {
        let bed = Bed::new(1, 2);
        let held = get(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'a'));
        // Dropping the slot takes it out of the pool, so that nothing of its key is left.
        drop(held);
        // Another key may use the row at once.
        touch(&bed, 'b');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_key_goes_with_its_line = KeyGoesWithItsLine,
        mutant_a_key_is_used_after_it_went = KeyIsUsedAfterItWent;

    /// A waiter that leaves at any point passes its grant on, within its key and between keys.
    a_cancel_against_a_grant(BOUND) {
        let bed = Bed::new(1, 1);
        let held = get(&bed, 'a');
        let leaver = spawn(&bed, |bed| {
            let mut wait = bed.wait('a');
            if let std::task::Poll::Ready(answer) = wait.poll(&mut Context::from_waker(Waker::noop())) {
                bed.put(answer.expect("nothing is refused"));
            }
        });
        let stayer = spawn(&bed, |bed| touch(bed, 'a'));
        bed.put(held);
        leaver.join().unwrap();
        stayer.join().unwrap();
        bed.finish();
    }, caught by mutant_a_cancelled_grant_is_laid_down = KeyCancelServesNobody;

    /// A place is freed by a drop on a thread that can open nothing. A waiter that joins the queue of another key finds the place.
    a_dropped_place_against_who_joins_another_line(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let held = get(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        drop(held);
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_dropped_place_tells_nobody = KeyFreePlaceServesNobody;

    /// A failed open of one key gives its place to a waiter that joins the queue of another key.
    a_failed_open_against_who_joins_another_line(BOUND) {
        let bed = Bed::new(1, 1);
        bed.ledger.lock().expect("not poisoned").fail.insert('a', 1);
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_room_for_a_failed_open = KeyOpeningIsNotCounted;

    /// An open is called off for a key that has no place, and may complete before that. In both cases, that key and the key of the
    /// open are served.
    calling_an_open_off_against_its_end(BOUND) {
        let mut bed = Bed::new(2, 2);
        bed.later = Some(StdArc::default());
        let mut hung = bed.wait('a');
        assert!(poll(&mut hung).is_pending());
        // The first open is late, so a second open begins in the place that is left.
        pass(&bed, 1_000);
        let [first, second] = opens(&bed).try_into().expect("one more was begun");
        bed.later = None;
        let ends = spawn(&bed, |bed| {
            if bed.kernel.is_wanted(&second) {
                bed.open_on(second);
            } else {
                bed.perform(Kernel::closed(&bed.kernel, second, bed.now()));
            }
        });
        let mut other = bed.wait('b');
        assert!(poll(&mut other).is_pending());
        ends.join().unwrap();
        if bed.kernel.is_wanted(&first) {
            put(&bed, &mut other);
            bed.open_on(first);
        } else {
            bed.perform(Kernel::closed(&bed.kernel, first, bed.now()));
            put(&bed, &mut other);
        }
        put(&bed, &mut hung);
        drop((hung, other));
        bed.finish();
    }, caught by mutant_what_hangs_keeps_its_places = KeyHangingTakesAll;

    /// A returned slot is not closed for a probe without a waiter, unless the probe is favoured.
    a_prober_against_a_return(BOUND) {
        let mut bed = Bed::new(1, 1);
        bed.later = Some(StdArc::default());
        let mut failing = bed.wait('a');
        assert!(poll(&mut failing).is_pending());
        for _ in 0..3 {
            fail(&bed);
        }
        assert!(poll(&mut failing).is_ready());
        drop(failing);
        // The probe has a place that no other key wants, until a get of another key waits.
        let [probe] = opens(&bed).try_into().expect("there is room for it");
        let mut other = bed.wait('b');
        assert!(poll(&mut other).is_pending());
        bed.perform(Kernel::closed(&bed.kernel, probe, bed.now()));
        open(&bed);
        put(&bed, &mut other);
        // Now the probe is favoured.
        pass(&bed, 1);
        close(&bed);
        let mut other = bed.wait('b');
        assert!(poll(&mut other).is_pending());
        fail(&bed);
        open(&bed);
        let Poll::Ready(Ok(held)) = poll(&mut other) else {
            panic!("it is its turn")
        };
        let comes = spawn(&bed, |bed| pass(bed, 1));
        bed.put(held);
        comes.join().unwrap();
        pass(&bed, 1);
        close(&bed);
        assert_eq!(bed.alive('b'), 1, "it was closed for a prober");
        drop(other);
        bed.later = None;
        bed.finish();
    }, caught by mutant_a_prober_evicts = KeyProberEvicts;

    /// A resource whose open began before a reset is not handed out after the reset.
    a_reset_against_an_open(EXHAUSTIVE) {
        let mut bed = Bed::new(1, 1);
        bed.later = Some(StdArc::default());
        let mut wait = bed.wait('a');
        assert!(poll(&mut wait).is_pending());
        let [seat] = opens(&bed).try_into().expect("one was begun");
        bed.later = None;
        let place = bed.kernel.keys(0).map(|(_, keys)| keys[0].0);
        bed.perform(Kernel::reset(&bed.kernel, place, bed.now()));
        let opens = spawn(&bed, move |bed| bed.open_on(seat));
        let slot = block_on(poll_fn(|context| wait.poll(context))).expect("nothing is refused");
        opens.join().unwrap();
        assert_eq!(bed.opened('a'), 2, "it was begun before the reset");
        bed.put(slot);
        drop(wait);
        bed.finish();
    }, caught by mutant_an_open_is_stamped_late = KeyOpenIsStampedLate;

    /// A waiter that is pushed out of a full queue, for a key with no waiter, is refused, whatever it does at that moment.
    a_full_line_makes_room_for_another_key(BOUND) {
        let bed = Bed::new(1, 1);
        let held = get(&bed, 'a');
        let mut line: Vec<_> = "aaaabb".chars().map(|key| bed.wait(key)).collect();
        for wait in &mut line {
            assert!(poll(wait).is_pending());
        }
        let mut last = line.remove(3);
        let mut more = [bed.wait('c'), bed.wait('c')];
        assert!(poll(&mut more[0]).is_pending() && poll(&mut more[1]).is_pending());
        let told = spawn(&bed, move |_| {
            let answer = block_on(poll_fn(|context| last.poll(context)));
            assert!(answer.is_err(), "it was the last of the longest");
        });
        let mut newcomer = bed.wait('d');
        assert!(poll(&mut newcomer).is_pending(), "there is room for it");
        told.join().unwrap();
        drop((line, more, newcomer));
        bed.put(held);
        bed.finish();
    }, caught by mutant_who_is_pushed_out_sleeps_on = KeyPushedOutSleepsOn;
}

#[test]
fn closing_tells_the_lines_of_all_keys() {
    model("closing_tells_the_lines_of_all_keys", BOUND, || {
        let bed = Bed::new(1, 1);
        let held = get(&bed, 'a');
        let waiter = |key| {
            spawn(&bed, move |bed| {
                let mut wait = bed.wait(key);
                if let Ok(slot) = block_on(poll_fn(|context| wait.poll(context))) {
                    bed.put(slot);
                }
            })
        };
        let waiters = [waiter('a'), waiter('b')];
        bed.perform(bed.kernel.close());
        bed.put(held);
        for waiter in waiters {
            waiter.join().unwrap();
        }
        bed.finish();
    });
}
