//! What every promise is written over: something that lends, and a pool of what a backend opens.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::Poll,
    thread,
    time::{Duration, Instant as Clock},
};

use pool_core::{Config, Drained};
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
    time::{Instant, sleep, timeout},
};

use crate::backend::{Act, Backend, Stage, Thing};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const SEC: Duration = Duration::from_secs(1);

/// Nothing takes that long, on any machine, but what never ends.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(30);

/// How long a get may take.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    /// As long as was said when the pool was made: far longer than any test.
    Own,
    Within(Duration),
    Until(Instant),
}

/// Why a get ended with nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Timeout,
    Closed,
    Overloaded,
    Connect,
    NoRuntime,
    Other,
}

pub(crate) type Get<L> = Pin<Box<dyn Future<Output = Result<L, Told>> + Send>>;

/// Something of which there are so many, lent to one at a time, in order of arrival.
pub(crate) trait Lends: Clone + Send + Sync + 'static {
    /// Does all that it does follow tokio's clock? Else no test of it can pause that.
    const PAUSES: bool = true;

    type Lease: Send + 'static;

    fn of(size: u32) -> Self;
    fn get(&self, limit: Limit) -> Get<Self::Lease>;
    /// How many wait.
    fn in_line(&self) -> usize;
    /// How many are out, or handed to somebody who has not fetched them yet.
    fn out(&self) -> u32;
    fn close(&self);
    /// What does not add up in what it counts at this moment, if anything.
    fn mistake(&self) -> Option<String>;
}

/// A pool: what it lends it opens, and closes.
pub(crate) trait Face: Lends {
    /// Does it check, reset and ask whether something is broken? Or does the driver of a connection say how that is?
    const TENDS: bool;
    /// Has it upkeep that a duration turns on, as `shed_target`, or not?
    const SHEDS: bool;

    fn new(backend: &Arc<Backend>, config: Config) -> Self;
    fn backend(&self) -> &Arc<Backend>;
    fn try_get(&self) -> Option<Self::Lease>;
    fn drain(&self, within: Duration) -> Pin<Box<dyn Future<Output = Drained> + Send>>;
    fn thing(lease: &Self::Lease) -> &Thing;
    /// It is not to be handed on as it is.
    fn taint(lease: &mut Self::Lease);
    /// How many went without a close: with their runtime, or dead.
    fn unclosed(&self) -> u64;
    /// Why nothing could be opened lately, as long as that counts.
    fn last_error(&self) -> Option<String>;
}

/// Why a get ended with nothing, as it has to.
pub(crate) async fn refused<L>(get: Get<L>) -> Told {
    match get.await {
        Ok(_) => panic!("it was to have none"),
        Err(told) => told,
    }
}

/// What a get has to have, in bounded time.
pub(crate) async fn got<L>(get: Get<L>) -> L {
    match timeout(WATCHDOG, get).await {
        Ok(Ok(lease)) => lease,
        Ok(Err(told)) => panic!("it was to have one: {told:?}"),
        Err(_) => panic!("it waits for ever"),
    }
}

/// One, however long the pool needs to notice that all is well again.
pub(crate) async fn got_in_the_end<L: Lends>(pool: &L) -> L::Lease {
    let began = Clock::now();
    // As long as the clock is paused that is no time.
    for _ in 0..100_000 {
        match pool.get(Limit::Within(SEC)).await {
            Ok(lease) => return lease,
            Err(Told::Connect | Told::Timeout | Told::Overloaded) => sleep(10 * MS).await,
            Err(told) => panic!("{told:?}"),
        }
        if began.elapsed() > WATCHDOG {
            break;
        }
    }
    panic!("it never came back: {:?}", pool.mistake())
}

/// All of it at once, and not one more.
pub(crate) async fn all_of<L: Lends>(pool: &L, size: u32) -> Vec<L::Lease> {
    let mut all = Vec::new();
    for _ in 0..size {
        all.push(got_in_the_end(pool).await);
    }
    until("all of it is out, and nobody waits", || {
        (pool.out(), pool.in_line()) == (size, 0)
    })
    .await;
    assert_eq!(
        refused(pool.get(Limit::Within(MS))).await,
        Told::Timeout,
        "one more than there may be"
    );
    all
}

/// Everything is there, and everything goes: closed once, and nothing left.
pub(crate) async fn ends_well<F: Face>(pool: F, size: u32) {
    drop(all_of(&pool, size).await);
    let backend = Arc::clone(pool.backend());
    let drained = timeout(WATCHDOG, pool.drain(20 * SEC)).await.unwrap();
    assert!(drained.is_complete(), "{drained:?}");
    assert_eq!((backend.alive(), backend.opening()), (0, 0), "leaked");
    assert_eq!(
        backend.calls(Stage::Close) + pool.unclosed(),
        backend.opened()
    );
}

/// A pool of so many, and what it opens from.
pub(crate) fn pool<F: Face>(size: u32) -> (F, Arc<Backend>) {
    let backend = Backend::new();
    (F::new(&backend, config(size)), backend)
}

/// Nothing waits for long.
pub(crate) fn config(size: u32) -> Config {
    let config = Config::new().max_size(size).max_opening(size);
    let config = config.create_timeout(SEC).check_timeout(SEC);
    config.reset_timeout(SEC).close_timeout(SEC)
}

/// An idle one whose check is due at once.
pub(crate) fn checked_always(size: u32) -> Config {
    config(size).check_after(Duration::ZERO)
}

pub(crate) async fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    poll_fn(|context| match Pin::new(&mut *future).poll(context) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Lets every task that can run, run.
pub(crate) async fn settle() {
    for _ in 0..50 {
        yield_now().await;
    }
}

/// Waits until that is so. On a paused clock no time passes as long as it is enough that others run.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for turn in 0..WATCHDOG.as_millis() {
        if is_so() {
            return;
        }
        if turn < 1000 {
            yield_now().await;
        } else {
            sleep(MS).await;
        }
    }
    panic!("never: {what}");
}

/// One thread, which drives it when a test does, and a clock that runs.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

pub(crate) fn threads(count: usize) -> Runtime {
    let mut builder = Builder::new_multi_thread();
    let builder = builder.worker_threads(count).enable_time();
    builder.build().unwrap()
}

/// On a clock that stands while anything can run, and leaps when nothing can.
pub(crate) fn paused<T>(test: impl Future<Output = T>) -> T {
    let mut builder = Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test)
}

/// On a paused clock, if that is enough for it.
pub(crate) fn on_its_clock<L: Lends, T>(test: impl Future<Output = T>) -> T {
    if L::PAUSES {
        paused(test)
    } else {
        runtime().block_on(test)
    }
}

/// A runtime on which the keeper is, with its tick running, and which nobody drives any more; and what is held of `pool`, all of it.
pub(crate) fn left_alone<L: Lends>(pool: &L) -> (Runtime, L::Lease) {
    let runtime = runtime();
    let held = runtime.block_on(async {
        let held = got(pool.get(Limit::Own)).await;
        // Somebody waits, and so there is a keeper.
        assert_eq!(
            refused(pool.get(Limit::Within(20 * MS))).await,
            Told::Timeout
        );
        held
    });
    (runtime, held)
}

/// Waits on this thread, which has no runtime.
pub(crate) fn without_a_runtime<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    let began = Clock::now();
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        assert!(began.elapsed() < WATCHDOG, "it waits for ever");
        thread::park_timeout(SEC);
    }
}

/// Everything goes well from now on.
pub(crate) fn mend(backend: &Backend) {
    for stage in Stage::ALL {
        backend.on(stage, Act::Succeed);
    }
}
