//! Every interleaving of the hazards of keys, one hazard a model, and for each a seeded bug that the model must catch.

use std::{
    future::poll_fn,
    task::{Context, Waker},
};

use loom::thread;

use super::bed::{Bed, TestSlot};
use crate::engine::{
    mutation::{self, Mutation},
    tests::{block_on, model, models},
};

/// Waits for one of `key`, to the end.
fn get(bed: &Bed, key: char) -> TestSlot {
    let mut wait = bed.wait(key);
    block_on(poll_fn(|context| wait.poll(context))).expect("nothing is refused")
}

fn spawn(bed: &Bed, run: impl FnOnce(&Bed) + 'static) -> thread::JoinHandle<()> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

/// Gets one of `key` and gives it back.
fn touch(bed: &Bed, key: char) {
    bed.put(get(bed, key));
}

const BOUND: Option<usize> = Some(3);
const EXHAUSTIVE: Option<usize> = None;

models! {
    /// However keys come and go, no more are open than may be in all, and everybody is served.
    the_bound_in_total_holds(BOUND) {
        let bed = Bed::new(1, 1);
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_an_opening_one_is_not_counted = KeyOpeningIsNotCounted,
        mutant_a_closing_one_is_not_counted = KeyEvictedFreesTooEarly;

    /// A key that has nothing gets the place that comes back, before those who wait in the line of the key that had it.
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

    /// A return of one key is seen by who joins the line of another.
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

    /// What is idle is leased or evicted, and never both: both gets are served.
    an_eviction_against_a_get(BOUND) {
        let bed = Bed::new(1, 1);
        touch(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_free_place_serves_nobody = KeyFreePlaceServesNobody;

    /// A key that goes with its last resource while somebody asks for it is found again, or made anew.
    a_key_that_goes_against_a_get(BOUND) {
        let bed = Bed::new(1, 2);
        let held = get(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'a'));
        // Taken out of the pool: nothing is left of its key.
        drop(held);
        // The row may be used by another key at once.
        touch(&bed, 'b');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_key_goes_with_its_line = KeyGoesWithItsLine,
        mutant_a_key_is_used_after_it_went = KeyIsUsedAfterItWent;

    /// A waiter that goes away at any point passes on what it was handed, in its key and between keys.
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

    /// A place that is freed by a drop, where nothing can be opened, is found by who waits in another line.
    a_dropped_place_against_who_joins_another_line(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let held = get(&bed, 'a');
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        drop(held);
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_dropped_place_tells_nobody = KeyFreePlaceServesNobody;

    /// An open of one key that fails gives its place to who waits in another line.
    a_failed_open_against_who_joins_another_line(BOUND) {
        let bed = Bed::new(1, 1);
        bed.ledger.lock().expect("not poisoned").fail.insert('a', 1);
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_room_for_a_failed_open = KeyOpeningIsNotCounted;
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
