//! One model: a pool, its runtimes, and the time that passes.

use std::{
    cell::Cell,
    collections::BTreeMap,
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use shuttle::{
    Config, FailurePersistence, Runner,
    rand::{Rng, RngCore, thread_rng},
    scheduler::{PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId},
    thread,
};

use super::{
    backend::{Backend, Ledger, up_to_ms},
    face::{Face, Limit},
    user::Held,
};
use crate::{
    host::{LAG, TICK},
    rt::simulated::{self, Runtime, advance, elapsed, fail, next_timer, pause, slip, slipped},
};

/// The state that the threads of one model share.
pub(super) struct World<P> {
    pool: Mutex<Option<P>>,
    pub(super) ledger: Arc<Ledger>,
    /// Awaited gets, and the latest time at which each ends.
    awaited: Mutex<BTreeMap<usize, Deadline>>,
    /// Gets that are held and not polled.
    pub(super) unpolled: AtomicUsize,
    /// Users and operators that have not ended.
    pub(super) busy: AtomicUsize,
    last_id: AtomicUsize,
}

/// The size of the pool, unless it is resized.
pub(super) const SIZE: u32 = 2;
/// The largest size of a resize.
pub(super) const MOST: u32 = 3;

/// How many opens may run at once.
pub(super) const MAX_OPENING: u32 = 2;
/// How long a call of the manager may take.
pub(super) const SHORT: Duration = Duration::from_millis(40);

impl<P: Face> World<P> {
    fn new() -> Arc<Self> {
        let ledger = Arc::new(Ledger::default());
        ledger.bound.store(SIZE, SeqCst);
        Arc::new(Self {
            pool: Mutex::new(Some(P::build(Backend(Arc::clone(&ledger))))),
            ledger,
            awaited: Mutex::default(),
            unpolled: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            last_id: AtomicUsize::new(0),
        })
    }

    /// A handle, as long as the model has one.
    pub(super) fn pool(&self) -> Option<P> {
        self.pool.lock().unwrap().clone()
    }

    /// Gives away the model's own handle.
    pub(super) fn let_go(&self) -> Option<P> {
        self.pool.lock().unwrap().take()
    }

    /// A get is awaited from now on.
    pub(super) fn awaits(&self) -> Awaited<'_, P> {
        let id = self.last_id.fetch_add(1, SeqCst);
        Awaited { world: self, id }
    }

    /// Checks what must be true when no thread can move before time passes.
    fn look(&self) -> Result<(), String> {
        let awaited = self.awaited.lock().unwrap();
        if let Some(over) = awaited.values().find(|over| over.is_past()) {
            return Err(format!(
                "{over:?} is past, and a get waits at {:?}",
                elapsed()
            ));
        }
        drop(awaited);
        let Some(pool) = self.pool() else {
            return Ok(());
        };
        if pool.is_closed() || self.unpolled.load(SeqCst) > 0 {
            return Ok(());
        }
        pool.unserved()
            .map_err(|what| format!("{what} at {:?} next {:?}", elapsed(), next_timer()))
    }
}

/// The latest time at which a get ends.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    at: Duration,
    slipped: Duration,
}

impl Deadline {
    /// The tick that long waits are timed by may be late by the time that slips, and by its length.
    fn is_past(self) -> bool {
        elapsed() > self.at + LAG + TICK + (slipped() - self.slipped)
    }
}

/// A get that is being awaited.
pub(super) struct Awaited<'a, P: Face> {
    world: &'a World<P>,
    id: usize,
}

impl<P: Face> Awaited<'_, P> {
    /// The get ends at `at`, or earlier.
    pub(super) fn until(&self, at: Duration) {
        let slipped = slipped();
        let mut awaited = self.world.awaited.lock().unwrap();
        awaited.entry(self.id).or_insert(Deadline { at, slipped });
    }

    /// The get is not polled for now.
    pub(super) fn interrupt(&self) {
        self.world.awaited.lock().unwrap().remove(&self.id);
    }
}

impl<P: Face> Drop for Awaited<'_, P> {
    fn drop(&mut self) {
        self.interrupt();
    }
}

/// A user or operator that has not ended.
pub(super) struct Busy<P>(Arc<World<P>>);

impl<P> Busy<P> {
    pub(super) fn with(world: &Arc<World<P>>) -> Self {
        world.busy.fetch_add(1, SeqCst);
        Self(Arc::clone(world))
    }
}

impl<P> std::ops::Deref for Busy<P> {
    type Target = Arc<World<P>>;

    fn deref(&self) -> &Arc<World<P>> {
        &self.0
    }
}

impl<P> Drop for Busy<P> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, SeqCst);
    }
}

/// A world and the runtimes of its users. For the first thread of a model, which never drops it: when the model fails, nothing of
/// it can be dropped any more.
pub(super) struct Model<P> {
    pub(super) world: ManuallyDrop<Arc<World<P>>>,
    pub(super) runtimes: ManuallyDrop<Vec<Arc<Runtime>>>,
}

