//! Loom models of the kernel's hazards: one model for each hazard, with the seeded bugs that it must catch.
//!
//! `RUSTFLAGS="--cfg pool_loom" cargo test --release -p pool-core --lib loom`. Models of two threads are exhaustive, and so are all
//! models of the board alone. The others explore all schedules with up to three preemptions (or `LOOM_MAX_PREEMPTIONS`).

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{
    sync::{Condvar, Mutex},
    thread,
};

use super::bed::{Bed, START, TestSlot, limits};
use crate::engine::{
    Fast, Kept, Kernel, Queued, Refusal, Take,
    mutation::{self, Mutation},
};

/// Explores `model` in every schedule with up to `preemptions` preemptions, or in all if `None`. Prints how many schedules there
/// were.
pub(crate) fn model(
    name: &str,
    preemptions: Option<usize>,
    model: impl Fn() + Sync + Send + 'static,
) {
    let mut builder = loom::model::Builder::new();
    // `LOOM_MAX_PREEMPTIONS` bounds all models but the exhaustive ones.
    builder.preemption_bound = preemptions.map(|bound| builder.preemption_bound.unwrap_or(bound));
    builder.max_branches = 20_000;
    let iterations = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&iterations);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    println!("loom: {name}: {} iterations", iterations.load(Relaxed));
}

/// Runs a future to its end. Unlike loom's `block_on`, it can be torn down by the panic of a failed model.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let parker = std::sync::Arc::new(Parker {
        woken: Mutex::new(false),
        changed: Condvar::new(),
    });
    let waker = Waker::from(std::sync::Arc::clone(&parker));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        let mut woken = parker.woken.lock().unwrap();
        while !*woken {
            woken = parker.changed.wait(woken).unwrap();
        }
        *woken = false;
    }
}

