#![allow(clippy::unwrap_used)]

use super::{
    holes::{FEW_FREE, FEW_HOLES},
    *,
};
use crate::moment::nanos_of;

const NOW: Moment = Moment::from_nanos(1_000);
const GRACE: Duration = Duration::from_millis(50);

fn queue() -> Line<u32, ()> {
    Line::new()
}

fn push(queue: &mut Line<u32, ()>) -> Waiter<u32, ()> {
    queue.push((), Waker::noop().clone(), NOW)
}

fn cancel(queue: &mut Line<u32, ()>, id: Waiter<u32, ()>) -> Option<Answer<u32, ()>> {
    queue.cancel(id).0
}

fn is_granted(queue: &mut Line<u32, ()>, id: &Waiter<u32, ()>, grant: u32) -> bool {
    queue.answer(id) == Poll::Ready(Ok(grant))
}

#[test]
fn grants_go_out_in_order_of_arrival_past_those_who_left() {
    let mut queue = queue();
    let [first, second, third] = [(); 3].map(|()| push(&mut queue));
    assert_eq!(cancel(&mut queue, second), None);
    assert!(queue.grant(1, NOW).is_ok() && queue.grant(2, NOW).is_ok());
    assert_eq!(queue.grant(3, NOW).err(), Some(3), "nobody is left");
    assert!(is_granted(&mut queue, &first, 1) && is_granted(&mut queue, &third, 2));
}

#[test]
fn who_leaves_gives_back_what_was_handed_to_it() {
    let mut queue = queue();
    let (first, second) = (push(&mut queue), push(&mut queue));
    assert!(queue.grant(1, NOW).is_ok());
    assert_eq!(cancel(&mut queue, first), Some(Ok(1)));
    assert_eq!((queue.len(), queue.answer(&second)), (1, Poll::Pending));
}

/// Takes back the grants that are due. Returns them, and how many waiters were told to poll again.
fn reclaim(queue: &mut Line<u32, ()>, now: Moment) -> (Vec<u32>, usize) {
    let mut wakers = Vec::new();
    let grants = queue.reclaim(now, nanos_of(GRACE), &mut wakers);
    (grants, wakers.len())
}

#[test]
fn those_whose_grants_were_taken_back_come_back_in_order_ahead_of_the_rest() {
    let mut queue = queue();
    let [first, second, third] = [(); 3].map(|()| push(&mut queue));
    assert!(queue.grant(1, NOW).is_ok() && queue.grant(2, NOW).is_ok());
    assert_eq!(reclaim(&mut queue, NOW), (vec![], 0), "not yet");
    let late = NOW + GRACE;
    assert_eq!(reclaim(&mut queue, late), (vec![1, 2], 1));
    assert_eq!(
        (queue.len(), queue.waiting()),
        (3, 0),
        "they keep their places"
    );
    let fourth = push(&mut queue);
    // They are polled in another order, but their tickets decide.
    for id in [&third, &second, &first] {
        assert!(queue.answer(id).is_pending());
    }
    for grant in 1..=4 {
        assert!(queue.grant(grant, late).is_ok());
    }
    for (id, grant) in [(&first, 1), (&second, 2), (&third, 3), (&fourth, 4)] {
        assert!(is_granted(&mut queue, id, grant));
    }
}

#[test]
fn when_a_grant_was_taken_back_those_in_line_are_passed_over_until_they_are_polled() {
    let mut queue = queue();
    let unpolled: Vec<_> = (0..10_000).map(|_| push(&mut queue)).collect();
    let polled = push(&mut queue);
    assert!(queue.grant(1, NOW).is_ok());
    let late = NOW + GRACE;
    assert_eq!(reclaim(&mut queue, late), (vec![1], 10_000));
    assert_eq!(
        queue.grant(1, late).err(),
        Some(1),
        "nobody is known to be polled"
    );
    assert!(queue.answer(&polled).is_pending());
    assert!(queue.grant(1, late).is_ok() && is_granted(&mut queue, &polled, 1));
    // No waiter is parked or told twice.
    assert_eq!(reclaim(&mut queue, late + GRACE), (vec![], 0));
    let newcomer = push(&mut queue);
    assert!(queue.grant(2, late).is_ok() && is_granted(&mut queue, &newcomer, 2));
    for id in unpolled {
        assert_eq!(cancel(&mut queue, id), None);
    }
    assert_eq!((queue.len(), queue.parked.len()), (0, 0));
}

