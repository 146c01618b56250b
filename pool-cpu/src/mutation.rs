//! Seeded bugs, which show that the models catch them.
//!
//! Each bug is one `if mutation::on(..)` in the code that ships. Outside the models the condition is the constant `false`, so
//! nothing of it is compiled. A model that runs with its mutation must fail.

/// One seeded bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(test, any(pool_loom, pool_shuttle))),
    allow(dead_code, reason = "named in the code, switched on by models only")
)]
pub(crate) enum Mutation {
    /// A cancelled job keeps its place.
    CancelKeepsPlace,
    /// A job that was cancelled while it waited runs all the same.
    CancelledJobRuns,
    /// A worker sees that a job waits, releases the lock, and does not look again.
    BeginLooksTooEarly,
    /// A finished job does not wake its waiter.
    FinishWakesNobody,
    /// A poll that finds no result does not store its waker.
    PollKeepsOldWaker,
    /// A job that is ended without running keeps its place.
    EndKeepsPlace,
    /// A handle that is detached does not drop a result that is there.
    DetachLosesResult,
    /// A job that panicked keeps its place.
    PanicKeepsPlace,
    /// A job that panicked is not counted.
    PanicIsNotCounted,
    /// A result that comes too late replaces the error that was returned before.
    LateResultWins,
    /// A worker goes to sleep without another look at the queue.
    SleepsWithoutLooking,
    /// A worker goes to sleep without another look for parallel work.
    HelperSleepsWithoutLooking,
    /// A call for help wakes the worker that lay down last, which may be the worker that was called just before.
    HelpersHaveNoTurns,
    /// A submitter looks for sleepers before its job is in the queue.
    WakesBeforePush,
    /// Jobs that a sweep moves are in neither queue meanwhile.
    SweepHidesJobs,
    /// A submitter does not check whether the pool was shut down meanwhile.
    SubmitIgnoresClose,
    /// A submitter that came too late leaves the shell of its job in the queue.
    LateShellStays,
    /// A shutdown wakes one worker, not all.
    CloseWakesOne,
    /// A worker that leaves does not look at the queue once more.
    LeavesWithoutLooking,
    /// A worker that has found work after a search does not check for more work.
    FinderForgetsOthers,
    /// The last worker to leave does not wake the waiters for the end.
    LastTellsNobody,
    /// A job that shuts down its own pool waits for its own worker to leave.
    WorkerWaitsForItself,
    /// The keeper ends the last job, and does not wake the waiters for the end.
    KeeperTellsNobody,
    /// A thread that was not started counted as alive, and the waiters for the end are not woken.
    FailedStartTellsNobody,
    /// The keeper forgets the deadlines of jobs that were submitted while it looked at the queue.
    KeeperForgetsDeadlines,
    /// The keeper forgets a request that was made while it looked.
    KeeperForgets,
    /// A waiting spawned job forgets a wake-up that came while it was polled.
    ErrandForgetsCall,
}

#[cfg(all(test, any(pool_loom, pool_shuttle)))]
thread_local! {
    // All threads of a model run on one OS thread.
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is switched on.
#[cfg(all(test, any(pool_loom, pool_shuttle)))]
pub(crate) fn on(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Whether this bug is switched on. Outside the models it never is.
#[cfg(not(all(test, any(pool_loom, pool_shuttle))))]
#[inline(always)]
pub(crate) const fn on(_: Mutation) -> bool {
    false
}

/// Runs `model` with one bug switched on.
#[cfg(all(test, any(pool_loom, pool_shuttle)))]
pub(crate) fn with(mutation: Mutation, model: impl FnOnce()) {
    struct Off;
    impl Drop for Off {
        fn drop(&mut self) {
            ACTIVE.set(None);
        }
    }
    let _off = Off;
    ACTIVE.set(Some(mutation));
    model();
}
