//! Each kind of pool with users that do anything and a manager that does anything, in random schedules and at random times.
//!
//! Every iteration draws a pool (its settings), a manager (each call succeeds, fails, panics, hangs or takes its time), users (how
//! long they wait, when they drop the future, what they do with a lease), operators, and when time passes. Whenever no thread can
//! move before time passes, the model checks that no get waits for a resource that is available. In the end all capacity must be
//! back.
//!
//! `RUSTFLAGS="--cfg pool_shuttle" cargo test --release -p pool-core --lib host::tests::shuttle`. A model that fails prints its
//! seed; `SHUTTLE_RANDOM_SEED=<seed>` begins with that one.
#![allow(clippy::unwrap_used)]

mod backend;
mod face;
mod keyed;
mod mixed;
mod pool;
mod shared;
mod user;
mod world;

use std::sync::Arc;

use shuttle::thread;

use self::{
    backend::{one_in, up_to_ms},
    face::Face,
    user::{Rules, operate, use_some},
    world::{Busy, Model},
};
use crate::rt::simulated::{block_on, pause};

const USERS: usize = 4;

impl<P: Face> Model<P> {
    /// A user on one of the runtimes.
    fn user(&self, runtime: usize, rules: Rules) {
        let user = use_some(Busy::with(&self.world), rules);
        drop(self.runtimes[runtime].handle().spawn(user));
    }

    /// A user on a thread without a runtime.
    fn outsider(&self, closes: bool) {
        let rules = Rules {
            closes,
            runtime: false,
        };
        let user = use_some(Busy::with(&self.world), rules);
        drop(thread::spawn(move || block_on(user)));
    }
}

const OPEN: Rules = Rules {
    closes: false,
    runtime: true,
};
const CLOSING: Rules = Rules {
    closes: true,
    runtime: true,
};

/// Users alone, without operators.
fn users_only<P: Face>() {
    let model = Model::<P>::begin(1);
    (0..USERS).for_each(|_| model.user(0, OPEN));
    model.run();
    model.finish();
}

/// Users, and all operations on the pool as a whole.
fn users_and_operators<P: Face>() {
    let model = Model::<P>::begin(1);
    (0..USERS - 1).for_each(|_| model.user(0, OPEN));
    model.outsider(false);
    let operator = operate(Busy::with(&model.world));
    drop(model.runtimes[0].handle().spawn(operator));
    model.run();
    model.finish();
}

/// The pool is closed, drained or dropped while users use it.
fn users_of_a_pool_that_closes<P: Face>() {
    let model = Model::<P>::begin(1);
    (0..USERS).for_each(|_| model.user(0, CLOSING));
    let world = Busy::with(&model.world);
    let closer = async move {
        pause(up_to_ms(80)).await;
        if one_in(3) {
            drop(world.let_go());
        } else if let Some(pool) = world.pool() {
            if one_in(2) {
                pool.close();
            } else {
                drop(pool.drain(up_to_ms(30)).await);
            }
        }
    };
    drop(model.runtimes[0].handle().spawn(closer));
    model.run();
    model.finish();
}

/// One of two runtimes ends, with its keeper, tasks, timers and waiting gets.
fn users_of_two_runtimes<P: Face>() {
    let model = Model::<P>::begin(2);
    (0..USERS).for_each(|user| model.user(user % 2, OPEN));
    model.outsider(false);
    let (world, first) = (Busy::with(&model.world), Arc::clone(&model.runtimes[0]));
    drop(thread::spawn(move || {
        block_on(pause(up_to_ms(80)));
        first.end();
        drop(world);
    }));
    model.run();
    model.finish();
}

/// Declares the models of one kind of pool, and for each a test of every seeded bug that it must fail with.
macro_rules! models {
    ($face:ty: $($name:ident($run:ident) $(, caught by $($mutant:ident = $mutation:ident),+)?;)+) => {$(
        #[test]
        fn $name() {
            super::world::check(stringify!($name), super::$run::<$face>, 1);
        }

        $($(
            #[test]
            #[should_panic]
            fn $mutant() {
                use crate::engine::mutation::{self, Mutation};
                mutation::with(Mutation::$mutation, || {
                    super::world::check(stringify!($mutant), super::$run::<$face>, 10);
                });
            }
        )+)?
    )+};
}
use models;
