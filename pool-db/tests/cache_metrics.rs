//! What a cache tells the `metrics` facade.
#![cfg(all(feature = "cache", feature = "metrics"))]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    set_default_local_recorder,
};
use pool_db::cache::Cache;
use tokio::time::sleep;

/// Counters by name and labels.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

impl Told {
    fn of(&self, key: &Key) -> Arc<AtomicU64> {
        let labels = key
            .labels()
            .map(|label| format!(" {}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        Arc::clone(self.0.lock().unwrap().entry(name).or_default())
    }

    fn count(&self, name: &str) -> Option<u64> {
        Some(self.0.lock().unwrap().get(name)?.load(SeqCst))
    }
}

impl Recorder for Told {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_is_published_while_it_is_used_and_when_it_is_dropped() {
    let told = Told::default();
    let _on = set_default_local_recorder(&told);
    let cache = Cache::<u32, u32, String>::builder()
        .name("pages")
        .build()
        .unwrap();
    let requests = |result: &str| {
        told.count(&format!(
            "cache.requests cache.name=pages cache.result={result}"
        ))
    };
    for _ in 0..5 {
        cache.get(&1, || async { Ok(1) }).await.unwrap();
    }
    sleep(Duration::from_secs(1)).await;
    cache.get(&1, || async { Ok(1) }).await.unwrap();
    assert_eq!((requests("hit"), requests("miss")), (Some(5), Some(1)));
    assert_eq!(told.count("cache.loads cache.name=pages"), Some(1));
    for _ in 0..3 {
        cache.get_opt(&2, || async { Ok(None) }).await.unwrap();
    }
    cache.invalidate(&1).await.unwrap();
    assert_eq!(requests("negative_hit"), Some(0), "once a second");
    drop(cache);
    assert_eq!(
        (requests("miss"), requests("negative_hit")),
        (Some(2), Some(2))
    );
    assert_eq!(told.count("cache.invalidations cache.name=pages"), Some(1));
}
