//! The slot of one job: running, cancelling, and waking the caller.

use super::*;
use crate::{
    engine::tests::bed::Bed,
    mutation::{self, Mutation},
};

models! {
    /// A job runs once, and the caller that awaits it is woken with its result.
    a_result_reaches_who_awaits_it(BOUND) {
        let bed = Bed::started(1, 1);
        let job = bed.try_run(|| 7).expect("there is room");
        assert_eq!(block_on(job).expect("it runs"), 7);
        bed.finish();
    }, caught by
        mutant_finish_wakes_nobody = FinishWakesNobody,
        mutant_poll_keeps_no_waker = PollKeepsOldWaker;

    /// If a job is polled with one waker and then with another, the last waker is woken.
    the_last_who_polled_is_woken(BOUND) {
        let bed = Bed::started(1, 1);
        let mut job = bed.try_run(|| 7).expect("there is room");
        match poll_once(&mut job) {
            Poll::Ready(result) => assert_eq!(result.expect("it runs"), 7),
            Poll::Pending => assert_eq!(block_on(job).expect("it runs"), 7),
        }
        bed.finish();
    }, caught by mutant_poll_keeps_old_waker = PollKeepsOldWaker;

    /// A dropped job runs or does not run. In both cases its closure is dropped once, and its place is free.
    a_cancel_against_a_run(BOUND) {
        let bed = Bed::started(1, 0);
        let (ran, closures) = (Counted::default(), Counted::default());
        let (run, closure) = (ran.item(), closures.item());
        let job = bed.try_run(move || {
            drop(run);
            drop(closure);
        });
        drop(job.expect("there is room"));
        bed.finish();
        assert_eq!((ran.dropped(), closures.dropped()), (1, 1));
    }, caught by mutant_cancel_keeps_place = CancelKeepsPlace;

    /// A job that was cancelled before a worker took it never runs, and the next job gets its place.
    a_cancelled_job_never_runs_and_frees_its_place(BOUND) {
        let bed = Bed::fixed(1, 0);
        let ran = Counted::default();
        let run = ran.item();
        let first = bed.try_run(move || std::mem::forget(run)).expect("there is room");
        let next = bed.spawn(|workers| block_on(workers.run(|| 7)).expect("it gets the place"));
        drop(first);
        assert_eq!(ran.dropped(), 1, "it was dropped, not run");
        bed.start(0);
        assert_eq!(next.join().unwrap(), 7);
        bed.finish();
    }, caught by mutant_cancelled_job_keeps_place = CancelKeepsPlace;

    /// Jobs that were dropped before a worker took them never run, and a job that was not dropped runs.
    a_job_that_was_dropped_while_it_waited_never_runs(BOUND) {
        let bed = Bed::fixed(1, 1);
        let ran = Counted::default();
        let runs = [ran.item(), ran.item()];
        let [dropped, kept] = runs.map(|run| {
            // Forgotten if it is dropped without running, because only a run is counted.
            let run = std::mem::ManuallyDrop::new(run);
            bed.try_run(move || drop(std::mem::ManuallyDrop::into_inner(run))).expect("there is room")
        });
        drop(dropped);
        bed.start(0);
        block_on(kept).expect("it runs");
        assert_eq!(ran.dropped(), 1, "the other one ran as well");
        bed.finish();
    }, caught by mutant_cancelled_job_runs = CancelledJobRuns;

    /// An abort that races the run has one outcome: either the abort came first and is the answer, or the result is the answer.
    an_abort_against_a_run(BOUND) {
        let bed = Bed::fixed(1, 0);
        let job = bed.try_run(|| 7).expect("there is room");
        let aborter = bed.spawn(move |workers| {
            let came_first = job.abort();
            workers.core().close();
            (came_first, block_on(job))
        });
        bed.work(0);
        match aborter.join().unwrap() {
            (true, Err(error)) => assert!(error.is_cancelled()),
            (came_first, answer) => assert_eq!((came_first, answer.ok()), (false, Some(7))),
        }
        bed.finish();
    }, caught by
        mutant_begin_looks_too_early = BeginLooksTooEarly,
        mutant_late_result_wins = LateResultWins;

    /// A result that no caller awaits any more is dropped once.
    a_detach_against_a_finish(BOUND) {
        let bed = Bed::started(1, 0);
        let results = Counted::default();
        let result = results.item();
        bed.try_run(move || result).expect("there is room").detach();
        bed.finish();
        assert_eq!(results.dropped(), 1);
    }, caught by mutant_detach_loses_the_result = DetachLosesResult;

    /// After a panic of a job, its place is free, its worker is alive, and the job is counted.
    a_panic_keeps_the_worker_and_frees_the_place(BOUND) {
        let bed = Bed::started(1, 1);
        let first = bed.try_run(|| std::panic::resume_unwind(Box::new("no")));
        let second = bed.try_run(|| 7).expect("there is room");
        assert!(block_on::<_>(first.expect("there is room")).map(|(): ()| ()).unwrap_err().is_panic());
        assert_eq!(block_on(second).expect("the worker lives"), 7);
        let status = bed.status();
        assert_eq!((status.panicked, status.completed, status.busy), (1, 1, 0));
        bed.finish();
    }, caught by
        mutant_panic_keeps_place = PanicKeepsPlace,
        mutant_panic_is_not_counted = PanicIsNotCounted;
}