#[test]
fn everybody_in_line_is_told_to_keep_a_timer_once() {
    let mut queue = queue();
    let (early, late) = (
        push(&mut queue),
        queue.push((), Waker::noop().clone(), NOW + GRACE),
    );
    let mut wakers = Vec::new();
    queue.arm(NOW, &mut wakers);
    assert_eq!(
        (wakers.len(), queue.is_armed(&early), queue.is_armed(&late)),
        (1, true, false)
    );
    queue.arm(NOW + GRACE, &mut wakers);
    queue.arm(NOW + GRACE, &mut wakers);
    assert_eq!(
        (wakers.len(), queue.is_armed(&late), queue.wants_ticks()),
        (2, true, false)
    );
}

#[test]
fn mails_and_places_are_used_again() {
    let mut queue = queue();
    let first = push(&mut queue);
    for _ in 0..1000 {
        let (a, b) = (push(&mut queue), push(&mut queue));
        assert_eq!((cancel(&mut queue, a), cancel(&mut queue, b)), (None, None));
        assert!(
            queue.line.len() <= 2 * FEW_HOLES + 3,
            "{}",
            queue.line.len()
        );
        assert!(queue.free.len() <= 2);
    }
    assert_eq!((queue.len(), cancel(&mut queue, first)), (1, None));
    assert_eq!((queue.line.len(), queue.holes), (0, 0));
}

#[test]
fn who_left_is_found_wherever_holes_were_filled() {
    let mut queue = queue();
    let mut ids: Vec<_> = (0..500).map(|_| Some(push(&mut queue))).collect();
    // Two of three waiters leave, the last ones first, and the others are served in order.
    for index in (0..500).rev().filter(|index| index % 3 != 0) {
        assert_eq!(cancel(&mut queue, ids[index].take().unwrap()), None);
    }
    let left: Vec<_> = ids.into_iter().flatten().collect();
    assert_eq!(queue.waiting(), left.len());
    for (grant, id) in left.iter().enumerate() {
        assert!(queue.waker(id).is_some());
        assert!(queue.grant(grant as u32, NOW).is_ok());
        assert!(is_granted(&mut queue, id, grant as u32));
    }
    assert!(queue.is_empty());
}

#[test]
fn what_was_fetched_without_the_lock_is_heard_of_once() {
    let mut queue = queue();
    let ids = [(); 3].map(|()| push(&mut queue));
    for (grant, id) in (0..).zip(&ids) {
        assert_eq!(id.fetch(|| None), None, "not yet");
        assert!(queue.grant(grant, NOW).is_ok());
    }
    assert_eq!(ids[2].fetch(|| Some(GRACE)), Some(Ok(2)), "out of turn");
    assert_eq!(ids[0].fetch(|| None), Some(Ok(0)));
    let (fetched, waits) = queue.hear();
    assert_eq!((fetched, waits.collect::<Vec<_>>()), (2, vec![GRACE]));
    let heard_again = queue.hear().0;
    assert_eq!(
        (heard_again, queue.free.len(), queue.wants_ticks()),
        (0, 2, true)
    );
    assert_eq!(
        reclaim(&mut queue, NOW + GRACE),
        (vec![1], 0),
        "the one that nobody fetched"
    );
    assert_eq!(ids[1].fetch(|| None), None);
}

