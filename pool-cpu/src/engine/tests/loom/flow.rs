//! From the submitter to a worker: nobody sleeps past a job, no job stays behind.

use std::time::Duration;

use super::*;
use crate::{
    engine::{Rested, tests::bed::Bed},
    mutation::{self, Mutation},
};

models! {
    /// A worker that falls asleep while a job comes does not sleep past it.
    a_submit_against_a_worker_that_falls_asleep(BOUND) {
        let bed = Bed::started(1, 1);
        let submitter = bed.spawn(|workers| block_on(workers.run(|| 7)).expect("it runs"));
        assert_eq!(submitter.join().unwrap(), 7);
        bed.finish();
    }, caught by
        mutant_sleeps_without_looking = SleepsWithoutLooking,
        mutant_wakes_before_push = WakesBeforePush;

    /// Somebody begins to work in parallel while a worker falls asleep: it is woken, sees that, or naps. It does not sleep through.
    a_call_for_help_against_a_worker_that_falls_asleep(EXHAUSTIVE) {
        let bed = Bed::helpful(1, 1);
        let core = std::sync::Arc::clone(bed.core());
        let worker = loom::thread::spawn(move || core.rest(0));
        let section = bed.core().call_helpers().expect("workers help");
        assert_eq!(worker.join().unwrap(), Rested::Work);
        drop(section);
    }, caught by mutant_helper_sleeps_without_looking = HelperSleepsWithoutLooking;

    /// Calls for help come to all who sleep, in turn, though one of them lies down again after each call.
    calls_for_help_against_a_worker_that_lies_down_again(BOUND) {
        let bed = Bed::helpful(2, 1);
        let first = std::sync::Arc::clone(bed.core());
        let first = loom::thread::spawn(move || first.rest(1));
        while bed.core().idle.asleep() == 0 {
            loom::thread::yield_now();
        }
        let core = std::sync::Arc::clone(bed.core());
        let other = loom::thread::spawn(move || {
            core.rest(0);
            core.rest(0);
        });
        // One of them may find only one asleep.
        for _ in 0..2 {
            bed.core().idle.wake_in_turn(4);
        }
        assert_eq!(first.join().unwrap(), Rested::Work);
        bed.core().close();
        other.join().unwrap();
    }, caught by mutant_helpers_have_no_turns = HelpersHaveNoTurns;

    /// Two jobs and two workers: each job runs once, whoever sleeps.
    two_jobs_and_two_workers(FEWER) {
        let bed = Bed::fixed(2, 2);
        let ran = Counted::default();
        bed.start(1);
        let submitter = bed.spawn({
            let ran = ran.clone();
            move |workers| {
                let runs = [ran.item(), ran.item()];
                let jobs = runs.map(|run| workers.try_run(move || drop(run)).expect("there is room"));
                for job in jobs {
                    block_on(job).expect("it runs");
                }
                workers.core().close();
            }
        });
        bed.work(0);
        submitter.join().unwrap();
        bed.finish();
        assert_eq!(ran.dropped(), 2);
    }, caught by mutant_both_sleep_without_looking = SleepsWithoutLooking;

    /// The only thread that there may be leaves while a job comes: it stays, or another starts when it has left.
    a_submit_at_the_cap_against_the_last_thread_that_leaves(BOUND) {
        let bed = Bed::elastic(1, 1);
        assert_eq!(block_on(bed.try_run(|| 1).expect("there is room")).expect("it runs"), 1);
        assert_eq!(block_on(bed.try_run(|| 2).expect("there is room")).expect("it runs"), 2);
        bed.finish();
    }, caught by mutant_leaves_without_looking = LeavesWithoutLooking;

    /// A thread that looks for work finds some while another job comes, which so far counted on it: one more thread is started.
    a_submit_against_a_searcher_that_finds_work(EXHAUSTIVE) {
        let bed = Bed::idle(2, 2);
        let first = bed.try_run(|| ()).expect("there is room");
        let core = std::sync::Arc::clone(bed.core());
        let searcher = loom::thread::spawn(move || {
            let mut searching = Some(core.patience().enlisted());
            drop(core.take(&mut searching).expect("the first one waits"));
        });
        let second = bed.try_run(|| ()).expect("there is room");
        searcher.join().unwrap();
        assert_eq!(bed.core().crew().alive(), 2, "a job waits, and nobody comes for it");
        drop((first, second));
    }, caught by mutant_finder_forgets_others = FinderForgetsOthers;

    /// Two submitters at the cap of one thread: both are served.
    two_submits_at_the_cap(FEWER) {
        let bed = Bed::elastic(1, 2);
        let other = bed.spawn(|workers| block_on(workers.run(|| 1)).expect("it runs"));
        assert_eq!(block_on(bed.run(|| 2)).expect("it runs"), 2);
        assert_eq!(other.join().unwrap(), 1);
        bed.finish();
    }, caught by mutant_last_thread_leaves_without_looking = LeavesWithoutLooking;

    /// Jobs that are sorted out while a worker looks for work are not overlooked.
    a_sweep_against_a_worker_that_falls_asleep(BOUND) {
        let bed = Bed::fixed(1, 1);
        let job = bed.try_run(|| 7).expect("there is room");
        bed.start(0);
        bed.core().queue.sweep(|_| {});
        assert_eq!(block_on(job).expect("it runs"), 7);
        bed.finish();
    }, caught by mutant_sweep_hides_jobs = SweepHidesJobs;

    /// A job comes while the keeper looks for those that have waited too long: it is ended as well, then or the next time.
    a_deadline_against_the_keepers_look(EXHAUSTIVE) {
        const SHORT: Duration = Duration::from_nanos(1);
        let bed = Bed::fixed(1, 1);
        let core = std::sync::Arc::clone(bed.core());
        let later = std::time::Instant::now() + Duration::from_secs(1);
        let first = bed.job("").queue_timeout(SHORT).try_run(|| ()).expect("there is room");
        let keeper = loom::thread::spawn({
            let core = core.clone();
            move || {
                core.look(later);
            }
        });
        let second = bed.job("").queue_timeout(SHORT).try_run(|| ()).expect("there is room");
        keeper.join().unwrap();
        core.look(later);
        assert!(first.is_finished() && second.is_finished(), "nobody looks at its deadline");
        drop((first, second));
    }, caught by mutant_keeper_forgets_deadlines = KeeperForgetsDeadlines;

    /// Somebody asks the keeper to look while it looks: it looks again.
    the_keeper_looks_again_when_it_is_asked_to_while_it_looks(EXHAUSTIVE) {
        use crate::{
            keeper::{Keeper, Look},
            sync::{AtomicBool, Ordering, fence},
        };
        let keeper = std::sync::Arc::new(Keeper::new(std::time::Instant::now()));
        let published = std::sync::Arc::new(AtomicBool::new(false));
        let asker = loom::thread::spawn({
            let (keeper, published) = (keeper.clone(), published.clone());
            move || {
                keeper.look_now();
                published.store(true, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                keeper.look_now();
            }
        });
        keeper.keep(|_| match published.load(Ordering::Relaxed) {
            true => Look::Over,
            false => Look::Again(None),
        });
        asker.join().unwrap();
    }, caught by mutant_keeper_forgets = KeeperForgets;
}
