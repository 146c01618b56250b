//! Every interleaving of the hazards of shares. Each hazard has one model, and at least one seeded bug that the model must catch.

use std::{
    future::poll_fn,
    sync::Arc as StdArc,
    task::{Context, Poll, Waker},
};

use super::{
    super::bed::{Bed, Lent, TestToken, Wait},
    EXHAUSTIVE, opens, pass, spawn,
};
use crate::{
    engine::{
        mutation::{self, Mutation},
        tests::{block_on, model, models},
    },
    gauge::LinkId,
    keyed::{grant::Grant, seats::SeatState},
};

/// Gets something of `key`, and waits as long as it takes.
fn get(bed: &Bed, key: char) -> Lent {
    let mut wait = bed.wait(key);
    block_on(poll_fn(|context| wait.poll_any(context))).expect("nothing is refused")
}

/// Gets a share of something of `key`.
fn share(bed: &Bed, key: char) -> TestToken {
    token(get(bed, key))
}

fn token(lent: Lent) -> TestToken {
    match lent {
        Grant::Many(token) => token,
        Grant::One(_) => panic!("it is for one at a time"),
    }
}

/// Gets something of `key` and gives it back.
fn touch(bed: &Bed, key: char) {
    bed.put_any(get(bed, key));
}

/// Polls a waiter that is to be told later.
fn poll(wait: &mut Wait) -> Poll<Lent> {
    let polled = wait.poll_any(&mut Context::from_waker(Waker::noop()));
    polled.map(|answer| answer.expect("nothing is refused"))
}

/// A bed on which a connection of 'a' that so many share is open and unused.
fn shared(capacity: u32) -> Bed {
    let bed = Bed::new(1, 1);
    bed.share('a', capacity);
    touch(&bed, 'a');
    bed
}

/// Returns how many shares of this connection are out; `None` if it has gone.
fn used(bed: &Bed, link: LinkId) -> Option<u32> {
    let state = bed.kernel.lock();
    let there = state.seats.is_there(link);
    there.then(|| state.seats.shares(link.index).1)
}

