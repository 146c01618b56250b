//! Seeded bugs, to show that the models would see them.
//!
//! Each is one `if mutation::on(..)` in the code that ships. Outside the models the condition is a constant `false` and nothing
//! of it is compiled in. A model that runs with its mutation must fail: a suite that cannot fail proves nothing.

/// One seeded bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(all(test, any(pool_loom, pool_shuttle))),
    allow(dead_code, reason = "named in the code, switched on by models only")
)]
pub(crate) enum Mutation {
    /// A job that was cancelled keeps its place.
    CancelKeepsPlace,
    /// A job that was cancelled while it waited runs all the same.
    CancelledJobRuns,
    /// A worker sees that a job waits, lets go of the lock, and does not look again.
    BeginLooksTooEarly,
    /// A finished job wakes nobody.
    FinishWakesNobody,
    /// A poll that finds no result does not leave its waker behind.
    PollKeepsOldWaker,
    /// A job that is ended unrun keeps its place.
    EndKeepsPlace,
    /// Whoever does not want a result any more does not drop it.
    DetachLosesResult,
    /// A job that panicked keeps its place.
    PanicKeepsPlace,
    /// A job that panicked is not counted.
    PanicIsNotCounted,
    /// A result that came too late takes the place of the error that was given before.
    LateResultWins,
    /// A worker goes to sleep without looking at the queue once more.
    SleepsWithoutLooking,
    /// A worker goes to sleep without looking once more whether somebody works in parallel.
    HelperSleepsWithoutLooking,
    /// A call for help goes to the worker that lay down last, which may have been called just before.
    HelpersHaveNoTurns,
    /// A submitter looks for sleepers before it has put its job into the queue.
    WakesBeforePush,
    /// Jobs that a sweep moves are in neither place meanwhile.
    SweepHidesJobs,
    /// A submitter does not look whether the pool was shut down meanwhile.
    SubmitIgnoresClose,
    /// A submitter that came too late leaves the shell of its job in the queue.
    LateShellStays,
    /// A shutdown wakes one worker, not all.
    CloseWakesOne,
    /// A worker that leaves does not look at the queue once more.
    LeavesWithoutLooking,
    /// A worker that was looking for work, and has found some, does not look whether there is more.
    FinderForgetsOthers,
    /// The last worker to leave tells nobody.
    LastTellsNobody,
    /// A job that shuts down its own pool waits for its own worker to leave.
    WorkerWaitsForItself,
    /// The keeper ends the last job, and tells nobody that this was the end.
    KeeperTellsNobody,
    /// A thread that was not started counted as alive, and nobody is told that it does not any more.
    FailedStartTellsNobody,
    /// The keeper forgets deadlines of jobs that came while it looked at the queue.
    KeeperForgetsDeadlines,
    /// The keeper forgets what it was asked for while it looked.
    KeeperForgets,
    /// A job that is polled by whoever wakes it forgets that it was woken while it was polled.
    ErrandForgetsCall,
}

#[cfg(all(test, any(pool_loom, pool_shuttle)))]
thread_local! {
    // All threads of a model run on one thread of the system.
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Is this bug switched on?
#[cfg(all(test, any(pool_loom, pool_shuttle)))]
pub(crate) fn on(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Is this bug switched on? Never, outside the models.
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
