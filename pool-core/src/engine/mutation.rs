//! Seeded bugs, to show that the models would see them.
//!
//! Each is one `if mutation::on(..)` in the kernel. Outside of tests the condition is a constant `false` and nothing of it is compiled
//! in. A model that runs with its mutation must fail: a suite that cannot fail proves nothing.

/// One seeded bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "named in the kernel, switched on by models only")
)]
pub(crate) enum Mutation {
    /// A waiter that goes away lays down what was handed to it, though others wait.
    CancelServesNobody,
    /// A waiter that goes away keeps it to itself that there is room.
    CancelTellsNobody,
    /// A waiter looks at the idle ones, lets go of the lock, and does not look again.
    WaiterLooksTooEarly,
    /// A return wakes the first in line but hands it nothing, and newcomers take what they see.
    NewcomerBarges,
    /// What is handed over goes to the second in line.
    SecondIsServedFirst,
    /// A waiter that another task polls keeps the waker of the first.
    WakerIsKept,
    /// The waker of a waiter is cloned under the lock.
    WakerIsClonedLocked,
    /// The waker that another has taken the place of goes under the lock.
    WakerGoesLocked,
    /// Who was handed something is woken under the lock.
    WakesLocked,
    /// Closing wakes one waiter, not all.
    CloseWakesOne,
    /// A return does not see that the pool was closed meanwhile.
    ReturnIgnoresClose,
    /// Room is decided on what is open, forgetting what is being opened.
    OpeningIsNotCounted,
    /// A failed open keeps its seat.
    FailedOpenKeepsSeat,
    /// A seat that is freed by a drop tells nobody.
    VacateTellsNobody,
    /// What a waiter does not fetch is its own for ever.
    GrantIsNeverReclaimed,
    /// A waiter that is polled after its grant was taken back stays parked.
    ParkedStaysParked,
    /// When a grant was taken back, the next in line is handed it, polled or not.
    ReclaimParksOne,
    /// Those in line who are parked when a grant was taken back are not told to poll again.
    ParkedAreNotTold,
    /// Shrinking forgets those that are leased.
    ResizeForgetsLeased,
    /// What the keeper had checked is laid down, though others wait.
    CheckServesNobody,
    /// A get reads a word of the board and writes it in two steps.
    TakeIsTwoSteps,
    /// A return lays down on the board although it was called to the lock meanwhile.
    LayIgnoresCall,
    /// A call to the lock reads a word of the board and writes it in two steps.
    CallIsTwoSteps,
    /// A call to the lock is made in the first word of the board, and not in the others.
    CallReachesOneWord,
    /// A get looks at one word of the board, and not at the others.
    TakeLooksAtOneWord,
    /// A waiter looks at the idle ones before it calls returns to the lock.
    CallIsLate,
    /// A close looks at the idle ones before it calls returns to the lock.
    CloseCallsLate,
    /// What was opened before a reset is handed out after it.
    GetIgnoresGeneration,
    /// A keeper that goes says so first, and takes its waker out after that.
    PostIsVacatedEarly,
    /// A keeper that was replaced and goes takes the waker of the next one out of the bell.
    KeeperTakesAnothersBell,
    /// What is idle is counted word for word, while it is taken and laid down.
    CountsAreTakenInMotion,
    /// A waiter that has just fetched its grant is parked all the same.
    FetchedIsParked,
    /// An open that panics keeps its seat.
    PanickedOpenKeepsSeat,
    /// A get that is dropped stays in line.
    DroppedGetStaysInLine,
    /// A resource is handed on though its reset failed.
    FailedResetIsHandedOn,
    /// A tainted resource is handed on as it is.
    TaintIsForgotten,
    /// A close may take for ever.
    CloseHasNoEnd,
    /// A keeper that was dropped is taken for one that runs.
    KeeperIsNotRestarted,
    /// A long wait is timed by a tick that is taken to be on time.
    OldTickIsTrusted,
    /// Who is told at once that nothing can be opened does nothing about it.
    RefusedTriesNothing,
    /// A check that does not end is waited for as one that has just begun.
    LateCheckIsAwaited,
    /// The same for a check of a key.
    KeyLateCheckIsAwaited,
    /// A thread without a runtime polls a timer of the pool's.
    TimerIsPolledElsewhere,
    /// Whoever locks the pool sees those in line, and not those who joined by the inbox.
    InboxIsForgotten,
    /// A return that serves the last in line does not look into the inbox.
    LastLeavesInboxOpen,
    /// A return adds to the count although somebody waits.
    PermitReturnIgnoresLine,
    /// A newcomer takes free permits although others wait.
    PermitBarges,
    /// A waiter looks at the free permits before it closes the way past the line.
    PermitWaiterLooksTooEarly,
    /// A waiter that goes away keeps the permits that were handed to it.
    PermitCancelKeepsGrant,
    /// When a waiter goes away, those behind it are not looked at.
    PermitCancelServesNobody,
    /// Shrinking forgets the permits that are out.
    PermitShrinkForgetsDebt,
    /// Closing a limiter wakes one waiter, not all.
    PermitCloseWakesOne,
    /// Permits that were taken back go to nobody.
    PermitReclaimKeepsGrant,
    /// A waiter looks whether the limiter is closed, lets go of the lock, and joins the line.
    PermitCloseIsSeenTooEarly,
    /// One who asked for several is served as soon as anything is free.
    PermitLargeIsServedEarly,
    /// Whoever locks a limiter sees those in line, and not those who joined by the inbox.
    PermitInboxIsForgotten,
    /// A return that serves the last in line of a limiter does not look into the inbox.
    PermitLastLeavesInboxOpen,
    /// Whoever is pushed out of a full line is not woken.
    PermitPushedOutSleepsOn,
    /// A keeper of a limiter goes with its runtime, and those who wait are not told.
    PermitKeeperLeavesInSilence,
    /// Of several keepers of a limiter only the first counts the time.
    PermitFirstKeeperIsTrusted,
    /// The bell of a place is cleared after it was polled, and not before.
    BellIsClearedAfterThePoll,
    /// A completion tells those who wait before it frees the key, and nobody afterwards.
    FlightEndIsToldTooEarly,
    /// The last who waits goes away, and the computation goes on for nobody.
    FlightLastLeaverStopsNothing,
    /// A computation that was stopped forgets those who came while it was being stopped.
    FlightStopForgetsNewcomers,
    /// After an error nobody is told to try again.
    FlightRetryTellsNobody,
    /// One who was told to start a computation goes away, and nobody else is told.
    FlightLeadIsLost,
    /// One who was told to start a computation cannot, and nobody else is told.
    FlightDeclinedLeadIsLost,
    /// Who says late how its computation is stopped stops the one that was started since.
    FlightLateStartStopsAnother,
    /// Who looks whether a lead is taken goes with its runtime, and those in line are not told.
    FlightWatchIsLost,
    /// A flight that has ended keeps its key.
    FlightEndFreesNoKey,
    /// A waiter that goes away keeps the share that was handed to it.
    ShareCancelKeepsGrant,
    /// A capacity that changes forgets the shares that are out.
    ShareCapacityForgetsUsed,
    /// A capacity that rises serves nobody.
    ShareCapacityServesNobody,
    /// When a connection dies, none is opened for those who wait.
    ShareDeathOpensNothing,
    /// A connection that could not be opened keeps its place.
    ShareFailedOpenKeepsPlace,
    /// A share that comes back serves nobody.
    ShareReturnServesNobody,
    /// A suspect connection is shared on.
    ShareOfSuspect,
    /// A share is counted by a load and a store.
    ShareIsCountedInTwoSteps,
    /// Whoever gives a share back looks whether it is called before it does.
    ShareReturnLooksTooEarly,
    /// A waiter looks for a share before it calls everybody to the lock.
    ShareWaiterLooksTooEarly,
    /// A connection that goes is looked at before everybody is called to the lock.
    ShareDrainLooksTooEarly,
    /// Whoever gives back the last share of a connection that goes ends nothing.
    ShareLastEndsNothing,
    /// Room in total is decided on what is open, forgetting what is being opened.
    KeyOpeningIsNotCounted,
    /// A return keeps its place although a key that has none waits.
    KeyNeverYields,
    /// A return is laid down although another key needs the place.
    KeyReturnEvictsNothing,
    /// What is being closed for another key frees its place before it is gone.
    KeyEvictedFreesTooEarly,
    /// A place that is free again is given to nobody.
    KeyFreePlaceServesNobody,
    /// A key goes away although somebody stands in its line.
    KeyGoesWithItsLine,
    /// A key that was seen before is used although it has gone since.
    KeyIsUsedAfterItWent,
    /// A waiter that goes away lays down what was handed to it, though others of its key wait.
    KeyCancelServesNobody,
    /// A prober takes a place from others, although nobody waits for what it opens.
    KeyProberEvicts,
    /// A key whose connects hang takes the places of others for more of them, and keeps those.
    KeyHangingTakesAll,
    /// What was begun before a reset, and opened after it, is handed out.
    KeyOpenIsStampedLate,
    /// Whoever is pushed out of a full line is not woken.
    KeyPushedOutSleepsOn,
}

#[cfg(test)]
thread_local! {
    // All of a model's threads run on one thread of the system.
    static ACTIVE: std::cell::Cell<Option<Mutation>> = const { std::cell::Cell::new(None) };
}

/// Is this bug switched on?
#[cfg(test)]
pub(crate) fn on(mutation: Mutation) -> bool {
    ACTIVE.get() == Some(mutation)
}

/// Is this bug switched on? Never, outside of tests.
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
