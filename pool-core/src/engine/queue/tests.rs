use super::*;

const NOW: Moment = Moment::from_nanos(1_000);
const GRACE: Duration = Duration::from_millis(50);

fn queue() -> WaitQueue<u32, ()> {
    WaitQueue::new()
}

fn push(queue: &mut WaitQueue<u32, ()>) -> WaiterId {
    queue.push(Waker::noop().clone(), NOW)
}

fn is_granted(queue: &mut WaitQueue<u32, ()>, id: &WaiterId, grant: u32) -> bool {
    queue.answer(id) == Poll::Ready(Ok(grant))
}

#[test]
fn grants_go_out_in_order_of_arrival_past_those_who_left() {
    let mut queue = queue();
    let [first, second, third] = [(); 3].map(|()| push(&mut queue));
    assert_eq!(queue.cancel(second), None);
    assert!(queue.grant(1, NOW).is_ok() && queue.grant(2, NOW).is_ok());
    assert_eq!(queue.grant(3, NOW).err(), Some(3), "nobody is left");
    assert!(is_granted(&mut queue, &first, 1) && is_granted(&mut queue, &third, 2));
}

#[test]
fn who_leaves_gives_back_what_was_handed_to_it() {
    let mut queue = queue();
    let (first, second) = (push(&mut queue), push(&mut queue));
    assert!(queue.grant(1, NOW).is_ok());
    assert_eq!(queue.cancel(first), Some(Ok(1)));
    assert_eq!((queue.len(), queue.answer(&second)), (1, Poll::Pending));
}

#[test]
fn those_whose_grants_were_taken_back_come_back_in_order_ahead_of_the_rest() {
    let mut queue = queue();
    let [first, second, third] = [(); 3].map(|()| push(&mut queue));
    assert!(queue.grant(1, NOW).is_ok() && queue.grant(2, NOW).is_ok());
    assert_eq!(queue.reclaim(NOW, GRACE), None, "not yet");
    let late = NOW + GRACE;
    assert_eq!(
        (queue.reclaim(late, GRACE), queue.reclaim(late, GRACE)),
        (Some(1), Some(2))
    );
    assert_eq!(
        (queue.len(), queue.waiting()),
        (3, 1),
        "they keep their places"
    );
    // Polled in the other order: their tickets decide.
    assert!(queue.answer(&second).is_pending() && queue.answer(&first).is_pending());
    for grant in 1..=3 {
        assert!(queue.grant(grant, late).is_ok());
    }
    for (id, grant) in [(&first, 1), (&second, 2), (&third, 3)] {
        assert!(is_granted(&mut queue, id, grant));
    }
}

#[test]
fn everybody_in_line_is_told_to_keep_a_timer_once() {
    let mut queue = queue();
    let (early, late) = (
        push(&mut queue),
        queue.push(Waker::noop().clone(), NOW + GRACE),
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
fn cells_are_used_again() {
    let mut queue = queue();
    for _ in 0..1000 {
        let (a, b) = (push(&mut queue), push(&mut queue));
        assert_eq!((queue.cancel(a), queue.cancel(b)), (None, None));
    }
    assert_eq!(queue.cells.len(), 2);
}

#[test]
fn the_last_in_line_is_told_no_whether_parked_or_not_and_nobody_who_has_an_answer() {
    let mut queue = queue();
    let [first, second, third] = [(); 3].map(|()| push(&mut queue));
    let late = NOW + GRACE;
    // The first is parked, the second has gone.
    assert!(queue.grant(1, NOW).is_ok() && queue.grant(2, late).is_ok());
    assert_eq!(queue.reclaim(late, GRACE), Some(1));
    assert_eq!(queue.cancel(second), Some(Ok(2)));
    assert!(queue.refuse_last(()).is_some(), "the third waits");
    assert_eq!(queue.answer(&third), Poll::Ready(Err(())));
    assert!(
        queue.refuse_last(()).is_none(),
        "who is parked has no waker"
    );
    assert_eq!(queue.answer(&first), Poll::Ready(Err(())));
    let granted = push(&mut queue);
    assert!(queue.grant(3, NOW).is_ok());
    assert!(queue.refuse_last(()).is_none(), "nobody is in line");
    assert!(is_granted(&mut queue, &granted, 3));
    assert_eq!(queue.len(), 0);
}
