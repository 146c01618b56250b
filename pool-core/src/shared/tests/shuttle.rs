//! Users of shared connections that do anything, in random schedules, with more users at once than loom can explore.
#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::Ordering::SeqCst,
    task::{Poll, Waker},
    time::Duration,
};

use shuttle::{
    rand::{Rng, thread_rng},
    thread,
};

use super::bed::{Bed, NOW};
use crate::{
    engine::{
        Kept,
        mutation::{self, Mutation},
        tests::{ITERATIONS, PATIENCE, model, models},
    },
    gauge::LinkId,
    observe::CloseReason,
    shared::places::Share,
};

const USERS: usize = 4;
const STEPS: usize = 6;
const CAPACITY: u32 = 2;

fn one_in(n: u32) -> bool {
    thread_rng().gen_range(0..n) == 0
}

/// Uses a share, as its holder does, and gives it back. Returns the link of its connection.
fn part_with(bed: &Bed, share: Share) -> LinkId {
    let (conn, link) = (bed.conn(&share), share.link());
    conn.check();
    assert!(
        conn.inside.fetch_add(1, SeqCst) < bed.capacity,
        "more than may"
    );
    thread::yield_now();
    conn.check();
    conn.inside.fetch_sub(1, SeqCst);
    bed.put(share);
    link
}

/// Asks for a share and leaves after a few polls, whatever was granted by then.
fn give_up(bed: &Bed) {
    let id = match bed.ask(Waker::noop().clone()) {
        Ok(share) => return bed.put(share),
        Err(id) => id,
    };
    for _ in 0..thread_rng().gen_range(0..3) {
        thread::yield_now();
        if let Poll::Ready(answer) = bed.look(&id, Waker::noop()) {
            return answer.into_iter().for_each(|share| bed.put(share));
        }
    }
    bed.perform(bed.links.cancel(id, NOW));
}

fn use_some(bed: &Bed) {
    for _ in 0..STEPS {
        match thread_rng().gen_range(0..4) {
            0 => give_up(bed),
            1 => match bed.links.take() {
                Some(share) => drop(part_with(bed, share)),
                None => thread::yield_now(),
            },
            _ => match bed.try_get() {
                Some(share) => drop(part_with(bed, share)),
                None => return,
            },
        }
    }
}

fn spawn(bed: &Bed, run: impl FnOnce(&Bed) + Send + 'static) -> thread::JoinHandle<()> {
    let bed = bed.clone();
    thread::spawn(move || run(&bed))
}

/// Takes as many shares at once as the bounds allow; then everything is closed.
fn all_is_there(bed: &Bed, links: u32) {
    bed.perform(bed.links.retire_all(NOW));
    bed.perform(bed.links.resize(links, NOW));
    let shares: Vec<_> = (0..links * bed.capacity).map(|_| bed.get()).collect();
    assert!(bed.links.take().is_none());
    for share in shares {
        part_with(bed, share);
    }
    bed.finish();
    bed.perform(bed.links.close());
    assert!(bed.links.is_over(), "{:?}", bed.links.snapshot());
}

/// Users of one share that only get it, or give up, and return it. Only their own calls cause progress, so a lost wake-up is a
/// deadlock.
fn users_of_one() {
    let bed = Bed::new(1, 1);
    let users = [(); 3].map(|()| {
        spawn(&bed, |bed| {
            for _ in 0..2 {
                if one_in(3) {
                    give_up(bed);
                } else {
                    part_with(bed, bed.get());
                }
            }
        })
    });
    users.into_iter().for_each(|user| user.join().unwrap());
    all_is_there(&bed, 1);
}

/// Users of connections whose capacity changes, that are suspect, drain and die, with rounds of the keeper and opens that fail.
fn users_of_connections_that_change() {
    let bed = Bed::new(2, CAPACITY);
    bed.fails.store(thread_rng().gen_range(0..2), SeqCst);
    let users = [(); USERS].map(|()| spawn(&bed, use_some));
    let fate = spawn(&bed, |bed| {
        for _ in 0..STEPS {
            let link = bed.first();
            match thread_rng().gen_range(0..7) {
                0 => {
                    let capacity = thread_rng().gen_range(0..CAPACITY);
                    bed.perform(bed.links.set_capacity(link, capacity, NOW));
                    thread::yield_now();
                    bed.perform(bed.links.set_capacity(link, CAPACITY, NOW));
                }
                1 => {
                    bed.perform(bed.links.set_suspect(link, true, NOW));
                    thread::yield_now();
                    bed.perform(bed.links.set_suspect(link, false, NOW));
                }
                2 => bed.perform(bed.links.drain(link, CloseReason::Tainted, NOW)),
                3 => bed.perform(bed.links.fail(link, "died", NOW, 0.0)),
                4 => bed.perform(bed.links.resize(thread_rng().gen_range(1..3), NOW)),
                5 => bed.perform(bed.links.retire_all(NOW)),
                _ => {
                    let later = NOW + Duration::from_secs(1);
                    bed.perform(bed.links.tick(later, Waker::noop().clone()).1);
                }
            }
        }
    });
    users.into_iter().for_each(|user| user.join().unwrap());
    fate.join().unwrap();
    bed.fails.store(0, SeqCst);
    all_is_there(&bed, 2);
}

/// The pool is closed while it is used: all users end, and nothing is left.
fn users_of_a_pool_that_closes() {
    let bed = Bed::new(2, CAPACITY);
    let users = [(); USERS].map(|()| {
        spawn(&bed, |bed| {
            while let Some(share) = bed.try_get() {
                part_with(bed, share);
                if one_in(8) {
                    return;
                }
            }
        })
    });
    let closer = spawn(&bed, |bed| bed.perform(bed.links.close()));
    users.into_iter().for_each(|user| user.join().unwrap());
    closer.join().unwrap();
    bed.finish();
    assert!(bed.links.is_over());
}

// The seeded bugs of the places are left to loom, like those of the board.
models! {
    users_of_one_share_lose_nothing(users_of_one), caught by
        mutant_share_return_serves_nobody = ShareReturnServesNobody,
        mutant_share_cancel_keeps_grant = ShareCancelKeepsGrant;

    users_of_shares_lose_nothing_whatever_becomes_of_connections(users_of_connections_that_change), caught by
        mutant_share_capacity_serves_nobody = ShareCapacityServesNobody,
        mutant_share_drain_looks_too_early = ShareDrainLooksTooEarly;

    users_of_shares_come_to_an_end_when_the_pool_closes(users_of_a_pool_that_closes), caught by
        mutant_share_last_ends_nothing = ShareLastEndsNothing;
}
