//! What watches a runtime: how soon it sees what it is for, how often it is wrong, and what it costs.

use std::{
    fs, io,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use benches::rounds::{median, percentile};
use pool_cpu::{
    ConfigError, CpuPool,
    lag::{LagMonitor, Watchdog},
};
use tokio::runtime::{Builder, Runtime};

use super::{
    case::{Outcome, spin},
    figures::Figures,
};

/// Holds one worker of four after the other, and takes how long after the threshold that is seen.
pub(super) fn stall(stalls: usize) -> Outcome {
    const THRESHOLD: Duration = Duration::from_millis(50);
    let runtime = runtime(4)?;
    let (told, hear) = mpsc::channel();
    let watchdog = Watchdog::builder()
        .threshold(THRESHOLD)
        .on_stall(move |stall| {
            told.send((Instant::now(), stall.worker))
                .unwrap_or_default()
        })
        .watch(runtime.handle())?;
    let mut late = Vec::with_capacity(stalls);
    for _ in 0..stalls {
        let (begun, began) = mpsc::channel();
        let held = runtime.spawn(async move {
            let here = (Instant::now(), tokio::runtime::worker_index());
            begun.send(here).unwrap_or_default();
            thread::sleep(3 * THRESHOLD);
        });
        let (since, worker) = began.recv()?;
        let (at, named) = hear.recv_timeout(Duration::from_secs(10))?;
        if Some(named) != worker {
            return Err(format!("worker {worker:?} was held, and {named} was named").into());
        }
        late.push((at - since).saturating_sub(THRESHOLD).as_nanos() as u64);
        runtime.block_on(held)?;
        while !watchdog.stalls().now.is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
    }
    late.sort_unstable();
    let mean = late.iter().sum::<u64>() as f64 / stalls as f64;
    let worst = late.last().copied().unwrap_or_default();
    Ok(Figures::new(mean, percentile(&late, 0.99)).worst(worst))
}

/// Watches a runtime on which 16 tasks compute for 50 µs at a time, wait, and have a pool compute for
/// 2 ms.
pub(super) fn watchdog(time: Duration) -> Outcome {
    let runtime = runtime(2)?;
    let cpu = CpuPool::builder().threads(2).nice(10).build()?;
    let before = busy_time("lag-watchdog")?;
    let watchdog = Watchdog::builder().watch(runtime.handle())?;
    let end = Instant::now() + time;
    let task = |n: u64| {
        let cpu = cpu.clone();
        runtime.spawn(async move {
            while Instant::now() < end {
                for _ in 0..8 {
                    spin(Duration::from_micros(50));
                    tokio::task::yield_now().await;
                }
                tokio::time::sleep(Duration::from_millis(1 + n % 4)).await;
                cpu.run(|| spin(Duration::from_millis(2))).await?;
            }
            Ok::<(), pool_cpu::Error>(())
        })
    };
    let tasks: Vec<_> = (0..16).map(task).collect();
    for task in tasks {
        runtime.block_on(task)??;
    }
    let cost = busy_time("lag-watchdog")? - before;
    let alarms = watchdog.stalls().count;
    Ok(Figures::new(a_second(cost, time), 0).alarms(alarms))
}

/// What a runtime of one thread spends when it has nothing to do but the ticks of a monitor, and of a bare loop of timers, each less what
/// it spends without. By turns, so that all have the same machine; the median turn of each counts.
pub(super) fn lag_monitor(time: Duration) -> Outcome {
    const TURNS: u32 = 15;
    const TICK: Duration = Duration::from_millis(10);
    let spent = |ticks: &dyn Fn(&Runtime) -> Result<Keep, ConfigError>| {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("ticks")
            .enable_all()
            .build()?;
        let keep = ticks(&runtime)?;
        // Until it has settled.
        thread::sleep(Duration::from_millis(100));
        let before = busy_time("ticks")?;
        thread::sleep(time / TURNS);
        let spent = busy_time("ticks")? - before;
        drop(keep);
        Ok::<_, Box<dyn std::error::Error>>(spent)
    };
    let (mut ours, mut bare, mut idle) = <(Vec<_>, Vec<_>, Vec<_>)>::default();
    for _ in 0..TURNS {
        ours.push(spent(&|runtime| {
            Ok(Some(LagMonitor::start(runtime.handle(), TICK)?))
        })?);
        bare.push(spent(&|runtime| {
            runtime.spawn(bare_loop(TICK));
            Ok(None)
        })?);
        idle.push(spent(&|_| Ok(None))?);
    }
    let a_turn = |spent: Vec<Duration>| median(spent.into_iter().map(|spent| spent.as_secs_f64()));
    let idle = a_turn(idle);
    let cost = |spent| 1e9 * (a_turn(spent) - idle).max(0.0) / (time / TURNS).as_secs_f64();
    Ok(Figures::new(cost(ours), 0).bare(cost(bare)))
}

/// What has to stay while it is measured.
type Keep = Option<LagMonitor>;

/// A tick of a fixed grid after the other, and nothing at each.
async fn bare_loop(tick: Duration) {
    let mut ticks = tokio::time::interval(tick);
    loop {
        ticks.tick().await;
    }
}

fn runtime(workers: usize) -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_all()
        .build()
}

/// Nanoseconds of CPU time a second.
fn a_second(cost: Duration, time: Duration) -> f64 {
    cost.as_nanos() as f64 / time.as_secs_f64()
}

/// The CPU time that threads of this name have had: the first field of their `schedstat`, in
/// nanoseconds.
fn busy_time(name: &str) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let path = thread?.path();
        // One that ends meanwhile has no files any more.
        let Ok(comm) = fs::read_to_string(path.join("comm")) else {
            continue;
        };
        if comm.trim_end() == name {
            let text = fs::read_to_string(path.join("schedstat"))?;
            let first = text.split_whitespace().next().and_then(|n| n.parse().ok());
            total += first.unwrap_or(0_u64);
        }
    }
    Ok(Duration::from_nanos(total))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn the_cpu_time_of_a_thread_is_what_it_computed() {
        let thread = thread::Builder::new().name("spinner".to_owned());
        let spinner = thread.spawn(|| {
            let before = busy_time("spinner").unwrap();
            spin(Duration::from_millis(20));
            thread::sleep(Duration::from_millis(50));
            busy_time("spinner").unwrap() - before
        });
        let spent = spinner.unwrap().join().unwrap();
        assert!(
            spent > Duration::ZERO && spent < Duration::from_millis(45),
            "{spent:?}"
        );
        assert_eq!(busy_time("nobody").unwrap(), Duration::ZERO);
    }
}