impl<P: Face> Model<P> {
    /// Begins a world with this many runtimes.
    pub(super) fn begin(runtimes: usize) -> Self {
        simulated::begin();
        // The pool's own random numbers, so that a schedule can be repeated.
        fastrand::seed(thread_rng().next_u64());
        let runtimes = (0..runtimes).map(|_| Arc::new(Runtime::new()));
        Self {
            world: ManuallyDrop::new(World::new()),
            runtimes: ManuallyDrop::new(runtimes.collect()),
        }
    }

    /// Runs until users and operators have ended. Time passes at any moment.
    pub(super) fn run(&self) {
        self.pass_time(true);
    }

    /// Lets time pass when no thread can move without. `at_random`: also while threads can move.
    fn pass_time(&self, at_random: bool) {
        let done = || self.world.busy.load(SeqCst) == 0;
        while !done() {
            if let Some(what) = simulated::failure() {
                panic!("{what}");
            }
            thread::yield_now();
            if RUNNABLE.get() > 1 {
                match thread_rng().gen_range(0..12) {
                    0 if at_random => slip(up_to_ms(3)),
                    1 if at_random => slip(next_timer().unwrap_or_default()),
                    _ => {}
                }
                continue;
            }
            if done() || simulated::failure().is_some() {
                continue;
            }
            if let Err(what) = self.world.look() {
                panic!("{what}");
            }
            let left = next_timer().expect("somebody will move again");
            advance(left);
            assert!(
                elapsed() < Duration::from_secs(3600),
                "the model does not come to an end"
            );
        }
    }

    /// Nothing fails any more: checks that all capacity is there, and that all resources close.
    pub(super) fn finish(self) {
        self.world.ledger.well.store(true, SeqCst);
        let runtime = self.runtimes.last().expect("there is a runtime");
        runtime
            .handle()
            .spawn(all_is_there(Busy::with(&self.world)));
        self.pass_time(false);
        drop(self.world.let_go());
        self.runtimes.iter().for_each(|runtime| runtime.end());
        let ledger = &self.world.ledger;
        let (opened, gone) = (ledger.opened.load(SeqCst), ledger.gone.load(SeqCst));
        assert_eq!(
            (ledger.alive.load(SeqCst), opened),
            (0, gone),
            "what is alive; what was opened, and what went"
        );
        drop(ManuallyDrop::into_inner(self.world));
        drop(ManuallyDrop::into_inner(self.runtimes));
    }
}

/// Gets as many resources as there may be at once, then closes everything.
async fn all_is_there<P: Face>(world: Busy<P>) {
    let Some(pool) = world.pool() else { return };
    if !pool.is_closed() {
        let size = thread_rng().gen_range(1..=MOST);
        world.ledger.bound.fetch_max(size, SeqCst);
        pool.resize(size);
        pool.mend();
        let (mut leases, most, mut attempts) = (Vec::new(), P::leases_of(size), P::ATTEMPTS);
        while leases.len() < most {
            let limit = Limit::Timeout(Duration::from_secs(60));
            match pool.get(leases.len(), limit).await {
                Ok(lease) => leases.push(Held::<P>::new(lease)),
                // Until the pool's next attempt to open.
                Err(error) if error.is_connect() => pause(Duration::from_secs(1)).await,
                Err(error) if error.is_timeout() && attempts > 1 => {
                    attempts -= 1;
                    leases.clear();
                }
                Err(error) => fail(format!("{} of {most} are there: {error}", leases.len())),
            }
        }
    }
    let drained = pool.drain(Duration::from_secs(60)).await;
    if !drained.is_complete() {
        fail(format!("{drained:?} after closing"));
    }
}

/// Runs `model` in this many schedules, and prints that: some are chosen at random, some with few changes of priority.
///
/// For a mutant, `times` as many. The run ends with the first schedule that fails. The mutant must be found, however rare that
/// schedule is.
pub(super) fn check(name: &str, model: fn(), times: usize) {
    let random = Watched(RandomScheduler::new(times * RANDOM));
    let pct = Watched(PctScheduler::new(PCT_DEPTH, PCT));
    let ran = Runner::new(random, config()).run(model) + Runner::new(pct, config()).run(model);
    println!("shuttle: {name}: {ran} iterations");
}

const RANDOM: usize = 2250;
const PCT: usize = 750;
const PCT_DEPTH: usize = 5;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    // The seed is printed, and suffices to repeat the schedule.
    config.failure_persistence = FailurePersistence::None;
    config.silence_warnings = true;
    config
}

/// A scheduler that records how many tasks could run at the last step.
struct Watched<S>(S);

impl<S: Scheduler> Scheduler for Watched<S> {
    fn new_execution(&mut self) -> Option<Schedule> {
        self.0.new_execution()
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        yields: bool,
    ) -> Option<TaskId> {
        RUNNABLE.set(runnable.len());
        self.0.next_task(runnable, current, yields)
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

thread_local! {
    /// How many tasks could run when the last step was chosen.
    static RUNNABLE: Cell<usize> = const { Cell::new(0) };
}
