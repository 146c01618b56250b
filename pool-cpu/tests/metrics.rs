//! The metrics that a pool publishes through the `metrics` facade.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use pool_cpu::{BlockingPool, CpuPool, Shutdown};

/// The last value of each counter and gauge, and the number of values of each histogram.
type Values = Arc<Mutex<BTreeMap<String, f64>>>;

struct Store(Values);

struct Cell(Values, String);

impl Cell {
    fn set(&self, value: f64) {
        self.0.lock().unwrap().insert(self.1.clone(), value);
    }

    fn add(&self, value: f64) {
        *self.0.lock().unwrap().entry(self.1.clone()).or_default() += value;
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, value: u64) {
        self.set(value as f64);
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        Self::set(self, value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, _: f64) {
        self.add(1.0);
    }
}

impl Store {
    fn described(&self, name: &KeyName, unit: Option<Unit>) {
        let key = format!("{} in {}", name.as_str(), unit.unwrap().as_str());
        *self.0.lock().unwrap().entry(key).or_default() += 1.0;
    }

    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        Arc::new(Cell(
            Arc::clone(&self.0),
            format!("{} {}", key.name(), labels.join(" ")),
        ))
    }
}

impl Recorder for Store {
    fn describe_counter(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described(&name, unit);
    }

    fn describe_gauge(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described(&name, unit);
    }

    fn describe_histogram(&self, name: KeyName, unit: Option<Unit>, _: SharedString) {
        self.described(&name, unit);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

/// The values that all tests of this process have published. The names distinguish the pools.
fn values() -> &'static Values {
    static VALUES: OnceLock<Values> = OnceLock::new();
    VALUES.get_or_init(|| {
        let values = Values::default();
        metrics::set_global_recorder(Store(Arc::clone(&values)))
            .ok()
            .unwrap();
        values
    })
}

fn read(name: &str) -> Option<f64> {
    values().lock().unwrap().get(name).copied()
}

/// Waits until `name` has the value `value`.
fn shown(name: &str, value: f64) {
    let start = Instant::now();
    while read(name) != Some(value) {
        assert!(start.elapsed() < LONG, "{name} is {:?}", read(name));
        thread::sleep(Duration::from_millis(1));
    }
}

const LONG: Duration = Duration::from_secs(10);

#[test]
fn jobs_are_timed_by_label_and_counted_by_outcome() {
    values();
    let cpu = CpuPool::builder().name("hash").threads(1).build().unwrap();
    for _ in 0..3 {
        cpu.job("login").run_sync(|| ()).unwrap();
    }
    assert!(cpu.job("import").run_sync(|| panic!("no")).is_err());
    assert!(cpu.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    // The keeper publishes once more after the last worker has left.
    shown("pool.cpu.jobs hash completed", 3.0);
    shown("pool.cpu.workers hash", 0.0);
    assert_eq!(read("pool.cpu.jobs hash panicked"), Some(1.0));
    assert_eq!(read("pool.cpu.job.wait hash login"), Some(3.0));
    assert_eq!(read("pool.cpu.job.run hash import"), Some(1.0));
    assert_eq!(read("pool.cpu.workers.busy hash"), Some(0.0));
}

#[test]
fn the_end_of_a_burst_is_published_without_a_shutdown_and_without_another_job() {
    values();
    let cpu = CpuPool::builder().name("burst").threads(2).build().unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let first = cpu.try_run(move || gate.recv().ok()).unwrap();
    shown("pool.cpu.workers.busy burst", 1.0);
    // The values were just published, and are not due again for a second, which is longer than this test takes.
    for _ in 0..3 {
        cpu.run_sync(|| ()).unwrap();
    }
    drop((go, first));
    shown("pool.cpu.jobs burst completed", 4.0);
    shown("pool.cpu.workers.busy burst", 0.0);
}

#[test]
fn what_happens_beside_a_long_job_is_published_while_it_runs() {
    values();
    let files = BlockingPool::builder()
        .name("files")
        .max_threads(1)
        .queue(0)
        .idle_timeout(Duration::from_millis(1))
        .build()
        .unwrap();
    let (go, gate) = mpsc::channel::<()>();
    let long = files.try_run(move || gate.recv().ok()).unwrap();
    shown("pool.cpu.workers.busy files", 1.0);
    assert!(files.try_run(|| ()).is_err());
    shown("pool.cpu.jobs files rejected", 1.0);
    drop((go, long));
    shown("pool.cpu.jobs files completed", 1.0);
    shown("pool.cpu.workers files", 0.0);
}

#[test]
fn pools_of_one_name_add_up_at_the_same_time_and_one_after_the_other() {
    values();
    let pool = || CpuPool::builder().name("twin").threads(2).build().unwrap();
    let (first, second) = (pool(), pool());
    let (go, gate) = mpsc::channel::<()>();
    let long = first.try_run(move || gate.recv().ok()).unwrap();
    for _ in 0..3 {
        second.run_sync(|| ()).unwrap();
    }
    assert!(second.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    shown("pool.cpu.jobs twin completed", 3.0);
    shown("pool.cpu.workers twin", 2.0);
    shown("pool.cpu.workers.busy twin", 1.0);
    drop((go, long));
    assert!(first.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    shown("pool.cpu.jobs twin completed", 4.0);
    let third = pool();
    third.run_sync(|| ()).unwrap();
    assert!(third.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    shown("pool.cpu.jobs twin completed", 5.0);
    shown("pool.cpu.workers twin", 0.0);
    shown("pool.cpu.workers.busy twin", 0.0);
}

#[test]
fn every_figure_is_described_with_its_unit() {
    values();
    let cpu = CpuPool::builder().name("told").threads(1).build().unwrap();
    cpu.run_sync(|| ()).unwrap();
    assert!(cpu.shutdown_sync(Shutdown::Drain, LONG).is_clean());
    shown("pool.cpu.jobs told completed", 1.0);
    let published: Vec<String> = values().lock().unwrap().keys().cloned().collect();
    for name in published
        .iter()
        .filter_map(|name| name.split(" told").next().filter(|short| *short != name))
    {
        let unit = if name.contains(".job.") {
            "seconds"
        } else {
            "count"
        };
        assert!(
            read(&format!("{name} in {unit}")).is_some(),
            "{name} in {unit}"
        );
    }
}
