//! Seeded bugs, to show that the models would find them.
//!
//! Each seeded bug is an `if mutation::on(..)` in the code. Outside of tests the condition is a constant `false`, and no code is
//! compiled for it. A model that runs with its mutation must fail: this shows that the model can fail at all.

/// One seeded bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "named in the kernel, switched on by models only")
)]
pub(crate) enum Mutation {
    /// A cancelled waiter lays down the slot that was handed to it, though others wait.
    CancelServesNobody,
    /// A cancelled waiter does not forward the news that there is room.
    CancelTellsNobody,
    /// A waiter looks at the idle slots, releases the lock, and does not look again.
    WaiterLooksTooEarly,
    /// A return wakes the first waiter but hands it nothing, and newcomers take idle slots ahead of the queue.
    NewcomerBarges,
    /// A hand-off goes to the second waiter.
    SecondIsServedFirst,
    /// A waiter that another task polls keeps the waker of the first task.
    WakerIsKept,
    /// The waker of a waiter is cloned under the lock.
    WakerIsClonedLocked,
    /// The replaced waker of a waiter is dropped under the lock.
    WakerGoesLocked,
    /// A waiter that was granted a slot is woken under the lock.
    WakesLocked,
    /// A close wakes one waiter, not all.
    CloseWakesOne,
    /// A return does not see that the pool was closed meanwhile.
    ReturnIgnoresClose,
    /// The check for room counts open resources, and forgets opens in flight.
    OpeningIsNotCounted,
    /// A failed open keeps its seat.
    FailedOpenKeepsSeat,
    /// A seat that is freed by a drop wakes nobody.
    VacateTellsNobody,
    /// A grant that is not fetched stays with its waiter for ever.
    GrantIsNeverReclaimed,
    /// A waiter that is polled after its grant was taken back stays parked.
    ParkedStaysParked,
    /// After a grant was taken back, it is handed to the next waiter, polled or not.
    ReclaimParksOne,
    /// The waiters that are parked because a grant was taken back are not told to poll again.
    ParkedAreNotTold,
    /// A resize to a smaller size forgets leased resources.
    ResizeForgetsLeased,
    /// A resource that the keeper had checked is laid down, though others wait.
    CheckServesNobody,
    /// A get reads a word of the board and writes it in two steps.
    TakeIsTwoSteps,
    /// A return lays its slot on the board although it was called to the lock meanwhile.
    LayIgnoresCall,
    /// A call to the lock reads a word of the board and writes it in two steps.
    CallIsTwoSteps,
    /// A call to the lock sets `CALL` in the first word of the board only.
    CallReachesOneWord,
    /// A get looks at one word of the board only.
    TakeLooksAtOneWord,
    /// A waiter looks at the idle slots before it calls returns to the lock.
    CallIsLate,
    /// A close looks at the idle slots before it calls returns to the lock.
    CloseCallsLate,
    /// A resource that was opened before a reset is handed out after it.
    GetIgnoresGeneration,
    /// A keeper that goes vacates the post first, and then takes its waker out of the bell.
    PostIsVacatedEarly,
    /// A keeper that was replaced takes the next keeper's waker out of the bell when it goes.
    KeeperTakesAnothersBell,
    /// Idle slots are counted word by word, while gets and returns go on.
    CountsAreTakenInMotion,
    /// A waiter that has just fetched its grant is parked all the same.
    FetchedIsParked,
    /// An open that panics keeps its seat.
    PanickedOpenKeepsSeat,
    /// A get that is dropped stays in the queue.
    DroppedGetStaysInLine,
    /// A resource is handed on although its reset failed.
    FailedResetIsHandedOn,
    /// A tainted resource is handed on as it is.
    TaintIsForgotten,
    /// A close of a resource has no timeout.
    CloseHasNoEnd,
    /// A keeper that was dropped counts as running.
    KeeperIsNotRestarted,
    /// A long wait is timed by an old tick, as if the tick were on time.
    OldTickIsTrusted,
    /// A get that is refused at once because nothing can be opened triggers no attempt.
    RefusedTriesNothing,
    /// A check that does not end is waited for like a check that has just begun.
    LateCheckIsAwaited,
    /// As `LateCheckIsAwaited`, for a check of a key.
    KeyLateCheckIsAwaited,
    /// A share of a resource that died is given back to what has its seat now.
    MixedReturnToTheDead,
    /// A share that comes back goes to no waiter.
    MixedReturnServesNobody,
    /// The last share of a resource that is drained does not close it.
    MixedLastShareEndsNothing,
    /// A shared resource that dies keeps its place until its last share comes back.
    MixedDeadKeepsPlace,
    /// More shares may be given than before, and the waiters are not served.
    MixedCapacityServesNobody,
    /// A waiter that goes keeps the share that was granted to it.
    MixedCancelKeepsShare,
    /// A shared resource in use is never drained for a key that has nothing.
    MixedSharedNeverYields,
    /// The capacity of a shared resource may rise, but not fall.
    MixedCapacityNeverFalls,
    /// A shared resource whose last share came back is not idle, so it is not evicted.
    MixedUnusedIsNotEvicted,
    /// What was opened serves one waiter, though it could serve more.
    MixedOpenServesOne,
    /// What was opened serves one, and the next open is expected to serve many all the same.
    MixedExpectsTooMuch,
    /// What is said of a connection before it is open is forgotten.
    MixedEarlyWordIsLost,
    /// A share that was taken back from a waiter that does not fetch it goes to nobody.
    MixedReclaimKeepsShare,
    /// A share of a suspect connection is given.
    MixedShareOfSuspect,
    /// An open that is for one caller alone counts as supply for the waiters.
    MixedReservedIsSupply,
    /// A thread without a runtime polls a timer of the pool.
    TimerIsPolledElsewhere,
    /// A thread that locks the pool does not see the waiters that joined by the inbox.
    InboxIsForgotten,
    /// A return that serves the last waiter in the queue does not look into the inbox.
    LastLeavesInboxOpen,
    /// A return adds to the count of free permits although a waiter is in the queue.
    PermitReturnIgnoresLine,
    /// A newcomer takes free permits although others wait.
    PermitBarges,
    /// A waiter looks at the free permits before it closes the way past the queue.
    PermitWaiterLooksTooEarly,
    /// A cancelled waiter keeps the permits that were granted to it.
    PermitCancelKeepsGrant,
    /// After a waiter was cancelled, the waiters behind it are not served.
    PermitCancelServesNobody,
    /// A limiter that shrinks forgets the permits in use.
    PermitShrinkForgetsDebt,
    /// A close of a limiter wakes one waiter, not all.
    PermitCloseWakesOne,
    /// Permits that were taken back go to nobody.
    PermitReclaimKeepsGrant,
    /// A waiter looks whether the limiter is closed, releases the lock, and then joins the queue.
    PermitCloseIsSeenTooEarly,
    /// A waiter that asked for several permits is served as soon as one is free.
    PermitLargeIsServedEarly,
    /// A thread that locks a limiter does not see the waiters that joined by the inbox.
    PermitInboxIsForgotten,
    /// A return that serves the last waiter of a limiter does not look into the inbox.
    PermitLastLeavesInboxOpen,
    /// A waiter that is pushed out of a full queue is not woken.
    PermitPushedOutSleepsOn,
    /// A keeper of a limiter goes with its runtime, and the waiters are not told.
    PermitKeeperLeavesInSilence,
    /// Of several keepers of a limiter only the first counts the time.
    PermitFirstKeeperIsTrusted,
    /// The bell of a place is cleared after the place was polled, not before.
    BellIsClearedAfterThePoll,
    /// A completion tells the waiters before it frees the key, and tells nobody afterwards.
    FlightEndIsToldTooEarly,
    /// The last waiter of a flight leaves, and the computation goes on.
    FlightLastLeaverStopsNothing,
    /// A computation that was stopped forgets the waiters that came while it was being stopped.
    FlightStopForgetsNewcomers,
    /// After an error no waiter is told to try again.
    FlightRetryTellsNobody,
    /// A waiter that was told to start a computation leaves, and no other waiter is told.
    FlightLeadIsLost,
    /// A waiter that was told to start a computation declines, and no other waiter is told.
    FlightDeclinedLeadIsLost,
    /// A leader that registers late how its computation is stopped stops the computation that was started since.
    FlightLateStartStopsAnother,
    /// The task that watches whether a lead is taken goes with its runtime, and the waiters are not told.
    FlightWatchIsLost,
    /// A flight that has ended keeps its key.
    FlightEndFreesNoKey,
    /// A cancelled waiter keeps the share that was granted to it.
    ShareCancelKeepsGrant,
    /// A change of capacity forgets the shares in use.
    ShareCapacityForgetsUsed,
    /// A capacity that rises serves nobody.
    ShareCapacityServesNobody,
    /// When a connection dies, no other is opened for the waiters.
    ShareDeathOpensNothing,
    /// A connection that could not be opened keeps its place.
    ShareFailedOpenKeepsPlace,
    /// A share that is returned serves nobody.
    ShareReturnServesNobody,
    /// Shares of a suspect connection are still handed out.
    ShareOfSuspect,
    /// A share is counted by a load and a store, not by one step.
    ShareIsCountedInTwoSteps,
    /// A drain looks whether anybody ever had a share before it stops the giving of shares.
    ShareStillbornLooksTooEarly,
    /// A return looks whether it is called to the lock before it gives its share back.
    ShareReturnLooksTooEarly,
    /// A waiter looks for a share before it calls everybody to the lock.
    ShareWaiterLooksTooEarly,
    /// The shares of a connection that drains are counted before everybody is called to the lock.
    ShareDrainLooksTooEarly,
    /// The return of the last share of a connection that drains does not end the connection.
    ShareLastEndsNothing,
    /// The check for room in total counts open resources, and forgets opens in flight.
    KeyOpeningIsNotCounted,
    /// A returned resource keeps its place although a key without a place has a waiter.
    KeyNeverYields,
    /// A returned resource is laid down although another key needs its place.
    KeyReturnEvictsNothing,
    /// A resource that is being closed for another key frees its place before it is closed.
    KeyEvictedFreesTooEarly,
    /// A place that is free again is given to nobody.
    KeyFreePlaceServesNobody,
    /// A key is removed although a waiter is in its queue.
    KeyGoesWithItsLine,
    /// A key that was looked up before is used although it was removed since.
    KeyIsUsedAfterItWent,
    /// A cancelled waiter lays down the slot that was handed to it, though others of its key wait.
    KeyCancelServesNobody,
    /// A prober takes a place from other keys, although no waiter needs what it opens.
    KeyProberEvicts,
    /// A key whose opens hang takes the places of other keys for more opens, and keeps them.
    KeyHangingTakesAll,
    /// A resource whose open began before a reset and ended after it is handed out.
    KeyOpenIsStampedLate,
    /// A waiter that is pushed out of a full queue is not woken.
    KeyPushedOutSleepsOn,
}

#[cfg(test)]
thread_local! {
    // All threads of a model run on one thread of the operating system.
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Whether this bug is switched on.
#[cfg(test)]
pub(crate) fn on(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Whether this bug is switched on. Always `false` outside of tests.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn on(_: Mutation) -> bool {
    false
}

/// Runs `model` with one bug switched on.
#[cfg(test)]
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
