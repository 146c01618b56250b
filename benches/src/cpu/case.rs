//! The cases.

use std::{
    error::Error,
    future::Future,
    hint,
    time::{Duration, Instant},
};

use benches::{alloc::counts, rounds::percentile};
use clap::ValueEnum;
use tokio::{
    runtime::Runtime,
    time::{MissedTickBehavior, interval},
};

use super::{
    figures::Figures,
    peer::{Peer, Way},
    watch,
};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Case {
    /// One job after another.
    Sequential,
    /// 64 tasks, empty jobs.
    #[value(name = "tasks64_empty")]
    Tasks64Empty,
    /// 64 tasks, jobs of 50 µs.
    #[value(name = "tasks64_50us")]
    Tasks64For50us,
    /// 512 jobs at once.
    #[value(name = "burst512")]
    Burst512,
    /// 100,000 jobs at once.
    #[value(name = "burst100k")]
    Burst100k,
    /// A timer on the runtime while 400 jobs of 2 ms are worked off.
    Lag,
    /// What one job allocates, on both sides.
    Allocs,
    /// How long after its threshold the watchdog sees that a worker of the runtime is held.
    Stall,
    /// What the watchdog costs, and how often it is wrong, on a runtime that is busy and well.
    Watchdog,
    /// What the monitor of timers costs.
    LagMonitor,
}

pub(super) type Outcome = Result<Figures, Box<dyn Error>>;

const WORKERS: usize = 2;

impl Case {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Tasks64Empty => "tasks64_empty",
            Self::Tasks64For50us => "tasks64_50us",
            Self::Burst512 => "burst512",
            Self::Burst100k => "burst100k",
            Self::Lag => "lag",
            Self::Allocs => "allocs",
            Self::Stall => "stall",
            Self::Watchdog => "watchdog",
            Self::LagMonitor => "lag_monitor",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Sequential => "one job after another",
            Self::Tasks64Empty => "64 tasks, empty jobs",
            Self::Tasks64For50us => "64 tasks, jobs of 50 µs",
            Self::Burst512 => "512 jobs submitted before the first is awaited",
            Self::Burst100k => "100,000 jobs submitted before the first is awaited",
            Self::Lag => {
                "how late a timer of 1 ms is while 400 jobs of 2 ms are worked off (ours at nice 19)"
            }
            Self::Allocs => "what one job allocates, on both sides",
            Self::Stall => "how long after 50 ms a held worker, one of 4, is seen",
            Self::Watchdog => "CPU time a second, and false alarms, in one run of 60 s of load",
            Self::LagMonitor => "CPU time a second, with a tick every 10 ms",
        }
    }

    /// How often it is done: the long ones once.
    pub(super) fn rounds(self, asked: usize) -> usize {
        match self {
            Self::Watchdog | Self::LagMonitor => 1,
            _ => asked,
        }
    }

    /// One round.
    pub(super) fn run(self, peer: Peer, quick: bool) -> Outcome {
        let few = |full: usize| if quick { full / 50 + 1 } else { full };
        match self {
            Self::Stall => return watch::stall(few(20)),
            Self::Watchdog => return watch::watchdog(Duration::from_secs(few(60) as u64)),
            Self::LagMonitor => return watch::lag_monitor(Duration::from_secs(few(10) as u64)),
            _ => {}
        }
        let workers = if self == Self::Allocs { 1 } else { WORKERS };
        let ready = peer.ready(workers, if self == Self::Lag { 19 } else { 0 })?;
        let (runtime, way) = (&ready.runtime, ready.way);
        match self {
            Self::Sequential => on(runtime, one_after_another(way, few(3000), Duration::ZERO)),
            Self::Tasks64Empty => on(runtime, from_tasks(way, few(500), Duration::ZERO)),
            Self::Tasks64For50us => on(
                runtime,
                from_tasks(way, few(100), Duration::from_micros(50)),
            ),
            Self::Burst512 => on(runtime, bursts(way, 512, few(40))),
            Self::Burst100k => on(runtime, bursts(way, few(100_000), 1)),
            Self::Lag => on(runtime, lag(way, few(400))),
            _ => runtime
                .block_on(allocations(way, few(1000)))
                .map_err(Into::into),
        }
    }
}

/// Runs `work` on a worker of the runtime, as a service's requests are.
fn on(
    runtime: &Runtime,
    work: impl Future<Output = Result<Figures, String>> + Send + 'static,
) -> Outcome {
    Ok(runtime.block_on(async { tokio::spawn(work).await })??)
}

