//! Runs writes on a worker: one or several in one transaction, each undone alone.
//!
//! 1. `BEGIN IMMEDIATE` waits for the lock, as long as anybody wants one of the writes.
//! 2. Each write that is still wanted runs. In a group it runs in a savepoint: if it fails, panics or is given up, only its savepoint
//!    is rolled back, and it is answered.
//! 3. `COMMIT`, once for all that are left. Only then they are answered. If it fails, it fails for all of them.
//!
//! SQLite rolls back the whole transaction when it interrupts a statement that writes. So a write that is given up while it runs is
//! stopped at once only if no other write of its transaction would be lost, and else after [`GRACE`]. SQLite also rolls back when the
//! disk is full or fails. Then the writes that have run fail, and the rest begins a new transaction.

use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rusqlite::{Transaction, TransactionBehavior, ffi};
use tokio::sync::oneshot;

use super::{
    residue::{self, Mode, SAVEPOINT},
    session::{Open, Watch},
    stop::{self, Wanted},
};
use crate::{Error, operation::Queued};

/// The caller's part in a write: whether it still waits, and the operation that is reported.
#[derive(Debug)]
pub(super) struct Interest {
    is_given_up: AtomicBool,
    pub(super) operation: Queued,
}

impl Interest {
    const fn new(operation: Queued) -> Self {
        Self {
            is_given_up: AtomicBool::new(false),
            operation,
        }
    }

    pub(super) fn give_up(&self) {
        // Ordering: the flag publishes nothing else, and a store that is seen late stops the write some instructions later.
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    fn is_there(&self) -> bool {
        !self.is_given_up.load(Ordering::Relaxed)
    }
}

/// One write, whatever its types.
pub(super) trait Write: Send {
    fn interest(&self) -> &Arc<Interest>;

