//! The counts of a cache.

use std::{
    cell::Cell,
    fmt,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

/// All counts of a [`Cache`](super::Cache). They count since it was built, but for the first four.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStatus {
    /// Entries in the process, stale and invalid ones included: about, as evictions lag a little.
    pub entries: u64,
    /// Their weight; without a weigher, their number.
    pub weight: u64,
    /// Calls that wait for loads.
    pub waiting: usize,
    /// Whether the second layer is left alone, as its operations failed.
    pub remote_shut: bool,
    /// Calls that were served a fresh value from the process.
    pub hits: u64,
    /// Calls that were told from the process that there is no value.
    pub negative_hits: u64,
    /// Calls that were told the error of a load that had failed shortly before.
    pub error_hits: u64,
    /// Calls that were served a stale value while it was refreshed.
    pub stale: u64,
    /// Calls that were served a stale value as the load had failed.
    pub stale_on_error: u64,
    /// Calls that the process had nothing for.
    pub misses: u64,
    /// Calls that waited for the load of another call.
    pub coalesced: u64,
    /// Loads that were started.
    pub loads: u64,
    /// Loads that failed, panicked, or took too long.
    pub load_failures: u64,
    /// Refreshes in the background that were started.
    pub refreshes: u64,
    /// Entries that were dropped to keep the size, or as nobody could be served from them any more, or as they were not read for
    /// `idle_timeout`.
    pub evicted: u64,
    /// Invalidations of keys, tags, or everything: those of this process, and those that others sent.
    pub invalidations: u64,
    /// Reads of the second layer that found what they sought.
    pub remote_hits: u64,
    /// Reads of the second layer that found nothing.
    pub remote_misses: u64,
    /// Operations of the second layer that failed.
    pub remote_errors: u64,
    /// Operations of the second layer that took too long.
    pub remote_timeouts: u64,
    /// Operations that were not tried, as those before them had failed.
    pub remote_skipped: u64,
    /// Calls that waited for another process to load the key.
    pub lease_waits: u64,
    /// Those of them that then loaded it themselves.
    pub lease_fallbacks: u64,
    /// How often messages of other processes may have been missed.
    pub gaps: u64,
}

macro_rules! counters {
    ($($name:ident),+ $(,)?) => {
        #[derive(Default)]
        pub(super) struct Counters {
            /// It is counted by every reader, so it has a place for some of them each.
            pub(super) hits: Striped,
            $(pub(super) $name: Counter,)+
        }

        impl Counters {
            pub(super) fn snapshot(&self) -> CacheStatus {
                CacheStatus {
                    hits: self.hits.total(),
                    $($name: self.$name.total(),)+
                    ..CacheStatus::default()
                }
            }
        }
    };
}

counters!(
    negative_hits,
    error_hits,
    stale,
    stale_on_error,
    misses,
    loads,
    load_failures,
    refreshes,
    evicted,
    invalidations,
    remote_hits,
    remote_misses,
    remote_errors,
    remote_timeouts,
    remote_skipped,
    lease_waits,
    lease_fallbacks,
    gaps,
);

impl fmt::Debug for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

/// A counter.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A counter that threads count at different places.
#[derive(Default)]
pub(super) struct Striped([Place; PLACES]);

#[derive(Default)]
#[repr(align(128))]
struct Place(AtomicU64);

impl Striped {
    pub(super) fn add(&self) {
        self.0[place()].0.fetch_add(1, Relaxed);
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|place| place.0.load(Relaxed)).sum()
    }
}

/// The place of this thread.
fn place() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    OWN.with(|own| {
        if own.get() == usize::MAX {
            own.set(NEXT.fetch_add(1, Relaxed) % PLACES);
        }
        own.get()
    })
}

const PLACES: usize = 8;
