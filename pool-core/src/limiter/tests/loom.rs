//! The hazards of the limiter in every interleaving: one model for each hazard, and for each a seeded bug that the model must find.

use std::{
    future::poll_fn,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::thread;

use crate::{
    engine::{
        mutation::{self, Mutation},
        tests::{block_on, model, models},
    },
    limiter::{
        lines::Ticket,
        permits::{Permits, Refusal, Take},
    },
};

/// A limiter, and how many permits are held by the count of their holders.
///
/// The models use the count itself, because a permit would return itself when it is dropped, also while a failed model is torn
/// down.
#[derive(Clone)]
struct Bed {
    permits: Arc<Permits>,
    inside: Arc<AtomicU32>,
    limit: u32,
}

impl Bed {
    fn new(limit: u32) -> Self {
        Self {
            permits: Arc::new(Permits::new(limit, 8)),
            inside: Arc::default(),
            limit,
        }
    }

    /// An acquire got `count` permits.
    fn enter(&self, count: u32) {
        let inside = self.inside.fetch_add(count, SeqCst) + count;
        assert!(inside <= self.limit, "{inside} inside of {}", self.limit);
    }

    fn put(&self, count: u32) {
        self.inside.fetch_sub(count, SeqCst);
        self.permits.put(count);
    }

    fn hold(&self, count: u32) {
        assert!(self.permits.take(count));
        self.enter(count);
    }

    fn with_room_for(limit: u32, max_waiters: usize) -> Self {
        Self {
            permits: Arc::new(Permits::new(limit, max_waiters)),
            ..Self::new(limit)
        }
    }

    /// Joins the queue, unless the acquire is served at once.
    fn ask(&self, count: u32) -> Option<Ticket> {
        self.ask_by(count, None)
    }

    /// Joins the queue of `key`, unless the acquire is served at once.
    fn ask_by(&self, count: u32, key: Option<u64>) -> Option<Ticket> {
        match self.permits.take_or_wait(count, key, Waker::noop().clone()) {
            Take::Ready => {
                self.enter(count);
                None
            }
            Take::Queued(ticket) => Some(ticket),
            Take::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    fn look(&self, ticket: &Ticket, count: u32) -> Poll<Result<(), Refusal>> {
        self.answer(ticket, count, &Context::from_waker(Waker::noop()))
    }

    fn answer(
        &self,
        ticket: &Ticket,
        count: u32,
        context: &Context<'_>,
    ) -> Poll<Result<(), Refusal>> {
        let answer = self.permits.poll(ticket, context.waker());
        if answer == Poll::Ready(Ok(())) {
            self.enter(count);
        }
        answer
    }

    /// Waits for `count` permits until they are granted.
    fn get(&self, count: u32) -> Result<(), Refusal> {
        let mut ticket = None;
        if self.permits.take(count) {
            self.enter(count);
            return Ok(());
        }
        block_on(poll_fn(|context| match &ticket {
            Some(ticket) => self.answer(ticket, count, context),
            None => match self
                .permits
                .take_or_wait(count, None, context.waker().clone())
            {
                Take::Ready => {
                    self.enter(count);
                    Poll::Ready(Ok(()))
                }
                Take::Refused(refusal) => Poll::Ready(Err(refusal)),
                Take::Queued(new) => {
                    ticket = Some(new);
                    Poll::Pending
                }
            },
        }))
    }

    /// Checks that no permit was lost and none was added.
    fn finish(&self, available: u32) {
        let status = self.permits.status();
        assert_eq!(
            (status.available, status.in_use, status.waiting),
            (available, 0, 0)
        );
    }
}

fn spawn(bed: &Bed, run: impl FnOnce(&Bed) + 'static) -> thread::JoinHandle<()> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

const HOME: u64 = 1;
const GRACE: Duration = Duration::from_millis(50);
const BOUND: Option<usize> = Some(3);
const EXHAUSTIVE: Option<usize> = None;

models! {
    /// A waiter that joins the queue does not miss a return that goes past the queue.
    a_returned_permit_is_seen_by_who_joins_the_line(EXHAUSTIVE) {
        let bed = Bed::new(1);
        bed.hold(1);
        let waiter = spawn(&bed, |bed| {
            bed.get(1).expect("it is returned");
            bed.put(1);
        });
        bed.put(1);
        waiter.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_return_ignores_line = PermitReturnIgnoresLine,
        mutant_permit_waiter_looks_too_early = PermitWaiterLooksTooEarly;

    /// Two acquires of one permit never hold it together, whichever way each takes.
    one_permit_is_never_had_twice(EXHAUSTIVE) {
        let bed = Bed::new(1);
        let other = spawn(&bed, |bed| {
            bed.get(1).expect("it comes back");
            bed.put(1);
        });
        bed.get(1).expect("it comes back");
        bed.put(1);
        other.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_return_past_the_line = PermitReturnIgnoresLine;

    /// A newcomer does not take a permit past a thread that holds the lock, or past a waiter in the queue.
    no_newcomer_takes_past_the_line(EXHAUSTIVE) {
        let bed = Bed::new(2);
        bed.hold(1);
        let newcomer = spawn(&bed, |bed| if bed.permits.take(1) {
            bed.enter(1);
            bed.put(1);
        });
        let ticket = bed.ask(1);
        newcomer.join().unwrap();
        if let Some(ticket) = ticket {
            assert_eq!(bed.look(&ticket, 1), Poll::Ready(Ok(())));
        }
        bed.put(2);
        bed.finish(2);
    }, caught by mutant_permit_barges = PermitBarges;

    /// A waiter that is cancelled at any point passes on its grant.
    a_cancelled_waiter_passes_its_permits_on(BOUND) {
        let bed = Bed::new(1);
        bed.hold(1);
        let leaver = spawn(&bed, |bed| match bed.ask(1) {
            Some(ticket) => bed.permits.cancel(ticket),
            None => bed.put(1),
        });
        let stayer = spawn(&bed, |bed| {
            bed.get(1).expect("it is returned");
            bed.put(1);
        });
        bed.put(1);
        leaver.join().unwrap();
        stayer.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_cancel_keeps_grant = PermitCancelKeepsGrant;

    /// A waiter that joins by the inbox is served after the queue, by the thread that serves the last waiter of the queue.
    returns_against_who_joins_the_limiter_by_the_inbox(EXHAUSTIVE) {
        let bed = Bed::new(1);
        bed.permits.dismiss_keepers();
        bed.hold(1);
        let first = bed.ask(1).expect("it is out");
        let second = spawn(&bed, |bed| {
            bed.get(1).expect("it is returned");
            bed.put(1);
        });
        bed.put(1);
        assert_eq!(bed.look(&first, 1), Poll::Ready(Ok(())));
        bed.put(1);
        second.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_last_leaves_inbox_open = PermitLastLeavesInboxOpen;

    /// A waiter that joined by the inbox and is cancelled gets no grant, or passes it on.
    returns_against_who_leaves_the_limiters_inbox(EXHAUSTIVE) {
        let bed = Bed::new(1);
        bed.permits.dismiss_keepers();
        bed.hold(1);
        let first = bed.ask(1).expect("it is out");
        let leaver = spawn(&bed, |bed| match bed.ask(1) {
            Some(ticket) => bed.permits.cancel(ticket),
            None => bed.put(1),
        });
        bed.put(1);
        assert_eq!(bed.look(&first, 1), Poll::Ready(Ok(())));
        bed.put(1);
        leaver.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_who_leaves_is_forgotten = PermitInboxIsForgotten;

    /// A close also refuses the waiters in the inbox. A waiter that is cancelled leaves the inbox.
    close_against_who_joins_the_limiter_by_the_inbox(EXHAUSTIVE) {
        let bed = Bed::new(1);
        bed.permits.dismiss_keepers();
        bed.hold(1);
        let first = bed.ask(1).expect("it is out");
        let second = spawn(&bed, |bed| assert_eq!(bed.get(1), Err(Refusal::Closed)));
        bed.permits.close();
        assert_eq!(bed.look(&first, 1), Poll::Ready(Err(Refusal::Closed)));
        second.join().unwrap();
        bed.put(1);
    }, caught by mutant_permit_close_forgets_the_inbox = PermitInboxIsForgotten;

    /// When the first waiter, which asked for more permits than are free, is cancelled, the next waiter gets the free permits.
    a_large_head_that_leaves_serves_those_behind(BOUND) {
        let bed = Bed::new(2);
        bed.hold(1);
        let large = bed.ask(2).expect("one is out");
        let small = spawn(&bed, |bed| {
            bed.get(1).expect("one is free");
            bed.put(1);
        });
        bed.permits.cancel(large);
        small.join().unwrap();
        bed.put(1);
        bed.finish(2);
    }, caught by mutant_permit_cancel_serves_nobody = PermitCancelServesNobody;

    /// Two returns of one permit serve a waiter for two, and then a waiter for one, in that order.
    weights_are_served_in_order(BOUND) {
        let bed = Bed::new(2);
        bed.hold(2);
        let large = bed.ask(2).expect("both are out");
        let small = bed.ask(1).expect("both are out");
        let returner = spawn(&bed, |bed| bed.put(1));
        assert!(bed.look(&small, 1).is_pending(), "the small one overtook the large one");
        bed.put(1);
        returner.join().unwrap();
        assert_eq!(bed.look(&large, 2), Poll::Ready(Ok(())));
        assert!(bed.look(&small, 1).is_pending());
        bed.put(2);
        assert_eq!(bed.look(&small, 1), Poll::Ready(Ok(())));
        bed.put(1);
        bed.finish(2);
    }, caught by mutant_permit_large_is_served_early = PermitLargeIsServedEarly;

    /// A limiter that shrinks while permits are returned ends at its new limit.
    a_smaller_limit_is_reached_by_returns(BOUND) {
        let bed = Bed::new(2);
        bed.hold(2);
        let returner = spawn(&bed, |bed| bed.put(1));
        let resizer = spawn(&bed, |bed| bed.permits.resize(1));
        bed.put(1);
        returner.join().unwrap();
        resizer.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_shrink_forgets_debt = PermitShrinkForgetsDebt;

    /// A close refuses all waiters, those in the queue and those that are about to join it.
    closing_tells_all_who_wait(BOUND) {
        let bed = Bed::new(1);
        bed.hold(1);
        let waiters = [0, 1].map(|_| spawn(&bed, |bed| assert_eq!(bed.get(1), Err(Refusal::Closed))));
        bed.permits.close();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        bed.put(1);
        bed.finish(1);
    }, caught by mutant_permit_close_wakes_one = PermitCloseWakesOne,
        mutant_permit_close_is_seen_too_early = PermitCloseIsSeenTooEarly;

    /// A close that races a return has one outcome for the waiter: the permit, or the refusal.
    closing_against_a_grant(BOUND) {
        let bed = Bed::new(1);
        bed.hold(1);
        let waiter = spawn(&bed, |bed| match bed.get(1) {
            Ok(()) => bed.put(1),
            Err(refusal) => assert_eq!(refusal, Refusal::Closed),
        });
        let closer = spawn(&bed, |bed| bed.permits.close());
        bed.put(1);
        closer.join().unwrap();
        waiter.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_return_while_closing = PermitReturnIgnoresLine;

    /// A waiter of another key finds room in a full queue. The waiter that it replaces is refused, and no other is.
    a_full_line_makes_room_for_another_key(BOUND) {
        let bed = Bed::with_room_for(1, 2);
        bed.hold(1);
        let first = bed.ask(1).expect("it is out");
        let flood = spawn(&bed, |bed| match bed.get(1) {
            Ok(()) => bed.put(1),
            Err(refusal) => assert_eq!(refusal, Refusal::Overloaded),
        });
        let other = bed.ask_by(1, Some(7)).expect("it is out");
        bed.put(1);
        assert_eq!(bed.look(&first, 1), Poll::Ready(Ok(())));
        bed.put(1);
        // Its turn comes next, or after the turn of the waiter before it.
        let other = poll_fn(|context| bed.answer(&other, 1, context));
        assert_eq!(block_on(other), Ok(()));
        bed.put(1);
        flood.join().unwrap();
        bed.finish(1);
    }, caught by mutant_permit_pushed_out_sleeps_on = PermitPushedOutSleepsOn;

    /// A grant that is not fetched goes to the next waiter; the unpolled waiter keeps its place.
    an_unfetched_permit_is_taken_back(BOUND) {
        let bed = Bed::new(1);
        bed.permits.claim_keeper(HOME);
        bed.hold(1);
        let unpolled = bed.ask(1).expect("it is out");
        let next = spawn(&bed, |bed| {
            bed.get(1).expect("it is taken back from who does not fetch it");
            bed.put(1);
        });
        bed.put(1);
        bed.permits.tick(HOME, GRACE, GRACE, Waker::noop());
        next.join().unwrap();
        if bed.look(&unpolled, 1).is_pending() {
            assert_eq!(bed.look(&unpolled, 1), Poll::Ready(Ok(())));
        }
        bed.put(1);
        bed.finish(1);
    }, caught by mutant_permit_reclaim_keeps_grant = PermitReclaimKeepsGrant;

    /// The keeper goes with its runtime. A waiter that has moved to another runtime is woken, and gets a keeper there.
    a_keeper_that_goes_is_replaced_by_who_waits(BOUND) {
        let bed = Bed::new(1);
        bed.permits.claim_keeper(HOME);
        bed.hold(1);
        let unpolled = bed.ask(1).expect("it is out");
        let home = Arc::new(AtomicU64::new(HOME));
        let here = Arc::clone(&home);
        let next = spawn(&bed, move |bed| {
            let ticket = bed.ask(1).expect("it is out, or granted to one who does not fetch it");
            let served = poll_fn(|context| {
                let answer = bed.answer(&ticket, 1, context);
                let home = here.load(SeqCst);
                if answer.is_pending() && bed.permits.claim_keeper(home) {
                    bed.permits.tick(home, GRACE, GRACE, Waker::noop());
                }
                answer
            });
            assert_eq!(block_on(served), Ok(()));
            bed.put(1);
        });
        bed.put(1);
        home.store(HOME + 1, SeqCst);
        bed.permits.keeper_left(HOME, true);
        next.join().unwrap();
        bed.permits.cancel(unpolled);
        bed.finish(1);
    }, caught by mutant_permit_keeper_leaves_in_silence = PermitKeeperLeavesInSilence;

    /// The first keeper's runtime exists and polls nothing: another keeper counts the time alone.
    a_keeper_that_is_not_polled_is_not_missed(BOUND) {
        let bed = Bed::new(1);
        bed.permits.claim_keeper(HOME);
        bed.permits.claim_keeper(HOME + 1);
        bed.hold(1);
        let unpolled = bed.ask(1).expect("it is out");
        let next = spawn(&bed, |bed| {
            bed.get(1).expect("it is taken back from who does not fetch it");
            bed.put(1);
        });
        bed.put(1);
        bed.permits.tick(HOME + 1, GRACE, GRACE, Waker::noop());
        next.join().unwrap();
        bed.permits.cancel(unpolled);
        bed.finish(1);
    }, caught by mutant_permit_first_keeper_is_trusted = PermitFirstKeeperIsTrusted;
}
