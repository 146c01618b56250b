//! Models of every interleaving of the hazards of a job's life. There is one model for each hazard, and seeded bugs that the model
//! must catch.
//!
//! `RUSTFLAGS="--cfg pool_loom" cargo test --release -p pool-cpu --lib loom`. Models of two threads are exhaustive. The others
//! explore all schedules with up to three preemptions (or `LOOM_MAX_PREEMPTIONS`).

mod close;
mod errand;
mod flow;
mod slot;

use std::{
    future::Future,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll, Wake, Waker},
};

use loom::sync::{Condvar, Mutex};

/// Explores `model` in every schedule with up to `preemptions` preemptions (all schedules if `None`), and prints how many there
/// were.
fn model(name: &str, preemptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    // The environment may lower the bound of a model. It has no effect on the exhaustive models.
    let said = builder.preemption_bound;
    builder.preemption_bound = preemptions.map(|bound| said.map_or(bound, |said| said.min(bound)));
    builder.max_branches = 20_000;
    let iterations = std::sync::Arc::new(AtomicUsize::new(0));
    let counted = std::sync::Arc::clone(&iterations);
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    println!("loom: {name}: {} iterations", iterations.load(Relaxed));
}

/// Runs a future to its end. Unlike loom's own `block_on`, it can be torn down by the panic of a failed model.
fn block_on<F: Future>(future: F) -> F::Output {
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

/// Polls once, with a waker that does nothing.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop()))
}

/// Counts its drops.
#[derive(Clone, Default)]
struct Counted(std::sync::Arc<AtomicUsize>);

impl Counted {
    fn item(&self) -> Item {
        Item(self.clone())
    }

    fn dropped(&self) -> usize {
        self.0.load(Relaxed)
    }
}

struct Item(Counted);

impl Drop for Item {
    fn drop(&mut self) {
        self.0.0.fetch_add(1, Relaxed);
    }
}

const BOUND: Option<usize> = Some(3);
/// For models of four threads.
const FEWER: Option<usize> = Some(2);
const EXHAUSTIVE: Option<usize> = None;

/// Declares a model, and that it fails with each of the seeded bugs.
macro_rules! models {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident($bound:expr) $body:block, caught by $($mutant:ident = $mutation:ident),*;
    )+) => {$(
        $(#[doc = $doc])+
        #[test]
        fn $name() {
            model(stringify!($name), $bound, || $body);
        }

        $(
            #[test]
            #[should_panic]
            fn $mutant() {
                let body = || model(stringify!($mutant), $bound, || $body);
                mutation::with(Mutation::$mutation, body);
            }
        )*
    )+};
}

use models;
