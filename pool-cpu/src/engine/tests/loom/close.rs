//! The end of a pool: everybody leaves, and no job hangs.

use std::time::Duration;

use super::*;
use crate::{
    Shutdown,
    engine::tests::bed::Bed,
    mutation::{self, Mutation},
};

/// Longer than any model takes.
const LONG: Duration = Duration::from_secs(3600);

models! {
    /// A submit that races a shutdown runs or gets an error; it never hangs.
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
        mutant_submit_ignores_close = SubmitIgnoresClose;

    /// A shutdown wakes every worker, and ends when the last has left.
    a_shutdown_wakes_all_workers(Some(2)) {
        let bed = Bed::started(2, 1);
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.is_clean());
        assert_eq!(bed.core().crew().alive(), 0);
        bed.finish();
    }, caught by
        mutant_close_wakes_one = CloseWakesOne,
        mutant_last_tells_nobody = LastTellsNobody;

    /// What was in the queue before a shutdown that drains is run.
    a_shutdown_that_drains_runs_what_waits(BOUND) {
        let bed = Bed::started(1, 1);
        let job = bed.try_run(|| 7).expect("there is room");
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.is_clean());
        assert_eq!(block_on(job).expect("it ran"), 7);
        bed.finish();
    }, caught by mutant_worker_leaves_without_looking = LeavesWithoutLooking;

    /// What was in the queue before a shutdown that drops is run or ended, once.
    a_shutdown_that_drops_ends_what_waits(BOUND) {
        let bed = Bed::started(1, 1);
        let closures = Counted::default();
        let closure = closures.item();
        let job = bed.try_run(move || drop(closure)).expect("there is room");
        let report = block_on(bed.shutdown(Shutdown::DropQueued, LONG));
        match block_on(job) {
            Ok(()) => assert_eq!(report.dropped, 0),
            Err(error) => assert!(error.is_closed() && report.dropped == 1),
        }
        assert_eq!(closures.dropped(), 1);
        bed.finish();
    }, caught by mutant_begin_overlooks_the_end = BeginLooksTooEarly;

    /// A thread that leaves because it is idle while the pool is shut down is the last one, too.
    an_idle_thread_leaves_during_a_shutdown(BOUND) {
        let bed = Bed::elastic(1, 1);
        assert_eq!(block_on(bed.try_run(|| 1).expect("there is room")).expect("it runs"), 1);
        let report = block_on(bed.shutdown(Shutdown::Drain, LONG));
        assert!(report.is_clean());
        bed.finish();
    }, caught by mutant_idle_last_tells_nobody = LastTellsNobody;
}
