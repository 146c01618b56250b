//! The users of a pool, which do anything with their leases, and its operators.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::atomic::Ordering::SeqCst,
    task::Poll,
    time::Duration,
};

use shuttle::{
    rand::{Rng, thread_rng},
    thread,
};

use super::{
    backend::{Item, KEYS, Trouble, one_in, up_to_ms, yield_now},
    face::{Face, Limit},
    world::{Busy, MOST},
};
use crate::{
    Error,
    rt::{
        self,
        simulated::{elapsed, fail, pause},
    },
};

const STEPS: usize = 4;

/// What a model may do to its users.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// The pool is closed at some time.
    pub(super) closes: bool,
    /// The users are on a runtime.
    pub(super) runtime: bool,
}

/// Gets and returns a resource, a few times.
pub(super) async fn use_some<P: Face>(world: Busy<P>, rules: Rules) {
    for _ in 0..STEPS {
        let Some(pool) = world.pool() else { return };
        if one_in(6) {
            if let Ok(lease) = pool.try_get(which()) {
                part_with(&world, Held::<P>::new(lease)).await;
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
    /// The get is dropped after this many polls.
    Polls(u32),
    /// The get is dropped at a random time.
    Time(Duration),
    /// The get is polled once, and then not for this long.
    Distracted(Duration),
}

/// Awaits a get in one of many ways. `None` if the get was dropped before its end.
async fn get<P: Face>(world: &Busy<P>, pool: &P) -> Option<Result<Held<P>, Error<Trouble>>> {
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
        pool.get(which(), Limit::Timeout(limit))
    } else {
        pool.get(which(), Limit::Deadline(rt::now() + limit))
    };
    let outcome = wait(world, get, limit, patience).await?;
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

/// A random key, in a pool with keys.
fn which() -> usize {
    thread_rng().gen_range(0..KEYS.len())
}

async fn wait<P: Face, T>(
    world: &Busy<P>,
    get: impl Future<Output = T>,
    limit: Duration,
    patience: Patience,
) -> Option<T> {
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
        // The next poll makes up for missed wake-ups.
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
struct Unpolled<'a, P: Face>(&'a Busy<P>);

impl<'a, P: Face> Unpolled<'a, P> {
    fn of(world: &'a Busy<P>) -> Self {
        world.unpolled.fetch_add(1, SeqCst);
        Self(world)
    }
}

impl<P: Face> Drop for Unpolled<'_, P> {
    fn drop(&mut self) {
        self.0.unpolled.fetch_sub(1, SeqCst);
    }
}

/// A lease that a user holds.
pub(super) struct Held<P: Face>(Option<P::Lease>);

impl<P: Face> Held<P> {
    pub(super) fn new(lease: P::Lease) -> Self {
        P::item(&lease).handed_out();
        Self(Some(lease))
    }

    fn lease(&mut self) -> &mut P::Lease {
        self.0.as_mut().expect("it is held")
    }

    fn detach(mut self) -> Option<Item> {
        P::detach(self.0.take().expect("it is held"))
    }
}

impl<P: Face> Drop for Held<P> {
    fn drop(&mut self) {
        if let Some(lease) = self.0.take() {
            P::item(&lease).let_go();
            drop(lease);
        }
    }
}

/// Uses a lease, and ends it in any of the possible ways.
async fn part_with<P: Face>(world: &Busy<P>, mut held: Held<P>) {
    match thread_rng().gen_range(0..12) {
        0 => P::taint(held.lease()),
        1 => P::half_way(held.lease()),
        2 => drop(held.detach()),
        3 => P::breaks(held.lease()),
        4 => {
            let world = Busy::with(&world);
            drop(thread::spawn(move || {
                drop(held);
                drop(world);
            }));
        }
        5 | 6 => pause(up_to_ms(60)).await,
        7 => P::odd(held.lease()).await,
        _ => yield_now().await,
    }
}

/// Runs a random operation on the pool as a whole.
pub(super) async fn operate<P: Face>(world: Busy<P>) {
    for _ in 0..STEPS {
        let Some(pool) = world.pool() else { return };
        match thread_rng().gen_range(0..6) {
            0 | 1 => {
                let size = thread_rng().gen_range(1..=MOST);
                world.ledger.bound.fetch_max(size, SeqCst);
                pool.resize(size);
            }
            2 => pool.retire_all(),
            3 | 4 => pool.operate().await,
            _ => pause(up_to_ms(60)).await,
        }
        yield_now().await;
    }
}