struct Parker {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake for Parker {
    fn wake(self: std::sync::Arc<Self>) {
        *self.woken.lock().unwrap() = true;
        self.changed.notify_one();
    }
}

/// Records whether it was woken.
#[derive(Default)]
struct Rung(AtomicBool);

impl Wake for Rung {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

const BOUND: Option<usize> = Some(3);
const EXHAUSTIVE: Option<usize> = None;

/// Gets a slot, and waits as long as it takes.
fn get(bed: &Bed) -> Result<TestSlot, Refusal<&'static str>> {
    let mut wait = bed.wait();
    block_on(poll_fn(|context| wait.poll(context)))
}

fn spawn(bed: &Bed, run: impl FnOnce(&Bed) + 'static) -> thread::JoinHandle<()> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

fn poll_once(wait: &mut super::bed::Wait) -> Poll<Result<TestSlot, Refusal<&'static str>>> {
    wait.poll(&mut Context::from_waker(Waker::noop()))
}

/// Begins a get and drops it at once, whatever was handed over by then.
fn come_and_go(bed: &Bed) {
    let mut wait = bed.wait();
    if let Poll::Ready(Ok(slot)) = poll_once(&mut wait) {
        bed.put(slot);
    }
}

/// Declares models, each with tests that it fails with each of its seeded bugs.
macro_rules! models {
    ($($(#[doc = $doc:literal])+ $name:ident($bound:expr) $body:block, caught by $($mutant:ident = $mutation:ident),*;)+) => {$(
        $(#[doc = $doc])+
        #[test]
        fn $name() {
            model(stringify!($name), $bound, || $body);
        }

        $(
            #[test]
            #[should_panic]
            fn $mutant() {
                mutation::with(Mutation::$mutation, || model(stringify!($mutant), $bound, || $body));
            }
        )*
    )+};
}

pub(crate) use models;

#[allow(unsafe_code, reason = "says what keeps a board alive")]
mod board;
#[allow(unsafe_code, reason = "wakers that run code of the test's")]
mod wakers;
mod words;

models! {
    /// A waiter that joins the queue does not miss a slot that is returned meanwhile.
    a_return_is_seen_by_who_joins_the_line(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let waiter = spawn(&bed, |bed| bed.put(get(bed).expect("it is returned")));
        bed.put(held);
        waiter.join().unwrap();
        bed.finish();
    }, caught by mutant_lay_ignores_call = LayIgnoresCall, mutant_call_is_late = CallIsLate, mutant_waiter_looks_too_early = WaiterLooksTooEarly;

    /// A waiter that is cancelled at any point passes on the slot that was handed to it.
    hand_off_against_cancel(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let leaver = spawn(&bed, come_and_go);
        let stayer = spawn(&bed, |bed| bed.put(get(bed).expect("it is returned")));
        bed.put(held);
        leaver.join().unwrap();
        stayer.join().unwrap();
        bed.finish();
    }, caught by mutant_cancel_serves_nobody = CancelServesNobody;

    /// A waiter that is cancelled at any point passes on the news that there is room.
    room_against_cancel(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let leaver = spawn(&bed, come_and_go);
        let stayer = spawn(&bed, |bed| bed.put(get(bed).expect("another can be opened")));
        drop(held);
        leaver.join().unwrap();
        stayer.join().unwrap();
        bed.finish();
    }, caught by mutant_cancel_tells_nobody = CancelTellsNobody;

    /// A slot that is returned while the pool closes is closed once, by the return or by the close.
    return_against_close(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let closer = spawn(&bed, Bed::close);
        bed.put(held);
        closer.join().unwrap();
        assert_eq!((bed.alive(), bed.kernel.snapshot().idle), (0, 0), "idle in a closed pool");
        bed.finish();
    }, caught by mutant_return_ignores_close = ReturnIgnoresClose, mutant_close_calls_late = CloseCallsLate;

    /// A close that races a grant has one outcome: the waiter gets the resource, or the refusal.
    close_against_grant(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let closer = spawn(&bed, Bed::close);
        let waiter = spawn(&bed, |bed| match get(bed) {
            Ok(slot) => bed.put(slot),
            Err(refusal) => assert!(matches!(refusal, Refusal::Closed)),
        });
        bed.put(held);
        closer.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(bed.kernel.snapshot().idle, 0, "idle in a closed pool");
        bed.finish();
    }, caught by mutant_return_into_a_closed_pool = ReturnIgnoresClose;

    /// Two gets that take from the board at once take different slots, and both can be laid down again.
    two_takes_from_the_board(EXHAUSTIVE) {
        let bed = Bed::new(limits(2));
        let (first, second) = (bed.lease(), bed.lease());
        bed.put(first);
        bed.put(second);
        let other = spawn(&bed, |bed| bed.put(bed.take().expect("there are two")));
        bed.put(bed.take().expect("there are two"));
        other.join().unwrap();
        assert_eq!(bed.kernel.snapshot().idle, 2);
        bed.finish();
    }, caught by mutant_take_is_two_steps = TakeIsTwoSteps;

    /// Two gets and a return: a get that finds nothing on the board joins the queue, and is served by the return or by the other
    /// get.
    two_getters_and_a_returner(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let getters = [0, 1].map(|_| spawn(&bed, |bed| bed.put(get(bed).expect("it is returned"))));
        bed.put(held);
        getters.into_iter().for_each(|getter| getter.join().unwrap());
        assert_eq!(bed.opened(), 1);
        bed.finish();
    }, caught by mutant_a_return_is_not_called = LayIgnoresCall, mutant_returns_are_called_late = CallIsLate;

    /// A resource that was opened before a reset is not handed out after it, whenever it was laid down.
    return_against_reset(EXHAUSTIVE) {
        let bed = Bed::new(limits(2));
        let held = bed.lease();
        let old = held.generation;
        let returner = spawn(&bed, move |bed| bed.put(held));
        bed.perform(Kernel::retire_all(&bed.kernel, START));
        let slot = get(&bed).expect("another can be opened");
        assert_ne!(slot.generation, old, "of the past");
        returner.join().unwrap();
        bed.put(slot);
        bed.finish();
    }, caught by mutant_get_ignores_generation = GetIgnoresGeneration;

    /// A grant that is fetched while it is taken back has one owner.
    reclaim_against_a_fetch(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut wait = bed.wait();
        assert!(poll_once(&mut wait).is_pending());
        bed.put(held);
        let fetcher = thread::spawn(move || {
            let slot = block_on(poll_fn(|context| wait.poll(context))).expect("it keeps its place");
            wait.bed().put(slot);
        });
        let late = START + Duration::from_millis(60);
        bed.perform(Kernel::tick(&bed.kernel, late, Waker::noop().clone()).work);
        fetcher.join().unwrap();
        // The lease at the top waited for its open, and this get for the return.
        assert_eq!(bed.kernel.snapshot().counters.waited, 2, "it fetched one, once");
        bed.finish();
    }, caught by mutant_fetched_is_parked = FetchedIsParked;

    /// Two returns serve two waiters, whatever the order.
    two_returns_and_two_waiters(BOUND) {
        let bed = Bed::new(limits(2));
        let (first, second) = (bed.lease(), bed.lease());
        let waiters = [0, 1].map(|_| spawn(&bed, |bed| {
            let slot = get(bed).expect("there are two");
            bed.put(slot);
        }));
        bed.put(first);
        bed.put(second);
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(bed.opened(), 2);
        bed.finish();
    }, caught by mutant_two_returns_ignore_the_call = LayIgnoresCall;

    /// Two gets that open at once stay within the bound. If one of them finds no room, the return of the other serves it.
    the_bound_is_never_exceeded(BOUND) {
        let bed = Bed::new(limits(1));
        let other = spawn(&bed, |bed| bed.put(get(bed).expect("one can be opened")));
        bed.put(get(&bed).expect("one can be opened"));
        other.join().unwrap();
        assert_eq!(bed.opened(), 1);
        bed.finish();
    }, caught by mutant_opening_is_not_counted = OpeningIsNotCounted;

    /// A close refuses all waiters.
    close_wakes_all(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let waiters = [0, 1].map(|_| spawn(&bed, |bed| assert!(matches!(get(bed), Err(Refusal::Closed)))));
        bed.close();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        drop(held);
        bed.finish();
    }, caught by mutant_close_wakes_one = CloseWakesOne;

    /// A newcomer does not get a slot that was returned while a waiter is in the queue.
    no_newcomer_barges(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut first = bed.wait();
        assert!(poll_once(&mut first).is_pending());
        let newcomer = spawn(&bed, |bed| assert!(bed.take().is_none(), "it barged"));
        bed.put(held);
        newcomer.join().unwrap();
        let Poll::Ready(Ok(slot)) = poll_once(&mut first) else { panic!("it was handed over") };
        bed.put(slot);
        drop(first);
        bed.finish();
    }, caught by mutant_newcomer_barges = NewcomerBarges;

    /// First come, first served: no waiter is handed a slot before those that joined earlier.
    the_line_is_first_in_first_out(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let (mut first, mut second) = (bed.wait(), bed.wait());
        assert!(poll_once(&mut first).is_pending() && poll_once(&mut second).is_pending());
        let returner = spawn(&bed, move |bed| bed.put(held));
        let late = poll_once(&mut second);
        assert!(late.is_pending(), "the second overtook the first");
        returner.join().unwrap();
        let Poll::Ready(Ok(slot)) = poll_once(&mut first) else { panic!("it was the first in line") };
        bed.put(slot);
        let Poll::Ready(Ok(slot)) = poll_once(&mut second) else { panic!("it was the next in line") };
        bed.put(slot);
        drop((first, second));
        bed.finish();
    }, caught by mutant_return_hands_nothing_over = NewcomerBarges, mutant_the_second_is_served_first = SecondIsServedFirst;

    /// A waiter that joins by the inbox is served after those in the queue, by the return that serves the last of them.
    returns_against_who_joins_by_the_inbox(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut first = bed.wait();
        assert!(poll_once(&mut first).is_pending());
        let second = spawn(&bed, |bed| bed.put(get(bed).expect("it is returned")));
        bed.put(held);
        let Poll::Ready(Ok(slot)) = poll_once(&mut first) else { panic!("it was the first in line") };
        bed.put(slot);
        second.join().unwrap();
        drop(first);
        assert_eq!(bed.opened(), 1);
        bed.finish();
    }, caught by mutant_the_last_leaves_the_inbox_open = LastLeavesInboxOpen, mutant_a_return_is_into_the_inbox = InboxIsForgotten;

    /// A close refuses the waiters in the inbox too.
    close_against_who_joins_by_the_inbox(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut first = bed.wait();
        assert!(poll_once(&mut first).is_pending());
        let second = spawn(&bed, |bed| assert!(matches!(get(bed), Err(Refusal::Closed))));
        bed.close();
        assert!(matches!(poll_once(&mut first), Poll::Ready(Err(Refusal::Closed))));
        second.join().unwrap();
        drop((first, held));
        bed.finish();
    }, caught by mutant_close_forgets_the_inbox = InboxIsForgotten;

    /// A waiter that joined by the inbox and is cancelled is handed nothing, or passes its slot on.
    returns_against_who_leaves_the_inbox(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut first = bed.wait();
        assert!(poll_once(&mut first).is_pending());
        let leaver = spawn(&bed, come_and_go);
        bed.put(held);
        let Poll::Ready(Ok(slot)) = poll_once(&mut first) else { panic!("it was the first in line") };
        bed.put(slot);
        leaver.join().unwrap();
        drop(first);
        assert_eq!(bed.kernel.snapshot().idle, 1, "nobody has it, and nobody waits");
        bed.finish();
    }, caught by mutant_who_leaves_is_forgotten = InboxIsForgotten;

    /// More waiters join by the inbox than there are places. A seat that becomes free is found by one of them, since the drop of
    /// the seat shuts the inbox.
    room_against_who_joins_by_the_inbox(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut first = bed.wait();
        assert!(poll_once(&mut first).is_pending());
        let second = spawn(&bed, |bed| bed.put(get(bed).expect("another can be opened")));
        drop(held);
        let slot = block_on(poll_fn(|context| first.poll(context))).expect("another can be opened");
        bed.put(slot);
        second.join().unwrap();
        drop(first);
        bed.finish();
    }, caught by mutant_room_is_not_for_the_inbox = InboxIsForgotten;

    /// An open that fails frees its seat for the next attempt.
    a_failed_open_frees_its_place(BOUND) {
        let bed = Bed::new(limits(1));
        bed.fail_first(1);
        let other = spawn(&bed, |bed| bed.put(get(bed).expect("the second attempt succeeds")));
        bed.put(get(&bed).expect("the second attempt succeeds"));
        other.join().unwrap();
        bed.finish();
    }, caught by mutant_failed_open_keeps_seat = FailedOpenKeepsSeat;

    /// When the task that was to open a resource is dropped, the waiter that waits for it tries again.
    a_dropped_open_is_tried_again(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let mut given_up = bed.wait();
        let Take::Queued(Queued { id, work: Some(mut work), .. }) =
            Kernel::take_or_wait(&bed.kernel, START, || START, Waker::noop().clone()) else { panic!("nothing is open") };
        bed.settle(bed.kernel.cancel(id, || START));
        let waiter = spawn(&bed, |bed| bed.put(get(bed).expect("it opens one itself")));
        drop(work.opens.pop());
        waiter.join().unwrap();
        assert!(poll_once(&mut given_up).is_ready());
        drop(given_up);
        bed.perform(*work);
        bed.finish();
    }, caught by mutant_vacate_tells_nobody = VacateTellsNobody;

    /// A grant that is not fetched goes to the next waiter. The waiter that did not fetch it keeps its place.
    reclaim_against_a_late_poll(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut unpolled = bed.wait();
        assert!(poll_once(&mut unpolled).is_pending());
        let next = spawn(&bed, |bed| bed.put(get(bed).expect("it is reclaimed")));
        bed.put(held);
        let late = START + Duration::from_millis(60);
        let tick = Kernel::tick(&bed.kernel, late, Waker::noop().clone());
        bed.perform(tick.work);
        next.join().unwrap();
        let Poll::Ready(Ok(slot)) = block_on(poll_fn(|context| Poll::Ready(unpolled.poll(context)))) else {
            // That poll made it the first waiter again, so the idle slot is handed to it.
            let slot = block_on(poll_fn(|context| unpolled.poll(context))).expect("it keeps its place");
            bed.put(slot);
            drop(unpolled);
            return bed.finish();
        };
        bed.put(slot);
        drop(unpolled);
        bed.finish();
    }, caught by mutant_a_grant_is_never_reclaimed = GrantIsNeverReclaimed, mutant_parked_stays_parked = ParkedStaysParked;

    /// When a grant was not fetched, the next waiter may be just as unpolled. The waiter that is polled gets the slot that was
    /// taken back, without a second grace.
    one_grace_for_all_who_are_not_polled(BOUND) {
        let bed = Bed::new(limits(1));
        let held = bed.lease();
        let mut unpolled = [bed.wait(), bed.wait()];
        for wait in &mut unpolled {
            assert!(poll_once(wait).is_pending());
        }
        let polled = spawn(&bed, |bed| bed.put(get(bed).expect("it is taken back once")));
        bed.put(held);
        let late = START + Duration::from_millis(60);
        let tick = Kernel::tick(&bed.kernel, late, Waker::noop().clone());
        bed.perform(tick.work);
        polled.join().unwrap();
        drop(unpolled);
        bed.finish();
    }, caught by mutant_reclaim_parks_one = ReclaimParksOne, mutant_parked_are_not_told = ParkedAreNotTold;

    /// A pool that shrinks while leases are returned ends at its new size, and not below.
    resize_against_returns(BOUND) {
        let bed = Bed::new(limits(2));
        let (first, second) = (bed.lease(), bed.lease());
        let returner = spawn(&bed, |bed| bed.put(second));
        let resizer = spawn(&bed, |bed| bed.perform(Kernel::resize(&bed.kernel, 1, START)));
        bed.put(first);
        returner.join().unwrap();
        resizer.join().unwrap();
        assert_eq!((bed.alive(), bed.kernel.snapshot().idle), (1, 1));
        bed.finish();
    }, caught by mutant_resize_forgets_leased = ResizeForgetsLeased;

    /// A keeper that goes leaves the next keeper's waker in the bell.
    keeper_against_the_next(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let number = bed.kernel.post.enter().expect("it is vacant");
        bed.perform(Kernel::tick(&bed.kernel, START, Waker::noop().clone()).work);
        let goes = spawn(&bed, move |bed| bed.kernel.keeper_left(number));
        let next = std::sync::Arc::new(Rung::default());
        let fills = bed.kernel.post.enter().is_some();
        if fills {
            let waker = Waker::from(std::sync::Arc::clone(&next));
            bed.perform(Kernel::tick(&bed.kernel, START, waker).work);
        }
        goes.join().unwrap();
        bed.kernel.ring();
        assert_eq!(next.0.load(SeqCst), fills, "was it called?");
    }, caught by mutant_post_is_vacated_early = PostIsVacatedEarly;

    /// A keeper that goes while it is being replaced leaves the waker of its replacement in the bell.
    keeper_that_goes_against_its_replacement(EXHAUSTIVE) {
        let bed = Bed::new(limits(1));
        let number = bed.kernel.post.enter().expect("it is vacant");
        bed.perform(Kernel::tick(&bed.kernel, START, Waker::noop().clone()).work);
        let goes = spawn(&bed, move |bed| bed.kernel.keeper_left(number));
        let replaced = bed.kernel.replace_keeper(START, true);
        let next = std::sync::Arc::new(Rung::default());
        if let Some(number) = replaced.or_else(|| bed.kernel.post.enter()) {
            let waker = Waker::from(std::sync::Arc::clone(&next));
            let tick = Kernel::round(&bed.kernel, number, START, waker);
            bed.perform(tick.expect("it is the keeper").work);
        }
        goes.join().unwrap();
        assert!(bed.kernel.post.is_filled() || replaced.is_none());
        bed.kernel.ring();
        assert_eq!(next.0.load(SeqCst), bed.kernel.post.is_filled(), "was it called?");
    }, caught by mutant_keeper_takes_anothers_bell = KeeperTakesAnothersBell;

    /// Idle slots are counted as of one moment, though they lie in several words.
    a_count_against_gets_and_returns(BOUND) {
        let mut limits = limits(2);
        limits.parts = 2;
        let bed = Bed::new(limits);
        let (first, second) = (bed.lease(), bed.lease());
        bed.put(first);
        bed.put(second);
        let counts = spawn(&bed, |bed| {
            let seen = bed.kernel.snapshot();
            assert!(seen.idle >= 1 && seen.idle + seen.leased == 2, "{seen:?}");
        });
        for hint in [0, 1] {
            // One slot is leased at a time, so the other is idle meanwhile.
            if let Fast::Ready(slot) = bed.kernel.take(START, hint) {
                bed.put(slot);
            }
        }
        counts.join().unwrap();
        bed.finish();
    }, caught by mutant_counts_are_taken_in_motion = CountsAreTakenInMotion;

    /// A get that comes while the keeper has a resource checked still gets it afterwards.
    keeper_against_checkout(EXHAUSTIVE) {
        let mut limits = limits(1);
        limits.keeping.keepalive = Some(Duration::from_secs(1));
        let bed = Bed::new(limits);
        bed.put(bed.lease());
        let getter = spawn(&bed, |bed| bed.put(get(bed).expect("it is checked and good")));
        let tick = Kernel::tick(&bed.kernel, START + Duration::from_secs(1), Waker::noop().clone());
        bed.perform(tick.work);
        getter.join().unwrap();
        assert_eq!(bed.opened(), 1);
        bed.finish();
    }, caught by mutant_check_serves_nobody = CheckServesNobody;

    /// A resource that the keeper retires is not handed out, and one that is handed out is not retired.
    keeper_retires_against_checkout(EXHAUSTIVE) {
        let mut limits = limits(1);
        limits.keeping.idle_timeout = Some(Duration::from_secs(1));
        let bed = Bed::new(limits);
        bed.put(bed.lease());
        let getter = spawn(&bed, |bed| bed.put(get(bed).expect("that one or a new one")));
        let tick = Kernel::tick(&bed.kernel, START + Duration::from_secs(1), Waker::noop().clone());
        bed.perform(tick.work);
        getter.join().unwrap();
        bed.finish();
    }, caught by mutant_retired_seat_tells_nobody = VacateTellsNobody;
}
