//! Overload: three times as many requests as a server can answer, on paused time, the same at every run.
//!
//! Requests come at random (Poisson) whether those before were answered or not, as those of many users do. Most are short; some take
//! ten times as long. Who asks gives up after a while, and an answer that comes later is worth nothing, but costs as much. What counts
//! is *goodput*: answers in time.
#![allow(clippy::unwrap_used)]

mod common;

use std::{sync::Arc, time::Duration};

use common::{Backend, MS, SEC, Things};
use pool_core::{Limiter, Pool};
use tokio::{
    runtime::Builder,
    sync::Semaphore,
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

/// So many requests are worked on at once.
const WORKERS: u32 = 8;
/// An answer that comes later is worth nothing.
const PATIENCE: Duration = Duration::from_millis(500);
/// Requests come for so long; those of the first second are not counted.
const LASTS: Duration = Duration::from_secs(8);
const COUNTS_FROM: Duration = Duration::from_secs(1);
/// What the workers can answer in a second: 19 of 20 requests take 5 to 15 ms, one takes 50 to 150 ms.
const CAPACITY: f64 = WORKERS as f64 / (0.95 * 0.010 + 0.05 * 0.100);

/// How one request is answered: `Err` is a no.
trait Door: Clone + Send + 'static {
    fn answer(&self, tenant: usize, takes: Duration)
    -> impl Future<Output = Result<(), ()>> + Send;
}

/// A pool in front of the server, as it was built.
#[derive(Clone)]
struct Pooled {
    pool: Pool<Things>,
    deadline: Option<Duration>,
}

impl Pooled {
    fn new(build: impl FnOnce(pool_core::Builder<Things>) -> pool_core::Builder<Things>) -> Self {
        let builder = Pool::builder(Things(Backend::new())).max_size(WORKERS);
        Self {
            pool: build(builder).build().unwrap(),
            deadline: None,
        }
    }
}

impl Door for Pooled {
    async fn answer(&self, _: usize, takes: Duration) -> Result<(), ()> {
        let get = match self.deadline {
            Some(deadline) => self.pool.get().timeout(deadline),
            None => self.pool.get(),
        };
        let _lease = get.await.map_err(drop)?;
        sleep(takes).await;
        Ok(())
    }
}

/// A server with a line of its own that nobody bounds, and perhaps a limiter in front.
#[derive(Clone)]
struct Admitted {
    server: Arc<Semaphore>,
    limiter: Option<Limiter>,
    by_tenant: bool,
}

impl Admitted {
    fn new(limiter: Option<Limiter>, by_tenant: bool) -> Self {
        Self {
            server: Arc::new(Semaphore::new(WORKERS as usize)),
            limiter,
            by_tenant,
        }
    }
}

impl Door for Admitted {
    async fn answer(&self, tenant: usize, takes: Duration) -> Result<(), ()> {
        let _permit = match &self.limiter {
            Some(limiter) if self.by_tenant => Some(limiter.acquire().key(tenant).await),
            Some(limiter) => Some(limiter.acquire().await),
            None => None,
        }
        .transpose()
        .map_err(drop)?;
        let _worker = self.server.acquire().await.map_err(drop)?;
        sleep(takes).await;
        Ok(())
    }
}

/// What became of the requests of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    asked: u32,
    good: u32,
    late: u32,
    refused: u32,
    /// The longest that a good answer took, and that a no took.
    slowest: Duration,
    slowest_no: Duration,
}

impl Tally {
    /// Answers in time, in a second.
    fn goodput(&self) -> f64 {
        f64::from(self.good) / (LASTS - COUNTS_FROM).as_secs_f64()
    }

    /// Of those who asked, how many had an answer in time.
    fn served(&self) -> f64 {
        f64::from(self.good) / f64::from(self.asked)
    }
}