/// The bytes that the queue itself holds.
fn bytes(queue: &Line<u32, ()>) -> usize {
    let mail = size_of::<Mail<Answer<u32, ()>>>() + 2 * size_of::<usize>();
    queue.line.capacity() * size_of::<Place<u32, (), ()>>()
        + queue.free.len() * mail
        + queue.free.capacity() * size_of::<usize>()
}

/// The bytes that a queue holds after `many` waiters, which joined behind one that stays, have left in this order.
fn after(many: usize, order: impl FnOnce(&mut Vec<Waiter<u32, ()>>)) -> usize {
    let mut queue = queue();
    let stays = push(&mut queue);
    let mut leave: Vec<_> = (0..many).map(|_| push(&mut queue)).collect();
    order(&mut leave);
    for id in leave {
        assert_eq!(cancel(&mut queue, id), None);
    }
    let bytes = bytes(&queue);
    assert_eq!((queue.len(), cancel(&mut queue, stays)), (1, None));
    bytes
}

#[test]
fn a_long_line_leaves_behind_what_a_short_one_does_in_whichever_order_it_goes() {
    let orders: [fn(&mut Vec<Waiter<u32, ()>>); 3] = [
        |_| {},
        |leave| leave.reverse(),
        |leave| {
            let len = leave.len();
            // Waiters that stood far apart leave one after the other.
            (0..len / 2)
                .step_by(3)
                .for_each(|at| leave.swap(at, len - 1 - at));
        },
    ];
    for order in orders {
        let (short, long) = (after(1_000, order), after(100_000, order));
        assert!(long <= 2 * short.max(100_000), "{long} and {short} bytes");
    }
}

#[test]
fn a_long_line_that_was_served_leaves_little_behind() {
    let mut queue = queue();
    let ids: Vec<_> = (0..10_000).map(|_| push(&mut queue)).collect();
    let stays = push(&mut queue);
    for id in ids {
        assert!(queue.grant(0, NOW).is_ok());
        assert_eq!(id.fetch(|| None), Some(Ok(0)));
    }
    for _ in 0..20 {
        drop(queue.hear());
    }
    assert!(queue.free.len() <= FEW_FREE + 1);
    assert!(queue.line.capacity() <= 2 * FEW_FREE && queue.free.capacity() <= 4 * FEW_FREE);
    assert_eq!(cancel(&mut queue, stays), None);
}

#[test]
fn one_that_never_fetches_does_not_make_the_line_grow() {
    let mut queue = queue();
    let never = push(&mut queue);
    assert!(queue.grant(0, NOW).is_ok());
    for grant in 1..10_000 {
        let id = push(&mut queue);
        assert!(queue.grant(grant, NOW).is_ok());
        assert_eq!(id.fetch(|| None), Some(Ok(grant)));
    }
    assert!(
        queue.line.capacity() <= 4 * FEW_HOLES,
        "{}",
        queue.line.capacity()
    );
    assert!(queue.free.len() <= 4 * FEW_HOLES, "{}", queue.free.len());
    assert_eq!(queue.hear().0, 9_999);
    assert_eq!(never.fetch(|| None), Some(Ok(0)));
}

#[test]
fn the_last_can_be_told_no_and_what_that_leaves_behind_is_used_again() {
    let mut queue = queue();
    let first = push(&mut queue);
    for _ in 0..1000 {
        let (gone, last) = (push(&mut queue), push(&mut queue));
        assert_eq!(cancel(&mut queue, gone), None);
        assert!(queue.refuse_last(()).is_some());
        assert_eq!(queue.waiting(), 1, "the first");
        assert_eq!(last.fetch(|| None), Some(Err(())));
    }
    assert!(queue.told_apart.capacity() <= 8 && queue.free.len() <= 8);
    assert!(queue.refuse_last(()).is_some() && queue.is_empty());
    assert!(queue.refuse_last(()).is_none(), "nobody is left");
    assert_eq!(first.fetch(|| None), Some(Err(())));
}
