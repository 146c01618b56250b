//! What the `metrics` facade is told.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use pool_cpu::{CpuPool, Shutdown};

/// The last value of each counter and gauge, and how many each histogram has.
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
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        Arc::new(Cell(
            Arc::clone(&self.0),
            format!("{} {}", key.name(), labels.join(" ")),
        ))
    }
}

impl Recorder for Store {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

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

#[test]
fn jobs_are_timed_by_label_and_counted_by_outcome() {
    let values = Values::default();
    metrics::set_global_recorder(Store(Arc::clone(&values)))
        .ok()
        .unwrap();
    let cpu = CpuPool::builder().name("hash").threads(1).build().unwrap();
    for _ in 0..3 {
        cpu.job("login").run_sync(|| ()).unwrap();
    }
    assert!(cpu.job("import").run_sync(|| panic!("no")).is_err());
    assert!(
        cpu.shutdown_sync(Shutdown::Drain, Duration::from_secs(10))
            .is_clean()
    );
    // The keeper publishes once more when the last worker has left.
    let read = |name: &str| values.lock().unwrap().get(name).copied();
    while read("pool.cpu.jobs hash completed") != Some(3.0)
        || read("pool.cpu.workers hash") != Some(0.0)
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(read("pool.cpu.jobs hash panicked"), Some(1.0));
    assert_eq!(read("pool.cpu.job.wait hash login"), Some(3.0));
    assert_eq!(read("pool.cpu.job.run hash import"), Some(1.0));
    assert_eq!(read("pool.cpu.workers.busy hash"), Some(0.0));
}
