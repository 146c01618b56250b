//! Every interleaving of the hazards of shares. Each hazard has one model, and at least one seeded bug that the model must catch.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Poll, Waker},
    time::Duration,
};

use loom::thread;

use super::bed::{Bed, NOW};
use crate::{
    engine::{
        Kept,
        mutation::{self, Mutation},
        tests::{model, models},
    },
    observe::CloseReason,
    shared::links::Take,
};

fn spawn(bed: &Bed, run: impl FnOnce(&Bed) + 'static) -> thread::JoinHandle<()> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

const BOUND: Option<usize> = Some(3);
const EXHAUSTIVE: Option<usize> = None;

models! {
    /// A waiter that joins the queue during the return of a share does not miss the share.
    a_returned_share_is_seen_by_who_joins_the_line(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let held = bed.get();
        let waiter = spawn(&bed, |bed| bed.put(bed.get()));
        bed.put(held);
        waiter.join().unwrap();
        assert_eq!(bed.opened.load(SeqCst), 1);
        bed.finish();
    }, caught by mutant_a_returned_share_serves_nobody = ShareReturnServesNobody, mutant_a_waiter_looks_too_early = ShareWaiterLooksTooEarly, mutant_a_return_looks_too_early = ShareReturnLooksTooEarly;

    /// Two gets and a return without the lock: no more shares are out than the capacity, and none is lost.
    two_gets_and_a_return_without_the_lock(EXHAUSTIVE) {
        let bed = Bed::new(1, 2);
        let held = bed.get();
        let others = Arc::new(AtomicU32::new(1));
        let taker = |bed: &Bed, others: &AtomicU32| if let Some(share) = bed.links.take() {
            assert!(others.fetch_add(1, SeqCst) < 2, "three of two");
            bed.look_at(&share);
            others.fetch_sub(1, SeqCst);
            bed.put(share);
        };
        let thread = {
            let others = others.clone();
            spawn(&bed, move |bed| taker(bed, &others))
        };
        let other = {
            let others = others.clone();
            spawn(&bed, move |bed| taker(bed, &others))
        };
        others.fetch_sub(1, SeqCst);
        bed.put(held);
        thread.join().unwrap();
        other.join().unwrap();
        bed.finish();
        let (one, two) = (bed.links.take().unwrap(), bed.links.take().unwrap());
        assert!(bed.links.take().is_none());
        bed.put(one);
        bed.put(two);
    }, caught by mutant_a_share_is_counted_in_two_steps = ShareIsCountedInTwoSteps;

    /// A share that was taken without the lock is of a connection that stays open. The connection is closed once, after its last
    /// share.
    a_get_against_a_drain(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let link = bed.first();
        let taker = spawn(&bed, |bed| if let Some(share) = bed.links.take() {
            bed.look_at(&share);
            bed.put(share);
        });
        bed.perform(bed.links.drain(link, CloseReason::Tainted, NOW));
        taker.join().unwrap();
        bed.finish();
        assert_eq!(bed.closed.load(SeqCst), 1);
    }, caught by mutant_a_drain_looks_too_early = ShareDrainLooksTooEarly, mutant_the_last_share_ends_nothing = ShareLastEndsNothing;

    /// A connection that goes away just after it was opened counts as a failed open if nobody got the first share of it, and only
    /// then.
    a_drain_against_the_first_share(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let (Take::Queued(id, work), _) = bed.links.take_or_wait(Waker::noop().clone(), NOW) else { panic!("none is open") };
        let link = work.opens[0];
        bed.perform(bed.links.cancel(id, NOW));
        bed.perform(work);
        let had = Arc::new(AtomicU32::new(0));
        let taker = {
            let had = had.clone();
            spawn(&bed, move |bed| if let Some(share) = bed.links.take() {
                had.fetch_add(1, SeqCst);
                bed.look_at(&share);
                bed.put(share);
            })
        };
        bed.perform(bed.links.go_away(link, "gone", NOW, 1.0));
        taker.join().unwrap();
        let failed = bed.links.last_error().is_some();
        assert_eq!(failed, had.load(SeqCst) == 0);
        assert_eq!(bed.closed.load(SeqCst), 1);
        bed.finish();
    }, caught by mutant_a_drain_looks_too_early_for_the_first_share = ShareStillbornLooksTooEarly;

    /// As above, for two gets and a connection that dies.
    gets_against_a_death(BOUND) {
        let bed = Bed::new(1, 2);
        let link = bed.first();
        let taker = |bed: &Bed| if let Some(share) = bed.links.take() {
            bed.look_at(&share);
            bed.put(share);
        };
        let (one, two) = (spawn(&bed, taker), spawn(&bed, taker));
        bed.perform(bed.links.fail(link, "died", NOW, 0.0));
        one.join().unwrap();
        two.join().unwrap();
        bed.finish();
        assert_eq!(bed.links.snapshot().counters.died, 1);
    }, caught by mutant_the_last_share_of_the_dead_ends_nothing = ShareLastEndsNothing;

    /// A close against a get and a return without the lock, and a waiter: all of them end, and the connection is closed.
    a_close_against_gets(BOUND) {
        let bed = Bed::new(1, 1);
        let held = bed.get();
        let waiter = spawn(&bed, |bed| if let Some(share) = bed.try_get() {
            bed.put(share);
        });
        let holder = spawn(&bed, |bed| bed.put(held));
        bed.perform(bed.links.close());
        waiter.join().unwrap();
        holder.join().unwrap();
        bed.finish();
        assert!(bed.links.take().is_none());
        assert_eq!(bed.closed.load(SeqCst), 1);
        assert!(bed.links.is_over());
    }, caught by mutant_a_close_ends_no_shared_connection = ShareLastEndsNothing;

    /// A grant that is not fetched goes to the next waiter, whatever its own future does meanwhile.
    a_reclaim_against_who_fetches(BOUND) {
        let bed = Bed::new(1, 1);
        let held = bed.get();
        let Err(id) = bed.ask(Waker::noop().clone()) else { panic!("none is free") };
        bed.put(held);
        let other = spawn(&bed, |bed| bed.put(bed.get()));
        let keeper = spawn(&bed, |bed| {
            let late = NOW + Duration::from_secs(1);
            bed.perform(bed.links.tick(late, Waker::noop().clone()).1);
        });
        match bed.look(&id, Waker::noop()) {
            Poll::Ready(answer) => bed.put(answer.expect("nothing is refused")),
            Poll::Pending => bed.perform(bed.links.cancel(id, NOW)),
        }
        other.join().unwrap();
        keeper.join().unwrap();
        bed.finish();
    }, caught by mutant_what_nobody_fetched_is_lost = ShareCancelKeepsGrant;

    /// A waiter that leaves at any point passes on the share that was granted to it.
    a_share_against_a_cancel(BOUND) {
        let bed = Bed::new(1, 1);
        let held = bed.get();
        let leaver = spawn(&bed, |bed| match bed.ask(Waker::noop().clone()) {
            Ok(share) => bed.put(share),
            Err(id) => bed.perform(bed.links.cancel(id, NOW)),
        });
        let stayer = spawn(&bed, |bed| bed.put(bed.get()));
        bed.put(held);
        leaver.join().unwrap();
        stayer.join().unwrap();
        bed.finish();
    }, caught by mutant_a_cancelled_share_is_kept = ShareCancelKeepsGrant;

    /// A waiter that joins the queue sees a capacity that rises.
    a_rising_capacity_against_who_joins_the_line(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let link = bed.first();
        bed.perform(bed.links.set_capacity(link, 0, NOW));
        let waiter = spawn(&bed, |bed| bed.put(bed.get()));
        bed.perform(bed.links.set_capacity(link, 1, NOW));
        waiter.join().unwrap();
        bed.finish();
    }, caught by mutant_a_rising_capacity_serves_nobody = ShareCapacityServesNobody;

    /// A capacity below the number of shares takes no share away, and allows no new share before enough were returned.
    a_falling_capacity_against_shares(BOUND) {
        let bed = Bed::new(1, 2);
        let held = bed.get();
        let other = spawn(&bed, |bed| if let Some(share) = bed.links.take() {
            bed.put(share);
        });
        bed.perform(bed.links.set_capacity(held.link(), 1, NOW));
        assert!(bed.links.take().is_none(), "one is out, of one");
        bed.put(held);
        other.join().unwrap();
        let share = bed.links.take().expect("one is free, of one");
        assert!(bed.links.take().is_none());
        bed.put(share);
        bed.finish();
    }, caught by mutant_a_falling_capacity_forgets_shares = ShareCapacityForgetsUsed;

    /// When the connection dies, another is opened for a waiter, whether the last share is still out or not.
    a_death_against_who_waits(BOUND) {
        let bed = Bed::new(1, 1);
        let held = bed.get();
        let link = held.link();
        let waiter = spawn(&bed, |bed| bed.put(bed.get()));
        let holder = spawn(&bed, |bed| bed.put(held));
        bed.perform(bed.links.fail(link, "died", NOW, 0.0));
        waiter.join().unwrap();
        holder.join().unwrap();
        bed.finish();
    }, caught by mutant_a_death_opens_nothing = ShareDeathOpensNothing;

    /// A suspect connection gives no new share. A waiter is served when the connection is trusted again.
    suspicion_against_a_get(BOUND) {
        let bed = Bed::new(1, 1);
        let link = bed.first();
        bed.perform(bed.links.set_suspect(link, true, NOW));
        assert!(bed.links.take().is_none(), "it is suspect");
        let waiter = spawn(&bed, |bed| bed.put(bed.get()));
        bed.perform(bed.links.set_suspect(link, false, NOW));
        waiter.join().unwrap();
        bed.finish();
    }, caught by mutant_a_suspect_is_shared_on = ShareOfSuspect;

    /// A failed open frees its place for the next attempt.
    a_failed_open_frees_its_place_for_another(EXHAUSTIVE) {
        let bed = Bed::new(1, 1);
        let (Take::Queued(id, work), _) = bed.links.take_or_wait(Waker::noop().clone(), NOW) else { panic!("none is open") };
        let link = work.opens[0];
        let other = spawn(&bed, |bed| bed.put(bed.get()));
        // No jitter, so that the next attempt may begin at once.
        bed.perform(bed.links.open_failed(link, "refused", NOW, 0.0));
        match bed.look(&id, Waker::noop()) {
            Poll::Ready(answer) => bed.put(answer.expect("the second attempt succeeds")),
            Poll::Pending => bed.perform(bed.links.cancel(id, NOW)),
        }
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_a_failed_open_keeps_its_place = ShareFailedOpenKeepsPlace;
}
