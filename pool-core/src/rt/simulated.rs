//! A runtime for models: its tasks are shuttle's, and its time passes when the model decides.
//!
//! It keeps tokio's promises, and no others. A task is polled when its waker was woken, and at no other time. A task that is
//! spawned on a runtime that has ended is dropped. A runtime that ends drops its tasks at their awaits. A timer panics when it is
//! polled after its runtime has ended, or made without a runtime.
//!
//! All threads of a model run on one thread of the system, so what they share here is plain, and no step of a schedule.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fmt,
    future::Future,
    marker::PhantomData,
    mem,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use shuttle::{
    current::{self, TaskId},
    thread,
};

use super::Instant;
use crate::sync;

/// A simulated runtime.
pub(crate) struct Runtime(Handle);

/// A handle of a runtime.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Inner>);

/// Identifies a runtime.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Id(u64);

struct Inner {
    id: Id,
    phase: AtomicU8,
    /// The number of tasks that have not ended.
    running: AtomicUsize,
    bells: Mutex<Vec<Arc<Bell>>>,
    /// Kept, so that a task that never ends is a deadlock and not forgotten.
    joins: Mutex<Vec<shuttle::future::JoinHandle<()>>>,
}

/// The runtime takes tasks and polls them.
const RUNS: u8 = 0;
/// The runtime drops its tasks; its timers stand still.
const ENDS: u8 = 1;
/// The runtime and its timers are gone.
const ENDED: u8 = 2;

impl Runtime {
    pub(crate) fn new() -> Self {
        Self(Handle(Arc::new(Inner {
            id: Id(SIM.with_borrow_mut(Simulation::next_id)),
            phase: AtomicU8::new(RUNS),
            running: AtomicUsize::new(0),
            bells: Mutex::default(),
            joins: Mutex::default(),
        })))
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.0
    }

    /// Ends the runtime, like the drop of a tokio runtime: returns when all its tasks were dropped. Must not be called by one of
    /// its own tasks.
    pub(crate) fn end(&self) {
        let inner = &self.0.0;
        inner.phase.store(ENDS, SeqCst);
        loop {
            let bells = mem::take(&mut *lock(&inner.bells));
            bells.iter().for_each(|bell| bell.ring());
            if inner.running.load(SeqCst) == 0 {
                break;
            }
            thread::yield_now();
        }
        inner.phase.store(ENDED, SeqCst);
        let of_it = |timer: &&Timer| timer.runtime == Some(inner.id);
        let wakers: Vec<_> = SIM.with_borrow(|sim| {
            let timers = sim.timers.values().filter(of_it);
            timers.map(|timer| timer.waker.clone()).collect()
        });
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Handle {
    /// The runtime that polls the current task, or was entered.
    pub(crate) fn try_current() -> Result<Self, NoRuntime> {
        let me = current::me();
        ENTERED
            .with_borrow(|entered| entered.get(&me)?.last().cloned())
            .ok_or(NoRuntime)
    }

    pub(crate) fn id(&self) -> Id {
        self.0.id
    }

    pub(crate) fn enter(&self) -> Entered {
        let me = current::me();
        ENTERED.with_borrow_mut(|entered| entered.entry(me).or_default().push(self.clone()));
        Entered(me)
    }

    /// Runs `future` as a task. Drops it if the runtime has ended.
    pub(crate) fn spawn(
        &self,
        future: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let end = Arc::new(End::default());
        let task = Task {
            future: Some(Box::pin(future)),
            runtime: self.clone(),
            end: Arc::clone(&end),
        };
        let task = Exact::new(task);
        let handle = JoinHandle {
            end,
            bell: Arc::clone(&task.bell),
            output: PhantomData,
        };
        self.0.running.fetch_add(1, SeqCst);
        if self.phase() == RUNS {
            lock(&self.0.bells).push(Arc::clone(&task.bell));
            let join = shuttle::future::spawn(task);
            lock(&self.0.joins).push(join);
        } else {
            // The first poll of this task is its last.
            task.into_inner().end();
        }
        handle
    }

    fn phase(&self) -> u8 {
        self.0.phase.load(SeqCst)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Handle").field(&self.0.id).finish()
    }
}

/// This thread has no runtime.
#[derive(Debug)]
pub(crate) struct NoRuntime;

/// Completes when a task has ended: by itself, by an abort, or with its runtime.
pub(crate) struct JoinHandle<T> {
    end: Arc<End>,
    bell: Arc<Bell>,
    output: PhantomData<fn() -> T>,
}

#[derive(Default)]
struct End {
    aborted: AtomicBool,
    ended: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn abort(&self) {
        self.end.aborted.store(true, SeqCst);
        self.bell.ring();
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.end.ended.load(SeqCst) {
            return Poll::Ready(());
        }
        *lock(&self.end.waker) = Some(context.waker().clone());
        Poll::Pending
    }
}

/// A runtime is the current one until this is dropped.
#[derive(Debug)]
pub(crate) struct Entered(TaskId);

impl Drop for Entered {
    fn drop(&mut self) {
        ENTERED.with_borrow_mut(|entered| entered.entry(self.0).or_default().pop());
    }
}

/// One task of a runtime.
struct Task {
    /// `None` when the task has ended.
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    runtime: Handle,
    end: Arc<End>,
}

impl Task {
    fn end(&mut self) {
        let _entered = self.runtime.enter();
        self.future = None;
        self.runtime.0.running.fetch_sub(1, SeqCst);
        self.end.ended.store(true, SeqCst);
        let waker = lock(&self.end.waker).take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let runs = self.runtime.phase() == RUNS && !self.end.aborted.load(SeqCst);
        let _entered = self.runtime.enter();
        if runs
            && let Some(future) = &mut self.future
            && future.as_mut().poll(context).is_pending()
        {
            return Poll::Pending;
        }
        self.end();
        Poll::Ready(())
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        // A model that failed is being torn down: what its tasks hold cannot be dropped any more.
        if std::thread::panicking() {
            mem::forget(self.future.take());
        }
    }
}

/// A future that is polled when it was woken, and at no other time. Shuttle polls its own tasks more often, after each lock that
/// they had to wait for. That would hide the bugs that this must find.
struct Exact<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
}

struct Bell {
    rung: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl<F: Future> Exact<F> {
    fn new(future: F) -> Self {
        let bell = Bell {
            rung: AtomicBool::new(true),
            task: Mutex::default(),
        };
        Self {
            future: Box::pin(future),
            bell: Arc::new(bell),
        }
    }

    fn into_inner(self) -> Pin<Box<F>> {
        self.future
    }
}

impl<F: Future> Future for Exact<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        *lock(&self.bell.task) = Some(context.waker().clone());
        while self.bell.rung.swap(false, SeqCst) {
            let waker = Waker::from(Arc::clone(&self.bell));
            let mut context = Context::from_waker(&waker);
            if let Poll::Ready(output) = self.future.as_mut().poll(&mut context) {
                return Poll::Ready(output);
            }
            if self.bell.rung.load(SeqCst) {
                thread::yield_now();
            }
        }
        Poll::Pending
    }
}

