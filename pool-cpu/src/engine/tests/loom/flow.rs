//! From the submitter to a worker: no worker sleeps while a job waits, and no job stays behind.

use std::time::Duration;

use super::*;
use crate::{
    engine::{Rested, tests::bed::Bed},
    mutation::{self, Mutation},
};

models! {
    /// A worker falls asleep while a job is submitted. It finds the job.
    a_submit_against_a_worker_that_falls_asleep(BOUND) {
        let bed = Bed::started(1, 1);
        let submitter = bed.spawn(|workers| block_on(workers.run(|| 7)).expect("it runs"));
        assert_eq!(submitter.join().unwrap(), 7);
        bed.finish();
    }, caught by
        mutant_sleeps_without_looking = SleepsWithoutLooking,
        mutant_wakes_before_push = WakesBeforePush;

    /// A job begins parallel work while a worker falls asleep. The worker is woken, sees the work, or naps. It does not sleep
    /// through.
    a_call_for_help_against_a_worker_that_falls_asleep(EXHAUSTIVE) {
        let bed = Bed::helpful(1, 1);
        let core = std::sync::Arc::clone(bed.core());
        let worker = loom::thread::spawn(move || core.rest(0));
        let section = bed.core().call_helpers().expect("workers help");
        assert_eq!(worker.join().unwrap(), Rested::Work);
        drop(section);
    }, caught by mutant_helper_sleeps_without_looking = HelperSleepsWithoutLooking;

    /// Calls for help reach all sleepers in turn, although one of them lies down again after each call.
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
        // One of the two calls may find only one sleeper.
        for _ in 0..2 {
            bed.core().idle.wake_in_turn(4);
        }
        assert_eq!(first.join().unwrap(), Rested::Work);
        bed.core().close();
        other.join().unwrap();
    }, caught by mutant_helpers_have_no_turns = HelpersHaveNoTurns;

    /// With two jobs and two workers, each job runs once, whichever worker sleeps.
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

    /// The only thread that the pool may have leaves while a job is submitted. It stays, or another thread starts after it has
    /// left.
    a_submit_at_the_cap_against_the_last_thread_that_leaves(BOUND) {
        let bed = Bed::elastic(1, 1);
        assert_eq!(block_on(bed.try_run(|| 1).expect("there is room")).expect("it runs"), 1);
        assert_eq!(block_on(bed.try_run(|| 2).expect("there is room")).expect("it runs"), 2);
        bed.finish();
    }, caught by mutant_leaves_without_looking = LeavesWithoutLooking;

    /// A searching thread finds work while another job is submitted that relied on that thread. Another thread is started.
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

    /// Two jobs are submitted at the cap of one thread. Both run.
    two_submits_at_the_cap(FEWER) {
        let bed = Bed::elastic(1, 2);
        let other = bed.spawn(|workers| block_on(workers.run(|| 1)).expect("it runs"));
        assert_eq!(block_on(bed.run(|| 2)).expect("it runs"), 2);
        assert_eq!(other.join().unwrap(), 1);
        bed.finish();
    }, caught by mutant_last_thread_leaves_without_looking = LeavesWithoutLooking;

    /// Jobs are swept while a worker looks for work. The worker does not overlook them.
    a_sweep_against_a_worker_that_falls_asleep(BOUND) {
        let bed = Bed::fixed(1, 1);
        let job = bed.try_run(|| 7).expect("there is room");
        bed.start(0);
        bed.core().queue.sweep(|_| {});
        assert_eq!(block_on(job).expect("it runs"), 7);
        bed.finish();
    }, caught by mutant_sweep_hides_jobs = SweepHidesJobs;

    /// A job is submitted while the keeper looks for expired jobs. It is ended in that look or in the next.
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

    /// A thread asks the keeper to look while it looks. The keeper looks again.
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