/// Sends each tenant's requests through `door`, `loads` times what the workers can answer.
fn run<D: Door>(seed: u64, loads: &[f64], door: impl FnOnce() -> D) -> Vec<Tally> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let door = door();
        let mut arrivals: Vec<(Duration, usize, Duration)> = Vec::new();
        let mut random = fastrand::Rng::with_seed(seed);
        for (tenant, load) in loads.iter().enumerate() {
            let mut at = Duration::ZERO;
            loop {
                // Exponential gaps make a Poisson process.
                let gap = -(1.0 - random.f64()).ln() / (load * CAPACITY);
                at += Duration::from_secs_f64(gap);
                if at >= LASTS {
                    break;
                }
                // Whole milliseconds, as the timer keeps them.
                let takes = match random.f64() < 0.05 {
                    true => random.u32(50..=150),
                    false => random.u32(5..=15),
                };
                let takes = takes * MS;
                arrivals.push((at, tenant, takes));
            }
        }
        arrivals.sort_unstable();
        let start = Instant::now();
        let mut requests = JoinSet::new();
        for (at, tenant, takes) in arrivals {
            sleep_until(start + at).await;
            let door = door.clone();
            requests.spawn(async move {
                let asked = Instant::now();
                let answer = door.answer(tenant, takes).await;
                (at, tenant, answer, asked.elapsed())
            });
        }
        let mut tallies = vec![Tally::default(); loads.len()];
        while let Some(ended) = requests.join_next().await {
            let (at, tenant, answer, took) = ended.unwrap();
            if at < COUNTS_FROM {
                continue;
            }
            let tally = &mut tallies[tenant];
            tally.asked += 1;
            match answer {
                Ok(()) if took <= PATIENCE => {
                    tally.good += 1;
                    tally.slowest = tally.slowest.max(took);
                }
                Ok(()) => tally.late += 1,
                Err(()) => {
                    tally.refused += 1;
                    tally.slowest_no = tally.slowest_no.max(took);
                }
            }
        }
        tallies
    })
}

/// Goodput at three quarters of the load and at three times of it, as parts of what the server can do.
fn compared<D: Door>(name: &str, door: impl Fn() -> D) -> (f64, f64, Tally) {
    let [calm, stormy] = [0.75, 3.0].map(|load| run(SEED, &[load], &door)[0]);
    let parts = [calm, stormy].map(|tally| tally.goodput() / CAPACITY);
    println!(
        "{name:<34} goodput {:>4.0} % at 0.75x, {:>4.0} % at 3x ({} late, {} told no within {:?}, the slowest good {:?})",
        100.0 * parts[0],
        100.0 * parts[1],
        stormy.late,
        stormy.refused,
        stormy.slowest_no,
        stormy.slowest
    );
    (parts[0], parts[1], stormy)
}

const SEED: u64 = 20_240_229;

fn unbounded() -> Pooled {
    Pooled::new(|pool| {
        pool.max_waiters(Some(usize::MAX))
            .acquire_timeout(3600 * SEC)
    })
}

/// A line that is over before patience is: the default has room for a burst, not for an overload that stays.
const LINE: usize = 16 * WORKERS as usize;

fn bounded() -> Pooled {
    Pooled::new(|pool| pool.max_waiters(LINE))
}

fn limiter() -> Limiter {
    Limiter::builder(WORKERS).max_waiters(LINE).build().unwrap()
}

#[test]
fn a_line_that_nobody_bounds_collapses() {
    let (calm, stormy, tally) = compared("no bound", unbounded);
    assert!(calm > 0.70, "{calm}");
    assert!(stormy < 0.05, "{stormy} with {tally:?}");
    assert_eq!(tally.refused, 0);
}

/// A deadline alone does not help: who is served has nearly waited for as long as they would.
#[test]
fn a_line_that_only_has_deadlines_serves_those_who_are_about_to_give_up() {
    let (calm, stormy, tally) = compared("deadlines only", || Pooled {
        deadline: Some(PATIENCE),
        ..unbounded()
    });
    assert!(calm > 0.70, "{calm}");
    assert!(stormy < 0.50, "{stormy} with {tally:?}");
}

#[test]
fn a_bounded_line_keeps_its_goodput() {
    let (calm, stormy, tally) = compared("bounded line", bounded);
    assert!(calm > 0.70, "{calm}");
    assert!(stormy > 0.90, "{stormy} with {tally:?}");
    assert_eq!(
        tally.slowest_no,
        Duration::ZERO,
        "who is told no is told at once"
    );
}