    /// Runs the closure, and keeps its result. Returns whether the closure wants its changes to be kept.
    fn run(&mut self, transaction: &Transaction<'_>) -> Ran;

    /// Gives the result of the closure to the caller, or the error because of which nothing of it was kept.
    fn answer(self: Box<Self>, outcome: Result<(), Error>);
}

/// How a closure has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ran {
    Ok,
    Err,
    Panicked,
}

/// A write with its types.
pub(super) struct Job<T, E, F> {
    f: Option<F>,
    result: Option<Result<T, Failed<E>>>,
    to: oneshot::Sender<Result<T, Failed<E>>>,
    interest: Arc<Interest>,
}

/// Why a write failed.
pub(super) enum Failed<E> {
    /// By its closure.
    Own(E),
    Pool(Error),
}

impl<T, E, F> Job<T, E, F> {
    pub(super) fn new(f: F, to: oneshot::Sender<Result<T, Failed<E>>>, operation: Queued) -> Self {
        Self {
            f: Some(f),
            result: None,
            to,
            interest: Arc::new(Interest::new(operation)),
        }
    }
}

impl<T, E, F> Write for Job<T, E, F>
where
    F: FnOnce(&Transaction<'_>) -> Result<T, E> + Send,
    T: Send,
    E: Send,
{
    fn interest(&self) -> &Arc<Interest> {
        &self.interest
    }

    fn run(&mut self, transaction: &Transaction<'_>) -> Ran {
        let Some(f) = self.f.take() else {
            return Ran::Err;
        };
        let f = AssertUnwindSafe(|| residue::during(Mode::Write, || f(transaction)));
        let (ran, result) = match catch_unwind(f) {
            Ok(Ok(value)) => (Ran::Ok, Ok(value)),
            Ok(Err(error)) => (Ran::Err, Err(Failed::Own(error))),
            Err(payload) => {
                let error = Error::panicked(text_of(&*payload));
                // Its drop might panic again.
                std::mem::forget(payload);
                (Ran::Panicked, Err(Failed::Pool(error)))
            }
        };
        self.result = Some(result);
        ran
    }

    fn answer(self: Box<Self>, outcome: Result<(), Error>) {
        let Self { result, to, .. } = *self;
        let answer = match (outcome, result) {
            // What the closure says itself says more.
            (_, Some(Err(failed))) => Err(failed),
            (Ok(()), Some(Ok(value))) => Ok(value),
            (Err(error), _) => Err(Failed::Pool(error)),
            // A closure that was not run is given an error, or is dropped.
            (Ok(()), None) => return,
        };
        // Nobody may wait for it any more. A panic in the drop of a value must not take the others with it.
        let send = AssertUnwindSafe(|| drop(to.send(answer)));
        if let Err(payload) = catch_unwind(send) {
            std::mem::forget(payload);
        }
    }
}

/// The writes of a transaction, which would be lost if it were stopped.
#[derive(Debug, Default)]
struct Group(Mutex<Begun>);

#[derive(Debug, Default)]
struct Begun {
    /// The last one runs.
    interests: Vec<Arc<Interest>>,
    /// Since when nobody wants the one that runs.
    unwanted: Option<Instant>,
}

impl Group {
    fn set(&self, interests: Vec<Arc<Interest>>) {
        *self.begun() = Begun {
            interests,
            unwanted: None,
        };
    }

    fn add(&self, interest: &Arc<Interest>) {
        let mut begun = self.begun();
        begun.interests.push(Arc::clone(interest));
        begun.unwanted = None;
    }

    /// Whether anybody wants any of them.
    fn is_any_wanted(&self) -> bool {
        let begun = self.begun();
        begun.interests.iter().any(|interest| interest.is_there())
    }

    fn begun(&self) -> MutexGuard<'_, Begun> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wanted for Group {
    fn is_wanted(&self) -> bool {
        let mut begun = self.begun();
        let Some((runs, before)) = begun.interests.split_last() else {
            return true;
        };
        if runs.is_there() {
            return true;
        }
        if !before.iter().any(|interest| interest.is_there()) {
            return false;
        }
        let since = *begun.unwanted.get_or_insert_with(Instant::now);
        since.elapsed() < GRACE
    }
}

/// The writes that wait for SQLite's lock.
struct Waiting(Vec<Arc<Interest>>);

impl Wanted for Waiting {
    fn is_wanted(&self) -> bool {
        self.0.iter().any(|interest| interest.is_there())
    }
}

/// Runs `writes`, in as few transactions as possible. Those that are left in `writes` were not begun: the connection must be reset
/// first.
pub(super) fn run(open: &mut Open, writes: &mut VecDeque<Box<dyn Write>>) {
    let group = Arc::new(Group::default());
    let patience = open.patience();
    let (connection, mut watch) = open.split();
    stop::during(group.clone(), patience, || {
        loop {
            writes.retain(|write| write.interest().is_there());
            if writes.is_empty() || !watch.is_clean() {
                break;
            }
            let waits = Arc::new(Waiting(
                writes
                    .iter()
                    .map(|write| write.interest().clone())
                    .collect(),
            ));
            let begun = stop::during(waits, patience, || {
                connection.transaction_with_behavior(TransactionBehavior::Immediate)
            });
            match begun {
                Ok(transaction) => transact(&transaction, &mut watch, writes, &group),
                Err(error) => {
                    let failure = Failure::of(&error);
                    for write in writes.drain(..) {
                        write.answer(Err(failure.error()));
                    }
                }
            }
        }
    });
}

/// Runs as many of `writes` as can be in this transaction.
fn transact(
    transaction: &Transaction<'_>,
    watch: &mut Watch<'_>,
    writes: &mut VecDeque<Box<dyn Write>>,
    group: &Group,
) {
    let is_alone = writes.len() == 1;
    group.set(Vec::new());
    let mut kept: Vec<Box<dyn Write>> = Vec::new();
    while let Some(mut write) = writes.pop_front() {
        if !write.interest().is_there() {
            continue;
        }
        group.add(write.interest());
        if !is_alone && let Err(error) = savepoint(transaction, "SAVEPOINT") {
            kept.push(write);
            return fail(transaction, kept, &error);
        }
        let ran = write.run(transaction);
        if ran == Ran::Panicked {
            watch.panicked();
        }
        watch.look(transaction);
        if transaction.is_autocommit() {
            // SQLite has rolled back all of it.
            kept.push(write);
            return answer(kept, &Failure::lost());
        }
        let is_kept = ran == Ran::Ok && write.interest().is_there();
        let ended = match (is_alone, is_kept) {
            (true, true) => Ok(()),
            (true, false) => transaction.execute_batch("ROLLBACK"),
            (false, true) => savepoint(transaction, "RELEASE"),
            (false, false) => savepoint(transaction, "ROLLBACK TO")
                .and_then(|()| savepoint(transaction, "RELEASE")),
        };
        if let Err(error) = ended {
            kept.push(write);
            return fail(transaction, kept, &error);
        }
        if is_kept {
            kept.push(write);
        } else {
            write.answer(Err(Failure::lost().error()));
        }
        if !watch.is_clean() {
            break;
        }
    }
    if kept.is_empty() || !group.is_any_wanted() {
        // The transaction is rolled back by its drop. Nobody waits for an answer.
        return;
    }
    match transaction.execute_batch("COMMIT") {
        Ok(()) => {
            for write in kept {
                write.answer(Ok(()));
            }
        }
        Err(error) => fail(transaction, kept, &error),
    }
}

fn savepoint(transaction: &Transaction<'_>, what: &str) -> rusqlite::Result<()> {
    // Not from the cache: a closure could take it from there without being asked what it does.
    transaction.execute_batch(&format!("{what} {SAVEPOINT}"))
}

/// Rolls the transaction back, and says so to the writes that were in it.
fn fail(transaction: &Transaction<'_>, kept: Vec<Box<dyn Write>>, error: &rusqlite::Error) {
    let failure = Failure::of(error);
    if !transaction.is_autocommit() {
        // If this fails, the reset tries again, or the connection is closed.
        drop(transaction.execute_batch("ROLLBACK"));
    }
    answer(kept, &failure);
}

/// Tells writes of which nothing was kept.
fn answer(writes: Vec<Box<dyn Write>>, failure: &Failure) {
    for write in writes {
        write.answer(Err(failure.error()));
    }
}

/// An error of SQLite that several callers get.
#[derive(Debug)]
pub(super) struct Failure {
    code: i32,
    text: String,
}

impl Failure {
    pub(super) fn of(error: &rusqlite::Error) -> Self {
        let code = error.sqlite_error().map(|error| error.extended_code);
        Self {
            code: code.unwrap_or(ffi::SQLITE_ERROR),
            text: error.to_string(),
        }
    }

    /// The transaction is gone.
    fn lost() -> Self {
        Self {
            code: ffi::SQLITE_ABORT_ROLLBACK,
            text: "SQLite has lost the transaction, by this write or another one of its group"
                .to_owned(),
        }
    }

    pub(super) fn error(&self) -> Error {
        let code = ffi::Error::new(self.code);
        rusqlite::Error::SqliteFailure(code, Some(self.text.clone())).into()
    }
}

/// Returns the message of a panic, if its payload is text.
fn text_of(payload: &(dyn Any + Send)) -> &str {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text
    } else {
        "a panic whose payload is not text"
    }
}

/// How long a write that nobody wants may go on, if others of its transaction would be lost.
const GRACE: Duration = Duration::from_secs(1);