models! {
    /// After the capacity fell, no share is given above it, however the get and the news meet.
    a_share_against_a_falling_capacity(EXHAUSTIVE) {
        let bed = shared(2);
        let held = share(&bed, 'a');
        let link = held.link;
        let falls = spawn(&bed, move |bed| {
            bed.set_capacity(link, 1);
            let before = used(bed, link);
            let mut next = bed.wait('a');
            assert!(poll(&mut next).is_pending(), "above the capacity");
            assert!(used(bed, link) <= before, "above the capacity");
        });
        let mut other = bed.wait('a');
        let polled = poll(&mut other);
        falls.join().unwrap();
        if let Poll::Ready(lent) = polled {
            bed.put_any(lent);
        }
        bed.put_share(held);
        drop(other);
        bed.finish();
    }, caught by mutant_a_capacity_never_falls = MixedCapacityNeverFalls;

    /// A share that comes back serves the waiter that joins the queue at that moment.
    a_returned_share_against_who_joins(EXHAUSTIVE) {
        // Of two shares one stays out, so the connection is never without.
        let bed = shared(2);
        let (held, stays) = (share(&bed, 'a'), share(&bed, 'a'));
        let joins = spawn(&bed, |bed| touch(bed, 'a'));
        bed.put_share(held);
        joins.join().unwrap();
        bed.put_share(stays);
        bed.finish();
    }, caught by mutant_a_returned_share_serves_nobody = MixedReturnServesNobody;

    /// The last share of a connection that is drained closes it, in whichever order the two come.
    the_last_share_against_a_drain(EXHAUSTIVE) {
        let bed = shared(2);
        let held = share(&bed, 'a');
        let link = held.link;
        let drains = spawn(&bed, move |bed| bed.drain(link));
        bed.put_share(held);
        drains.join().unwrap();
        assert_eq!((bed.alive('a'), used(&bed, link)), (0, None), "it was drained");
        touch(&bed, 'a');
        assert_eq!(bed.opened('a'), 2);
        bed.finish();
    }, caught by mutant_the_last_share_ends_nothing = MixedLastShareEndsNothing;

    /// A connection dies while a share of it comes back. Its seat is freed once, and the next connection, which has the same seat,
    /// keeps its shares.
    a_death_against_a_returned_share(EXHAUSTIVE) {
        let bed = shared(2);
        let held = share(&bed, 'a');
        let link = held.link;
        let dies = spawn(&bed, move |bed| {
            bed.die(link);
            // Another has the seat now.
            let next = share(bed, 'a');
            assert_eq!(next.link.index, link.index);
            assert_eq!(used(bed, next.link), Some(1), "what died took a share of it along");
            bed.put_share(next);
        });
        bed.put_share(held);
        dies.join().unwrap();
        assert_eq!(bed.alive('a'), 1);
        bed.finish();
    }, caught by mutant_a_share_of_the_dead_comes_back = MixedReturnToTheDead;

    /// A connection dies while a get waits for a share of it: another is opened.
    a_death_against_who_waits(EXHAUSTIVE) {
        let bed = shared(1);
        let held = share(&bed, 'a');
        let link = held.link;
        let waits = spawn(&bed, |bed| touch(bed, 'a'));
        bed.die(link);
        waits.join().unwrap();
        bed.put_share(held);
        bed.finish();
    }, caught by mutant_the_dead_keep_their_place = MixedDeadKeepsPlace;

    /// An unused connection is either shared or evicted, never both, and both gets are served.
    an_eviction_against_a_share(EXHAUSTIVE) {
        let bed = shared(2);
        let other = spawn(&bed, |bed| touch(bed, 'b'));
        touch(&bed, 'a');
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_an_unused_one_is_not_evicted = MixedUnusedIsNotEvicted;

    /// One open serves all waiters for which it has shares, also the one that joins when it ends.
    one_open_serves_many(EXHAUSTIVE) {
        let mut bed = Bed::new(1, 1);
        bed.share('a', 3);
        bed.later = Some(StdArc::default());
        let (mut first, mut second) = (bed.wait('a'), bed.wait('a'));
        assert!(poll(&mut first).is_pending() && poll(&mut second).is_pending());
        let [seat] = opens(&bed).try_into().expect("one for both");
        bed.later = None;
        let joins = spawn(&bed, |bed| {
            let third = share(bed, 'a');
            bed.put_share(third);
        });
        bed.open_on(seat);
        let both = [&mut first, &mut second].map(poll);
        assert!(both.iter().all(Poll::is_ready), "it serves three");
        joins.join().unwrap();
        for lent in both {
            if let Poll::Ready(lent) = lent {
                bed.put_any(lent);
            }
        }
        assert_eq!(bed.opened('a'), 1);
        drop((first, second));
        bed.finish();
    }, caught by mutant_an_open_serves_one = MixedOpenServesOne;

    /// Shares were expected, and what is opened serves one at a time. The others get connections of their own, all at once.
    an_exclusive_open_where_shares_were_expected(EXHAUSTIVE) {
        let mut bed = Bed::new(3, 3);
        bed.expect(0);
        bed.later = Some(StdArc::default());
        let mut line = [bed.wait('a'), bed.wait('a'), bed.wait('a')];
        assert!(poll(&mut line[0]).is_pending() && poll(&mut line[1]).is_pending());
        let [seat] = opens(&bed).try_into().expect("one is enough, for all that is known");
        let ends = spawn(&bed, move |bed| bed.open_on(seat));
        assert!(poll(&mut line[2]).is_pending());
        ends.join().unwrap();
        let more = opens(&bed);
        assert_eq!(more.len(), 2, "nobody waits for the open of another");
        for seat in more {
            bed.open_on(seat);
        }
        bed.later = None;
        for wait in &mut line {
            let Poll::Ready(lent) = poll(wait) else {
                panic!("one was opened for each")
            };
            bed.put_any(lent);
        }
        drop(line);
        bed.finish();
    }, caught by mutant_the_next_is_expected_to_serve_many = MixedExpectsTooMuch;

    /// A key that has nothing gets the place of a connection that is never without a share, since that is drained.
    a_starved_key_against_a_shared_connection_in_use(EXHAUSTIVE) {
        let bed = shared(3);
        let held = share(&bed, 'a');
        let mut starved = bed.wait('b');
        assert!(poll(&mut starved).is_pending());
        let keeps = spawn(&bed, |bed| {
            pass(bed, 1);
            pass(bed, 101);
        });
        let mut second = bed.wait('a');
        let polled = poll(&mut second);
        keeps.join().unwrap();
        let mut third = bed.wait('a');
        assert!(poll(&mut third).is_pending(), "it is the turn of another key");
        bed.put_share(held);
        if let Poll::Ready(lent) = polled {
            bed.put_any(lent);
        }
        let Poll::Ready(lent) = poll(&mut starved) else {
            panic!("it is its turn")
        };
        assert_eq!((bed.alive('a'), bed.alive('b')), (0, 1));
        drop((starved, second, third));
        bed.put_any(lent);
        bed.finish();
    }, caught by mutant_a_shared_connection_never_yields = MixedSharedNeverYields;

    /// The driver of a connection says that it is dead before, or after, its open has ended. Nothing of it is left in either case,
    /// and the waiter is served.
    a_gauge_that_speaks_before_the_open_ends(EXHAUSTIVE) {
        let mut bed = Bed::new(1, 1);
        bed.share('a', 1);
        bed.later = Some(StdArc::default());
        let mut wait = bed.wait('a');
        assert!(poll(&mut wait).is_pending());
        let [seat] = opens(&bed).try_into().expect("one is being opened");
        bed.later = None;
        let link = bed.kernel.link(&seat);
        let speaks = spawn(&bed, move |bed| bed.die(link));
        bed.open_on(seat);
        speaks.join().unwrap();
        assert_eq!(used(&bed, link), None, "it is dead");
        let lent = block_on(poll_fn(|context| wait.poll_any(context)));
        bed.put_any(lent.expect("nothing is refused"));
        drop(wait);
        bed.finish();
    }, caught by mutant_an_early_word_is_lost = MixedEarlyWordIsLost;

    /// A share that was granted to a waiter that is not polled is taken back for the next, unless it is fetched just then.
    a_reclaim_of_a_share_against_who_fetches(EXHAUSTIVE) {
        let bed = shared(1);
        let held = share(&bed, 'a');
        let mut sleeper = bed.wait('a');
        assert!(poll(&mut sleeper).is_pending());
        bed.put_share(held);
        let keeps = spawn(&bed, |bed| {
            pass(bed, 60);
            touch(bed, 'a');
        });
        let lent = block_on(poll_fn(|context| sleeper.poll_any(context)));
        bed.put_any(lent.expect("nothing is refused"));
        keeps.join().unwrap();
        drop(sleeper);
        bed.finish();
    }, caught by mutant_a_share_that_was_taken_back_goes_to_nobody = MixedReclaimKeepsShare;

    /// A waiter that leaves at any point passes the share on that was granted to it.
    a_cancel_against_a_share(EXHAUSTIVE) {
        let bed = shared(1);
        let held = share(&bed, 'a');
        let mut leaver = bed.wait('a');
        assert!(poll(&mut leaver).is_pending());
        let leaves = spawn(&bed, move |_| drop(leaver));
        bed.put_share(held);
        touch(&bed, 'a');
        leaves.join().unwrap();
        assert_eq!(bed.opened('a'), 1);
        bed.finish();
    }, caught by mutant_a_cancel_keeps_its_share = MixedCancelKeepsShare;

    /// While a caller renews its connection in place, a get that joins has one opened of its own: it does not count on what is
    /// another's.
    a_reserved_open_against_who_joins(EXHAUSTIVE) {
        let bed = Bed::new(2, 2);
        let Grant::One(held) = get(&bed, 'a') else {
            panic!("it is for one at a time")
        };
        let joins = spawn(&bed, |bed| touch(bed, 'a'));
        let held = bed.reopen(held, || joins.join().unwrap());
        assert_eq!(bed.opened('a'), 3);
        bed.put(held);
        bed.finish();
    }, caught by mutant_a_reserved_open_is_supply = MixedReservedIsSupply;

    /// More shares than before serve the waiter that joins the queue at that moment.
    a_rising_capacity_against_who_joins(EXHAUSTIVE) {
        let bed = shared(1);
        let held = share(&bed, 'a');
        let link = held.link;
        let joins = spawn(&bed, |bed| touch(bed, 'a'));
        bed.set_capacity(link, 2);
        joins.join().unwrap();
        bed.put_share(held);
        bed.finish();
    }, caught by mutant_a_capacity_serves_nobody = MixedCapacityServesNobody;

    /// No share of a suspect connection is given. When it is trusted again, the waiter is served.
    suspicion_against_a_share(EXHAUSTIVE) {
        let bed = shared(2);
        let held = share(&bed, 'a');
        let link = held.link;
        let doubts = spawn(&bed, move |bed| {
            bed.suspect(link, true);
            let before = used(bed, link);
            let mut next = bed.wait('a');
            assert!(poll(&mut next).is_pending(), "it is suspect");
            assert!(used(bed, link) <= before, "it is suspect");
            drop(next);
            bed.suspect(link, false);
        });
        let mut wait = bed.wait('a');
        let polled = poll(&mut wait);
        doubts.join().unwrap();
        let lent = match polled {
            Poll::Ready(lent) => Poll::Ready(lent),
            Poll::Pending => poll(&mut wait),
        };
        let Poll::Ready(lent) = lent else {
            panic!("it is trusted again")
        };
        bed.put_any(lent);
        bed.put_share(held);
        assert_eq!(bed.kernel.snapshot().count(SeatState::Idle), 1);
        drop(wait);
        bed.finish();
    }, caught by mutant_a_share_of_the_suspect = MixedShareOfSuspect;
}
