//! The engine with callers that take arbitrary actions, in random schedules. There are more threads than loom can explore.
//!
//! `RUSTFLAGS="--cfg pool_shuttle" cargo test --release -p pool-cpu --lib shuttle`. A failed schedule is printed, and
//! `shuttle::replay` can run it again.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::Duration,
};

use shuttle::{
    future::block_on,
    rand::{Rng, thread_rng},
    thread,
};

use super::bed::Bed;
use crate::{
    Error, Shutdown, Workers,
    mutation::{self, Mutation},
};

const ITERATIONS: usize = 3000;
/// How many schedules a model with a seeded bug may run. It ends at the first schedule that shows the bug, so the number is large
/// enough that no bug is missed by chance.
const PATIENCE: usize = 40 * ITERATIONS;
/// Longer than any model takes. No deadline of this length passes in a model.
const LONG: Duration = Duration::from_secs(3600);
const CALLERS: usize = 4;
const STEPS: usize = 6;

/// Runs `model` in `iterations` random schedules, and prints the number.
fn model(name: &str, model: fn(), iterations: usize) {
    shuttle::check_random(model, iterations);
    println!("shuttle: {name}: {iterations} iterations");
}

/// The outcomes of closures and of their callers.
#[derive(Clone, Default)]
struct Seen(Arc<Counts>);

#[derive(Default)]
struct Counts {
    alive: AtomicUsize,
    ran: AtomicUsize,
    answered: AtomicUsize,
}

/// Each closure captures a ticket.
struct Ticket(Seen);

impl Seen {
    fn ticket(&self) -> Ticket {
        self.0.alive.fetch_add(1, Relaxed);
        Ticket(self.clone())
    }

    fn answer(&self, answer: Result<(), Error>) {
        match answer {
            Ok(()) => drop(self.0.answered.fetch_add(1, Relaxed)),
            Err(error) if error.is_closed() || error.is_overloaded() || error.is_cancelled() => {}
            Err(error) => panic!("{error}"),
        }
    }
}

impl Ticket {
    fn run(self) {
        self.0.0.ran.fetch_add(1, Relaxed);
        thread::yield_now();
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.0.0.alive.fetch_sub(1, Relaxed);
    }
}

/// Polls a job a few times, and then drops its future.
fn give_up(future: impl Future<Output = Result<(), Error>>, seen: &Seen) {
    let mut future = pin!(future);
    for _ in 0..thread_rng().gen_range(1..4) {
        if let std::task::Poll::Ready(answer) = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            return seen.answer(answer);
        }
        thread::yield_now();
    }
}

fn ask(workers: &Workers, seen: &Seen) {
    for _ in 0..STEPS {
        let ticket = seen.ticket();
        let mut job = workers.job("");
        if thread_rng().gen_range(0..3) == 0 {
            job = job.background();
        }
        match thread_rng().gen_range(0..6) {
            0 => give_up(job.run(move || ticket.run()), seen),
            1 => match job.try_run(move || ticket.run()) {
                Ok(handle) => {
                    handle.abort();
                    seen.answer(block_on(handle));
                }
                Err(rejected) => drop(rejected),
            },
            2 => match block_on(job.enqueue(move || ticket.run())) {
                Ok(handle) => handle.detach(),
                Err(error) => seen.answer(Err(error)),
            },
            3 => workers.core().queue.sweep(|_| thread::yield_now()),
            _ => seen.answer(block_on(job.run(move || ticket.run()))),
        }
    }
}

/// Callers with arbitrary actions, and a shutdown during them or after them.
fn storm(bed: Bed) {
    let seen = Seen::default();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let seen = seen.clone();
            bed.spawn(move |workers| ask(workers, &seen))
        })
        .collect();
    let in_the_middle = thread_rng().gen_range(0..2) == 0;
    if in_the_middle {
        (0..thread_rng().gen_range(0..20)).for_each(|_| thread::yield_now());
        let how = match thread_rng().gen_range(0..2) {
            0 => Shutdown::Drain,
            _ => Shutdown::DropQueued,
        };
        let report = block_on(bed.shutdown(how, LONG));
        assert!(report.still_running.is_empty(), "{report:?}");
    }
    for caller in callers {
        caller.join().unwrap();
    }
    let core = Arc::clone(bed.core());
    bed.finish();
    let (ran, answered) = (seen.0.ran.load(Relaxed), seen.0.answered.load(Relaxed));
    assert_eq!(seen.0.alive.load(Relaxed), 0, "closures were lost");
    assert!(answered <= ran, "{answered} answers of {ran} jobs");
    let completed: u64 = core
        .workers()
        .iter()
        .map(|worker| {
            worker
                .book
                .lock()
                .jobs
                .iter()
                .map(|job| job.completed)
                .sum::<u64>()
        })
        .sum();
    assert_eq!(completed, ran as u64);
}

fn storm_on_fixed_workers() {
    let bed = Bed::fixed(2, 2);
    (0..2).for_each(|me| bed.start(me));
    storm(bed);
}

fn storm_on_threads_that_come_and_go() {
    storm(Bed::elastic(2, 2));
}

#[test]
fn callers_do_anything_with_fixed_workers() {
    model(
        "callers_do_anything_with_fixed_workers",
        storm_on_fixed_workers,
        ITERATIONS,
    );
}

#[test]
fn callers_do_anything_with_threads_that_come_and_go() {
    model(
        "callers_do_anything_with_threads_that_come_and_go",
        storm_on_threads_that_come_and_go,
        ITERATIONS,
    );
}

/// Declares that a storm fails with a seeded bug.
macro_rules! mutants {
    ($($name:ident: $storm:ident with $mutation:ident;)+) => {$(
        #[test]
        #[should_panic]
        fn $name() {
            mutation::with(Mutation::$mutation, || model(stringify!($name), $storm, PATIENCE));
        }
    )+};
}

mutants! {
    mutant_cancel_keeps_place: storm_on_fixed_workers with CancelKeepsPlace;
    mutant_finish_wakes_nobody: storm_on_fixed_workers with FinishWakesNobody;
    mutant_sleeps_without_looking: storm_on_fixed_workers with SleepsWithoutLooking;
    mutant_end_keeps_place: storm_on_fixed_workers with EndKeepsPlace;
    mutant_late_shell_stays: storm_on_fixed_workers with LateShellStays;
    mutant_last_tells_nobody: storm_on_threads_that_come_and_go with LastTellsNobody;
}
