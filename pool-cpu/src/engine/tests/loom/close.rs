//! The close of a pool: all workers leave, and no job hangs.

use std::time::Duration;

use super::*;
use crate::{
    Shutdown, Workers,
    engine::{Mourner, tests::bed::Bed},
    mutation::{self, Mutation},
};

/// Longer than any model takes.
const LONG: Duration = Duration::from_secs(3600);

models! {
    /// A job that is submitted during a shutdown runs or gets an error, and never hangs.
    a_submit_against_a_shutdown(BOUND) {
        let bed = Bed::started(1, 1);
        let ran = Counted::default();
        let run = ran.item();
        let submitter = bed.spawn(|workers| block_on(workers.run(move || drop(run))));
        bed.core().close();
        match submitter.join().unwrap() {
            Ok(()) => {}
            Err(error) => assert!(error.is_closed()),
        }
        assert_eq!(ran.dropped(), 1);
        bed.finish();
    }, caught by
        mutant_submit_ignores_close = SubmitIgnoresClose,
        mutant_worker_leaves_without_looking = LeavesWithoutLooking;

    /// A shutdown wakes every worker, and ends when the last worker has left.
    a_shutdown_wakes_all_workers(BOUND) {
        let bed = Bed::started(2, 1);
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.is_clean());
        assert_eq!(bed.core().crew().alive(), 0);
        bed.finish();
    }, caught by
        mutant_close_wakes_one = CloseWakesOne,
        mutant_last_tells_nobody = LastTellsNobody;

    /// A shutdown ends a job that is submitted meanwhile, even after the last worker has left.
    a_shutdown_against_a_submit(BOUND) {
        let bed = Bed::started(1, 1);
        let submitter = bed.spawn(|workers| block_on(workers.run(|| ())));
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.still_running.is_empty());
        drop(submitter.join().unwrap());
        assert!(bed.core().is_gone());
        bed.finish();
    }, caught by mutant_late_shell_stays = LateShellStays;

    /// A job that was queued before a draining shutdown runs.
    a_shutdown_that_drains_runs_what_waits(BOUND) {
        let bed = Bed::fixed(1, 1);
        let closer = bed.spawn(|workers| {
            let job = workers.try_run(|| 7).expect("there is room");
            let report = block_on(workers.shutdown(Shutdown::Drain, LONG));
            assert!(report.is_clean());
            block_on(job).expect("it ran")
        });
        bed.work(0);
        assert_eq!(closer.join().unwrap(), 7);
        bed.finish();
    }, caught by mutant_last_worker_tells_nobody = LastTellsNobody;

    /// A job that was queued before a dropping shutdown is run or ended, once.
    a_shutdown_that_drops_ends_what_waits(BOUND) {
        let bed = Bed::fixed(1, 1);
        let closures = Counted::default();
        let closure = closures.item();
        let closer = bed.spawn(|workers| {
            let job = workers.try_run(move || drop(closure)).expect("there is room");
            workers.core().close_and_drop();
            block_on(job).err().map(|error| error.is_closed())
        });
        bed.work(0);
        let ended = closer.join().unwrap();
        assert_ne!(ended, Some(false), "it ran, or the pool was closed");
        assert_eq!(bed.core().counters().dropped.get(), u64::from(ended.is_some()));
        assert_eq!(closures.dropped(), 1);
        bed.finish();
    }, caught by mutant_end_keeps_place = EndKeepsPlace;

    /// An idle thread that leaves during a shutdown may be the last to leave, and then wakes the waiters.
    an_idle_thread_leaves_during_a_shutdown(BOUND) {
        let bed = Bed::elastic(1, 1);
        assert_eq!(block_on(bed.try_run(|| 1).expect("there is room")).expect("it runs"), 1);
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.is_clean());
        bed.finish();
    }, caught by mutant_idle_last_tells_nobody = LastTellsNobody;

    /// A shutdown also ends if it counted a thread that then failed to start.
    a_shutdown_against_a_thread_that_is_not_started(BOUND) {
        let bed = Bed::barren(1, 1);
        let submitter = bed.spawn(|workers| workers.try_run(|| ()).map_err(drop));
        let report = block_on(bed.shutdown(Shutdown::DropQueued, LONG));
        assert!(report.still_running.is_empty());
        drop(submitter.join().unwrap());
        assert!(bed.core().is_gone());
        bed.finish();
    }, caught by mutant_failed_start_tells_nobody = FailedStartTellsNobody;

    /// A shutdown also ends if the keeper ends the last job, and there is no thread that could leave.
    a_shutdown_against_the_keeper_that_ends_the_last_job(BOUND) {
        let bed = Bed::barren(1, 1);
        let short = bed.job("").queue_timeout(Duration::from_nanos(1));
        let job = short.try_run(|| ()).expect("there is room");
        let keeper = bed.spawn(|workers| {
            let later = std::time::Instant::now() + Duration::from_secs(1);
            workers.core().look(later);
        });
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.is_clean());
        assert!(block_on(job).unwrap_err().is_queue_timeout());
        keeper.join().unwrap();
        bed.finish();
    }, caught by mutant_keeper_tells_nobody = KeeperTellsNobody;

    /// A job that shuts down its own pool does not wait for itself.
    a_shutdown_by_a_job_of_the_pool(BOUND) {
        let bed = Bed::started(2, 0);
        let workers = Workers::clone(&bed);
        let job = bed.try_run(move || block_on(workers.shutdown(Shutdown::Drain, LONG)));
        let report = block_on(job.expect("there is room")).expect("it runs");
        assert_eq!((report.still_running.len(), report.threads), (1, 1));
        bed.finish();
    }, caught by
        mutant_worker_waits_for_itself = WorkerWaitsForItself,
        mutant_last_other_tells_nobody = LastTellsNobody;

    /// Two workers whose jobs shut down their own pool do not wait for each other.
    a_shutdown_by_two_jobs_of_the_pool(BOUND) {
        let bed = Bed::fixed(2, 0);
        bed.core().close();
        let wait = |me| bed.spawn(move |workers| {
            let core = workers.core();
            let mourner = Mourner::new(core);
            block_on(std::future::poll_fn(|cx| match mourner.wait(cx.waker().clone(), Some(me)) {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }));
            drop(mourner);
            core.left(me);
        });
        let waiting = [wait(0), wait(1)];
        for worker in waiting {
            worker.join().unwrap();
        }
        assert!(bed.core().is_gone());
        bed.finish();
    }, caught by mutant_workers_wait_for_each_other = WorkerWaitsForItself;
}
