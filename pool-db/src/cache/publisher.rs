//! Publishes the counts of a cache to the `metrics` facade.
//!
//! | name | kind | labels beside `cache.name` |
//! |---|---|---|
//! | `cache.entries`, `cache.weight`, `cache.pending_requests` | gauges | |
//! | `cache.requests` | counter | `cache.result`: `hit`, `negative_hit`, `error_hit`, `stale`, `stale_on_error`, `miss` |
//! | `cache.loads`, `cache.load_failures`, `cache.coalesced`, `cache.refreshes`, `cache.evictions`, `cache.invalidations` | counters | |
//! | `cache.remote.requests` | counter | `cache.result`: `hit`, `miss`, `error`, `timeout`, `skipped` |
//! | `cache.remote.lease_waits`, `cache.remote.lease_fallbacks`, `cache.remote.gaps` | counters | |
//!
//! A call publishes, at most one a second, and the last handle when it is dropped.

use std::{
    hash::Hash,
    mem,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use metrics::{Label, Unit, counter, describe_counter, describe_gauge, gauge};

use super::{CacheStatus, inner::Inner};

/// What a cache has published so far.
#[derive(Debug)]
pub(super) struct Publisher {
    /// The next time to publish, in nanoseconds since the cache was built.
    next: AtomicU64,
    described: AtomicBool,
    told: Mutex<[u64; COUNTERS.len()]>,
}

impl Publisher {
    pub(super) const fn new() -> Self {
        Self {
            next: AtomicU64::new(0),
            described: AtomicBool::new(false),
            told: Mutex::new([0; COUNTERS.len()]),
        }
    }

    /// Whether this call is the one that publishes.
    fn is_due(&self, now: u64) -> bool {
        let next = self.next.load(Relaxed);
        let later = now.saturating_add(INTERVAL);
        now >= next
            && self
                .next
                .compare_exchange(next, later, Relaxed, Relaxed)
                .is_ok()
    }

    fn publish(&self, name: &Arc<str>, status: &CacheStatus) {
        if !self.described.swap(true, Relaxed) {
            describe();
        }
        let named = |label: Option<(&'static str, &'static str)>| -> Vec<Label> {
            let name = Label::new("cache.name", Arc::clone(name));
            let more = label.map(|(key, value)| Label::from_static_parts(key, value));
            [name].into_iter().chain(more).collect()
        };
        gauge!("cache.entries", named(None)).set(status.entries as f64);
        gauge!("cache.weight", named(None)).set(status.weight as f64);
        gauge!("cache.pending_requests", named(None)).set(status.waiting as f64);
        // The recorder is called unlocked; two that publish at once have each its own part.
        let more = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            let mut more = [0; COUNTERS.len()];
            for ((more, told), (.., count)) in more.iter_mut().zip(&mut *told).zip(&COUNTERS) {
                let now = count(status).max(*told);
                *more = now - mem::replace(told, now);
            }
            more
        };
        for ((name, result, _), more) in COUNTERS.iter().zip(more) {
            let label = result.map(|result| ("cache.result", result));
            counter!(*name, named(label)).increment(more);
        }
    }
}

impl<K, V, E> Inner<K, V, E>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Publishes if the last time is long enough ago.
    #[inline]
    pub(super) fn publish_if_due(&self, now: u64) {
        if self.publisher.is_due(now) {
            self.publisher.publish(&self.name, &self.status());
        }
    }
}

impl<K, V, E> Drop for Inner<K, V, E> {
    fn drop(&mut self) {
        // A cache that nobody has asked was never published.
        if self.publisher.described.load(Relaxed) {
            let status = CacheStatus {
                coalesced: self.flight_status().joined,
                ..self.counters.snapshot()
            };
            self.publisher.publish(&self.name, &status);
        }
    }
}

const REQUESTS: &str = "cache.requests";
const REMOTE: &str = "cache.remote.requests";

/// Name, the label `cache.result`, and the count.
const COUNTERS: [(&str, Option<&str>, fn(&CacheStatus) -> u64); 20] = [
    (REQUESTS, Some("hit"), |status| status.hits),
    (REQUESTS, Some("negative_hit"), |status| {
        status.negative_hits
    }),
    (REQUESTS, Some("error_hit"), |status| status.error_hits),
    (REQUESTS, Some("stale"), |status| status.stale),
    (REQUESTS, Some("stale_on_error"), |status| {
        status.stale_on_error
    }),
    (REQUESTS, Some("miss"), |status| status.misses),
    ("cache.loads", None, |status| status.loads),
    ("cache.load_failures", None, |status| status.load_failures),
    ("cache.coalesced", None, |status| status.coalesced),
    ("cache.refreshes", None, |status| status.refreshes),
    ("cache.evictions", None, |status| status.evicted),
    ("cache.invalidations", None, |status| status.invalidations),
    (REMOTE, Some("hit"), |status| status.remote_hits),
    (REMOTE, Some("miss"), |status| status.remote_misses),
    (REMOTE, Some("error"), |status| status.remote_errors),
    (REMOTE, Some("timeout"), |status| status.remote_timeouts),
    (REMOTE, Some("skipped"), |status| status.remote_skipped),
    ("cache.remote.lease_waits", None, |status| {
        status.lease_waits
    }),
    ("cache.remote.lease_fallbacks", None, |status| {
        status.lease_fallbacks
    }),
    ("cache.remote.gaps", None, |status| status.gaps),
];

fn describe() {
    for (name, what) in [
        ("cache.entries", "Entries in the process"),
        ("cache.weight", "The weight of the entries in the process"),
        ("cache.pending_requests", "Calls that wait for loads"),
    ] {
        describe_gauge!(name, Unit::Count, what);
    }
    for (name, what) in [
        (REQUESTS, "Calls, by what the process had for them"),
        ("cache.loads", "Loads that were started"),
        (
            "cache.load_failures",
            "Loads that failed, panicked, or took too long",
        ),
        (
            "cache.coalesced",
            "Calls that waited for the load of another call",
        ),
        ("cache.refreshes", "Refreshes in the background"),
        ("cache.evictions", "Entries that were dropped"),
        (
            "cache.invalidations",
            "Invalidations of keys, tags, or everything",
        ),
        (
            REMOTE,
            "Operations of the second layer, by what came of them",
        ),
        (
            "cache.remote.lease_waits",
            "Calls that waited for another process to load",
        ),
        (
            "cache.remote.lease_fallbacks",
            "Calls that loaded after such a wait",
        ),
        (
            "cache.remote.gaps",
            "How often messages of other processes may have been missed",
        ),
    ] {
        describe_counter!(name, Unit::Count, what);
    }
}

/// The shortest interval between two publications of a cache: 1 s.
const INTERVAL: u64 = 1_000_000_000;
