//! The keeper's rounds: when they are due and what they do, each at the time for which the last one asked.

use std::{task::Waker, time::Duration};

use super::bed::{Bed, Item, START, limits};
use crate::{
    engine::{Kernel, Opened, Queued, Seat, Take, Ticket},
    moment::Moment,
    observe::CloseReason,
};

const MS: Duration = Duration::from_millis(1);
const SEC: Duration = Duration::from_secs(1);

/// Ends the open on this seat; the resource lives until `expires_at`.
fn open(bed: &Bed, seat: Seat<Item, &'static str>, expires_at: Moment) {
    let opened = Opened {
        item: bed.open().expect("it can be opened"),
        expires_at,
        took: Duration::ZERO,
    };
    let (put, work) = Kernel::opened(&bed.kernel, seat, opened, bed.now());
    bed.settle(put);
    bed.perform(work);
}

/// Begins a get in a pool in which nothing is open. Returns its ticket, and the seats to open resources on.
fn first_in_line(bed: &Bed) -> (Ticket<Item, &'static str>, Vec<Seat<Item, &'static str>>) {
    match Kernel::take_or_wait(&bed.kernel, START, || START, Waker::noop().clone()) {
        Take::Queued(Queued {
            id,
            work: Some(work),
            ..
        }) => (id, work.opens),
        _ => panic!("nothing is open"),
    }
}

#[test]
fn an_attempt_that_hangs_after_a_failure_does_not_keep_the_keeper_awake() {
    let mut limits = limits(4);
    limits.backoff.base = 50 * MS;
    let bed = Bed::new(limits);
    let (id, mut opens) = first_in_line(&bed);
    let seat = opens.pop().expect("it opens one");
    let retry = Kernel::open_failed(&bed.kernel, seat, "down", START, 1.0);
    assert!(retry.opens.is_empty(), "not before the backoff is over");
    bed.settle(bed.kernel.cancel(id, || START));
    let mut now = START;
    let mut hung = Vec::new();
    let mut rounds = 0;
    while now < START + 10 * SEC {
        let tick = Kernel::tick(&bed.kernel, now, Waker::noop().clone());
        hung.extend(tick.work.opens);
        assert!(tick.next > now);
        now = tick.next;
        rounds += 1;
    }
    assert_eq!(hung.len(), 1, "one prober");
    assert!(rounds <= 3, "{rounds} rounds in ten seconds");
}

#[test]
fn a_replaced_one_for_whose_replacement_there_is_no_room_any_more_goes() {
    let mut limits = limits(2);
    limits.keeping.min_idle = 1;
    let bed = Bed::new(limits);
    let (id, mut opens) = first_in_line(&bed);
    let (first, other) = (opens.pop(), opens.pop());
    let end = START + SEC;
    open(&bed, first.expect("for the waiter"), end);
    let expires = bed.kernel.time_out(id, MS).expect("it was granted");
    open(&bed, other.expect("as minimum idle"), Moment::NEVER);
    // The second place stays taken, by a resource that takes long to close.
    let other = bed.take().expect("it is idle");
    bed.perform(Kernel::begin_close(
        &bed.kernel,
        &other,
        CloseReason::Broken,
        START,
    ));
    bed.put(expires);
    let tick = Kernel::tick(&bed.kernel, end, Waker::noop().clone());
    assert!(tick.work.closes.is_empty() && tick.work.opens.is_empty());
    bed.perform(Kernel::resize(&bed.kernel, 1, end));
    drop(other);
    let late = end + 60 * SEC;
    let tick = Kernel::tick(&bed.kernel, late, Waker::noop().clone());
    assert_eq!(tick.work.closes.len(), 1, "its time was over long ago");
    bed.perform(tick.work);
    bed.perform(Kernel::tick(&bed.kernel, late, Waker::noop().clone()).work);
    assert_eq!(bed.kernel.snapshot().idle, 1);
    bed.finish();
}

#[test]
fn what_began_to_open_before_a_reset_is_of_the_past() {
    let bed = Bed::new(limits(2));
    let (id, mut opens) = first_in_line(&bed);
    let seat = opens.pop().expect("it opens one");
    assert!(bed.kernel.begin_open(&seat, START));
    let mut reset = Kernel::retire_all(&bed.kernel, START);
    let another = reset.opens.pop().expect("the first is of no use any more");
    assert!(bed.kernel.begin_open(&another, START));
    open(&bed, seat, Moment::NEVER);
    assert_eq!(bed.alive(), 0, "it was closed, and handed to nobody");
    open(&bed, another, Moment::NEVER);
    let slot = bed.kernel.time_out(id, MS).expect("it was granted");
    bed.put(slot);
    bed.finish();
}