impl Bell {
    fn ring(&self) {
        self.rung.store(true, SeqCst);
        let task = lock(&self.task).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }
}

/// Runs `future` to its end on this thread, which has no runtime.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    shuttle::future::block_on(Exact::new(future))
}

/// Like tokio's `Notify`: notifies the futures that exist at that time.
#[derive(Debug)]
pub(crate) struct Notify(sync::Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    times: u64,
    waiting: Vec<Waker>,
}

impl Notify {
    pub(crate) fn new() -> Self {
        Self(sync::Mutex::new(Told::default()))
    }

    pub(crate) fn notify_waiters(&self) {
        let waiting = {
            let mut told = self.0.lock();
            told.times += 1;
            mem::take(&mut told.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// The future counts as waiting from now on, not from its first poll.
    pub(crate) fn notified(&self) -> impl Future<Output = ()> {
        let before = self.0.lock().times;
        std::future::poll_fn(move |context| {
            let mut told = self.0.lock();
            if told.times > before {
                return Poll::Ready(());
            }
            told.waiting.push(context.waker().clone());
            Poll::Pending
        })
    }
}

/// A timer.
#[derive(Debug)]
pub(crate) struct Sleep {
    at: Duration,
    /// `None`: a timer of the model itself.
    runtime: Option<Handle>,
    key: Option<Key>,
}

/// When the timer is due, and a unique number.
type Key = (Duration, u64);

struct Timer {
    waker: Waker,
    runtime: Option<Id>,
}

/// A timer of the current runtime.
///
/// # Panics
/// Panics if there is no current runtime.
pub(crate) fn sleep_until(at: Instant) -> Sleep {
    let Ok(runtime) = Handle::try_current() else {
        fail("a timer was made where there is no runtime".to_owned());
    };
    Sleep {
        at: SIM.with_borrow(|sim| at.saturating_duration_since(sim.base)),
        runtime: Some(runtime),
        key: None,
    }
}

/// A timer of the model itself, for threads without a runtime.
pub(crate) fn pause(length: Duration) -> Sleep {
    Sleep {
        at: SIM.with_borrow(|sim| sim.now + length),
        runtime: None,
        key: None,
    }
}

impl Sleep {
    pub(crate) fn reset(mut self: Pin<&mut Self>, at: Instant) {
        self.forget();
        self.at = SIM.with_borrow(|sim| at.saturating_duration_since(sim.base));
    }

    fn forget(&mut self) {
        if let Some(key) = self.key.take() {
            drop(SIM.with_borrow_mut(|sim| sim.timers.remove(&key)));
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.forget();
        let phase = self.runtime.as_ref().map_or(RUNS, Handle::phase);
        if phase == ENDED {
            fail("a timer was polled after its runtime had ended".to_owned());
        }
        if phase == RUNS && SIM.with_borrow(|sim| sim.now >= self.at) {
            return Poll::Ready(());
        }
        let timer = Timer {
            waker: context.waker().clone(),
            runtime: self.runtime.as_ref().map(Handle::id),
        };
        let at = self.at;
        self.key = Some(SIM.with_borrow_mut(|sim| {
            let key = (at, sim.next_id());
            sim.timers.insert(key, timer);
            key
        }));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.forget();
    }
}

/// The timeout passed first.
#[derive(Debug)]
pub(crate) struct Elapsed;

/// The output of `future`, unless it takes longer than `limit`.
pub(crate) fn timeout<F: Future>(
    limit: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    let mut sleep = sleep_until(now() + limit);
    async move {
        let mut future = pin!(future);
        std::future::poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => Pin::new(&mut sleep).poll(context).map(|()| Err(Elapsed)),
        })
        .await
    }
}

/// The current time.
pub(crate) fn now() -> Instant {
    SIM.with_borrow(|sim| sim.base + sim.now)
}

/// The current time in nanoseconds.
pub(crate) fn coarse_now() -> u64 {
    u64::try_from(elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// How long the model has run, in its own time.
pub(crate) fn elapsed() -> Duration {
    SIM.with_borrow(|sim| sim.now)
}

/// Lets time pass while threads could run. A timer that is due within this time may be late by as much.
pub(crate) fn slip(by: Duration) {
    SIM.with_borrow_mut(|sim| sim.slipped += by);
    advance(by);
}

/// How much time has passed while threads could run.
pub(crate) fn slipped() -> Duration {
    SIM.with_borrow(|sim| sim.slipped)
}

/// Lets time pass. Timers that are due by then fire.
pub(crate) fn advance(by: Duration) {
    let due = SIM.with_borrow_mut(|sim| {
        sim.now += by;
        let later = sim.timers.split_off(&(sim.now, u64::MAX));
        mem::replace(&mut sim.timers, later)
    });
    due.into_values().for_each(|timer| timer.waker.wake());
}

/// How long it is until the next timer fires.
pub(crate) fn next_timer() -> Option<Duration> {
    SIM.with_borrow(|sim| {
        let ((at, _), _) = sim.timers.first_key_value()?;
        Some(at.saturating_sub(sim.now))
    })
}

/// Begins a model: resets the time, and that a model has failed.
pub(crate) fn begin() {
    drop(SIM.take());
    ENTERED.take();
    FAILURE.take();
}

/// The model has failed. The calling thread stops here for good: a panic would run the drops of its stack, and these need the
/// model. The model's first thread sees the failure, and panics.
pub(crate) fn fail(what: String) -> ! {
    FAILURE.with_borrow_mut(|failure| _ = failure.get_or_insert(what));
    loop {
        thread::park();
    }
}

/// Why the model failed.
pub(crate) fn failure() -> Option<String> {
    FAILURE.with_borrow(Clone::clone)
}

struct Simulation {
    base: Instant,
    now: Duration,
    slipped: Duration,
    timers: BTreeMap<Key, Timer>,
    last_id: u64,
}

impl Default for Simulation {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            now: Duration::ZERO,
            slipped: Duration::ZERO,
            timers: BTreeMap::new(),
            last_id: 0,
        }
    }
}

impl Simulation {
    const fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

thread_local! {
    static SIM: RefCell<Simulation> = RefCell::default();
    static ENTERED: RefCell<HashMap<TaskId, Vec<Handle>>> = RefCell::default();
    static FAILURE: RefCell<Option<String>> = const { RefCell::new(None) };
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