#[test]
fn shedding_keeps_the_goodput_of_a_line_that_nobody_bounds() {
    let (calm, stormy, tally) = compared("shedding", || {
        Pooled::new(|pool| {
            pool.max_waiters(Some(usize::MAX))
                .shed_target(Some(20 * MS))
        })
    });
    assert!(calm > 0.70, "{calm}");
    assert!(stormy > 0.85, "{stormy} with {tally:?}");
    assert!(tally.late < tally.good / 20, "{tally:?}");
}

#[test]
fn a_bounded_line_that_sheds_is_bounded_and_short() {
    let (_, bounded, long) = compared("bounded line", bounded);
    let (calm, stormy, short) = compared("bounded line, shedding", || {
        Pooled::new(|pool| pool.max_waiters(LINE).shed_target(20 * MS))
    });
    assert!(calm > 0.70, "{calm}");
    assert!(stormy > 0.85 && bounded > 0.85, "{stormy}, {bounded}");
    assert!(short.slowest < long.slowest, "{short:?}, {long:?}");
}

#[test]
fn a_limiter_in_front_keeps_the_goodput_of_a_server_that_would_collapse() {
    let (calm, stormy, tally) = compared("a server by itself", || Admitted::new(None, false));
    assert!(
        calm > 0.70 && stormy < 0.05,
        "{calm}, {stormy} with {tally:?}"
    );
    let (calm, stormy, tally) = compared("a server behind a limiter", || {
        Admitted::new(Some(limiter()), false)
    });
    assert!(calm > 0.70, "{calm}");
    assert!(stormy > 0.90, "{stormy} with {tally:?}");
    assert_eq!(tally.slowest_no, Duration::ZERO);
}

/// One tenant asks for three times what there is, three others for a tenth each.
#[test]
fn tenants_that_ask_for_little_are_served_beside_one_that_floods() {
    let loads = [3.0, 0.1, 0.1, 0.1];
    let tenants = |by_tenant| {
        let tallies = run(SEED, &loads, || Admitted::new(Some(limiter()), by_tenant));
        let served: Vec<f64> = tallies.iter().map(Tally::served).collect();
        let all: f64 = tallies.iter().map(Tally::goodput).sum();
        println!(
            "by tenant: {by_tenant:<5}  goodput {:.0} %, served {:.0?} % of what each asked for",
            100.0 * all / CAPACITY,
            served.iter().map(|part| 100.0 * part).collect::<Vec<_>>()
        );
        assert!(all > 0.90 * CAPACITY, "{tallies:?}");
        (served, tallies)
    };
    let (served, _) = tenants(false);
    assert!(served[1..].iter().all(|part| *part < 0.5), "{served:?}");
    let (served, tallies) = tenants(true);
    assert!(served[1..].iter().all(|part| *part > 0.99), "{served:?}");
    assert!(served[0] > 0.2, "it has what the others leave: {served:?}");
    assert!(tallies[1].slowest < PATIENCE / 2, "{:?}", tallies[1]);
}

/// Where all tenants ask for too much, each has the same.
#[test]
fn tenants_that_all_ask_for_too_much_have_equal_parts() {
    let tallies = run(SEED, &[4.0, 2.0, 1.0, 0.5], || {
        Admitted::new(Some(limiter()), true)
    });
    let parts: Vec<f64> = tallies
        .iter()
        .map(|tally| tally.goodput() / CAPACITY)
        .collect();
    println!("parts of the capacity at 4x, 2x, 1x and 0.5x: {parts:.2?}");
    assert!(
        parts.iter().all(|part| (0.22..0.28).contains(part)),
        "{parts:?}"
    );
}

#[test]
fn a_run_is_the_same_at_every_time() {
    let once = || {
        run(7, &[2.0, 1.0], || {
            Pooled::new(|pool| pool.max_waiters(LINE).shed_target(20 * MS))
        })
    };
    assert_eq!(once(), once());
    let other = run(8, &[2.0, 1.0], || {
        Pooled::new(|pool| pool.max_waiters(LINE).shed_target(20 * MS))
    });
    assert_ne!(once(), other);
}
