//! Those who use a pool, and do what they like with what they get; and those who run it.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering::SeqCst,
    task::{Context, Poll, Waker},
    time::Duration,
};

use shuttle::{
    rand::{Rng, thread_rng},
    thread,
};

use super::{
    backend::{Backend, Item, one_in, up_to_ms, yield_now},
    world::{Busy, MOST},
};
use crate::{
    Error, Get, Lease, Pool,
    rt::{
        self,
        simulated::{elapsed, fail, pause},
    },
};

const STEPS: usize = 4;

/// What a model may do to its users.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// The pool is closed some time.
    pub(super) closes: bool,
    /// They are on a runtime.
    pub(super) runtime: bool,
}

/// Gets and gives back, a few times.
pub(super) async fn use_some(world: Busy, rules: Rules) {
    for _ in 0..STEPS {
        let Some(pool) = world.pool() else { return };
        if one_in(6) {
            if let Ok(lease) = pool.try_get() {
                part_with(&world, Held::new(lease)).await;
            }
            continue;
        }
        match get(&world, &pool).await {
            Some(Ok(held)) => part_with(&world, held).await,
            Some(Err(error)) if error.is_timeout() || error.is_connect() => yield_now().await,
            Some(Err(error)) if error.is_no_runtime() && !rules.runtime => yield_now().await,
            Some(Err(error)) if error.is_closed() && rules.closes => return,
            Some(Err(error)) => fail(format!("a get failed: {error}")),
            None => {}
        }
    }
}

/// How a get is awaited.
enum Patience {
    Endless,
    /// It is dropped after so many polls.
    Polls(u32),
    /// It is dropped at a time of its user's own.
    Time(Duration),
    /// It is polled once, and then not for so long.
    Distracted(Duration),
}

/// Awaits a get in one of many ways. `None` if it was dropped before its end.
async fn get(
    world: &Busy,
    pool: &Pool<Backend>,
) -> Option<Result<Held, Error<super::backend::Trouble>>> {
    let patience = match thread_rng().gen_range(0..8) {
        0 => Patience::Polls(thread_rng().gen_range(1..4)),
        1 => Patience::Time(up_to_ms(60)),
        2 => Patience::Distracted(up_to_ms(150)),
        _ => Patience::Endless,
    };
    let limit = match thread_rng().gen_range(0..6) {
        0 => Duration::ZERO,
        1 => up_to_ms(5),
        2 => up_to_ms(200),
        3 => up_to_ms(1500),
        _ => Duration::from_secs(2),
    };
    let began = elapsed();
    let get = if one_in(2) {
        pool.get().timeout(limit)
    } else {
        pool.get().deadline(rt::now() + limit)
    };
    let outcome = wait(world, get.label("user"), limit, patience).await?;
    if let Err(error) = &outcome
        && error.is_timeout()
        && elapsed() - began < limit
    {
        fail(format!(
            "a get of {limit:?} was over after {:?}",
            elapsed() - began
        ));
    }
    Some(outcome.map(Held::new))
}

async fn wait(
    world: &Busy,
    get: Get<'_, Backend>,
    limit: Duration,
    patience: Patience,
) -> Option<Result<Lease<Backend>, Error<super::backend::Trouble>>> {
    let mut get = pin!(get);
    let awaited = world.awaits();
    let (mut polls, mut time) = match patience {
        Patience::Endless | Patience::Distracted(_) => (None, None),
        Patience::Polls(polls) => (Some(polls), None),
        Patience::Time(time) => (None, Some(pause(time))),
    };
    if let Patience::Distracted(time) = patience {
        let first = poll_fn(|context| Poll::Ready(get.as_mut().poll(context))).await;
        if let Poll::Ready(outcome) = first {
            return Some(outcome);
        }
        let latest = elapsed() + limit;
        let _unpolled = Unpolled::of(world);
        pause(time).await;
        drop(_unpolled);
        // What was missed meanwhile is made up for by the next poll.
        awaited.until(latest.max(elapsed()));
    }
    poll_fn(|context| {
        if let Poll::Ready(outcome) = get.as_mut().poll(context) {
            return Poll::Ready(Some(outcome));
        }
        awaited.until(elapsed() + limit);
        if let Some(polls) = &mut polls {
            if *polls == 0 {
                return Poll::Ready(None);
            }
            *polls -= 1;
            context.waker().wake_by_ref();
        }
        match &mut time {
            Some(time) => pin!(time).poll(context).map(|()| None),
            None => Poll::Pending,
        }
    })
    .await
}

/// A get that was polled, and is not polled now.
struct Unpolled<'a>(&'a Busy);

impl<'a> Unpolled<'a> {
    fn of(world: &'a Busy) -> Self {
        world.unpolled.fetch_add(1, SeqCst);
        Self(world)
    }
}

impl Drop for Unpolled<'_> {
    fn drop(&mut self) {
        self.0.unpolled.fetch_sub(1, SeqCst);
    }
}

/// A lease in the hand of its user.
struct Held(Option<Lease<Backend>>);

impl Held {
    fn new(lease: Lease<Backend>) -> Self {
        lease.handed_out();
        Self(Some(lease))
    }

    fn lease(&mut self) -> &mut Lease<Backend> {
        self.0.as_mut().expect("it is held")
    }

    fn detach(mut self) -> Item {
        let mut lease = self.0.take().expect("it is held");
        lease.leave();
        Lease::detach(lease)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            lease.let_go();
            drop(lease);
        }
    }
}

/// Uses one, and ends that in any of the ways in which a lease ends.
async fn part_with(world: &Busy, mut held: Held) {
    match thread_rng().gen_range(0..12) {
        0 => {
            held.lease().dirty.store(true, SeqCst);
            Lease::taint(held.lease());
        }
        1 => half_way(held.lease()),
        2 => drop(held.detach()),
        3 => held.lease().broken.store(true, SeqCst),
        4 => {
            let world = Busy::with(&world);
            drop(thread::spawn(move || {
                drop(held);
                drop(world);
            }));
        }
        5 | 6 => pause(up_to_ms(60)).await,
        7 => {
            Lease::label(held.lease(), "renamed");
            yield_now().await;
        }
        _ => yield_now().await,
    }
}

/// Begins an operation, and drops it.
fn half_way(lease: &mut Lease<Backend>) {
    let operation = async |item: &mut Item| {
        item.dirty.store(true, SeqCst);
        yield_now().await;
        item.dirty.store(false, SeqCst);
    };
    let mut run = pin!(Lease::run(lease, operation));
    let _ = run.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// Does to the pool as a whole what can be done to it.
pub(super) async fn operate(world: Busy) {
    for _ in 0..STEPS {
        let Some(pool) = world.pool() else { return };
        match thread_rng().gen_range(0..6) {
            0 | 1 => {
                let size = thread_rng().gen_range(1..=MOST);
                world.ledger.bound.fetch_max(size, SeqCst);
                pool.resize(size).expect("the size is good");
            }
            2 => pool.retire_all(),
            3 => {
                pool.retain(|item, _| {
                    item.hold();
                    thread::yield_now();
                    item.let_go();
                    !one_in(3)
                });
            }
            4 => drop(pool.warm_up().await),
            _ => pause(up_to_ms(60)).await,
        }
        yield_now().await;
    }
}