/// Computes for so long; for no time, not even to look at the clock.
pub(super) fn spin(time: Duration) {
    if time.is_zero() {
        return;
    }
    let start = Instant::now();
    while start.elapsed() < time {
        hint::spin_loop();
    }
}

/// Runs jobs one after another, and keeps how long each took from end to end.
async fn timed(way: &Way, jobs: usize, work: Duration) -> Result<Vec<u64>, String> {
    let mut took = Vec::with_capacity(jobs);
    for _ in 0..jobs {
        let start = Instant::now();
        way.run(move || spin(work)).await?;
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(took)
}

async fn one_after_another(way: Way, jobs: usize, work: Duration) -> Result<Figures, String> {
    // The first ones start threads.
    timed(&way, 50, work).await?;
    let start = Instant::now();
    let mut took = timed(&way, jobs, work).await?;
    let ns = start.elapsed().as_nanos() as f64 / jobs as f64;
    took.sort_unstable();
    Ok(Figures::new(ns, percentile(&took, 0.99)))
}

async fn from_tasks(way: Way, jobs: usize, work: Duration) -> Result<Figures, String> {
    const TASKS: usize = 64;
    let start = Instant::now();
    let task = |_| {
        let way = way.clone();
        tokio::spawn(async move { timed(&way, jobs, work).await })
    };
    let tasks: Vec<_> = (0..TASKS).map(task).collect();
    let mut took = Vec::with_capacity(TASKS * jobs);
    for task in tasks {
        took.extend(task.await.map_err(|error| error.to_string())??);
    }
    let ns = start.elapsed().as_nanos() as f64 / (TASKS * jobs) as f64;
    took.sort_unstable();
    Ok(Figures::new(ns, percentile(&took, 0.99)))
}

async fn bursts(way: Way, jobs: usize, bursts: usize) -> Result<Figures, String> {
    timed(&way, 50, Duration::ZERO).await?;
    let mut took = Vec::with_capacity(bursts);
    let mut queued = 0;
    for _ in 0..bursts {
        let start = Instant::now();
        let mut answers = Vec::with_capacity(jobs);
        for job in 0..jobs {
            answers.push(way.submit(|| ()).await?);
            if let Way::Pool(pool) = &way
                && job % 4096 == 4095
            {
                queued = pool.status().queued.max(queued);
            }
        }
        for answer in answers {
            answer.await?;
        }
        took.push(start.elapsed().as_nanos() as u64 / jobs as u64);
    }
    let ns = took.iter().sum::<u64>() as f64 / bursts as f64;
    took.sort_unstable();
    let figures = Figures::new(ns, percentile(&took, 0.99));
    Ok(match way {
        Way::Pool(_) if jobs > 4096 => figures.queued(queued),
        _ => figures,
    })
}

async fn lag(way: Way, jobs: usize) -> Result<Figures, String> {
    let idle = matches!(way, Way::Idle);
    let job = |_| {
        let way = way.clone();
        tokio::spawn(async move { way.run(|| spin(Duration::from_millis(2))).await })
    };
    let jobs: Vec<_> = (0..if idle { 0 } else { jobs }).map(job).collect();
    // A tick that could not be is made up for at once, and counts with all that it is late.
    let mut ticks = interval(Duration::from_millis(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (start, mut late) = (Instant::now(), Vec::new());
    while if idle {
        start.elapsed() < Duration::from_millis(500)
    } else {
        !jobs.iter().all(tokio::task::JoinHandle::is_finished)
    } {
        late.push(ticks.tick().await.elapsed().as_nanos() as u64);
    }
    for job in jobs {
        job.await.map_err(|error| error.to_string())??;
    }
    late.sort_unstable();
    let mean = late.iter().sum::<u64>() as f64 / late.len() as f64;
    let worst = late.last().copied().unwrap_or(0);
    Ok(Figures::new(mean, percentile(&late, 0.99)).worst(worst))
}

/// Allocations of the thread that submits, and of the one worker, which each job reports.
async fn allocations(way: Way, jobs: usize) -> Result<Figures, String> {
    for _ in 0..50 {
        way.run(|| ()).await?;
    }
    let theirs = way.run(|| counts().allocations).await?;
    let ours = counts().allocations;
    let start = Instant::now();
    for _ in 0..jobs {
        way.run(|| ()).await?;
    }
    let ns = start.elapsed().as_nanos() as f64 / jobs as f64;
    let ours = counts().allocations - ours;
    // From one report to the next is one job more.
    let theirs = way.run(|| counts().allocations).await? - theirs;
    let allocs = ours as f64 / jobs as f64 + theirs as f64 / (jobs + 1) as f64;
    Ok(Figures::new(ns, 0).allocs(allocs))
}
